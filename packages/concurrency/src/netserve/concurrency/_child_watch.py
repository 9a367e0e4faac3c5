"""How a server's loop learns that a child of its own has ended.

Theory of operation. Each child has a descriptor that becomes readable with its end
(:manpage:`pidfd_open(2)`). All of them are in one :manpage:`epoll(7)` of their own, and
the loop watches that: to begin with a child, and to end with it, is one call each, and
touches little memory, which after a fork is what costs. Where a system has none of
these, the loop looks at all children every quarter of a second.
"""

import os
import select
import threading
from typing import Any, Final

from netserve.concurrency._children import Children
from netserve.core import BaseServer

_PAUSE: Final = 0.25  # seconds
_READ: Final = 1  # select.EPOLLIN, which is absent where there is no epoll


class ChildWatch:
    """Has the loop of *server* collect those of *children* that have ended.

    It may be closed in another thread while the loop forks its last child.
    """

    def __init__(self, server: BaseServer[Any, Any], children: Children) -> None:
        self._server = server
        self.children: Final = children
        self._lock = threading.RLock()
        self._pids: dict[int, int] = {}
        self._descriptors: dict[int, int] = {}
        self._looks = self._closing = False
        self._epoll = select.epoll() if _can_tell() else None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self.children)} children>"

    def begin(self) -> None:
        """Have the loop that runs look after the children; does nothing while none does."""
        self._looks = False
        if self._epoll is not None and not self._epoll.closed:
            self._server.add_reader(self._epoll.fileno(), self._look)
        if len(self._pids) < len(self.children):
            self._look_later()

    def add(self, pid: int) -> None:
        """Watch the child *pid*, until :meth:`remove`."""
        descriptor = -1
        with self._lock:
            if self._epoll is not None and not self._epoll.closed:
                try:
                    descriptor = os.pidfd_open(pid)
                except OSError:
                    # There are no descriptors left, or somebody has collected it.
                    pass
                else:
                    self._epoll.register(descriptor, _READ)
                    self._pids[descriptor] = pid
                    self._descriptors[pid] = descriptor
        if descriptor < 0:
            self._look_later()

    def remove(self, pid: int) -> None:
        """Watch the child *pid* no longer; harmless when nobody does."""
        with self._lock:
            descriptor = self._descriptors.pop(pid, None)
            if self._epoll is not None and descriptor is not None:
                del self._pids[descriptor]
                # To close it wouldn't do: the children that were forked since have it too.
                self._epoll.unregister(descriptor)
                os.close(descriptor)
                self._close_if_over()

    def close(self) -> None:
        """Release the epoll, once no child is left."""
        with self._lock:
            self._closing = True
            self._close_if_over()

    def _close_if_over(self) -> None:
        if self._closing and not self._pids and self._epoll is not None:
            self._epoll.close()

    def _look(self) -> None:
        with self._lock:
            epoll = self._epoll
            ended = [] if epoll is None or epoll.closed else epoll.poll(0)
        for descriptor, _ in ended:
            pid = self._pids.get(descriptor)
            if pid is not None:
                self.children.collect_one(pid)

    def _look_later(self) -> None:
        if not self._looks:
            self._looks = self._server.call_later(_PAUSE, self._look_again)

    def _look_again(self) -> None:
        self._looks = False
        self.children.collect()
        if len(self._pids) < len(self.children):
            self._look_later()


def _can_tell() -> bool:
    """Whether the system tells of the end of children."""
    return hasattr(os, "pidfd_open") and hasattr(select, "epoll")
