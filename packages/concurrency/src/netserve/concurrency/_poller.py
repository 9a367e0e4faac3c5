"""What the multiplexer asks of the system: which connections are ready.

Connections and everything else the loop watches share one selector, so that one
wait is for all. On Linux the connections use its :manpage:`epoll(7)` directly,
which costs a third of what :mod:`selectors` does, and may be changed by any thread
while another waits. Elsewhere changes are kept until the leader's next wait.
"""

import contextlib
import os
import select
import selectors
import threading
from collections.abc import Callable
from typing import Protocol

from netserve.concurrency._connection import UNREGISTERED


class Poller(Protocol):
    """Waits for the descriptors of a selector and of connections."""

    def poll(self, timeout: float | None) -> list[tuple[int, int]]:
        """Wait at most *timeout* seconds; returns pairs of descriptor and events."""
        ...

    def arm(self, descriptor: int, before: int, after: int) -> None:
        """Watch *descriptor* for *after* in place of *before*; from any thread.

        Either is a mask of events, 0 for errors alone, or UNREGISTERED.
        """

    def close(self) -> None:
        """Release what it holds."""


class EpollPoller:
    """On the epoll instance of an :class:`selectors.EpollSelector`, which *descriptor* is."""

    def __init__(self, descriptor: int) -> None:
        # A second object for the same instance, with a descriptor of its own to close.
        self._epoll = select.epoll.fromfd(os.dup(descriptor))
        self._poll = self._epoll.poll

    def poll(self, timeout: float | None) -> list[tuple[int, int]]:
        """As :meth:`Poller.poll`."""
        return self._poll(timeout)

    def arm(self, descriptor: int, before: int, after: int) -> None:
        """As :meth:`Poller.arm`."""
        if before == UNREGISTERED:
            self._epoll.register(descriptor, after)
        elif after == UNREGISTERED:
            self._epoll.unregister(descriptor)
        else:
            self._epoll.modify(descriptor, after)

    def close(self) -> None:
        """As :meth:`Poller.close`."""
        self._epoll.close()


class SelectorPoller:
    """On any selector; *wake* ends a wait from another thread."""

    def __init__(self, selector: selectors.BaseSelector, wake: Callable[[], None]) -> None:
        self._selector = selector
        self._wake = wake
        self._changes: dict[int, int] = {}
        self._waiting: int | None = None

    def poll(self, timeout: float | None) -> list[tuple[int, int]]:
        """As :meth:`Poller.poll`."""
        self._waiting = threading.get_ident()
        while self._changes:
            # Another thread may take back the last one.
            with contextlib.suppress(KeyError):
                self._change(*self._changes.popitem())
        ready = self._selector.select(timeout)
        self._waiting = None
        return [(key.fd, _TO_EPOLL[mask]) for key, mask in ready]

    def arm(self, descriptor: int, before: int, after: int) -> None:
        """As :meth:`Poller.arm`."""
        if after == UNREGISTERED:
            # At once: the descriptor may be closed next, and given to somebody else.
            self._changes.pop(descriptor, None)
            self._change(descriptor, after)
        else:
            self._changes[descriptor] = after
        if self._waiting is not None:
            self._wake()

    def close(self) -> None:
        """As :meth:`Poller.close`; the selector is its owner's."""

    def _change(self, descriptor: int, after: int) -> None:
        with contextlib.suppress(KeyError):
            self._selector.unregister(descriptor)
        if after > 0:
            # Closed meanwhile, by whoever changed it last.
            with contextlib.suppress(ValueError, OSError):
                self._selector.register(descriptor, _FROM_EPOLL[after], True)


_FROM_EPOLL = {
    1: selectors.EVENT_READ,
    4: selectors.EVENT_WRITE,
    5: selectors.EVENT_READ | selectors.EVENT_WRITE,
}
_TO_EPOLL = {there: here for here, there in _FROM_EPOLL.items()}


def poller_for(selector: selectors.BaseSelector, wake: Callable[[], None]) -> Poller:
    """The fastest poller for *selector*; *wake* ends its wait from another thread."""
    if hasattr(select, "epoll") and isinstance(selector, selectors.EpollSelector):
        return EpollPoller(selector.fileno())
    return SelectorPoller(selector, wake)
