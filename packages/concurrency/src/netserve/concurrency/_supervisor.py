"""The engine behind the preforking mix-in: it keeps the right number of workers serving.

It does what :class:`~netserve.concurrency.Staffing` decides, by the nursery, and hears
what becomes of it. It has no thread and no loop: whoever has calls :meth:`Supervisor.step`
when there is news, and when the time has come that it returned. It may be called from
several threads, and from a signal handler.
"""

import contextlib
import logging
import os
import selectors
import signal
import threading
import time
from collections.abc import Callable
from typing import Final, Protocol

from netserve.concurrency._nursery import ENDED, FORKED, LEFT, READY, UNBORN, News
from netserve.concurrency._staffing import Staffing, Stage, Worker
from netserve.concurrency._worker_table import Order, WorkerTable
from netserve.core import log

_COURTESY: Final = 1.0
"""How long a replaced worker goes on for the requests that are on their way to it, in seconds."""

_OUTLIVES: Final = 0.7
"""How long after its grace a worker may still be ending, in seconds, before it is killed."""

_INF: Final = float("inf")


class Forker(Protocol):
    """What forks the workers."""

    @property
    def lost(self) -> bool:
        """Whether it is gone."""
        ...

    def descriptors(self) -> tuple[int, int]:
        """What becomes readable when there is news."""
        ...

    def start(self, slot: int) -> None:
        """Have a worker forked."""

    def signal(self, slot: int, number: int) -> None:
        """Have a signal sent to a worker."""

    def news(self) -> list[News]:
        """What has been reported."""
        ...

    def close(self) -> None:
        """End it."""


class Supervisor:
    """Keeps workers serving, and brings them to their end.

    *forker* forks them; in *table* they count; *staffing* decides. *name* is what log
    records say of them; *grace* is how long those that are replaced have for their
    requests, in seconds.
    """

    def __init__(
        self,
        forker: Forker,
        table: WorkerTable,
        staffing: Staffing,
        name: Callable[[], str],
        grace: float,
    ) -> None:
        self._forker = forker
        self._table = table
        self._staffing = staffing
        self._name = name
        self._grace = grace
        self._lock = threading.RLock()
        self._staffed = False
        self._closed = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.ready} of {self._staffing.size} workers ready>"

    @property
    def ready(self) -> int:
        """How many workers serve."""
        with self._lock:
            return self._staffing.ready

    @property
    def size(self) -> int:
        """How many workers are wanted."""
        return self._staffing.size

    @property
    def pids(self) -> list[int]:
        """The process ids of the workers that serve, the oldest first."""
        with self._lock:
            return [
                worker.pid
                for worker in self._staffing.workers.values()
                if worker.stage is Stage.READY and worker.pid is not None
            ]

    @property
    def serving(self) -> bool:
        """Whether any worker's loop may accept requests, now or later."""
        with self._lock:
            return any(worker.serves for worker in self._staffing.workers.values())

    @property
    def alive(self) -> bool:
        """Whether there is any worker."""
        with self._lock:
            return bool(self._staffing.workers)

    @property
    def lost(self) -> bool:
        """Whether what forks the workers is gone."""
        return self._forker.lost

    @property
    def hopeless(self) -> bool:
        """Whether the workers fail at their start again and again."""
        with self._lock:
            return self._staffed and self._staffing.hopeless

    def descriptors(self) -> tuple[int, int]:
        """What becomes readable when there is something to do."""
        return self._forker.descriptors()

    def staff(self) -> None:
        """Have as many workers as are wanted from now on."""
        with self._lock:
            self._staffing.begin()
            self._staffed = True

    def replace_all(self) -> None:
        """Replace the workers one by one; each leaves when another is ready in its place."""
        with self._lock:
            self._staffing.replace_all()

    def step(self) -> float:
        """Do what is due; returns for how many seconds nothing will be, at the most."""
        with self._lock:
            if self._closed:
                return _INF
            for news in self._forker.news():
                self._hear(news)
            now = time.monotonic()
            if self._staffed:
                for worker in self._staffing.leavers():
                    # A client that has just come may not have sent its request yet.
                    self._tell(worker, Order.YIELD, _INF)
                    worker.drain_at = now + min(_COURTESY, self._grace / 2)
                self._start(now)
            return self._follow_up(now)

    def shut_down(self) -> None:
        """Have all workers end their loops, and have no others start."""
        with self._lock:
            self._staffed = False
            for worker in self._staffing.workers.values():
                if worker.stage is not Stage.LEAVING or worker.drain_at < _INF:
                    self._tell(worker, Order.SHUT_DOWN, _INF)

    def drain(self, until: float) -> None:
        """Have all workers drain until *until* on the monotonic clock, and have none start."""
        with self._lock:
            self._staffed = False
            for worker in self._staffing.workers.values():
                self._tell(worker, Order.DRAIN, until)

    def kill(self) -> None:
        """Kill all workers, and have none start."""
        with self._lock:
            self._staffed = False
            for worker in self._staffing.workers.values():
                self._staffing.leaves(worker, 0)
            self._follow_up(time.monotonic())

    def wait(self, condition: Callable[[], bool], until: Callable[[], float]) -> bool:
        """Step until *condition* holds, or until the monotonic time that *until* tells.

        For whoever has no loop. Returns whether the condition holds.
        """
        while True:
            pause = self.step()
            if self._closed or self.lost or condition():
                return True
            left = until() - time.monotonic()
            if left <= 0:
                return False
            _await_news(self.descriptors(), min(left, pause, _LOOK))

    def close(self) -> None:
        """Wait for the workers, as they were told to end; then for what has forked them."""
        with self._lock:
            if self._closed:
                return
            self.wait(lambda: not self.alive, lambda: _INF)
            self._closed = True
            self._forker.close()
            self._table.close()

    def _tell(self, worker: Worker, order: Order, until: float) -> None:
        self._table[worker.slot].order = (order, until)
        self._staffing.leaves(worker, until + _OUTLIVES)
        self._forker.signal(worker.slot, signal.SIGTERM)

    def _start(self, now: float) -> None:
        for _ in range(self._staffing.starts(now)):
            slot = self._table.take()
            if slot is None:
                # So many are leaving that their successors wait.
                return
            self._staffing.started(slot, now)
            self._forker.start(slot)

    def _follow_up(self, now: float) -> float:
        """Remind those that are leaving; returns for how many seconds there is nothing to do."""
        soonest = self._staffing.pause(now) if self._staffed else None
        soonest = _INF if soonest is None else soonest
        for worker in self._staffing.workers.values():
            if worker.drain_at <= now:
                self._tell(worker, Order.MAKE_WAY, now + self._grace)
                # It has accepted nothing since it was told to yield.
                worker.serves = False
            soonest = min(soonest, worker.drain_at - now)
            if worker.kill_at <= now:
                self._forker.signal(worker.slot, signal.SIGKILL)
            else:
                soonest = min(soonest, worker.kill_at - now)
        return soonest

    def _hear(self, news: News) -> None:
        kind, slot, value = news
        worker = self._staffing.workers[slot]
        if kind == FORKED:
            worker.pid = value
        elif kind == READY:
            worker.pid = value
            self._staffing.is_ready(slot)
            self._say(logging.DEBUG, "worker %s serves", worker.pid)
        elif kind == LEFT:
            worker.serves = False
        elif kind == UNBORN:
            self._say(logging.ERROR, "a worker couldn't be forked: %s", os.strerror(value))
            self._gone(slot)
        else:
            assert kind == ENDED
            self._report_end(worker, value, self._gone(slot))

    def _gone(self, slot: int) -> int:
        """Note that the worker of *slot* is gone; returns how many requests it has left."""
        worker = self._staffing.ended(slot, time.monotonic())
        return self._table.give_back(slot, forced=worker.kill_at < _INF)

    def _report_end(self, worker: Worker, status: int, lost: int) -> None:
        what = f"by {_name(-status)}" if status < 0 else f"with status {status}"
        if worker.stage is not Stage.LEAVING:
            when = "before it served" if worker.stage is Stage.STARTING else "untold"
            # One that a handler has stopped has ended well.
            level = logging.INFO if status == 0 and worker.stage is Stage.READY else logging.ERROR
            self._say(
                level, "worker %s ended %s, %s, with %d requests", worker.pid, when, what, lost
            )
        elif status:
            self._say(
                logging.WARNING, "worker %s ended %s, with %d requests", worker.pid, what, lost
            )
        else:
            self._say(logging.DEBUG, "worker %s has ended", worker.pid)

    def _say(self, level: int, message: str, *arguments: object) -> None:
        log.log(level, f"%s: {message}", self._name(), *arguments)


def _await_news(descriptors: tuple[int, int], timeout: float) -> None:
    """Wait until one of *descriptors* is ready to read, at most *timeout* seconds."""
    with selectors.PollSelector() as selector:
        # Another thread may close them.
        with contextlib.suppress(OSError, ValueError):
            for descriptor in descriptors:
                selector.register(descriptor, selectors.EVENT_READ)
        selector.select(timeout)


def _name(number: int) -> str:
    """The name of a signal."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


_LOOK: Final = 0.05  # seconds between looks at what another thread may have done
