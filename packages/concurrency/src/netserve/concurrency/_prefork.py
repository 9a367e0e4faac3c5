"""The mix-in that has several processes run the whole server, each with its own loop.

Theory of operation. The processes share one listening socket, which the server's own
process binds and never accepts from: what waits in its backlog is whoever's comes
first, and isn't lost with the process that leaves. The class is the same in all of
them. In the process where it was made it supervises: ``serve_forever`` keeps as many
workers serving as it should, and brings them to their end when it is told to. In a
worker ``serve_forever`` is what it is without this mix-in, so that every other one may
follow.

The workers are copies of the server as it was when the first of ``prefork``,
``background``, ``run`` and ``serve_forever`` was called (see ``_nursery``).
"""

import contextlib
import os
import signal
import socket as _socket
import sys
import threading
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, Protocol, cast

from netserve.concurrency._nursery import Nursery
from netserve.concurrency._staffing import Staffing
from netserve.concurrency._supervisor import Supervisor
from netserve.concurrency._worker import WorkerProcess, end_with_parent
from netserve.concurrency._worker_table import (
    Order,
    Slot,
    SummedLedger,
    WorkerLedger,
    WorkerTable,
    is_ahead,
)
from netserve.core import (
    BaseServer,
    Entry,
    Ledger,
    Loop,
    NetserveError,
    ServerMixIn,
    State,
    log,
    needs_no_interval,
)

_PATIENCE: Final = 1.0
"""How long after its grace a worker without a supervisor is killed, in seconds."""

_DEFERRED: Final = 0.001
"""For how long a worker leaves connections to those that have fewer, in seconds."""

_AT_ONCE: Final = 8
"""How many connections a worker takes before it looks whether others have fewer."""

_INF: Final = float("inf")


class WorkerError(NetserveError, RuntimeError):
    """The workers of a preforking server can't be kept serving; the message says why."""


class _Deadline(Protocol):
    """What is needed of a drain."""

    deadline: float
    carried_out: bool


class _Listener(Protocol):
    """What is needed of a server of the standard library."""

    def fileno(self) -> int: ...


class PreforkMixIn(ServerMixIn):
    """Has several processes serve, which it replaces when they die; where the platform can fork.

    It comes before the server class and all other mix-ins: ``class
    Server(PreforkMixIn, MultiplexingMixIn, TCPServer)``. Each process runs the whole
    server that the others make, and what a handler changes in memory is seen in its
    process alone. The limits, such as ``max_connections``, hold for each of them.

    The server's own process serves nothing. It supervises, sums the statistics, and
    hears the calls and signals that stop the server. A handler that calls ``shutdown``
    or ``stop`` stops the worker that it runs in, which is then replaced.
    """

    processes: int | None = None
    """How many processes serve; None, the default, is one for each processor at hand."""

    failed_starts: int = 5
    """After how many failed starts in a row ``serve_forever`` gives up (default 5).

    Only while no worker serves; otherwise it tries again, after a growing pause.
    """

    block_on_close: bool = True
    """Whether ``server_close`` waits for workers that ``shutdown`` has left (default: yes).

    Otherwise it kills them.
    """

    _ns_worker: WorkerProcess | None = None
    _ns_supervisor: Supervisor | None = None
    _ns_table: WorkerTable | None = None
    _ns_poll_interval: float = 0.5
    _ns_deferred: bool = False
    _ns_yields: bool = False
    _ns_unannounced: bool = False

    @cached_property
    def _ns_ledger(self) -> Ledger:
        return SummedLedger()

    @property
    def worker_pids(self) -> list[int]:
        """The process ids of the workers that serve, the oldest first; empty within a worker."""
        return [] if self._ns_supervisor is None else self._ns_supervisor.pids

    def prefork(self) -> None:
        """Fork what will fork the workers; call it before the program starts threads.

        ``background``, ``run`` and ``serve_forever`` call it when that hasn't been
        done. The workers will be as the server is now, whatever is changed later on.

        Raises :class:`RuntimeError` when there are other threads: a fork would copy
        the locks that they hold. :class:`OSError` when the system can't fork;
        :class:`ValueError` for a number of :attr:`processes` below one.
        """
        if self._ns_supervisor is not None or self._ns_worker is not None:
            return
        size = _processors() if self.processes is None else self.processes
        if size < 1:
            msg = f"processes must be one or more, or None for one a processor, not {size!r}"
            raise ValueError(msg)
        if threading.active_count() > 1:
            others = [each.name for each in threading.enumerate()]
            others.remove(threading.current_thread().name)
            msg = (
                f"{self!r} can't fork its workers beside other threads ({', '.join(others)}):"
                " call prefork() before they are started"
            )
            raise RuntimeError(msg)
        # Beside those that serve: one that is starting, and those that are leaving.
        table = WorkerTable(3 * size + 2)
        grace = _grace(self)

        def work(number: int, wire: _socket.socket) -> int:
            patience = grace + _PATIENCE
            return self._ns_work(
                WorkerProcess(number, table[number], wire, grace, patience), table[number]
            )

        self._ns_table = table
        cast("SummedLedger", self._ns_ledger).tables.append(table)
        try:
            nursery = Nursery(work, grace + _PATIENCE)
        except BaseException:
            table.close()
            raise
        staffing = Staffing(size, self.failed_starts)
        self._ns_supervisor = Supervisor(nursery, table, staffing, self.__repr__, grace)

    def setup_worker(self) -> None:
        """Called in each worker before it serves; does nothing.

        For what a process must have of its own, such as a connection to a database. An
        exception ends the worker.
        """

    def replace_workers(self) -> None:
        """Replace all workers one by one; returns at once.

        Each new one serves before the old one drains, and an old one has the server's
        ``grace`` (default 5 seconds) for what it has in progress. No connection is
        refused. A new one calls ``reload``, because what was read before the workers
        were forked may be old. Under ``run``, SIGHUP does the same. From any thread,
        and from a signal handler; without effect while nothing serves, and in a worker.
        """
        supervisor, table = self._ns_supervisor, self._ns_table
        if supervisor is not None and table is not None:
            table.renewals += 1
            supervisor.replace_all()
            self._ns_wake()

    def reload(self) -> None:
        """As without the mix-in, and replace the workers, which then do it too.

        Under ``run``, SIGHUP calls it.
        """
        if isinstance(self, BaseServer):
            super().reload()
        self.replace_workers()

    def serve_forever(self, poll_interval: float = 0.5) -> None:
        """Keep the workers serving until told to stop; in a worker, serve.

        *poll_interval* is for the workers, in seconds. The hook ``service_actions`` is
        called in them, and not in the server's own process. What the lifecycle says of
        the loop holds for all loops together: when this returns, nothing is accepted.

        Raises :class:`WorkerError` when no worker can be started, and what
        :meth:`prefork` raises.
        """
        if self._ns_worker is not None:
            super().serve_forever(poll_interval)
            return
        self._ns_poll_interval = poll_interval
        try:
            # A closed one is told so, and forks nothing.
            if not isinstance(self, BaseServer) or self.state is not State.CLOSED:
                self.prefork()
            if isinstance(self, BaseServer):
                with self._ns_serving() as loop:
                    self._ns_oversee(loop)
            else:
                with Loop() as loop, self._ns_leadership().leading(loop):
                    self._ns_oversee(loop)
        finally:
            supervisor = self._ns_supervisor
            if supervisor is not None and (supervisor.lost or not self._ns_is_open()):
                self._ns_dismiss()

    def shutdown(self) -> None:
        """Tell ``serve_forever`` to stop, and wait until it has: until no worker accepts.

        In the server's process it may be called at any time, whatever the server class
        says.
        """
        if isinstance(self, BaseServer) or self._ns_worker is not None:
            super().shutdown()
            return
        lead = self._ns_leadership()
        lead.stop = True
        self._ns_wake()
        if lead.thread != threading.get_ident():
            lead.ended.wait()

    def abandon_requests(self) -> None:
        """Kill the workers that go on after the grace."""
        if self._ns_supervisor is None:
            super().abandon_requests()
        else:
            self._ns_supervisor.kill()

    def become_child(self, entry: Entry) -> None:
        """As everywhere; the child of a worker doesn't outlive it, where the system can tell."""
        super().become_child(entry)
        if self._ns_worker is not None:
            end_with_parent(signal.SIGKILL)

    def make_loop(self) -> Loop:
        """The loop of whatever else is mixed in, in a worker; a plain one to supervise."""
        return Loop() if self._ns_worker is None else super().make_loop()

    def server_close(self) -> None:
        """Close the server, and wait for its workers as :attr:`block_on_close` says."""
        super().server_close()
        if self._ns_supervisor is None or self._ns_leads_here():
            return
        if isinstance(self, BaseServer):
            self._ns_loop_ended.wait()
        else:
            self.shutdown()
        self._ns_dismiss()

    def __repr__(self) -> str:
        """As without the mix-in, with the workers."""
        plain = super().__repr__()
        if self._ns_worker is not None:
            return f"{plain[:-1]}, worker {os.getpid()}>"
        if self._ns_supervisor is None:
            return plain
        return f"{plain[:-1]}, {self._ns_supervisor.ready} workers>"

    # The server's own process.

    def _ns_start_up(self) -> None:
        super()._ns_start_up()
        self.prefork()

    def _ns_announce(self) -> None:
        """Leave it to the loop: until a worker is ready, nobody is served."""
        self._ns_unannounced = True

    def _ns_serves_in(self, thread: int | None) -> bool:
        supervisor = self._ns_supervisor
        return super()._ns_serves_in(thread) and supervisor is not None and supervisor.ready > 0

    @contextlib.contextmanager
    def _ns_serving(self) -> Generator[Loop]:
        """As everywhere; a worker reports it, and watches for the end of its supervisor."""
        with super()._ns_serving() as loop:
            worker = self._ns_worker
            if worker is not None:
                self._ns_count(accepts=True)

                def orphan() -> None:
                    loop.remove_reader(worker.wire)
                    worker.orphan()

                loop.add_reader(worker.wire, orphan)
                worker.ready()
            try:
                yield loop
            finally:
                self._ns_count(accepts=False)

    def _ns_see_through(self, drain: _Deadline, own: Sequence[Entry]) -> None:
        """As everywhere; also of the workers that an earlier loop has left."""
        super()._ns_see_through(drain, own)
        supervisor = self._ns_supervisor
        if supervisor is not None and self._ns_loop is None and supervisor.alive:
            supervisor.drain(drain.deadline)
            supervisor.wait(lambda: not supervisor.alive, lambda: _INF)

    def _ns_oversee(self, loop: Loop) -> None:
        """Keep the workers serving until told to stop, and bring them to their end."""
        supervisor = self._ns_supervisor
        assert supervisor is not None
        for descriptor in supervisor.descriptors():
            # It ends the wait, which is all: what there is to read is read in each step.
            loop.add_reader(descriptor, _nothing)
        try:
            if not self._ns_told():
                supervisor.staff()
            while not self._ns_told():
                pause = self._ns_step(supervisor)
                if supervisor.hopeless:
                    msg = f"{self!r}: its workers end before they serve; the log tells why"
                    raise WorkerError(msg)
                self._ns_wait(loop, pause)
            self._ns_wind_up(supervisor, loop)
        finally:
            supervisor.shut_down()

    def _ns_wind_up(self, supervisor: Supervisor, loop: Loop) -> None:
        """Have the workers end, as the server was told to; a shutdown may become a drain."""
        told = -_INF
        while True:
            drain = self._ns_drain if isinstance(self, BaseServer) else None
            until = _INF if drain is None else drain.deadline
            if until != told:
                told = until
                if drain is None:
                    supervisor.shut_down()
                else:
                    supervisor.drain(until)
            pause = self._ns_step(supervisor)
            if not (supervisor.serving if drain is None else supervisor.alive):
                break
            self._ns_wait(loop, pause)
        if drain is not None:
            drain.carried_out = True

    def _ns_step(self, supervisor: Supervisor) -> float:
        """Do what is due; returns for how many seconds nothing will be, at the most."""
        pause = supervisor.step()
        if supervisor.lost:
            msg = f"{self!r}: the process that forks its workers was killed, and they end"
            raise WorkerError(msg)
        if self._ns_unannounced and supervisor.ready and not self._ns_told():
            self._ns_unannounced = False
            super()._ns_announce()
        # Others may wait for the workers to be ready.
        self._ns_ledger.notify()
        return pause

    def _ns_wait(self, loop: Loop, pause: float) -> None:
        """Wait once, for news or at most *pause* seconds."""
        if not loop.may_sleep:
            pause = min(pause, self._ns_poll_interval)
        loop.wait(None if pause == _INF else pause)

    def _ns_dismiss(self) -> None:
        """Wait for the workers, or kill them, and let go of all that belongs to them."""
        supervisor = self._ns_supervisor
        if supervisor is not None:
            if not self.block_on_close:
                supervisor.kill()
            supervisor.shut_down()
            supervisor.close()
            self._ns_supervisor = None

    # What differs between this project's servers and the standard library's.

    def _ns_leadership(self) -> "_Lead":
        """The state of the loop that supervises a server of the standard library."""
        return cast("_Lead", vars(self).setdefault("_lead", _Lead()))

    def _ns_told(self) -> bool:
        """Whether the loop is to end."""
        if isinstance(self, BaseServer):
            return self._ns_stop_requested
        return self._ns_leadership().stop

    def _ns_wake(self) -> None:
        """Wake the loop that supervises, if it runs."""
        loop = self._ns_loop if isinstance(self, BaseServer) else self._ns_leadership().loop
        if loop is not None:
            loop.wake()

    def _ns_leads_here(self) -> bool:
        """Whether this thread runs the loop that supervises."""
        here = threading.get_ident()
        if isinstance(self, BaseServer):
            return self._ns_leads(here)
        return self._ns_leadership().thread == here

    def _ns_is_open(self) -> bool:
        """Whether the server may serve again."""
        if isinstance(self, BaseServer):
            return self.state is not State.CLOSED
        return cast("_Listener", self).fileno() >= 0

    # In a worker.

    def _ns_work(self, process: WorkerProcess, slot: Slot) -> int:
        """Be a worker: serve until told to stop; returns the exit status."""
        self._ns_worker, self._ns_supervisor = process, None
        ledger = WorkerLedger(slot)
        vars(self).pop("_lead", None)
        if isinstance(self, BaseServer):
            vars(self)["_ns_ledger"] = ledger
            vars(self)["requests_per_wait"] = min(self.requests_per_wait, _AT_ONCE)
            # What was asked of the server before it forked was meant for its own process.
            self._ns_stop_requested = False
            self._ns_drain = None
        _share_listener(self)
        process.listen(self._ns_obey)
        status = 0
        try:
            table = self._ns_table
            if isinstance(self, BaseServer) and table is not None and table.renewals:
                self._ns_call_hook(super().reload, "reload")
            self.setup_worker()
            if not isinstance(self, BaseServer):
                process.ready()
            self.serve_forever(self._ns_poll_interval)
        except Exception:
            log.exception("%r: a worker failed", self, extra={"server": self})
            status = 1
        process.left()
        self.server_close()
        ledger.publish()
        return status

    def _ns_count(self, *, accepts: bool) -> None:
        """Tell the other workers whether this one takes requests."""
        ledger = self._ns_ledger
        if isinstance(ledger, WorkerLedger):
            ledger.accepts = accepts
            ledger.publish()

    def _ns_listen(self, loop: Loop) -> bool:
        """As everywhere, until this worker is to leave what comes to the others."""
        if not self._ns_yields:
            return super()._ns_listen(loop)
        loop.listen(None)
        return not self._ns_stop_requested

    def take_requests(self) -> None:
        """Take the requests that wait, or leave them to a worker that has far fewer.

        To be fast, a loop takes many at once; alone, so that some workers would have all
        connections and the others none. If they still wait after a moment, it takes them.
        """
        table, loop = self._ns_table, self._ns_loop
        if self._ns_yields:
            return
        if (
            table is None
            or loop is None
            or self._ns_deferred
            or not is_ahead(self._ns_ledger.active, table.lightest())
        ):
            self._ns_deferred = False
            super().take_requests()
        else:
            self._ns_deferred = self._ns_paused = True
            loop.call_later(_DEFERRED, self._ns_attend)

    def _ns_attend(self) -> None:
        """Listen again."""
        self._ns_paused = False

    def _ns_obey(self, order: Order, seconds: float) -> None:
        """Do as the supervisor says; in a signal's handler."""
        if not isinstance(self, BaseServer):
            # Its shutdown() would wait for the loop that this interrupts.
            vars(self)["_BaseServer__shutdown_request"] = True
        elif order is Order.SHUT_DOWN:
            self._ns_request_stop()
        elif order is Order.YIELD:
            self._ns_yields = True
            self._ns_count(accepts=False)
            self._ns_wake()
        else:
            self._ns_count(accepts=False)
            # What waits there is for those that stay.
            if order is Order.MAKE_WAY:
                vars(self)["drains_backlog"] = False
            self._ns_wind_down(seconds)

    @needs_no_interval
    def service_actions(self) -> None:
        """In a worker, see whether its supervisor is there, where the loop doesn't tell."""
        super().service_actions()
        if self._ns_worker is not None and not isinstance(self, BaseServer):
            self._ns_worker.look_around()


@dataclass
class _Lead:
    """The loop that supervises a server of the standard library."""

    stop: bool = False
    loop: Loop | None = None
    thread: int | None = None
    ended: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.ended.set()

    @contextlib.contextmanager
    def leading(self, loop: Loop) -> Generator[None]:
        """The span of *loop*, in this thread."""
        self.ended.clear()
        self.loop, self.thread = loop, threading.get_ident()
        try:
            yield
        finally:
            self.loop = self.thread = None
            self.stop = False
            self.ended.set()


def _processors() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _grace(server: object) -> float:
    """How long requests in progress have when their worker is replaced, in seconds."""
    return cast("float", getattr(server, "grace", 5.0))


def _nothing() -> None:
    """Only end the wait."""


def _share_listener(server: object) -> None:
    """See that accepting blocks no worker, when another one has been faster.

    Whether it blocks is the socket's, and so all workers'; one that changed it at its
    end would change it for the others.
    """
    listener = getattr(server, "socket", None)
    if not isinstance(listener, _socket.socket):
        return
    if listener.type == _socket.SOCK_STREAM:
        listener.settimeout(0 if _ACCEPTED_BLOCK else _TURN)
    elif not isinstance(server, BaseServer):
        # Handlers answer on it, and may have to wait for room.
        listener.settimeout(_TURN)


# Elsewhere than on Linux an accepted connection doesn't block if the listener doesn't,
# unless the listener has a timeout.
_ACCEPTED_BLOCK: Final = sys.platform == "linux"

_TURN: Final = 0.1  # seconds
