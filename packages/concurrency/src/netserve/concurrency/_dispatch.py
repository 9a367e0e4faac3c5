"""Which message is sent to an executor next, and which answer is due: a decision, without I/O.

Theory of operation. Each connection has a *lane*. Its messages wait there in the
order in which they came, leave it as *jobs*, no more of them at a time than the
bound for one connection, and *land* in whatever order the work is done; a job is
taken from the lane, to be answered, when it has landed and is the first.

All lanes share the bound for the server. A lane that has a message to send, or
would read the next one and may not because the bound is reached, asks for a turn;
turns are given in the order in which they were asked for, one message each, so
that a connection with many messages doesn't keep out one with few.

A job counts against the bound until it has landed, also when its connection has
gone: the work is done all the same.
"""

from collections import deque
from concurrent.futures import Executor, Future
from typing import Generic

from typing_extensions import TypeVar

OwnerT = TypeVar("OwnerT")


class Job(Generic[OwnerT]):
    """One message that is being answered elsewhere."""

    __slots__ = ("executor", "future", "has_landed", "lane", "message")

    def __init__(self, lane: "Lane[OwnerT]", message: bytes) -> None:
        self.lane = lane
        self.message = message
        self.has_landed = False

        self.executor: Executor | None = None
        """Who has it."""

        self.future: Future[bytes | None] | None = None
        """What will have the answer."""

    def answer(self) -> bytes | None:
        """The answer of a job that has landed; raises what the work did."""
        assert self.future is not None
        # A cancelled one raises already here.
        error = self.future.exception()
        if error is not None and not isinstance(error, Exception):
            # It was meant to end the worker, not the server.
            msg = f"process_message raised {error!r}"
            raise RuntimeError(msg) from error
        del error
        return self.future.result()


class Lane(Generic[OwnerT]):
    """The messages of one connection, which *owner* stands for, from arrival to answer."""

    __slots__ = ("has_asked", "is_closed", "is_paused", "jobs", "owner", "waiting")

    def __init__(self, owner: OwnerT) -> None:
        self.owner = owner
        """Whose it is; gone when it is closed."""

        self.waiting: deque[bytes] = deque()
        """The messages that haven't been sent."""

        self.jobs: deque[Job[OwnerT]] = deque()
        """Those that have, in their order, until they are taken."""

        self.has_asked = False
        """Whether it waits for its turn."""

        self.is_paused = False
        """Whether its messages are to wait, because nobody takes the answers."""

        self.is_closed = False

    @property
    def is_busy(self) -> bool:
        """Whether its connection waits for this server, and not for its client."""
        return bool(self.waiting or self.jobs or self.has_asked)


class Dispatch(Generic[OwnerT]):
    """Gives out turns: at most *limit* jobs at a time, and *limit_each* for one lane.

    Raises :class:`ValueError` when either isn't positive.
    """

    def __init__(self, limit: int, limit_each: int) -> None:
        for name, value in (
            ("max_in_flight", limit),
            ("max_in_flight_per_connection", limit_each),
        ):
            if value < 1:
                msg = f"{name} must be 1 or more, not {value!r}"
                raise ValueError(msg)
        self._limit = limit
        self._limit_each = limit_each
        self._turns: deque[Lane[OwnerT]] = deque()

        self.flying: set[Job[OwnerT]] = set()
        """The jobs that haven't landed."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self.flying)}, at most {self._limit}>"

    @property
    def has_room(self) -> bool:
        """Whether one more job may be sent."""
        return len(self.flying) < self._limit

    def may_read(self, lane: Lane[OwnerT]) -> bool:
        """Whether *lane* can do with another message."""
        return not (lane.waiting or lane.has_asked) and len(lane.jobs) < self._limit_each

    def ask(self, lane: Lane[OwnerT]) -> None:
        """Have *lane* get a turn, once; to read, unless a message waits in it."""
        if not lane.has_asked:
            lane.has_asked = True
            self._turns.append(lane)

    def add(self, lane: Lane[OwnerT], messages: list[bytes]) -> None:
        """Have *messages* sent, behind those of *lane* that wait."""
        lane.waiting.extend(messages)
        self._ask_to_send(lane)

    def set_paused(self, lane: Lane[OwnerT], paused: bool) -> None:
        """Keep the messages of *lane* waiting, or no longer."""
        if paused != lane.is_paused:
            lane.is_paused = paused
            self._ask_to_send(lane)

    def next(self) -> Lane[OwnerT] | None:
        """The lane whose turn it is; None while there is no room, or nobody has asked."""
        while self._turns and self.has_room:
            lane = self._turns.popleft()
            lane.has_asked = False
            if not (lane.is_closed or lane.is_paused):
                return lane
        return None

    def begin(self, lane: Lane[OwnerT]) -> Job[OwnerT]:
        """A job of the first message that waits in *lane*, whose turn it is."""
        job = Job(lane, lane.waiting.popleft())
        lane.jobs.append(job)
        self.flying.add(job)
        self._ask_to_send(lane)
        return job

    def land(self, job: Job[OwnerT]) -> None:
        """Note that the work of *job* is done, or never will be."""
        job.has_landed = True
        self.flying.remove(job)

    def take(self, lane: Lane[OwnerT]) -> Job[OwnerT] | None:
        """The job of *lane* that is to be answered next, if it has landed."""
        if not lane.jobs or not lane.jobs[0].has_landed:
            return None
        job = lane.jobs.popleft()
        self._ask_to_send(lane)
        return job

    def close(self, lane: Lane[OwnerT]) -> list[Job[OwnerT]]:
        """Forget *lane*, which may be closed; returns its jobs that haven't landed."""
        if lane.is_closed:
            return []
        lane.is_closed = True
        left = [job for job in lane.jobs if not job.has_landed]
        lane.waiting.clear()
        lane.jobs.clear()
        # They know each other, and would stay until the garbage is collected.
        del lane.owner
        return left

    def _ask_to_send(self, lane: Lane[OwnerT]) -> None:
        if lane.waiting and len(lane.jobs) < self._limit_each and not lane.is_paused:
            self.ask(lane)
