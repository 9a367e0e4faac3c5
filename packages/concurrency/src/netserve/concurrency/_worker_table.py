"""What a supervisor and its worker processes share: a table in memory, a slot for each.

A worker writes its counts into its slot at each change, and so the sum is right at
every instant, whoever asks, and whatever becomes of the worker. The supervisor writes
its order to the worker beside them, before the signal that makes the worker look.

A slot has one writer for each of the two. The counts are read while they may be
written, so that their version is odd meanwhile, and another one afterwards; a worker
may be killed in between, so that nobody waits for it long.
"""

import enum
import mmap
import struct
import threading
from collections.abc import Iterable
from typing import Final

from netserve.core import Entry, Ledger, Outcome

_ORDER: Final = struct.Struct("@Qd")
_COUNTS: Final = struct.Struct(f"@Q{len(Outcome) + 4}QQ")
_VERSION: Final = struct.Struct("@Q")
_LOAD: Final = struct.Struct("@Q")
_SIZE: Final = 256
"""Bytes of a slot: more than it needs, and a multiple of what processors share at once."""

_LOOKS: Final = 100
"""How often a slot is read that is being written."""

_FAILED: Final = list(Outcome).index(Outcome.FAILED)
_FORCED: Final = list(Outcome).index(Outcome.FORCED)

Counts = tuple[int, ...]
"""The number of requests taken; for each outcome, how many ended; pauses; bytes in and out."""

_NONE: Final[Counts] = (0,) * (len(Outcome) + 4)


class Order(enum.Enum):
    """What a worker was told."""

    NONE = 0
    """Nothing."""

    SHUT_DOWN = 1
    """To end its loop, and to leave alone what is in progress."""

    DRAIN = 2
    """To bring what was accepted to its end, the backlog included."""

    YIELD = 3
    """To leave what comes from now on to the other workers, and otherwise to go on."""

    MAKE_WAY = 4
    """As DRAIN, but to leave the backlog to the other workers."""


class Slot:
    """One worker's part of the table, which begins at *offset* of *memory*."""

    def __init__(self, memory: mmap.mmap, offset: int) -> None:
        self._memory = memory
        self._order = offset
        self._load = offset + _ORDER.size
        self._counts = self._load + _LOAD.size
        self._version = 0

    @property
    def order(self) -> tuple[Order, float]:
        """What the worker was told, and by when it must be done, on the monotonic clock."""
        number, until = _ORDER.unpack_from(self._memory, self._order)
        return Order(number), until

    @order.setter
    def order(self, order: tuple[Order, float]) -> None:
        _ORDER.pack_into(self._memory, self._order, order[0].value, order[1])

    @property
    def load(self) -> int | None:
        """How many requests the worker has in progress; None when it doesn't accept any."""
        number: int = _LOAD.unpack_from(self._memory, self._load)[0]
        return number - 1 if number else None

    @load.setter
    def load(self, active: int | None) -> None:
        _LOAD.pack_into(self._memory, self._load, 0 if active is None else active + 1)

    def write(self, counts: Counts) -> None:
        """Write *counts*, in the worker."""
        version = self._version = self._version + 2
        _VERSION.pack_into(self._memory, self._counts, version - 1)
        _COUNTS.pack_into(self._memory, self._counts, version - 1, *counts, version)
        _VERSION.pack_into(self._memory, self._counts, version)

    def read(self) -> Counts:
        """The counts as they were at one instant."""
        counts = _NONE
        for _ in range(_LOOKS):
            before, *found, after = _COUNTS.unpack_from(self._memory, self._counts)
            counts = tuple(found)
            if before == after == _VERSION.unpack_from(self._memory, self._counts)[0]:
                break
        return counts

    def clear(self) -> None:
        """Make it new, for the next worker."""
        self._version = 0
        end = self._counts + _COUNTS.size
        self._memory[self._order : end] = bytes(end - self._order)


class WorkerTable:
    """The slots of all workers, at most *size* at a time, and what the ended ones have left."""

    def __init__(self, size: int) -> None:
        self._renewals = size * _SIZE
        self._memory = mmap.mmap(-1, self._renewals + _VERSION.size)
        self._slots = [Slot(self._memory, number * _SIZE) for number in range(size)]
        self._lock = threading.RLock()
        self._used: set[int] = set()
        self._past = _NONE

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {len(self._used)} of {len(self._slots)} in use>"

    def __getitem__(self, number: int) -> Slot:
        return self._slots[number]

    @property
    def renewals(self) -> int:
        """How often all workers were replaced, as each of them sees it."""
        (count,) = _VERSION.unpack_from(self._memory, self._renewals)
        return int(count)

    @renewals.setter
    def renewals(self, count: int) -> None:
        _VERSION.pack_into(self._memory, self._renewals, count)

    def take(self) -> int | None:
        """The number of a free slot, which is in use from now on; None if there is none."""
        with self._lock:
            for number, slot in enumerate(self._slots):
                if number not in self._used:
                    slot.clear()
                    self._used.add(number)
                    return number
        return None

    def give_back(self, number: int, *, forced: bool) -> int:
        """Keep the counts of an ended worker, and free its slot.

        What it had in progress has failed, or was forced. Returns how many these were.
        """
        with self._lock:
            accepted, *others = self._slots[number].read()
            lost = accepted - sum(others[: len(Outcome)])
            others[_FORCED if forced else _FAILED] += lost
            self._past = _sum([self._past, (accepted, *others)])
            self._slots[number].load = None
            self._used.discard(number)
        return lost

    def lightest(self) -> int:
        """The fewest requests that any worker which accepts has in progress; 0 if none does."""
        loads = [slot.load for slot in self._slots]
        return min((load for load in loads if load is not None), default=0)

    def total(self) -> Counts:
        """The sum over all workers, those that have ended included."""
        with self._lock:
            return _sum([self._past, *(self._slots[number].read() for number in self._used)])

    def close(self) -> None:
        """Keep the sum, and let go of the memory."""
        with self._lock:
            self._past = self.total()
            self._used.clear()
            self._slots.clear()
            self._memory.close()


def _sum(rows: Iterable[Counts]) -> Counts:
    return tuple(map(sum, zip(*rows, strict=True)))


def is_ahead(active: int, lightest: int) -> bool:
    """Whether a worker with *active* requests should leave the next to one with *lightest*."""
    return active - lightest > _LEAD + active // 8


_LEAD: Final = 4


class WorkerLedger(Ledger):
    """The ledger of a worker, which writes its counts into *slot*."""

    def __init__(self, slot: Slot) -> None:
        super().__init__()
        self._slot: Slot | None = slot
        self.accepts = False
        """Whether its worker takes requests."""

    def begin(
        self,
        request: object,
        address: object,
        count: int = 1,
        *,
        opening: bool = False,
        received: int = 0,
    ) -> Entry:
        """As everywhere."""
        entry = super().begin(request, address, count, opening=opening, received=received)
        self.publish()
        return entry

    def note(self, request: object, address: object, received: int) -> None:
        """Begin *request*: all is published at once here."""
        self.begin(request, address, received=received)

    def end(self, entry: Entry, outcome: Outcome = Outcome.COMPLETED) -> bool:
        """As everywhere."""
        ended = super().end(entry, outcome)
        self.publish()
        return ended

    def add_bytes(self, received: int, sent: int) -> None:
        """As everywhere."""
        super().add_bytes(received, sent)
        self.publish()

    def publish(self) -> None:
        """Write the counts as they are now."""
        with self._lock:
            if self._slot is not None:
                self._slot.load = self.active if self.accepts else None
                self._slot.write(
                    (
                        self._accepted, *self._ends.values(), self.exhausted,
                        self._received, self._sent,
                    )
                )  # fmt: skip

    def after_fork(self, kept: Entry) -> None:
        """As everywhere; a child of the worker has no slot."""
        self._slot = None
        super().after_fork(kept)


class SummedLedger(Ledger):
    """The ledger of the process that has workers: its counts are its own and theirs."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: list[WorkerTable] = []
        """Where the workers count."""

    def ends(self) -> dict[Outcome, int]:
        """How many requests have ended, for each outcome."""
        own = super().ends()
        total = self._total()[1:]
        return {
            outcome: own[outcome] + count for outcome, count in zip(Outcome, total, strict=False)
        }

    def counts(self) -> dict[str, int]:
        """Every count by its name in :class:`~netserve.core.Stats`."""
        accepted, *others = self._total()
        active = accepted - sum(others[: len(Outcome)])
        own = super().counts()
        return {
            name: count + more
            for (name, count), more in zip(own.items(), (accepted, active, *others), strict=True)
        }

    def _total(self) -> Counts:
        return _sum([_NONE, *(table.total() for table in self.tables)])
