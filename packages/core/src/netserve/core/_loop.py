"""The wait: one selector over a server, a waker, and whatever else is to be watched.

A :class:`Loop` lives as long as one ``serve_forever``. It sleeps until the server
has a request, one of the readers is ready, a timer is due, or somebody wakes it;
it calls the readers and timers itself, and leaves the server to its owner. Only
:meth:`Loop.wake` may be called from another thread or a signal handler.

A server that is to take nothing for now is taken out of the selector, because it
would be ready all the time.

Where the selector is one of :manpage:`poll(2)`, it knows what is to be watched, but
the loop asks the system itself: what :mod:`selectors` does besides, in each wait,
takes as long as a server of datagrams may take for a datagram.
"""

import contextlib
import heapq
import itertools
import math
import select
import selectors
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Protocol

from typing_extensions import Self

from netserve.core._waker import Waker

# poll and select need no descriptor of their own, and two are soon looked through.
Selector: Final[type[selectors.BaseSelector]] = getattr(
    selectors, "PollSelector", selectors.SelectSelector
)

# select() on Windows doesn't return for Ctrl-C, so that it has to end by itself.
_SLEEP_ENDS_ON_SIGNAL: Final = sys.platform != "win32"


class Listener(Protocol):
    """What has a descriptor to wait on."""

    def fileno(self) -> int:
        """The descriptor."""
        ...


_NOWHERE: Final = -1  # no descriptor


class Loop:
    """A selector, a waker, timers; entered for the time of one ``serve_forever``."""

    def __init__(self) -> None:
        self._ends = contextlib.ExitStack()
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        # What it was told with listen(), which needn't be called again for the same.
        self.listener: Listener | None = None
        self._listens_on = _NOWHERE
        self._poll_object: select.poll | None = None
        self.may_sleep: bool = False
        """Whether a wait without limit can be relied on to end for a signal."""
        self.ready: bool = False
        """Whether the last wait found the server ready; whoever waits keeps it."""

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self._selector = stack.enter_context(self._open_selector())
            if type(self._selector) is getattr(selectors, "PollSelector", None):
                self._poll_object = select.poll()
            self._waker = stack.enter_context(Waker())
            self._register(self._waker, self._waker.drain)
            woken = stack.enter_context(self._waker.woken_by_signals())
            self.may_sleep = woken and _SLEEP_ENDS_ON_SIGNAL
            self._ends = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ends.close()

    @property
    def busy(self) -> bool:
        """Whether it runs a handler itself, right now."""
        return False

    def runs_in(self, thread: int) -> bool:
        """Whether *thread* stands in for the thread that entered the loop."""
        return False

    def wake(self) -> None:
        """End the wait, from anywhere; never blocks."""
        self._waker.wake()

    def listen(self, listener: Listener | None) -> None:
        """Wait for *listener* from now on; with None, for no server.

        Raises :class:`ValueError` when its descriptor is closed, and perhaps
        :class:`OSError` when it is closed meanwhile.
        """
        if listener is self.listener:
            return
        if self.listener is not None:
            self._unregister(self.listener)
            self.listener, self._listens_on = None, _NOWHERE
        if listener is not None:
            self._listens_on = self._register(listener, None)
            self.listener = listener

    def add_reader(self, descriptor: int, callback: Callable[[], None]) -> None:
        """Call *callback* in each wait that finds *descriptor* ready to read."""
        if descriptor in self._selector.get_map():
            # The listener had this number, and has been closed.
            self.listen(None)
        self._register(descriptor, callback)

    def remove_reader(self, descriptor: int) -> None:
        """Undo :meth:`add_reader`."""
        self._unregister(descriptor)

    def call_later(self, delay: float, callback: Callable[[], None]) -> None:
        """Call *callback* once, in the first wait after *delay* seconds."""
        heapq.heappush(self._timers, (time.monotonic() + delay, next(self._order), callback))

    def wait(self, timeout: float | None) -> bool:
        """Sleep, at most *timeout* seconds, and call what is due.

        Returns whether the server is ready. None is no limit.
        """
        ready = False
        if self._timers:
            timeout = self._until_timer(timeout)
        if self._poll_object is None:
            events = [(key.fd, mask) for key, mask in self._selector.select(timeout)]
        else:
            # Rounded up, or the last of the time would be spent in looking again and again.
            limit = None if timeout is None else math.ceil(max(timeout, 0) * 1000)
            events = self._poll_object.poll(limit)
        for descriptor, _ in events:
            if descriptor == self._listens_on:
                ready = True
            else:
                # A reader before may have removed it.
                key = self._selector.get_map().get(descriptor)
                if key is not None:
                    key.data()
        if self._timers:
            self._run_timers()
        return ready

    def _register(self, source: int | Listener, callback: Callable[[], None] | None) -> int:
        """Wait for *source*; returns its descriptor."""
        descriptor = self._selector.register(source, selectors.EVENT_READ, callback).fd
        if self._poll_object is not None:
            self._poll_object.register(descriptor, select.POLLIN)
        return descriptor

    def _unregister(self, source: int | Listener) -> None:
        """Undo :meth:`_register`."""
        descriptor = self._selector.unregister(source).fd
        if self._poll_object is not None:
            self._poll_object.unregister(descriptor)

    def _until_timer(self, timeout: float | None) -> float | None:
        """How long to sleep: *timeout*, or less when a timer is due before."""
        if not self._timers:
            return timeout
        due = max(self._timers[0][0] - time.monotonic(), 0)
        return due if timeout is None else min(timeout, due)

    def _run_timers(self) -> bool:
        """Call the timers that are due; returns whether there were any."""
        ran = False
        while self._timers and self._timers[0][0] <= time.monotonic():
            heapq.heappop(self._timers)[2]()
            ran = True
        return ran

    def _open_selector(self) -> selectors.BaseSelector:
        return Selector()

    def after_fork(self) -> None:
        """Leave the parent alone, in a child process: no signal that comes here wakes it.

        The copies of its descriptors aren't closed: they keep nobody waiting, and to
        touch them costs more than they do.
        """
        self._waker.forget_signals()
