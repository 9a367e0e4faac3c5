"""Decisions about worker processes: whom to start, whom to let go, when to give up.

Pure: it is told what happened and when, and says what is to be done; it forks
nothing and reads no clock.

Each worker belongs to a *generation*. To replace all workers is to begin a new
generation: as long as workers of an older one are there, one of the new is started at
a time, and for each that is ready one of the old has to leave. So there are never
fewer workers than asked for, and at most one more, beside those that are leaving.

A worker that ends soon after its start would end again. The next start then waits,
twice as long each time; those that end meanwhile count as the same failure.
"""

import enum
from dataclasses import dataclass
from typing import Final

_FIRST_PAUSE: Final = 0.1  # seconds
_LONGEST_PAUSE: Final = 5.0  # seconds

_STEADY: Final = 1.0
"""After how long a worker's end is no failed start, in seconds."""

_FORGIVEN: Final = 60.0
"""After how long without one a failure is the first of its row, in seconds."""


class Stage(enum.Enum):
    """Where a worker stands in its life."""

    STARTING = "starting"
    """It was asked for, and doesn't serve yet."""

    READY = "ready"
    """It serves."""

    LEAVING = "leaving"
    """It was told to end."""


@dataclass
class Worker:
    """One worker process, as its supervisor knows it."""

    slot: int
    """Its place in the table that it shares with its supervisor."""

    generation: int
    """Which replacement of all workers it came with, counted from 0."""

    since: float
    """When it was asked for, in seconds on the caller's clock."""

    stage: Stage = Stage.STARTING
    """Where it stands."""

    serves: bool = True
    """Whether its loop may accept requests, now or later."""

    pid: int | None = None
    """Its process id, once that is known."""

    drain_at: float = float("inf")
    """When it will be told to drain, in seconds on the caller's clock."""

    kill_at: float = float("inf")
    """When it will be killed, in seconds on the caller's clock."""


class Staffing:
    """The workers, and what is to be done about their number.

    *size* is how many are wanted. After *attempts* failed starts in a row, with no
    worker ready, there is no hope left. Times are in seconds on any one clock.
    """

    def __init__(self, size: int, attempts: int) -> None:
        self._size = size
        self._attempts = attempts
        self._generation = 0
        self._failures = 0
        self._barren = 0
        self._failed_at = float("-inf")
        self._resume_at = float("-inf")
        self.workers: dict[int, Worker] = {}
        """Every worker that hasn't ended, by its slot."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.ready} of {self._size} ready>"

    @property
    def size(self) -> int:
        """How many workers are wanted."""
        return self._size

    @property
    def ready(self) -> int:
        """How many workers serve."""
        return sum(worker.stage is Stage.READY for worker in self.workers.values())

    @property
    def hopeless(self) -> bool:
        """Whether starting failed so often that there is no point in going on."""
        return self._barren >= self._attempts and not any(
            worker.stage is not Stage.LEAVING for worker in self.workers.values()
        )

    def begin(self) -> None:
        """Forget what has failed: whoever calls this believes that it will succeed now."""
        self._failures = self._barren = 0
        self._resume_at = float("-inf")

    def starts(self, now: float) -> int:
        """How many workers are to be started at once."""
        if now < self._resume_at:
            return 0
        current, old = self._current(), self._old()
        missing = self._size - len(current) - len(old)
        if missing > 0:
            return missing
        waits = any(worker.stage is Stage.STARTING for worker in current)
        return int(bool(old) and not waits)

    def pause(self, now: float) -> float | None:
        """For how many seconds nothing is started although it should be; None if that isn't so."""
        return self._resume_at - now if now < self._resume_at else None

    def leavers(self) -> list[Worker]:
        """The workers that have been replaced, and are to leave now."""
        old = self._old()
        ready = sum(worker.stage is Stage.READY for worker in self._current())
        surplus = max(ready + len(old) - self._size, 0)
        return old[:surplus]

    def replace_all(self) -> None:
        """Replace the workers that are there now."""
        self._generation += 1

    def started(self, slot: int, now: float) -> Worker:
        """Note that a worker was asked for, and has *slot*."""
        worker = self.workers[slot] = Worker(slot, self._generation, now)
        return worker

    def is_ready(self, slot: int) -> None:
        """Note that the worker with *slot* serves."""
        worker = self.workers[slot]
        if worker.stage is Stage.STARTING:
            worker.stage = Stage.READY
        self._barren = 0

    def leaves(self, worker: Worker, kill_at: float = float("inf")) -> None:
        """Note that *worker* was told to end, and is to be killed at *kill_at*."""
        worker.stage = Stage.LEAVING
        worker.drain_at = float("inf")
        worker.kill_at = min(worker.kill_at, kill_at)

    def ended(self, slot: int, now: float) -> Worker:
        """Note that the worker with *slot* has ended; returns it, with the stage it was in."""
        worker = self.workers.pop(slot)
        if worker.stage is not Stage.LEAVING and now - worker.since < _STEADY:
            self._failed(worker, now)
        return worker

    def _failed(self, worker: Worker, now: float) -> None:
        if now < self._resume_at:
            return
        if now - self._failed_at > _FORGIVEN:
            self._failures = 0
        self._failed_at = now
        self._failures += 1
        if worker.stage is Stage.STARTING:
            self._barren += 1
        self._resume_at = now + min(_FIRST_PAUSE * 2 ** (self._failures - 1), _LONGEST_PAUSE)

    def _current(self) -> list[Worker]:
        return [
            worker
            for worker in self.workers.values()
            if worker.generation == self._generation and worker.stage is not Stage.LEAVING
        ]

    def _old(self) -> list[Worker]:
        return [
            worker
            for worker in self.workers.values()
            if worker.generation < self._generation and worker.stage is not Stage.LEAVING
        ]
