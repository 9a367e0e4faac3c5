"""Tests of netserve.core._waker."""

import selectors
import signal
import threading

import pytest

from netserve.core import Waker


@pytest.fixture
def waker():
    """A waker, closed after the test."""
    with Waker() as waker:
        yield waker


def is_readable(waker):
    """Whether a selector says at once that *waker* can be read."""
    with selectors.DefaultSelector() as selector:
        selector.register(waker, selectors.EVENT_READ)
        return bool(selector.select(0))


def test_it_is_readable_once_woken(waker):
    """The descriptor becomes readable by wake, and not before."""
    assert not is_readable(waker)
    waker.wake()
    assert is_readable(waker)


def test_drain_takes_back_every_wake_up(waker):
    """After drain it can be waited on anew, however often it was woken."""
    for _ in range(3):
        waker.wake()
    waker.drain()
    assert not is_readable(waker)
    waker.wake()
    assert is_readable(waker)


def test_drain_without_a_wake_up_returns_at_once(waker):
    """The drain of a waker that nobody woke doesn't block."""
    waker.drain()
    assert not is_readable(waker)


def test_waking_without_end_never_blocks(waker):
    """Wake-ups that nobody takes fill the buffer and are then dropped; drain empties it."""
    for _ in range(10_000):
        waker.wake()
    waker.drain()
    assert not is_readable(waker)


def test_a_wait_in_another_thread_ends(waker):
    """Somebody who waits in a selector is woken from another thread."""
    waiting = threading.Event()
    woken = threading.Event()

    def wait():
        with selectors.DefaultSelector() as selector:
            selector.register(waker, selectors.EVENT_READ)
            waiting.set()
            if selector.select(20):
                woken.set()

    thread = threading.Thread(target=wait)
    thread.start()
    assert waiting.wait(20)
    waker.wake()
    thread.join(20)
    assert woken.is_set()


def test_closed_it_is_harmless():
    """After close there is no descriptor; wake and a second close do nothing."""
    waker = Waker()
    waker.close()
    assert waker.fileno() == -1
    waker.wake()
    waker.close()


def test_close_meets_wake_without_harm():
    """Wake waits for a close under way, so that it can't write to a stranger's descriptor."""
    waker = Waker()
    tried = []
    close_writer = waker._writer.close

    class Writer:
        """Closes the writing end while somebody else tries to wake."""

        def close(self):
            thread = threading.Thread(
                target=lambda: tried.append(waker._lock.acquire(blocking=False))
            )
            thread.start()
            thread.join(20)
            close_writer()

    waker._writer = Writer()
    waker.close()
    assert tried == [False]


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="there is no such signal")
def test_a_signal_handler_may_wake_while_its_thread_wakes(waker):
    """A signal handler that interrupts wake may wake as well."""
    before = signal.signal(signal.SIGUSR1, lambda *_: waker.wake())
    try:
        with waker._lock:
            signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert is_readable(waker)


def test_leaving_the_context_closes_it():
    """As a context manager it gives itself, and closes itself."""
    with Waker() as waker:
        assert waker.fileno() >= 0
    assert waker.fileno() == -1


def test_the_wake_up_of_somebody_else_is_given_back(waker, monkeypatch):
    """A descriptor that was set before, 0 included, is put back; a full buffer is no warning."""
    calls = []

    def set_wakeup_fd(descriptor, **options):
        calls.append((descriptor, options))
        return 0

    monkeypatch.setattr(signal, "set_wakeup_fd", set_wakeup_fd)
    with waker.woken_by_signals() as sleep_ends:
        assert sleep_ends is False
    assert calls == [(waker._writer.fileno(), {"warn_on_full_buffer": False}), (0, {})]
