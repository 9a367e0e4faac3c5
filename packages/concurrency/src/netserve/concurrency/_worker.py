"""What a worker process does besides serving: it listens to its supervisor.

It is told by SIGTERM, and finds in its slot what to do; without an order there, the
signal is from somebody else, and means a drain. It looks each time, so that the same
order may come twice, and another one later. SIGINT and SIGHUP, which the terminal
sends to all processes at once, are left to the supervisor.

When the supervisor's process is gone, the worker drains and ends. It learns that from
the end of its socket, in the loop; and on Linux from a signal too, which the end of its
parent sends (:manpage:`prctl(2)`) and which a blocked handler doesn't keep it from
hearing. Then nobody would kill it, were it to go on: it sets itself an alarm for that.
"""

import contextlib
import ctypes
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Final

from netserve.concurrency._nursery import LEFT, READY, SHARED_SIGNALS, report
from netserve.concurrency._worker_table import Order, Slot

_PR_SET_PDEATHSIG: Final = 1  # of <sys/prctl.h>

Told = Callable[[Order, float], None]
"""Called with an order, and the seconds that are left for it; in the main thread, at any time."""


class WorkerProcess:
    """The process of a worker, from within.

    *number* is its slot's. *wire* is for its reports, and ends with the supervisor.
    *grace* is how long a drain takes that nobody has set a time for; *patience* when to
    be killed after the supervisor's end; both in seconds.
    """

    def __init__(
        self, number: int, slot: Slot, wire: socket.socket, grace: float, patience: float
    ) -> None:
        self._number = number
        self._slot = slot
        self._wire = wire
        self._grace = grace
        self._patience = patience
        self._parent = os.getppid()
        self._told: Told = _nothing
        self._orphaned = False
        """Whether the supervisor's process, or its nursery, is gone."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {os.getpid()}>"

    def listen(self, told: Told) -> None:
        """Call *told* with each order from now on."""
        self._told = told
        for number in SHARED_SIGNALS:
            # Not ignored, which programs that a handler starts would inherit.
            signal.signal(number, self._hear if number == signal.SIGTERM else _nothing)
        end_with_parent(signal.SIGTERM)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SHARED_SIGNALS)
        # It may have gone before the system knew what to do then.
        self.look_around()

    @property
    def wire(self) -> int:
        """A descriptor that becomes readable when the supervisor's process is gone."""
        return self._wire.fileno()

    def look_around(self) -> None:
        """See whether the parent is there, and drain if it isn't."""
        if os.getppid() != self._parent:
            self.orphan()

    def orphan(self) -> None:
        """Drain, because nobody is left to serve for."""
        if not self._orphaned:
            self._orphaned = True
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_REAL, self._patience)
            self._told(Order.DRAIN, self._grace)

    def ready(self) -> None:
        """Report that it serves."""
        report(self._wire, READY, self._number, os.getpid())

    def left(self) -> None:
        """Report that its loop has ended."""
        report(self._wire, LEFT, self._number)

    def _hear(self, _number: int, _frame: object) -> None:
        if os.getppid() != self._parent:
            self.orphan()
            return
        order, until = self._slot.order
        if order is Order.NONE:
            self._told(Order.DRAIN, self._grace)
        else:
            self._told(order, max(until - time.monotonic(), 0))


def _nothing(*_: object) -> None:
    """Leave it to the supervisor."""


def end_with_parent(number: int) -> None:
    """Have the system send this process the signal *number* when its parent ends, where it can."""
    if sys.platform == "linux":
        # There may be no C library to load, or one that doesn't have it.
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)
