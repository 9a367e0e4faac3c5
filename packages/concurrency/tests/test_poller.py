"""Tests of netserve.concurrency._poller: the same for epoll and for any other selector."""

import contextlib
import os
import selectors
import socket
import threading

import pytest

from netserve.concurrency._connection import READ, UNREGISTERED, WRITE
from netserve.concurrency._poller import EpollPoller, SelectorPoller, poller_for

PATIENCE = 20

KINDS = [
    name
    for name in ("EpollSelector", "PollSelector", "SelectSelector", "KqueueSelector")
    if hasattr(selectors, name)
]


class Watch:
    """A poller on a selector that has a waker besides, and sockets."""

    def __init__(self, kind, ends):
        self.ends = ends
        self.selector = ends.enter_context(getattr(selectors, kind)())
        self.bell, self.button = self.pair()
        self.selector.register(self.bell, selectors.EVENT_READ)
        self.poller = poller_for(self.selector, self.wake)
        ends.callback(self.poller.close)
        self.woken = 0

    def pair(self):
        """Two sockets, connected, that don't block."""
        pair = socket.socketpair()
        for each in pair:
            self.ends.enter_context(each)
            each.setblocking(False)
        return pair

    def wake(self):
        """End a wait."""
        self.woken += 1
        self.button.send(b"x")

    def poll(self, timeout=0):
        """What is ready, apart from the waker, which is emptied."""
        events = dict(self.poller.poll(timeout))
        if events.pop(self.bell.fileno(), None):
            self.bell.recv(100)
        return events


@pytest.fixture(params=KINDS)
def watch(request):
    """A watch of each kind."""
    with contextlib.ExitStack() as ends:
        yield Watch(request.param, ends)


def test_the_fastest_poller_is_made(watch):
    """Where there is epoll, and the selector uses it."""
    epoll = getattr(selectors, "EpollSelector", ())
    expected = EpollPoller if isinstance(watch.selector, epoll) else SelectorPoller
    assert type(watch.poller) is expected


def test_without_epoll(monkeypatch):
    """The selector itself does."""
    monkeypatch.delattr("select.epoll", raising=False)
    with selectors.DefaultSelector() as selector:
        poller = poller_for(selector, int)
        assert type(poller) is SelectorPoller
        poller.close()
        assert selector.get_map() is not None


def test_what_is_ready_is_told(watch):
    """With the events that were asked for, and not the others."""
    ours, theirs = watch.pair()
    number = ours.fileno()
    watch.poller.arm(number, UNREGISTERED, READ)
    assert watch.poll() == {}
    theirs.send(b"hello")
    assert watch.poll(PATIENCE) == {number: READ}
    watch.poller.arm(number, READ, READ | WRITE)
    assert watch.poll(PATIENCE) == {number: READ | WRITE}
    watch.poller.arm(number, READ | WRITE, WRITE)
    assert watch.poll(PATIENCE) == {number: WRITE}
    watch.poller.arm(number, WRITE, 0)
    assert watch.poll() == {}
    watch.poller.arm(number, 0, READ)
    assert watch.poll(PATIENCE) == {number: READ}
    watch.poller.arm(number, READ, UNREGISTERED)
    assert watch.poll() == {}


def test_the_selectors_own_are_told_too(watch):
    """They share one wait."""
    watch.wake()
    assert dict(watch.poller.poll(PATIENCE)) == {watch.bell.fileno(): READ}


def test_a_wait_ends_after_its_time(watch):
    """With nothing."""
    assert watch.poller.poll(0.01) == []


@pytest.mark.parametrize("before", [UNREGISTERED, 0])
def test_another_thread_arms_in_a_wait(watch, before):
    """The wait sees it; where the system can't, it is ended by the waker and begun anew."""
    ours, theirs = watch.pair()
    number = ours.fileno()
    if before != UNREGISTERED:
        watch.poller.arm(number, UNREGISTERED, READ)
        watch.poller.arm(number, READ, before)
        assert watch.poll() == {}
    theirs.send(b"hello")
    found = []

    def wait():
        while not found:
            found.extend(watch.poll(PATIENCE).items())

    waiter = threading.Thread(target=wait)
    waiter.start()
    # Before the wait or in it: it must be seen in either case.
    if isinstance(watch.poller, SelectorPoller):
        while watch.poller._waiting is None:
            waiter.join(0.001)
    watch.poller.arm(number, before, READ)
    waiter.join(PATIENCE)
    assert found == [(number, READ)]
    assert watch.woken == isinstance(watch.poller, SelectorPoller)


def test_arming_outside_a_wait_wakes_nobody(watch):
    """The next wait looks by itself."""
    ours, _ = watch.pair()
    watch.poller.arm(ours.fileno(), UNREGISTERED, WRITE)
    assert watch.woken == 0
    assert watch.poll(PATIENCE) == {ours.fileno(): WRITE}


def test_unregistering_takes_effect_at_once(watch):
    """The descriptor may be given to somebody else next, who has nothing to do with it."""
    ours, theirs = watch.pair()
    number = ours.fileno()
    watch.poller.arm(number, UNREGISTERED, READ)
    assert watch.poll() == {}
    watch.poller.arm(number, READ, READ | WRITE)
    watch.poller.arm(number, READ | WRITE, UNREGISTERED)
    theirs.send(b"hello")
    assert watch.poll() == {}
    with pytest.raises(KeyError):
        watch.selector.unregister(number)
    # It isn't in the way of its next owner.
    watch.selector.register(number, selectors.EVENT_READ)
    assert watch.poll(PATIENCE) == {number: READ}
    watch.selector.unregister(number)


def test_a_closed_descriptor_is_no_error_for_a_selector():
    """Whoever had it last has closed it, before the change was made."""

    class Strict(selectors.SelectSelector):
        def register(self, fileobj, events, data=None):
            os.fstat(fileobj)
            return super().register(fileobj, events, data)

    with Strict() as selector:
        poller = SelectorPoller(selector, int)
        ours, theirs = socket.socketpair()
        poller.arm(ours.fileno(), UNREGISTERED, READ)
        poller.arm(theirs.fileno(), UNREGISTERED, 0)
        ours.close()
        theirs.close()
        assert poller.poll(0) == []


@pytest.mark.skipif("EpollSelector" not in KINDS, reason="needs epoll")
def test_a_closed_descriptor_is_an_error_for_epoll():
    """The multiplexer passes it over."""
    with selectors.EpollSelector() as selector:
        poller = EpollPoller(selector.fileno())
        ours, theirs = socket.socketpair()
        poller.arm(ours.fileno(), UNREGISTERED, READ)
        number = ours.fileno()
        ours.close()
        with pytest.raises(OSError, match="Bad file descriptor"):
            poller.arm(number, READ, UNREGISTERED)
        theirs.close()
        poller.close()
        # The selector's own is still open.
        assert selector.select(0) == []
