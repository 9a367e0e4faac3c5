"""The loop of the multiplexing mix-in: one thread, one epoll, all connections.

Theory of operation. The thread that *leads* waits for all descriptors at once, and
runs the handlers of ready connections inline, one after the other. That is the
fastest way there is in Python, as long as no handler blocks.

Blocking is noticed by a *monitor*, a second thread that looks every few
milliseconds while there is work (and sleeps while there is none) at a serial
number, which the leader makes odd when it enters a handler, and even when it
leaves. The same odd number twice means that the leader sits in one handler, unless
other programs keep it from a processor. Then the monitor *stands in*: it leads until
the other comes back, and from then on, for a while, ready connections go to a bounded
pool of workers, whoever leads. When no handler has taken long for a second, the leader
runs them inline again.

Hand-over without a lock in the fast path: the monitor first sets ``_deposed``,
then looks at the serial number again; the leader first changes the number, then
looks at ``_deposed``. One of them sees the other. A leader that finds itself
deposed drops what is left of its batch (the selector reports it again), and waits
until the monitor gives the lead back.

A connection belongs to one thread at a time. One that a worker has, or the leader
that is stuck in its handler, is marked ``owned`` and not watched; if its descriptor
is reported even so, as an error always is, it is taken out of the selector. The
owner puts it back, and gives it up last, under the lock.
"""

import contextlib
import heapq
import selectors
import socket
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Protocol

from typing_extensions import Self, TypeIs

from netserve.concurrency._connection import READ, UNREGISTERED, WRITE, Connection, Stage
from netserve.concurrency._opening_connection import OpeningConnection
from netserve.concurrency._poller import poller_for
from netserve.concurrency._pool import WorkerPool
from netserve.concurrency._progress import Progress
from netserve.core import (
    Deadline,
    DeadlineError,
    Entry,
    ExhaustedError,
    Loop,
    MessageHandler,
    Outcome,
    RequestBatch,
    log,
    report_error,
)

if TYPE_CHECKING:
    import ssl

_LOOK: Final = 0.005  # seconds between two looks of the monitor
_QUIET: Final = 20  # looks without work after which the monitor sleeps
_SLOW: Final = 0.002  # seconds: a handler that takes longer keeps the pool in use
_POOLED: Final = 1.0  # seconds for which the pool is in use after a slow handler

_STALE: Final = 1000  # timers of closed connections that may be kept

# What ends a connection on which nothing can be sent any more.
_CUT_OFF: Final = frozenset({Outcome.DISCONNECTED, Outcome.FORCED})

_OPEN: Final = Stage.OPEN
_ENDING: Final = (Stage.CLOSING, Stage.LINGERING)


class MultiplexedServer(Protocol):
    """What the loop needs of the server whose connections it has."""

    idle_timeout: float | None
    message_timeout: float | None
    connection_timeout: float | None
    linger_timeout: float
    linger_bytes: int
    block_on_close: bool

    def prepare_wait(self) -> None:
        """Listen in the wait that comes, or not."""

    def take_requests(self) -> None:
        """Take the requests that wait."""

    def finish_request(self, request: Any, client_address: Any, /) -> None:
        """Not called; part of what reporting an error asks for."""

    def handle_error(self, request: Any, client_address: Any, /) -> None:
        """Report an error."""

    def shutdown_request(self, request: Any, /) -> None:
        """End a request, and close it."""

    def close_request(self, request: Any, /) -> None:
        """Close a request."""

    def request_ended(self, entry: Entry, /) -> None:
        """End a request in the ledger."""

    def has_unread_input(self, request: Any, /) -> bool:
        """Whether a request holds input that nobody has read."""
        ...

    def request_opened(self, entry: Entry, address: Any, /) -> None:
        """Note that the opening of a request is over."""


class Multiplexer(Loop):
    """Waits for many connections, and runs their handlers.

    *server* owns them. With *pool*, handlers may block; without, None, they run
    in the leading thread whatever they do.
    """

    def __init__(self, server: MultiplexedServer, pool: WorkerPool | None) -> None:
        super().__init__()
        self._server = server
        self._pool = pool
        self._connections: dict[int, Connection] = {}
        self._lock = threading.RLock()
        self._back = threading.Condition(self._lock)
        self._activity = threading.Event()
        self._monitor: threading.Thread | None = None
        self._watching = True
        self._idle = False
        self._serial = 0
        self._current: Connection | None = None
        self._batch: RequestBatch | None = None
        self._deposed = False
        self._returning = False
        self._pooled_until = 0.0
        self._stale = 0
        self._opened: list[OpeningConnection] = []
        self._closed = False
        self._ended = False
        self._leader = 0
        # A server of datagrams has neither.
        limits = (
            getattr(server, "idle_timeout", None),
            getattr(server, "connection_timeout", None),
        )
        self._timing = limits != (None, None)

    def __repr__(self) -> str:
        kind = "pooled" if self.pooled else "inline"
        return f"<{type(self).__name__} of {len(self._connections)}, {kind}>"

    def __enter__(self) -> Self:
        super().__enter__()
        self._leader = threading.get_ident()
        self._progress = Progress()
        self._watching = self._pool is None
        self._poller = poller_for(self._selector, self.wake)
        self._poll = self._poller.poll
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end_monitor()
        with self._lock:
            self._closed = True
            if self._current is not None:
                # What its handler raised has ended the loop.
                self._current.owned = False
            left = [each for each in self._connections.values() if not each.owned]
            for connection in left:
                connection.entry.forced = True
                self._cut(connection)
                self._close(connection)
        if left:
            log.warning(
                "%r: %d connections were open when the loop ended; stop() lets them end themselves",
                self._server,
                len(left),
                extra={"server": self._server},
            )
        self._poller.close()
        super().__exit__(kind, error, traceback)

    @property
    def busy(self) -> bool:
        """Whether the leader is in a handler, right now."""
        return bool(self._serial & 1)

    @property
    def pooled(self) -> bool:
        """Whether handlers go to the pool at the moment."""
        return self._pooled_until > time.monotonic()

    def runs_in(self, thread: int) -> bool:
        """Whether *thread* is the monitor's, which may stand in."""
        return self._monitor is not None and self._monitor.ident == thread

    def make_connection(
        self, socket: socket.socket, handler: MessageHandler, entry: Entry
    ) -> Connection:
        """A connection, to be added, which *handler* answers."""
        if not is_tls(socket):
            return Connection(socket, handler, entry)
        from netserve.concurrency._tls_connection import TLSConnection

        return TLSConnection(socket, handler, entry)

    def add(self, connection: Connection) -> None:
        """Begin with *connection*: its handler's ``setup``, then its messages."""
        self._start_monitor()
        self._connections[connection.descriptor] = connection
        if self._timing:
            if self._stale > len(self._connections) + _STALE:
                self._forget_timers()
            connection.last = time.monotonic()
            self._time(connection, self._due(connection)[0])
        if self._pooled_until and self.pooled:
            self.call(partial(self._open, connection))
            return
        self._current = connection
        self._serial += 1
        try:
            connection.open()
        except Exception:
            self._fail(connection)
        self._serial += 1
        if self._deposed:
            self._give_up(connection)
            self._await_return()
        else:
            self._settle(connection)
        self._current = None

    def add_opening(self, connection: OpeningConnection) -> None:
        """Begin with *connection*, which becomes another when it is opened."""
        self._connections[connection.descriptor] = connection
        try:
            connection.open()
        except Exception:
            self._fail(connection)
        self._settle(connection)
        self._begin_opened()

    def _begin_opened(self) -> None:
        """Let the handlers begin of the connections that have been opened."""
        while self._opened:
            opening = self._opened.pop()
            if opening.stage is not Stage.OPENED:
                # Its time was over meanwhile, or the loop's.
                continue
            # The next one to be watched under this number begins with its handler.
            self._arm(opening, UNREGISTERED)
            self._stale += opening.due < _NEVER
            try:
                self._server.request_opened(opening.entry, opening.address)
                self.add(opening.begin(opening.address))
            except Exception:
                self._connections[opening.descriptor] = opening
                self._fail(opening)
                self._settle(opening)

    def call(self, work: Callable[[], object]) -> None:
        """Run *work*, which may block, here or in the pool."""
        self._start_monitor()
        if self._pool is not None and self._pooled_until and self.pooled:
            self._pool.submit(partial(self._measure, work))
            return
        self._serial += 1
        try:
            work()
        finally:
            self._serial += 1
            if self._deposed:
                self._await_return()

    def run_batch(self, batch: RequestBatch) -> None:
        """Run the requests of *batch*, which may block, here or in the pool."""
        self._start_monitor()
        if self._pool is not None and self._pooled_until and self.pooled:
            batch.hand_over(self.call)
            return
        batch.collect()
        self._batch = batch
        self._serial += 1
        try:
            for _ in batch.run():
                # Each has its own time before it is seen to block.
                self._serial += 2
            batch.send_answers()
        finally:
            self._serial += 1
            self._batch = None
            if self._deposed:
                self._await_return()

    def wait(self, timeout: float | None) -> bool:
        """Serve the connections until the server is ready, or somebody has woken the loop.

        As for :meth:`netserve.core.Loop.wait`, *timeout* is in seconds.
        """
        until = None if timeout is None else time.monotonic() + timeout
        listener = self.listener
        while True:
            left = None if until is None else max(until - time.monotonic(), 0)
            self._idle = True
            events = self._poll(self._until_timer(left))
            # In this order: the monitor changes the second, then looks at the first.
            self._idle = False
            if not self._watching:
                self._activity.set()
            others = self._serve(events)
            if self._opened:
                self._begin_opened()
            due = self._run_timers()
            if others is None:
                if due or (until is not None and time.monotonic() >= until):
                    return False
            elif others or timeout != 0:
                return self._attend_others(others)
            else:
                # A drain asks who is there, and whoever stood in has listened to nobody.
                with contextlib.suppress(ValueError, OSError):
                    self.listen(listener)

    def _open_selector(self) -> selectors.BaseSelector:
        return selectors.DefaultSelector()

    def _serve(self, events: list[tuple[int, int]]) -> list[int] | None:
        """Serve the connections that are ready; returns the other descriptors, None for none.

        Returns an empty list when the leader was stood in for, and may have missed some.
        """
        now = time.monotonic() if self._timing else None
        if self._pooled_until:
            if self.pooled:
                return self._serve_pooled(events, now)
            self._pooled_until = 0.0
        others: list[int] | None = None
        connections = self._connections
        for descriptor, event in events:
            connection = connections.get(descriptor)
            if connection is None:
                others = [descriptor] if others is None else [*others, descriptor]
                continue
            if connection.owned:
                self._unwatch(connection)
                continue
            connection.last = now
            self._current = connection
            self._serial += 1
            try:
                if event == READ and connection.stage is _OPEN:
                    connection.ready()
                else:
                    connection.attend(event)
            except Exception:
                self._fail(connection)
            self._serial += 1
            if self._deposed:
                self._give_up(connection)
                self._await_return()
                # The rest has been served meanwhile, or is reported again; and what
                # woke the loop meanwhile was for the server, which must look.
                others = []
                break
            if (
                connection.stage is not _OPEN
                or connection.watched != connection.armed
                or connection.began is not None
                or connection.decoder.pending
            ):
                self._settle(connection)
        self._current = None
        return others

    def _serve_pooled(self, events: list[tuple[int, int]], now: float | None) -> list[int] | None:
        """As :meth:`_serve`, with the handlers in the pool."""
        others: list[int] | None = None
        for descriptor, event in events:
            connection = self._connections.get(descriptor)
            if connection is None:
                others = [descriptor] if others is None else [*others, descriptor]
            elif connection.owned:
                self._unwatch(connection)
            elif connection.stage is _OPEN and event & ~WRITE:
                connection.last = now
                self._hand_over(connection)
            else:
                connection.last = now
                try:
                    connection.attend(event)
                except Exception:
                    self._fail(connection)
                self._settle(connection)
        return others

    def _attend_others(self, descriptors: list[int]) -> bool:
        """Call the readers of *descriptors*; returns whether the server is among them."""
        ready = False
        for descriptor in descriptors:
            key = self._selector.get_map().get(descriptor)
            # A reader before may have removed it.
            if key is not None and key.data is None:
                ready = True
            elif key is not None:
                key.data()
        return ready

    def _open(self, connection: Connection) -> None:
        """Begin with *connection*, in the thread that has it."""
        connection.owned = True
        self._work(connection, connection.open)

    def _arm(self, connection: Connection, after: int) -> None:
        """Have *connection* watched for *after* from now on."""
        before, connection.armed = connection.armed, after
        if before != after and not self._closed:
            self._poller.arm(connection.descriptor, before, after)

    def _hand_over(self, connection: Connection) -> None:
        """Have a worker attend to *connection*."""
        connection.owned = True
        self._arm(connection, 0)
        assert self._pool is not None
        try:
            self._pool.submit(partial(self._work, connection, connection.ready))
        except RuntimeError:
            # No thread can be started, or the server was closed meanwhile: then it is
            # done here, however long it takes.
            self._work(connection, connection.ready)

    def _work(self, connection: Connection, step: Callable[[], None]) -> None:
        """Take a *step* with *connection* in a worker, and see how long that takes."""
        began = time.monotonic()
        connection.entry.thread = threading.get_ident()
        try:
            step()
        except Exception:
            self._fail(connection)
        except BaseException:
            self._leave(connection)
            raise
        finally:
            self._note_time(began)
            self._give_up(connection)

    def _measure(self, work: Callable[[], object]) -> None:
        """Run *work* in a worker, and see how long that takes."""
        began = time.monotonic()
        try:
            work()
        finally:
            self._note_time(began)

    def _note_time(self, began: float) -> None:
        """Keep the pool in use if what *began* then has taken long."""
        ended = time.monotonic()
        if ended - began > _SLOW:
            self._pooled_until = ended + _POOLED

    def _give_up(self, connection: Connection) -> None:
        """Let others have *connection*, which this thread has had."""
        with self._lock:
            connection.entry.thread = None
            if self._timing:
                # The handler's own time is no idle time.
                connection.last = time.monotonic()
            if self._closed:
                self._cut(connection)
            self._settle(connection)
            # A closed one is nobody's: the leader may still hold it.
            connection.owned = connection.stage is Stage.DONE

    def _fail(self, connection: Connection) -> None:
        """End *connection* for the exception being handled."""
        entry = connection.entry
        outcome = report_error(self._server, connection.socket, entry.address)
        if entry.outcome is None:
            # Otherwise a deadline has passed before, and may be why it raised.
            entry.outcome = outcome
        if outcome in _CUT_OFF:
            connection.cut()
        else:
            connection.fail()
        self._finish(connection)

    def _leave(self, connection: Connection) -> None:
        """End *connection* for a SystemExit, or the like, which its thread ends with."""
        connection.entry.outcome = Outcome.FAILED
        connection.fail()
        self._finish(connection)

    def _cut(self, connection: Connection) -> None:
        """Give *connection* up, and let its handler clean up."""
        connection.cut()
        self._finish(connection)

    def _finish(self, connection: Connection) -> None:
        try:
            connection.finish()
        except Exception:
            log.warning("%r: finish() raised at the end", self._server, exc_info=True)

    def _settle(self, connection: Connection) -> None:
        """See to what the last step has left to do: its stage, its time, its events."""
        if connection.stage is not _OPEN:
            if isinstance(connection, OpeningConnection):
                self._settle_opening(connection)
            self._advance(connection)
            if connection.stage is Stage.DONE:
                self._close(connection)
                return
        elif self._server.message_timeout is not None:
            self._time_message(connection)
        if connection.watched != connection.armed:
            self._arm(connection, connection.watched)

    def _settle_opening(self, connection: OpeningConnection) -> None:
        """See to the time of *connection*, or to what it is to become."""
        if connection.stage is Stage.OPENED:
            self._opened.append(connection)
        elif connection.stage is Stage.OPENING:
            self._time(connection, self._due(connection)[0])

    def _advance(self, connection: Connection) -> None:
        """Bring *connection*, which has no more messages, as near to its end as it may go."""
        if connection.stage is Stage.CLOSING and not connection.unsent:
            if connection.input_ended:
                connection.stage = Stage.DONE
                return
            try:
                connection.socket.shutdown(socket.SHUT_WR)
            except BlockingIOError:
                # Something has to be sent for it; it is tried again.
                connection.watched = WRITE
                return
            except OSError:
                connection.stage = Stage.DONE
                return
            connection.stage = Stage.LINGERING
            connection.watched = READ
            connection.began = time.monotonic()
        if connection.stage is Stage.LINGERING:
            self._linger(connection)

    def _linger(self, connection: Connection) -> None:
        """Wait until the peer has everything; DONE when it has, or has had its time."""
        server = self._server
        waited = time.monotonic() - (connection.began or 0.0)
        if (
            connection.input_ended
            or waited >= server.linger_timeout
            or connection.surplus >= server.linger_bytes
            or not (connection.surplus or server.has_unread_input(connection.socket))
        ):
            connection.stage = Stage.DONE
        else:
            self._time(connection, time.monotonic() + server.linger_timeout - waited)

    def _close(self, connection: Connection) -> None:
        if self._connections.get(connection.descriptor) is not connection:
            return
        del self._connections[connection.descriptor]
        self._stale += connection.due < _NEVER
        # Closing would do it, unless a child of this process has a copy; and has
        # done it where the handler has closed the socket.
        with contextlib.suppress(OSError):
            self._arm(connection, UNREGISTERED)
        # They know each other, and would stay until the garbage is collected.
        connection.handler.transmit = _send_nothing
        try:
            self._server.close_request(connection.socket)
        except Exception:
            log.exception("close_request raised; the request may be left open")
        if not connection.entry.ended:
            self._server.request_ended(connection.entry)

    def _time_message(self, connection: Connection) -> None:
        """Begin, or end, the time that a message may take to arrive."""
        if not connection.decoder.pending:
            connection.began = None
        elif connection.began is None:
            connection.began = time.monotonic()
            self._time(connection, self._due(connection)[0])

    def _due(self, connection: Connection) -> tuple[float, Deadline]:
        """When the next of the deadlines of *connection* passes, and which one it is."""
        server = self._server
        dues = [(_NEVER, Deadline.IDLE)]
        if isinstance(connection, OpeningConnection) and connection.stage is Stage.OPENING:
            dues.append((connection.wait.until, connection.wait.deadline))
        elif server.idle_timeout is not None and connection.last is not None:
            dues.append((connection.last + server.idle_timeout, Deadline.IDLE))
        if server.message_timeout is not None and connection.began is not None:
            dues.append((connection.began + server.message_timeout, Deadline.MESSAGE))
        if server.connection_timeout is not None:
            dues.append((connection.entry.since + server.connection_timeout, Deadline.CONNECTION))
        return min(dues, key=_first)

    def _time(self, connection: Connection, due: float) -> None:
        """Look at *connection* again when it is *due*, or before."""
        if due < connection.due:
            self._stale += connection.due < _NEVER
            connection.due = due
            # By number, so that a timer doesn't keep a closed connection.
            look = partial(self._look_at, connection.descriptor, due)
            self._call_soon(due - time.monotonic(), look)

    def _forget_timers(self) -> None:
        """Throw away the timers of closed connections, of which there are many."""
        with self._lock:
            self._stale = 0
            self._timers[:] = [timer for timer in self._timers if self._is_wanted(timer[2])]
            heapq.heapify(self._timers)

    def _is_wanted(self, callback: Callable[[], None]) -> bool:
        if not isinstance(callback, partial) or callback.func != self._look_at:
            return True
        connection = self._connections.get(callback.args[0])
        return connection is not None and connection.due == callback.args[1]

    def _look_at(self, descriptor: int, planned: float) -> None:
        """End the connection if a deadline has passed; otherwise look again in time.

        *planned* is for when the look was planned; an earlier one replaces it.
        """
        with self._lock:
            connection = self._connections.get(descriptor)
            if connection is None or connection.due != planned:
                return
            connection.due = _NEVER
            if connection.stage in _ENDING and not connection.owned:
                self._settle(connection)
                if connection.stage is not Stage.CLOSING:
                    return
            now = time.monotonic()
            if connection.owned and self._timing:
                # The handler's own time is no idle time.
                connection.last = now
            due, which = self._due(connection)
            if due > now:
                self._time(connection, due)
            else:
                self._expire(connection, which)

    def _expire(self, connection: Connection, which: Deadline) -> None:
        entry = connection.entry
        if isinstance(connection, OpeningConnection) and connection.wait.deadline is which:
            limit = connection.wait.limit
        else:
            limit = getattr(self._server, f"{which.value}_timeout")
        try:
            raise DeadlineError(which, limit)
        except DeadlineError:
            report_error(self._server, connection.socket, entry.address)
        if connection.owned:
            # Its owner will notice.
            entry.outcome = Outcome.TIMED_OUT
            with contextlib.suppress(OSError):
                connection.socket.shutdown(socket.SHUT_RDWR)
            return
        entry.outcome = Outcome.TIMED_OUT
        self._cut(connection)
        self._close(connection)

    def _call_soon(self, delay: float, callback: Callable[[], None]) -> None:
        """As :meth:`call_later`, from any thread."""
        self.call_later(max(delay, 0), callback)
        if threading.get_ident() != self._leader:
            self.wake()

    def _unwatch(self, connection: Connection) -> None:
        """Take *connection* out of the selector, because a worker has it."""
        with self._lock:
            if connection.owned:
                self._arm(connection, UNREGISTERED)

    def _start_monitor(self) -> None:
        if self._pool is None or self._monitor is not None:
            return
        monitor = threading.Thread(target=self._keep_watch, name="netserve.monitor")
        try:
            monitor.start()
        except RuntimeError as error:
            raise ExhaustedError(str(error)) from error
        self._monitor = monitor

    def _end_monitor(self) -> None:
        self._ended = True
        self._activity.set()
        if self._monitor is not None:
            # It may stand in for this thread, if a handler has raised more than an Exception.
            self.wake()
            self._monitor.join()

    def _keep_watch(self) -> None:
        """The monitor: stand in for a leader that sits in a handler."""
        seen, quiet = -1, 0
        self._watching = True
        while not self._ended:
            if quiet >= _QUIET:
                self._activity.clear()
                self._watching = False
                if self._idle:
                    self._activity.wait()
                self._watching = True
                quiet = 0
            time.sleep(_LOOK)
            serial, ran = self._serial, self._progress.ran()
            if serial != seen:
                quiet = 0
            elif serial & 1:
                if not self._progress.waits_for_processor(ran, _LOOK):
                    self._depose(serial)
            else:
                quiet += 1
            seen = serial

    def _depose(self, serial: int) -> None:
        """Take the lead, unless the leader has left the handler in which it was seen."""
        self._deposed = True
        with self._lock:
            stuck = self._serial == serial
            if stuck and self._current is not None:
                self._current.owned = True
        if stuck:
            leader, self._leader = self._leader, threading.get_ident()
            try:
                self._stand_in()
            except Exception:
                log.exception("%r: the loop raised in another thread, and goes on", self._server)
            self._leader = leader
        with self._back:
            self._deposed = self._returning = False
            self._back.notify_all()

    def _stand_in(self) -> None:
        """Lead until the leader is back."""
        self._pooled_until = time.monotonic() + _POOLED
        batch = self._batch
        if batch is not None:
            # What waits behind the request that blocks need not.
            batch.hand_over(self.call)
        while not self._returning and not self._ended:
            self._server.prepare_wait()
            self._pooled_until = time.monotonic() + _POOLED
            events = self._poll(self._until_timer(None))
            # Again, however long the wait was: this thread must run no handler.
            self._pooled_until = time.monotonic() + _POOLED
            others = self._serve(events)
            self._begin_opened()
            self._run_timers()
            if others is not None and self._attend_others(others):
                self._server.take_requests()

    def _await_return(self) -> None:
        """Wait until the monitor gives the lead back."""
        with self._back:
            if self._deposed:
                self._returning = True
                self.wake()
            while self._deposed:
                self._back.wait()


def is_tls(connection: object) -> "TypeIs[ssl.SSLSocket]":
    """Whether *connection* is under TLS; :mod:`ssl` isn't imported where nobody speaks it."""
    module = sys.modules.get("ssl")
    return module is not None and isinstance(connection, module.SSLSocket)


def _first(due: tuple[float, Deadline]) -> float:
    return due[0]


def _send_nothing(_data: bytes) -> None:
    """What a handler sends through once its connection is closed."""


_NEVER: Final = float("inf")
