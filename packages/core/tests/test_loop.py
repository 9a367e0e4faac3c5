"""Tests of netserve.core._loop."""

import os
import signal
import socket
import threading
import time

import pytest

from netserve.core import Loop, _loop

PATIENCE = 20  # seconds until a test gives up; none waits so long unless it fails


@pytest.fixture
def loop():
    """An entered loop."""
    with Loop() as loop:
        yield loop


@pytest.fixture
def pair():
    """Two connected sockets."""
    here, there = socket.socketpair()
    with here, there:
        yield here, there


def test_it_waits_for_a_listener(loop, pair):
    """Wait says whether the listener is ready."""
    here, there = pair
    loop.listen(here)
    assert loop.wait(0) is False
    there.send(b"request")
    assert loop.wait(PATIENCE) is True
    assert loop.wait(None) is True


def test_it_waits_for_no_listener(loop, pair):
    """Taken out, a listener that is ready doesn't end the wait; put back, it does."""
    here, there = pair
    there.send(b"request")
    loop.listen(here)
    loop.listen(None)
    assert loop.wait(0) is False
    loop.listen(None)
    loop.listen(here)
    loop.listen(here)
    assert loop.wait(PATIENCE) is True


def test_nothing_is_done_for_a_listener_that_stays(pair, monkeypatch):
    """Listen is called before each wait, and must cost nothing then."""
    calls = []

    class Counting(_loop.Selector):
        def register(self, fileobj, *arguments):
            calls.append(fileobj)
            return super().register(fileobj, *arguments)

    monkeypatch.setattr(_loop, "Selector", Counting)
    with Loop() as loop:
        calls.clear()
        for _ in range(3):
            loop.listen(pair[0])
        assert calls == [pair[0]]


def test_one_listener_takes_the_place_of_another(loop, pair):
    """There is at most one."""
    here, there = pair
    there.send(b"request")
    loop.listen(here)
    loop.listen(there)
    assert loop.wait(0) is False
    here.send(b"request")
    assert loop.wait(PATIENCE) is True


def test_a_reader_that_another_one_has_removed_is_not_called(loop, pair):
    """Though both were found ready."""
    here, there = pair
    called = []

    def call(which, other):
        called.append(which)
        loop.remove_reader(other.fileno())

    loop.add_reader(here.fileno(), lambda: call(here, there))
    loop.add_reader(there.fileno(), lambda: call(there, here))
    here.send(b"request")
    there.send(b"request")
    assert loop.wait(PATIENCE) is False
    assert len(called) == 1


def test_a_closed_listener_cannot_be_waited_for(loop, pair):
    """Listen says so, and none is waited for then."""
    here, there = pair
    here.close()
    with pytest.raises(ValueError, match="-1"):
        loop.listen(here)
    assert loop.wait(0) is False
    loop.listen(None)
    there.close()


def test_a_listener_that_was_closed_meanwhile_can_be_taken_out(loop, pair):
    """A server that another thread has closed is no trouble."""
    here, _ = pair
    loop.listen(here)
    here.close()
    loop.listen(None)
    assert loop.wait(0) is False


def test_waking_ends_a_wait_once(loop):
    """From another thread, wake ends a wait without limit; it is used up by it."""
    waker = threading.Thread(target=loop.wake)
    waker.start()
    assert loop.wait(None) is False
    waker.join(PATIENCE)
    started = time.monotonic()
    assert loop.wait(0.01) is False
    assert time.monotonic() - started >= 0.009


def test_waking_before_the_wait_is_not_lost(loop):
    """A wake-up that nobody waits for ends the next wait."""
    loop.wake()
    assert loop.wait(None) is False


def test_a_left_loop_can_be_woken():
    """Whoever comes too late does no harm."""
    with Loop() as loop:
        pass
    loop.wake()


def test_a_reader_is_called_while_it_is_ready(loop, pair):
    """It is called in each wait that finds it ready, and isn't taken for the server."""
    here, there = pair
    calls = []
    loop.add_reader(here.fileno(), lambda: calls.append(True))
    assert loop.wait(0) is False
    assert calls == []
    there.send(b"x")
    assert loop.wait(PATIENCE) is False
    assert loop.wait(PATIENCE) is False
    assert calls == [True, True]
    here.recv(1)
    loop.wait(0)
    loop.remove_reader(here.fileno())
    there.send(b"x")
    assert loop.wait(0) is False
    assert calls == [True, True]


def test_removing_what_was_not_added_is_an_error(loop, pair):
    """A KeyError tells that the descriptor isn't watched."""
    with pytest.raises(KeyError):
        loop.remove_reader(pair[0].fileno())


def test_a_reader_and_the_listener_are_both_seen(loop, pair):
    """One wait may find both."""
    here, there = pair
    calls = []
    loop.listen(here)
    loop.add_reader(there.fileno(), lambda: calls.append(there.recv(1)))
    there.send(b"x")
    here.send(b"y")
    assert loop.wait(PATIENCE) is True
    assert calls == [b"y"]


def test_timers_are_called_in_the_order_of_their_times(loop):
    """Each once, not before its time, and equal ones in the order of their making."""
    calls = []
    began = time.monotonic()
    for name, delay in [("late", 0.03), ("first", 0), ("second", 0), ("early", 0.01)]:
        loop.call_later(delay, lambda name=name: calls.append((name, time.monotonic() - began)))
    while len(calls) < 4:
        loop.wait(None)
    assert [name for name, _ in calls] == ["first", "second", "early", "late"]
    assert calls[2][1] >= 0.01
    assert calls[3][1] >= 0.03
    assert loop.wait(0) is False
    assert len(calls) == 4


@pytest.fixture
def timeouts(monkeypatch):
    """The timeouts of the waits to come; nothing is really waited for."""
    seen = []

    class Recording(_loop.Selector):
        def select(self, timeout=None):
            seen.append(timeout)
            return super().select(0)

    monkeypatch.setattr(_loop, "Selector", Recording)
    return seen


def test_a_wait_is_no_longer_than_the_next_timer_or_the_timeout(timeouts):
    """Without either it has no end; a timer that is due has no wait."""
    with Loop() as loop:
        loop.wait(None)
        loop.wait(7)
        assert timeouts == [None, 7]
        loop.call_later(100, pytest.fail)
        loop.call_later(200, pytest.fail)
        loop.wait(None)
        assert 99 < timeouts.pop() <= 100
        loop.wait(1000)
        assert 99 < timeouts.pop() <= 100
        loop.wait(3)
        assert timeouts.pop() == 3
        calls = []
        loop.call_later(-1, lambda: calls.append(True))
        loop.wait(None)
        assert timeouts.pop() == 0
        assert calls == [True]
        loop.wait(None)
        assert 99 < timeouts.pop() <= 100


def test_a_timer_may_set_the_next(loop):
    """A callback may call call_later."""
    calls = []
    loop.call_later(0, lambda: loop.call_later(0.001, lambda: calls.append(True)))
    while not calls:
        loop.wait(None)
    assert calls == [True]


def test_it_may_sleep_where_a_signal_ends_the_sleep(monkeypatch):
    """It may, unless the platform or somebody else's wake-up descriptor forbids."""
    with Loop() as loop:
        assert loop.may_sleep is True
        with Loop() as inner:
            assert inner.may_sleep is False
    monkeypatch.setattr(_loop, "_SLEEP_ENDS_ON_SIGNAL", False)
    with Loop() as loop:
        assert loop.may_sleep is False
    assert Loop().may_sleep is False


def test_nothing_is_left_open_when_it_cannot_be_entered(monkeypatch):
    """What was opened is closed when the next thing can't be."""
    selectors = []

    class Noted(_loop.Selector):
        def __init__(self):
            super().__init__()
            selectors.append(self)

    def exhausted():
        raise OSError("no descriptors")

    monkeypatch.setattr(_loop, "Selector", Noted)
    monkeypatch.setattr(_loop, "Waker", exhausted)
    with pytest.raises(OSError, match="no descriptors"), Loop():
        pass
    (selector,) = selectors
    assert selector.get_map() is None


def test_a_child_leaves_its_parents_loop_alone(pair):
    """After a fork no signal writes to the waker."""
    with Loop() as loop:
        loop.listen(pair[0])
        loop.after_fork()
        assert signal.set_wakeup_fd(-1) == -1


def test_a_child_leaves_the_wake_up_descriptor_of_somebody_else(pair):
    """Only the loop's own is taken back."""
    _, writer = pair
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.fileno())
    try:
        with Loop() as loop:
            loop.after_fork()
    finally:
        assert signal.set_wakeup_fd(-1) == writer.fileno()


def test_a_reader_may_have_the_number_of_a_listener_that_was_closed(pair):
    """The number was given to somebody else, whose input is heard."""
    reader, writer = pair
    listener = socket.socket()
    heard = []
    with Loop() as loop:
        loop.listen(listener)
        number = listener.detach()
        os.dup2(reader.fileno(), number)
        try:
            loop.add_reader(number, lambda: heard.append(os.read(number, 10)))
            writer.send(b"x")
            assert loop.wait(20) is False
            loop.remove_reader(number)
        finally:
            os.close(number)
    assert heard == [b"x"]
