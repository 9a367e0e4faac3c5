"""The ledger: which requests are in progress, and how those before them ended.

Every request that a server takes gets an :class:`Entry`, and stays in the table
until it is ended, once, with an :class:`~netserve.core.Outcome`. The number in
progress is the difference of what began and what ended, so that the counts agree
at every instant, whoever looks.

A request is ended by whoever brings it to its end: the loop, a thread, or the
parent of a child process. It is found by identity, because a datagram equals its
copies. Ending one twice is harmless, and so is ending one that isn't there:
hooks may be overridden, and then more than one place sees the end.

A request that the loop runs itself, at once, may be *noted* instead, for a fraction
of the cost: it is counted as any other, and gets its entry as soon as somebody looks.

The lock is reentrant, because a signal handler may stop the server in the
thread that holds it; every step leaves the table in order.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol

from netserve.core._admission import peer_key
from netserve.core._outcome import Outcome

_NO_TRAFFIC = (0, 0)
_ENDED_BY_ITSELF = frozenset({Outcome.COMPLETED, Outcome.DISCONNECTED})
# Found faster than in their class.
_COMPLETED, _DRAINED = Outcome.COMPLETED, Outcome.DRAINED


class Place(Protocol):
    """Where the process that runs a request tells whose it is, if that isn't the server's own."""

    def tell(self, address: object, /) -> None:
        """Write *address* for the other processes."""

    def read(self) -> object:
        """The address that was written; None for none."""

    def count(self) -> int:
        """How many of the others have the same peer; this one is counted from now on."""
        ...

    def release(self) -> None:
        """Let another process have it."""


class Entry:
    """One request in progress; or a batch of them, taken together and handled in turn."""

    __slots__ = (
        "address",
        "count",
        "ended",
        "forced",
        "handle",
        "held",
        "key",
        "number",
        "opening",
        "outcome",
        "peer",
        "place",
        "request",
        "since",
        "thread",
        "traffic",
    )

    def __init__(self, number: int, request: Any, address: Any, count: int = 1) -> None:
        self.number: int = number
        """Which request it is, counted from 1."""

        self.count: int = count
        """How many requests it stands for, which end together; *request* is then their batch."""

        self.key: int = id(request)
        """Where the table has it."""

        self.request: Any = request
        """The request; held here so that no other can have its identity."""

        self.handle: Any = request
        """How this process reaches it: the request, or a duplicate if another has that."""

        self.address: Any = address
        """The client's address."""

        self.since: float = time.monotonic()
        """When it was taken, on the monotonic clock, in seconds."""

        self.peer: bytes | None = None
        """What its peer is counted under, if peers are counted."""

        self.outcome: Outcome | None = None
        """How it ended, once that is known."""

        self.ended: bool = False
        """Whether it has ended, and is in the table no more."""

        self.traffic: tuple[int, int] = _NO_TRAFFIC
        """How many bytes came and went, for the server's counts; known when it ends."""

        self.held: bool = False
        """Whether somebody else ends it, although its request is closed here."""

        self.forced: bool = False
        """Whether it was shut at the end of a drain."""

        self.opening: bool = False
        """Whether its connection is yet to be opened; until then no drain ends its input."""

        self.place: Place | None = None
        """Where the process that runs it tells whose it is, if that is learnt there."""

        self.thread: int | None = None
        """The identifier of the thread that runs it, if another than the loop's."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.number} from {self.address!r}>"

    def learn_address(self, address: object) -> None:
        """Note that *address* is the client's, here and for the server's own process."""
        self.address = address
        if self.place is not None:
            self.place.tell(address)

    def read_address(self) -> None:
        """Note the address that another process has learnt, if it has."""
        place = self.place
        told = None if place is None else place.read()
        if told is not None:
            self.address = told

    @property
    def duration(self) -> float:
        """How long ago it was taken, in seconds."""
        return time.monotonic() - self.since


class Ledger:
    """The requests in progress, and the counts of the ended ones."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._changed: threading.Condition | None = None
        self._waiting = 0
        self._entries: dict[int, Entry] = {}
        self._inherited: object = None
        self._surplus = 0
        self._noted: tuple[object, object, int, float] | None = None
        self._accepted = 0
        self._ends = dict.fromkeys(Outcome, 0)
        self._peers: Counter[bytes] = Counter()
        self._received = self._sent = 0
        self.exhausted = 0
        self.draining = False
        self.wake: Callable[[], None] | None = None
        """Called after each end, by a loop that waits for one."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.active} in progress>"

    @property
    def active(self) -> int:
        """How many requests are in progress."""
        return len(self._entries) + self._surplus + (self._noted is not None)

    def begin(
        self,
        request: object,
        address: object,
        count: int = 1,
        *,
        opening: bool = False,
        received: int = 0,
    ) -> Entry:
        """Enter *request*, which was taken from *address*, and is *opening* before it is run.

        Or a batch of *count* requests. *received* bytes have come with it, and are
        counted now.
        """
        with self._lock:
            # First, so that each has a number of its own.
            self._enter_noted()
            entry = Entry(self._accepted + 1, request, address, count)
            entry.opening = opening
            self._received += received
            self._accepted += count
            self._surplus += count - 1
            self._entries[entry.key] = entry
        return entry

    def note(self, request: object, address: object, received: int) -> None:
        """Enter *request*, which was taken from *address* in *received* bytes, without an entry.

        Whoever does that runs the request here and now, and calls :meth:`end_noted`.
        Only one is noted at a time.
        """
        self._noted = request, address, received, time.monotonic()

    def end_noted(self, request: object) -> None:
        """End *request*, which was noted; as COMPLETED, unless its entry says otherwise."""
        with self._lock:
            noted, self._noted = self._noted, None
            if noted is not None:
                self._received += noted[2]
                self._accepted += 1
                self._ends[_DRAINED if self.draining else _COMPLETED] += 1
                if self._waiting:
                    self.notify()
                return
            # Somebody has looked, and may wait for its end.
            entry = self._entries.get(id(request))
            if entry is not None:
                self.end(entry)

    def _enter_noted(self) -> None:
        """Give the request that is noted an entry; the caller has the lock."""
        if self._noted is not None:
            request, address, received, since = self._noted
            self._noted = None
            self.begin(request, address, received=received).since = since

    def split(self, batch: Entry, request: object, address: object) -> Entry:
        """Give *request*, of *batch*, an entry of its own."""
        with self._lock:
            entry = Entry(batch.number, request, address)
            entry.since, entry.forced = batch.since, batch.forced
            batch.count -= 1
            self._entries[entry.key] = entry
            self._surplus -= 1
        return entry

    def count_peer(self, entry: Entry) -> int:
        """How many requests *entry*'s peer had in progress; from now on it is one more.

        Zero for a peer that can't be told from others.
        """
        key = peer_key(entry.address)
        if key is None:
            return 0
        if entry.place is not None:
            return entry.place.count()
        with self._lock:
            held = self._peers[key]
            self._peers[key] += 1
            entry.peer = key
        return held

    def find(self, request: object) -> Entry | None:
        """The entry of *request*, unless it has ended."""
        if self._noted is not None:
            with self._lock:
                self._enter_noted()
        return self._entries.get(id(request))

    def end(self, entry: Entry, outcome: Outcome = Outcome.COMPLETED) -> bool:
        """End *entry* with its own outcome, or else *outcome*; false if it has ended."""
        if entry.ended:
            return False
        with self._lock:
            if self._entries.get(entry.key) is not entry:
                return False
            outcome = entry.outcome or outcome
            if entry.forced or self.draining:
                outcome = self._verdict(entry, outcome)
            entry.outcome = outcome
            entry.ended = True
            received, sent = entry.traffic
            self._received += received
            self._sent += sent
            self._ends[outcome] += entry.count
            self._surplus -= entry.count - 1
            del self._entries[entry.key]
            if entry.peer is not None:
                self._peers[entry.peer] -= 1
                if not self._peers[entry.peer]:
                    del self._peers[entry.peer]
            if self._changed is not None and self._waiting:
                self._changed.notify_all()
        wake = self.wake
        if wake is not None:
            wake()
        return True

    def _verdict(self, entry: Entry, outcome: Outcome) -> Outcome:
        """What *outcome* counts as in a drain, or after one."""
        if entry.forced:
            return Outcome.FORCED
        return Outcome.DRAINED if outcome in _ENDED_BY_ITSELF else outcome

    def add_bytes(self, received: int, sent: int) -> None:
        """Count bytes that came and went."""
        with self._lock:
            self._received += received
            self._sent += sent

    def entries(self) -> list[Entry]:
        """The requests in progress, the oldest first."""
        with self._lock:
            self._enter_noted()
            entries = list(self._entries.values())
        for entry in entries:
            if entry.place is not None:
                entry.read_address()
        return entries

    def force(self) -> list[Entry]:
        """Mark all in progress as forced; returns those that weren't before."""
        with self._lock:
            self._enter_noted()
            newly = [entry for entry in self._entries.values() if not entry.forced]
            for entry in newly:
                entry.forced = True
        return newly

    def run_by(self, thread: int) -> list[Entry]:
        """The requests that *thread* runs: one from within a handler, else none."""
        return [entry for entry in self.entries() if entry.thread == thread]

    def ends(self) -> dict[Outcome, int]:
        """How many requests have ended, for each outcome."""
        with self._lock:
            return dict(self._ends)

    def counts(self) -> dict[str, int]:
        """Every count by its name in :class:`~netserve.core.Stats`."""
        with self._lock:
            self._enter_noted()
            return {
                "accepted": self._accepted,
                "active": self._accepted - sum(self._ends.values()),
                **{outcome.name.lower(): count for outcome, count in self._ends.items()},
                "exhausted": self.exhausted,
                "bytes_received": self._received,
                "bytes_sent": self._sent,
            }

    def notify(self) -> None:
        """Let those who wait look again."""
        with self._lock:
            if self._changed is not None:
                self._changed.notify_all()

    def wait_for(self, condition: Callable[[], bool], until: Callable[[], float]) -> bool:
        """Wait until *condition*, or until the monotonic time that *until* tells.

        Both are asked again after each end and each :meth:`notify`. Returns
        whether the condition holds.
        """
        with self._lock:
            if self._changed is None:
                self._changed = threading.Condition(self._lock)
            self._waiting += 1
            try:
                while not condition():
                    left = until() - time.monotonic()
                    if left <= 0:
                        return False
                    self._changed.wait(min(left, threading.TIMEOUT_MAX))
                return True
            finally:
                self._waiting -= 1

    def after_fork(self, kept: Entry) -> None:
        """Keep *kept* alone, in a child process; the parent has the others."""
        # Another thread may have held the lock, and isn't here to release it.
        self._lock = threading.RLock()
        self._changed = None
        self._waiting = 0
        self.wake = None
        # Kept, since to free them would copy all the memory that they lie in.
        self._inherited = self._entries
        self._entries = {kept.key: kept}
        self._surplus = 0
        self._noted = None
        kept.held = False
