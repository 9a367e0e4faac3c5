"""The loop of the multiplexing mix-in when an executor answers the messages.

Theory of operation. Everything that concerns connections happens in the loop's
thread: it reads, cuts messages, and sends answers, as the multiplexer does; but in
between a message is a job that the executor has (``_dispatch`` says which one is
next). When the work is done, the executor calls back, in whatever thread it likes;
that puts the job in a queue and rings a bell, which is in the loop's selector. The
loop lands the job, and answers what is due on its connection.

A connection is OPEN until its last answer is queued. While it may have no more
messages, because of a bound or because its client doesn't take the answers, it
isn't read, so that TCP holds the client up. A client that hangs up meanwhile would
be reported again and again, so then nothing is watched.

An executor that is broken fails all its jobs, one after the other. The first of
them shows that it is; then all are lost at once, with one record.

As no handler blocks here, there is neither monitor nor pool for connections. An
answer to a datagram may block, where the socket's buffer is full, and is sent as the
multiplexer handles a datagram.
"""

import os
import socket as _socket
import sys
import threading
import time
from collections import deque
from concurrent.futures import BrokenExecutor, Executor, Future
from functools import partial
from types import TracebackType
from typing import Final, TypeAlias, cast

from typing_extensions import Self

from netserve.concurrency._connection import (
    HIGH_WATER,
    LOW_WATER,
    READ,
    UNREGISTERED,
    WRITE,
    Connection,
    Stage,
)
from netserve.concurrency._dispatch import Dispatch, Job, Lane
from netserve.concurrency._executors import Executors, MessageFunction, is_broken
from netserve.concurrency._multiplexer import MultiplexedServer, Multiplexer, is_tls
from netserve.concurrency._pool import WorkerPool
from netserve.core import (
    Deadline,
    Entry,
    ForwardedHandler,
    MessageHandler,
    Outcome,
    Waker,
    end_request,
    log,
    report_error,
)

# Up to 3.11 a pool of processes that breaks trips over a cancelled future, and the
# others never hear of it.
MAY_CANCEL: Final = sys.version_info >= (3, 12)

_CHUNK: Final = 65536
_DONT_WAIT: Final = getattr(_socket, "MSG_DONTWAIT", 0)
_NEXT: Final = {
    True: "a new one takes its place",
    False: "so will those be that come, because it isn't the server's to replace",
}
_ERROR: Final = 8  # as poll(2) has it

Owner: TypeAlias = "ExecutingConnection | ExecutingDatagram"


class ExecutingConnection(Connection):
    """A connected stream whose messages are answered elsewhere."""

    __slots__ = ("_clogged", "_dispatch", "_forwarded", "_hung_up", "lane")

    def __init__(
        self,
        socket: _socket.socket,
        handler: ForwardedHandler,
        entry: Entry,
        dispatch: Dispatch[Owner],
    ) -> None:
        super().__init__(socket, handler, entry)
        self._forwarded = handler
        self._dispatch = dispatch
        self._clogged = False
        self._hung_up = False
        self.lane: Lane[Owner] = Lane(self)

    def ready(self) -> None:
        """Read, unless the executor has its fill; raises as :meth:`Connection.ready` does."""
        if self._dispatch.has_room:
            self.read()
        else:
            self._dispatch.ask(self.lane)
            self._watch()

    def read(self) -> None:
        """Read, and have what was read answered; raises what the socket does."""
        try:
            data = self._recv(_CHUNK, _DONT_WAIT)
        except BlockingIOError:
            self._watch()
            return
        if data:
            self._dispatch.add(self.lane, self._forwarded.receive_messages(data))
            self.proceed()
        else:
            self._read_end()

    def attend(self, events: int) -> None:
        """As :meth:`Connection.attend`; raises also when the client has reset the connection."""
        if self.stage is not Stage.OPEN:
            super().attend(events)
            return
        self._hung_up |= bool(events & ~(READ | WRITE))
        if events & WRITE and self.unsent:
            self._write()
        if self.watched & READ and events & ~WRITE:
            self.ready()
            return
        # It isn't read at present, which would tell.
        reason = events & _ERROR and self.socket.getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR)
        if reason:
            raise OSError(reason, os.strerror(reason))
        self._watch()

    def answer(self) -> None:
        """Send the answers that are due; raises what the work, or the handler, did."""
        handler = self._forwarded
        try:
            while not handler.closing and (job := self._dispatch.take(self.lane)) is not None:
                handler.queue_answer(job.message, job.answer())
        finally:
            handler.flush()
        self.proceed()

    def fail(self) -> None:
        """As :meth:`Connection.fail`; what is under way is no longer waited for."""
        self._drop()
        super().fail()

    def cut(self) -> None:
        """As :meth:`Connection.cut`; what is under way is no longer waited for."""
        self._drop()
        super().cut()

    def proceed(self) -> None:
        """End the messages if they are all answered; otherwise see to what may come."""
        handler, lane = self._forwarded, self.lane
        if not handler.closing and handler.input_ended and not (lane.waiting or lane.jobs):
            handler.end_messages()
            handler.flush()
        if handler.closing:
            self._end_messages()
        else:
            self._watch()

    def _read_end(self) -> None:
        self.input_ended = True
        self._dispatch.add(self.lane, self._forwarded.receive_end())
        self.proceed()

    def _end_messages(self) -> None:
        self._drop()
        super()._end_messages()

    def _drop(self) -> None:
        cancel(self._dispatch.close(self.lane))

    def _watch(self) -> None:
        """Decide what to wait for."""
        if self.stage is not Stage.OPEN:
            super()._watch()
            return
        held = len(self.unsent)
        if held >= HIGH_WATER:
            self._clogged = True
        elif held <= LOW_WATER:
            self._clogged = False
        self._dispatch.set_paused(self.lane, self._clogged)
        reads = (
            not self._clogged
            and not self._forwarded.input_ended
            and self._dispatch.may_read(self.lane)
        )
        self.watched = (READ if reads else 0) | (WRITE if held else 0)
        if self._hung_up and not self.watched:
            self.watched = UNREGISTERED


def cancel(jobs: "list[Job[Owner]]") -> None:
    """Have *jobs* not done, if they haven't begun, and if that is safe here."""
    for job in jobs:
        if job.future is not None and MAY_CANCEL:
            job.future.cancel()


class ExecutingDatagram:
    """A datagram that is answered elsewhere."""

    __slots__ = ("entry", "handler", "lane")

    def __init__(self, handler: ForwardedHandler, entry: Entry) -> None:
        self.handler = handler
        self.entry = entry
        self.lane: Lane[Owner] = Lane(self)

    def answer(self, job: "Job[Owner]") -> None:
        """Send the answer; raises what the work, or the handler, did."""
        try:
            try:
                self.handler.queue_answer(job.message, job.answer())
            finally:
                self.handler.flush()
        except BaseException:
            self.finish_anyway()
            raise
        self.handler.finish()

    def finish_anyway(self) -> None:
        """Let the handler clean up after a failure, which is worth more than its own."""
        try:
            self.handler.finish()
        except Exception:
            log.warning("%r: finish() raised at the end", self.handler, exc_info=True)


class ExecutingMultiplexer(Multiplexer):
    """Waits for many connections, and has *function* answer their messages in an executor.

    *executors* has that. There are no more than *limit* messages under way at a
    time, and *limit_each* of one connection.
    """

    def __init__(
        self,
        server: MultiplexedServer,
        pool: WorkerPool | None,
        executors: Executors,
        function: MessageFunction,
        dispatch: Dispatch[Owner],
    ) -> None:
        super().__init__(server, pool)
        self._executors = executors
        self._function = function
        self._dispatch = dispatch
        # Appended to by the executor's threads.
        self._landing: deque[Job[Owner]] = deque()
        self._has_rung = False
        self._datagrams: set[ExecutingDatagram] = set()

    def __enter__(self) -> Self:
        super().__enter__()
        self._bell = Waker()
        self.add_reader(self._bell.fileno(), self._hear)
        self._executors.in_use = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end_monitor()
        for connection in list(self._connections.values()):
            if connection.entry.outcome is Outcome.FORCED:
                # It was abandoned, as the drain has told.
                self._cut(connection)
                self._close(connection)
        self._end_datagrams()
        super().__exit__(kind, error, traceback)
        self._bell.close()
        # In this order: whoever closes the server from now on shuts the executor down.
        self._executors.in_use = False
        if self._executors.is_closed:
            self._executors.close(wait=self._server.block_on_close)

    def make_connection(
        self, socket: _socket.socket, handler: MessageHandler, entry: Entry
    ) -> Connection:
        """A connection, to be added, whose messages the executor answers."""
        forwarded = cast("ForwardedHandler", handler)
        if not is_tls(socket):
            return ExecutingConnection(socket, forwarded, entry, self._dispatch)
        from netserve.concurrency._executing_tls import ExecutingTLSConnection

        return ExecutingTLSConnection(socket, forwarded, entry, self._dispatch)

    def add(self, connection: Connection) -> None:
        """As :meth:`Multiplexer.add`; its first messages may be there already, under TLS."""
        super().add(connection)
        self._send_off()

    def add_datagram(self, handler: ForwardedHandler, entry: Entry) -> None:
        """Begin with a datagram; raises what the handler's ``setup`` does."""
        self._start_monitor()
        handler.setup()
        datagram = ExecutingDatagram(handler, entry)
        self._datagrams.add(datagram)
        self._dispatch.add(datagram.lane, [entry.request[0]])
        self._send_off()

    def _serve(self, events: list[tuple[int, int]]) -> list[int] | None:
        others = super()._serve(events)
        self._send_off()
        return others

    def _send_off(self) -> None:
        """Give the turns that can be given."""
        while not self._executors.is_closed and (lane := self._dispatch.next()) is not None:
            owner = lane.owner
            if lane.waiting:
                self._submit(self._dispatch.begin(lane))
                if isinstance(owner, ExecutingConnection) and not lane.is_closed:
                    owner.proceed()
                    self._settle(owner)
                continue
            # Only connections are read.
            assert isinstance(owner, ExecutingConnection)
            try:
                owner.read()
            except Exception:
                self._fail(owner)
            self._settle(owner)

    def _submit(self, job: Job[Owner]) -> None:
        """Have the executor do *job*; what it is refused for is reported as its own error."""
        try:
            future = self._try_to_submit(job)
        except Exception as error:
            self._dispatch.land(job)
            # Closed under the loop, which is about to end; or lost with others.
            if not (self._executors.is_closed or job.lane.is_closed):
                job.future = Future()
                job.future.set_exception(error)
                self._answer(job.lane.owner)
            return
        job.future = future
        future.add_done_callback(partial(self._ring, job))

    def _try_to_submit(self, job: Job[Owner]) -> "Future[bytes | None]":
        """Submit *job*; to a fresh executor, if there is one, when the present one is broken."""
        job.executor = executor = self._executors.get()
        try:
            return executor.submit(self._function, job.message)
        except BrokenExecutor as error:
            # It hasn't been sent, and so isn't lost with the others.
            job.executor = None
            self._lose(executor, error)
            if not self._executors.owns or job.lane.is_closed:
                raise
        job.executor = fresh = self._executors.get()
        return fresh.submit(self._function, job.message)

    def _ring(self, job: Job[Owner], _future: "Future[bytes | None]") -> None:
        """Tell the loop that *job* is done; called in any thread."""
        self._landing.append(job)
        if not self._has_rung:
            self._has_rung = True
            self._bell.wake()

    def _hear(self) -> None:
        """Answer the jobs that are done."""
        # In this order: whatever lands later rings again.
        self._bell.drain()
        self._has_rung = False
        # Each once, in the order in which they landed.
        owners: dict[Owner, None] = {}
        while self._landing:
            job = self._landing.popleft()
            self._lose_if_broken(job)
            self._dispatch.land(job)
            if not job.lane.is_closed:
                owners[job.lane.owner] = None
        for owner in owners:
            if not owner.lane.is_closed:
                self._answer(owner)
        self._send_off()

    def _answer(self, owner: Owner) -> None:
        """Send the answers of *owner* that are due."""
        if isinstance(owner, ExecutingDatagram):
            job = self._dispatch.take(owner.lane)
            assert job is not None
            self._dispatch.close(owner.lane)
            work = partial(self._answer_datagram, owner, job)
            try:
                self.call(work)
            except RuntimeError:
                # No thread can be started: then it is done here, however long it takes.
                work()
            return
        try:
            owner.answer()
        except Exception:
            self._fail(owner)
        if self._timing and owner.stage is Stage.OPEN:
            owner.last = time.monotonic()
            self._time(owner, self._due(owner)[0])
        self._settle(owner)

    def _answer_datagram(self, datagram: ExecutingDatagram, job: Job[Owner]) -> None:
        entry = datagram.entry
        # A handler that stops the server doesn't wait for itself.
        entry.thread = threading.get_ident()
        outcome = Outcome.FAILED
        try:
            datagram.answer(job)
        except Exception:
            outcome = report_error(self._server, entry.request, entry.address)
        else:
            outcome = Outcome.COMPLETED
        finally:
            self._end_datagram(datagram, outcome)

    def _end_datagrams(self) -> None:
        """Give up the datagrams that are left when the loop ends."""
        lost = 0
        for datagram in list(self._datagrams):
            lost += datagram.entry.outcome is not Outcome.FORCED
            datagram.entry.forced = True
            self._give_up_datagram(datagram)
        if lost:
            log.warning(
                "%r: %d datagrams were being answered when the loop ended;"
                " stop() lets them end themselves",
                self._server,
                lost,
                extra={"server": self._server},
            )

    def _give_up_datagram(self, datagram: ExecutingDatagram) -> None:
        cancel(self._dispatch.close(datagram.lane))
        datagram.finish_anyway()
        self._end_datagram(datagram, Outcome.FAILED)

    def _end_datagram(self, datagram: ExecutingDatagram, outcome: Outcome) -> None:
        self._datagrams.discard(datagram)
        datagram.entry.outcome = outcome
        # They know each other.
        datagram.handler.transmit = _send_nothing
        end_request(self._server, datagram.entry.request)
        self._server.request_ended(datagram.entry)

    def _lose_if_broken(self, job: Job[Owner]) -> None:
        """Lose *job*, and all others, if that is because its executor is broken."""
        assert job.future is not None
        executor = job.executor
        if job.lane.is_closed or executor is None or job.future.cancelled():
            return
        error = job.future.exception()
        if isinstance(error, BrokenExecutor) and is_broken(executor):
            self._lose(executor, error)

    def _lose(self, executor: Executor, error: BrokenExecutor) -> None:
        """End the connections whose messages *executor* had, which is broken."""
        jobs = [
            job
            for job in self._dispatch.flying
            if job.executor is executor and not job.lane.is_closed
        ]
        if jobs:
            log.error(
                "%r: the executor is broken (%s): %d messages are lost, and their clients'"
                " connections end; %s",
                self._server,
                error,
                len(jobs),
                _NEXT[self._executors.owns],
                extra={"server": self._server},
            )
        for owner in {job.lane.owner for job in jobs}:
            if isinstance(owner, ExecutingDatagram):
                self._give_up_datagram(owner)
                continue
            # What came before is answered.
            self._answer(owner)
            if not owner.lane.is_closed:
                self._leave(owner)
                self._settle(owner)
        self._executors.discard(executor)

    def _time_message(self, connection: Connection) -> None:
        if connection.watched & READ:
            super()._time_message(connection)
        else:
            # It isn't its client that the rest of the message waits for.
            connection.began = None

    def _due(self, connection: Connection) -> tuple[float, Deadline]:
        if isinstance(connection, ExecutingConnection) and connection.lane.is_busy:
            # Nor is it idle.
            connection.last = None
        return super()._due(connection)


def _send_nothing(_data: bytes) -> None:
    """What a handler sends through once its request has ended."""
