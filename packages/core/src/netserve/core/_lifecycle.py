"""Starting, stopping and draining, apart from what a request is.

Stopping is a flag and a wake-up. Whoever asks sets the flag under the lock and
wakes the loop; the loop looks at the flag after each wait, before it takes
anything, so that nothing is accepted after ``shutdown``. A request to stop that
comes while no loop runs is kept, and ends the next one before it takes
anything: so a ``shutdown`` that overtakes the start of the serving thread isn't
lost. A drain (see ``_drain``) is the same with a deadline beside the flag.

The lock is reentrant, because a signal handler may call ``shutdown`` or ``stop``
in the thread that holds it. It is taken before the ledger's, never after.
"""

import _thread
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from types import TracebackType
from typing import Final, TypeVar

from typing_extensions import Self

from netserve.core._background import Running
from netserve.core._drain import UNWIND, Drain, StopResult
from netserve.core._errors import StateError
from netserve.core._ledger import Entry
from netserve.core._logs import log
from netserve.core._loop import Loop
from netserve.core._notify import sd_notify
from netserve.core._outcome import Stats
from netserve.core._signals import heard_signals
from netserve.core._state import State, may_follow
from netserve.core._supervision import Supervision
from netserve.core._types import AddressT, RequestT

_REMEDIES: Final = {
    State.SERVING: "shutdown() ends the loop that runs",
    State.DRAINING: "wait until the loop that is being stopped has left",
    State.CLOSED: "make a new server, or bind this one to a new socket",
}

# So long after the end of the drain the loop is believed to be stuck in a handler.
_SLACK: Final = 0.25  # seconds

_STEP: Final = 0.05  # seconds between looks at what tells nobody of its end


NEEDS_NO_INTERVAL: Final = "needs_no_interval"

_HookT = TypeVar("_HookT", bound=Callable[..., None])


def needs_no_interval(hook: _HookT) -> _HookT:
    """Mark an override of ``service_actions`` that needn't be called while nothing happens.

    The loop then sleeps without limit. Returns *hook*.
    """
    vars(hook)[NEEDS_NO_INTERVAL] = True
    return hook


class Lifecycle(Supervision[RequestT, AddressT]):
    """The states of a server, and the calls that move it between them."""

    grace: float = 5.0
    """How long a drain waits for requests in progress, in seconds (default 5)."""

    # Defaults on the class, for programs that build a server without __init__.
    _ns_state: State = State.CREATED
    _ns_since: float = 0.0
    _ns_stop_requested: bool = False
    _ns_loop: Loop | None = None
    _ns_loop_thread: int | None = None
    _ns_drain: Drain | None = None
    _ns_handles_in_loop: bool = False
    _ns_is_child: bool = False

    @cached_property
    def _ns_lock(self) -> threading.RLock:
        return threading.RLock()

    @cached_property
    def _ns_loop_ended(self) -> threading.Event:
        ended = threading.Event()
        ended.set()
        return ended

    def __repr__(self) -> str:
        address = getattr(self, "server_address", None)
        return f"<{type(self).__name__} {self._ns_state} at {address!r}>"

    def __enter__(self) -> Self:
        """Return the server itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Call :meth:`server_close`."""
        self.server_close()

    @property
    def state(self) -> State:
        """Where the server stands in its life."""
        return self._ns_state

    def stats(self) -> Stats:
        """A snapshot of what the server has done so far; from any thread."""
        with self._ns_lock:
            return Stats(state=self._ns_state, since=self._ns_since, **self._ns_ledger.counts())

    def serve_forever(self) -> None:
        """Serve until stopped."""
        raise NotImplementedError

    @needs_no_interval
    def service_actions(self) -> None:
        """Called by :meth:`serve_forever` after each wait; does nothing.

        Overriding it is what makes the loop wake at its interval, unless the
        override is marked with :func:`needs_no_interval`.
        """

    def server_bind(self) -> None:
        """Bind to :attr:`server_address`; the constructor of a subclass calls it."""

    def server_activate(self) -> None:
        """Begin to listen; the constructor of a subclass calls it."""

    def server_close(self) -> None:
        """Close the server for good; a loop in another thread ends soon after.

        Waits for nothing, except that mix-ins wait for their threads or
        children. May be called twice.
        """
        with self._ns_lock:
            self._ns_move(State.CLOSED, "server_close")
            if self._ns_loop_thread is not None:
                self._ns_request_stop()

    def shutdown(self) -> None:
        """Tell :meth:`serve_forever` to stop, and wait until it has.

        Requests in progress in threads or children are left alone; :meth:`stop`
        brings them to their end too.

        From within the loop's own thread (a handler of a synchronous server, a
        signal handler) it asks and returns at once. While no loop runs it
        returns at once too, and the next :meth:`serve_forever` ends before it
        takes a request. A handler doesn't wait for the end of a drain, which
        waits for it.
        """
        self._ns_request_stop()
        here = threading.get_ident()
        if self._ns_leads(here):
            return
        if self._ns_ledger.run_by(here):
            # A drain waits for the handler that this is called from.
            self._ns_ledger.wait_for(
                lambda: self._ns_loop_ended.is_set() or self._ns_drain is not None, lambda: _NEVER
            )
        else:
            self._ns_loop_ended.wait()

    def stop(self, grace: float | None = None) -> StopResult:
        """Drain: accept nothing more, let what was accepted come to its end, then stop.

        The input of every stream in progress ends at once: a handler that is
        blocked in reading sees the end of the file, what its client had sent
        before is still read, and the reply can still be written. Connections
        that waited in the system's backlog are taken and treated likewise,
        unless :attr:`drains_backlog` is false. After *grace* seconds (default:
        :attr:`grace`) what is left is shut in both directions, and waited for
        no longer than another half second.

        Returns how many came to their end, how many were forced, and the time
        taken. May be called from any thread, more than once and at the same time
        (the shortest grace counts), and while no loop runs; then it drains what
        an earlier loop has left, and the next :meth:`serve_forever` ends at
        once, as after :meth:`shutdown`. A handler that calls it doesn't wait for
        its own request. In the loop's own thread (a handler of a synchronous
        server, a signal handler) it asks and returns at once, and
        :meth:`serve_forever` returns when the drain is over.

        Raises :class:`ValueError` for a negative grace.
        """
        return self._ns_wind_down(grace)

    def _ns_wind_down(self, grace: float | None) -> StopResult:
        drain = self._ns_begin_drain(self._ns_checked(grace))
        here = threading.get_ident()
        loop = self._ns_loop
        if not self._ns_leads(here):
            self._ns_see_through(drain, self._ns_ledger.run_by(here))
        elif self._ns_handles_in_loop or (loop is not None and loop.busy):
            # Not threading's: a signal may have interrupted a start of its, which
            # holds a lock.
            _thread.start_new_thread(self._ns_see_through, (drain, ()))
        return drain.result(self._ns_ledger.ends())

    def _ns_checked(self, grace: float | None) -> float:
        """*grace*, or :attr:`grace` for None; raises :class:`ValueError` if it is negative."""
        chosen = self.grace if grace is None else grace
        if chosen < 0:
            msg = f"grace must be zero or more seconds, not {chosen!r}"
            raise ValueError(msg)
        return chosen

    @contextmanager
    def background(self, grace: float | None = None) -> Generator[Running[Self, AddressT]]:
        """Serve in another thread for the time of a ``with`` statement.

        Binds and activates first, if that hasn't been done. The statement's
        body begins when the server accepts requests; what went wrong before is
        raised in the caller. At its end the server is drained as by :meth:`stop`
        with *grace* (default: :attr:`grace`) and closed, and what ended the loop,
        if anything did, is raised.

        Raises :class:`ValueError` for a negative grace.
        """
        patience = self._ns_checked(grace)
        failures: list[BaseException] = []
        finished = threading.Event()

        def serve() -> None:
            try:
                self.serve_forever()
            except BaseException as error:
                failures.append(error)
            finally:
                finished.set()
                self._ns_ledger.notify()

        def stop(given: float | None) -> StopResult:
            return self._ns_wind_down(patience if given is None else given)

        thread = threading.Thread(target=serve, name=f"{type(self).__name__}.background")
        try:
            self._ns_start_up()
            thread.start()
            self._ns_ledger.wait_for(
                lambda: self._ns_serves_in(thread.ident) or finished.is_set(), lambda: _NEVER
            )
            if failures:
                thread.join()
                raise failures.pop()
            running = Running(self, self.server_address, thread, stop)
            try:
                yield running
            finally:
                result = stop(None)
                # The body may have stopped it before.
                if running.result is None:
                    running.result = result
                # A handler that can't be forced may keep the loop's own thread.
                if finished.wait(None if not result.forced else _SLACK):
                    thread.join()
        finally:
            self.server_close()
        if failures:
            raise failures.pop()

    def run(self, grace: float | None = None) -> None:
        """Serve as the main program does: until SIGTERM or SIGINT (Ctrl-C), then close.

        Binds and activates first, if that hasn't been done. The first signal
        drains as :meth:`stop` does, with *grace* in seconds (default:
        :attr:`grace`); the second ends the grace at once. The old handlers are
        restored; a signal that the process was started to ignore stays ignored.
        The server is closed when it returns. A systemd that asks for it is told
        ``READY=1`` once clients can connect, or the first of several processes
        serves, and ``STOPPING=1`` when the end begins (see :func:`sd_notify`).
        SIGHUP calls :meth:`reload`, if that is overridden.

        Raises :class:`RuntimeError` outside the main thread, and
        :class:`ValueError` for a negative grace.
        """
        patience = self._ns_checked(grace)
        # The signal handler may interrupt the main program between any two steps.
        told: list[str] = []

        def tell_of_the_end() -> None:
            if not told:
                told.append("STOPPING=1")
                sd_notify(*told)

        def asked(times: int) -> None:
            tell_of_the_end()
            self._ns_wind_down(patience if times == 1 else 0)

        try:
            with heard_signals(asked, self._ns_reload_hook()):
                self._ns_start_up()
                self._ns_announce()
                self.serve_forever()
                tell_of_the_end()
                # What a mere shutdown() has left behind.
                self._ns_wind_down(patience)
        finally:
            self.server_close()

    def reload(self) -> None:
        """Take up what has changed outside the program; nothing to do here.

        An override may read files again, certificates for one. :meth:`run` calls
        it for SIGHUP, in the main thread between two instructions of whatever
        runs there, so that it should be short; what it raises is logged, and ends
        nothing. Where nothing overrides it, SIGHUP does what it did before.
        """

    def _ns_reload_hook(self) -> Callable[[], None] | None:
        """What SIGHUP is to call; None where nobody overrides :meth:`reload`."""
        if getattr(self.reload, "__func__", None) is Lifecycle.reload:
            return None
        return lambda: self._ns_call_hook(self.reload, "reload")

    @property
    def current_loop(self) -> Loop | None:
        """The loop that runs; None while none does."""
        return self._ns_loop

    def make_loop(self) -> Loop:
        """The loop that :meth:`serve_forever` is to wait in; a mix-in may have one of its own."""
        return Loop()

    def abandon_requests(self) -> None:
        """Stop waiting for the requests that go on although they were forced.

        Called at the end of a drain, only when there are any. Nothing to do here;
        a mix-in forgets its threads, or kills its children.
        """

    def become_child(self, entry: Entry) -> None:
        """Leave the server to the parent, in a forked child that runs *entry* alone.

        Whoever forks closes what it has inherited of other children's requests.
        """
        loop, self._ns_loop, self._ns_loop_thread = self._ns_loop, None, None
        # The parent tells of the end and of the bytes, when it has collected the child.
        self.access_log: bool = False
        self._ns_is_child = True
        # Other threads may have held these, and are not here to release them.
        self._ns_lock = threading.RLock()
        self._ns_loop_ended = _ENDED
        self._ns_forget_drain()
        self._ns_ledger.after_fork(entry)
        if loop is not None:
            loop.after_fork()

    def _ns_leads(self, thread: int) -> bool:
        """Whether *thread* runs the loop, which it must not wait for."""
        loop = self._ns_loop
        return thread == self._ns_loop_thread or (loop is not None and loop.runs_in(thread))

    def _ns_serves_in(self, thread: int | None) -> bool:
        """Whether *thread* runs the loop, and requests are accepted."""
        return self._ns_loop_thread == thread

    def _ns_announce(self) -> None:
        """Tell systemd that clients are served, or see that it is told when they are."""
        sd_notify("READY=1")

    def _ns_start_up(self) -> None:
        if self._ns_state is State.CREATED:
            self.server_bind()
            self.server_activate()

    def _ns_move(self, following: State, operation: str) -> None:
        """Go to state *following*, or say why *operation* can't be done."""
        with self._ns_lock:
            while True:
                current = self._ns_state
                if not may_follow(current, following):
                    msg = (
                        f"{self!r} doesn't allow {operation}() while it is {current}:"
                        f" {_REMEDIES[current]}"
                    )
                    raise StateError(msg, current, operation)
                if self._ns_move_from(current, following):
                    return

    def _ns_move_from(self, current: State, following: State) -> bool:
        """Go from *current* to *following*, which may follow; false when it isn't there any more.

        A signal's handler may have moved it meanwhile, in the thread that holds the lock.
        It runs only where something is called, and so not between the look and the step.
        """
        if self._ns_state is current:
            self._ns_state = following
            if following is not current:
                self._ns_since = time.time()
            return True
        return False

    @contextmanager
    def _ns_serving(self) -> Generator[Loop]:
        """The span of one loop: entered with its waits, left with the stop carried out."""
        with self.make_loop() as loop:
            with self._ns_lock:
                self._ns_move(State.SERVING, "serve_forever")
                # A signal handler may stop the server between any two of these lines.
                self._ns_loop_thread = threading.get_ident()
                self._ns_loop_ended.clear()
                self._ns_loop = loop
                if self._ns_state is State.CLOSED:
                    # Whoever has closed it since knew of no loop that was to be told.
                    self._ns_stop_requested = True
            self._ns_ledger.notify()
            try:
                yield loop
            finally:
                with self._ns_lock:
                    for current in (State.SERVING, State.DRAINING):
                        self._ns_move_from(current, State.STOPPED)
                    self._ns_stop_requested = False
                    self._ns_loop_ended.set()
                    self._ns_loop = None
                    self._ns_loop_thread = None
                    self._ns_forget_drain()
                    self._ns_ledger.wake = None
                self._ns_ledger.notify()

    def _ns_request_stop(self) -> None:
        with self._ns_lock:
            self._ns_stop_requested = True
            if self._ns_loop is not None:
                self._ns_loop.wake()

    def _ns_begin_drain(self, grace: float) -> Drain:
        """Set the deadline, end all input, and tell the loop."""
        with self._ns_lock:
            # Looked up once: a signal handler may stop the server too, here and now.
            drain = self._ns_drain
            if drain is None:
                drain = self._ns_drain = Drain(grace, self._ns_ledger.ends())
                self._ns_ledger.draining = True
            else:
                drain.shorten(grace)
            self._ns_move_from(State.SERVING, State.DRAINING)
            self._ns_request_stop()
        for entry in self._ns_ledger.entries():
            self._ns_end_input(entry)
        self._ns_ledger.notify()
        return drain

    def _ns_forget_drain(self) -> None:
        self._ns_drain = None
        self._ns_ledger.draining = False

    def _ns_see_through(self, drain: Drain, own: Sequence[Entry]) -> None:
        """Wait until *drain* is over, from outside the loop; force what outlasts it.

        *own* are the requests that the caller itself keeps in progress.
        """

        def over() -> bool:
            # Handlers that have come here don't wait for one another.
            ended = drain.handlers.issuperset(self._ns_ledger.entries())
            if self._ns_drain is drain and self._ns_loop is not None:
                return bool(own) and (drain.backlog_taken or drain.full) and ended
            # What is in progress may be another loop's, which was started since.
            return drain.carried_out or ended

        with self._ns_lock:
            drain.handlers.update(own)
        self._ns_ledger.notify()
        if not self._ns_await(over, lambda: drain.deadline):
            self._ns_force()
            if not self._ns_await(over, lambda: drain.deadline + UNWIND + _SLACK):
                self._ns_abandon()
        with self._ns_lock:
            if self._ns_loop is None and self._ns_drain is drain:
                self._ns_forget_drain()

    def _ns_await(self, condition: Callable[[], bool], until: Callable[[], float]) -> bool:
        """Wait until *condition*, or until the time that *until* tells; says which came."""

        def step() -> Callable[[], float]:
            soon = time.monotonic() + _STEP
            return lambda: min(until(), soon)

        while not self._ns_ledger.wait_for(condition, step()):
            if time.monotonic() >= until():
                return False
            if self._ns_loop is None:
                # Nobody else looks after what the mix-ins have started.
                self._ns_call_hook(self.service_actions, "service_actions")
        return True

    def _ns_end_input(self, entry: Entry) -> None:
        # An opening needs its peer's answers; the input ends when it is over.
        if not entry.opening:
            with suppress(OSError):
                self.end_input(entry.handle)

    def _ns_force(self) -> None:
        """Shut every request in progress in both directions."""
        for entry in self._ns_ledger.force():
            with suppress(OSError):
                self.abort_request(entry.handle)

    def _ns_abandon(self) -> None:
        """Count as forced what goes on in spite of being shut."""
        self._ns_call_hook(self.abandon_requests, "abandon_requests")
        left = self._ns_ledger.entries()
        for entry in left:
            entry.forced = True
            self.request_ended(entry)
        if left:
            log.warning(
                "%r: %d of the handlers went on after the grace and their request's end;"
                " they are no longer waited for",
                self,
                len(left),
                extra={"server": self},
            )

    def _ns_call_hook(self, hook: Callable[[], object], name: str) -> None:
        """Call *hook*, which belongs to no request, and report what it raises."""
        try:
            hook()
        except Exception:
            log.exception("%r: %s raised", self, name, extra={"server": self})


_NEVER: Final = float("inf")

# What a child finds of its parent's loop; made here, not in each of them.
_ENDED: Final = threading.Event()
_ENDED.set()
