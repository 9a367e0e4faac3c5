"""The loop, and the hooks that make a server of it.

Theory of operation. ``serve_forever`` sleeps in one selector over the server's
descriptor and a :class:`~netserve.core.Waker`; nothing else wakes it, unless
``service_actions`` is overridden and so wants its interval. What the loop does
for each ready descriptor is the sequence of the original reference:
``get_request``, ``verify_request``, ``process_request``, each a hook. A hook
that raises an Exception is reported and ends its request, never the loop.

Before each wait the loop decides whether it listens at all. It doesn't while
as many requests are in progress as may be, nor in a pause because the system
has run out of something; then the next requests wait in the system's backlog,
and the end of one in progress, or the end of the pause, wakes the loop.

``_lifecycle`` tells how the loop is stopped and drained.
"""

import selectors
import threading
import time
from collections.abc import Callable, Generator
from contextlib import closing, suppress
from functools import cached_property
from typing import Final, TypeAlias, TypeVar

from typing_extensions import Self

from netserve.core._admission import Admission, Overload, admit, admit_peer
from netserve.core._backoff import Backoff, calls_for_a_pause
from netserve.core._coroutines import is_coroutine_handler
from netserve.core._drain import UNWIND, Drain
from netserve.core._errors import ExhaustedError
from netserve.core._ledger import Entry
from netserve.core._lifecycle import NEEDS_NO_INTERVAL, Lifecycle
from netserve.core._logs import log
from netserve.core._loop import Loop, Selector
from netserve.core._outcome import Outcome
from netserve.core._requests import end_request, report_error
from netserve.core._state import State
from netserve.core._supervision import expired
from netserve.core._types import AddressT, RequestT

# The waits of a loop: the longest that each may take, in seconds, or None for any.
Waits: TypeAlias = Generator[float | None, None, None]
_Taken = TypeVar("_Taken")


class BaseServer(Lifecycle[RequestT, AddressT]):
    """The loop, the lifecycle and the hooks that all servers share.

    It knows no sockets: a subclass says where requests come from with
    :meth:`fileno`, :meth:`get_request`, :meth:`close_request`.

    *server_address* is the address to serve, in the form of the subclass's
    transport. *RequestHandlerClass* is any callable that takes the request, the
    client's address and the server, and handles the request before it returns:
    most often a subclass of ``netserve.handlers.BaseRequestHandler``. Raises
    :class:`TypeError` when it isn't callable.

    See the original reference, *Server Objects*.
    """

    timeout: float | None = None
    """How long :meth:`handle_request` waits, in seconds; None, the default: for ever.

    :meth:`serve_forever` doesn't look at it.
    """

    max_connections: int | None = 1000
    """How many requests may be in progress; None is no limit (default 1000)."""

    max_connections_per_peer: int | None = None
    """How many of them one peer may have; None, the default, is no limit.

    An IPv6 peer is the network of its first 64 bits. Connections beyond it are
    refused, whatever :attr:`overload` says. There is no default that would suit
    both a server on the open network and one behind a proxy, where all
    connections come from one peer.
    """

    overload: Overload = "wait"
    """What happens beyond :attr:`max_connections`.

    With "wait", the default, requests are left in the system's backlog until one
    in progress has ended; with "refuse" they are taken and closed.
    """

    farewell: bytes = b""
    """What a refused client is sent before its connection is closed; by default nothing."""

    drains_backlog: bool = True
    """Whether a drain takes the connections that wait in the system's backlog (default: yes).

    They have been accepted as far as their clients can tell, and may have sent
    their requests already. Otherwise they are left there: reset when the server
    is closed, or served when it serves again.
    """

    requests_per_wait: int = 1
    """How many requests are taken after one wait, if as many are there (default 1)."""

    RequestHandlerClass: Callable[[RequestT, AddressT, Self], object]
    """Called with request, client address and server to handle each request."""

    # Whether only the opening tells whose request it is.
    _ns_learns_address_late: bool = False

    # Defaults on the class, for programs that build a server without __init__.
    _ns_paused: bool = False
    _ns_failures: int = 0
    _ns_in_trouble: bool = False
    _ns_told_full: bool = False

    @cached_property
    def _ns_backoff(self) -> Backoff:
        return Backoff()

    @cached_property
    def _ns_kept(self) -> list[Entry]:
        """The requests that the system couldn't run yet."""
        return []

    def __init__(
        self,
        server_address: AddressT,
        RequestHandlerClass: Callable[[RequestT, AddressT, Self], object],
    ) -> None:
        self._ns_check_handler(RequestHandlerClass)
        self.server_address: AddressT = server_address
        self.RequestHandlerClass = RequestHandlerClass
        self._ns_since = time.time()

    def fileno(self) -> int:
        """The descriptor to wait on for requests; a subclass must define it."""
        msg = f"{type(self).__name__} must define fileno(): the descriptor to wait on"
        raise NotImplementedError(msg)

    def serve_forever(self, poll_interval: float = 0.5) -> None:
        """Handle requests until :meth:`shutdown` or :meth:`stop` is called.

        The loop sleeps until a request arrives, a signal does, or it is told to
        stop. It wakes every *poll_interval* seconds (default 0.5) besides when
        :meth:`service_actions` is overridden, to call it; and where nothing
        else would let a signal's handler run: on Windows, and where the program
        has given :func:`signal.set_wakeup_fd` a descriptor of its own.

        Raises :class:`StateError` when the server is being served already, or
        is closed.
        """
        with self._ns_serving() as loop, closing(self._ns_steps(loop, poll_interval)) as steps:
            for timeout in steps:
                loop.ready = loop.wait(timeout)

    def handle_request(self) -> None:
        """Wait for one request and handle it.

        Calls :meth:`get_request`, :meth:`verify_request` and
        :meth:`process_request`; or :meth:`handle_timeout` when nothing arrives
        within :attr:`timeout` seconds, or no room for it.
        """
        patience = self._ns_patience()
        until = float("inf") if patience is None else time.monotonic() + patience
        if self._ns_await(self.may_accept, lambda: until):
            with Selector() as selector:
                selector.register(self, selectors.EVENT_READ)
                if selector.select(None if patience is None else until - time.monotonic()):
                    self._handle_request_noblock()
                    return
        self.handle_timeout()

    def may_accept(self) -> bool:
        """Whether there is room for one more request; else it waits in the backlog.

        Asked before each wait. A mix-in that says no sees to it that a request
        in progress comes to its end, which asks again.
        """
        limit = self.max_connections
        # The common case first: this is asked before each wait.
        if limit is None or self._ns_ledger.active < limit:
            return True
        return admit(self._ns_ledger.active, limit, self.overload) is not Admission.WAIT

    def get_request(self) -> tuple[RequestT, AddressT]:
        """Take one request; a subclass must define it.

        Returns the request and the client's address. An :class:`OSError` means
        that there was none after all, and is passed over; or that the system has
        run out of descriptors or memory, and is followed by a pause.
        """
        msg = f"{type(self).__name__} must define get_request(): (request, client_address)"
        raise NotImplementedError(msg)

    def verify_request(self, request: RequestT, client_address: AddressT) -> bool:
        """Whether *request* is to be processed; the default says yes."""
        return True

    def process_request(self, request: RequestT, client_address: AddressT) -> None:
        """Run the handler and shut the request down, here and now.

        The mix-ins override it to do that elsewhere.
        """
        entry = self._ns_ledger.find(request)
        if entry is not None:
            entry.thread = threading.get_ident()
        self._ns_handles_in_loop = True
        try:
            if self.opens_requests:
                client_address = self.open_and_wait(request, client_address)
            self.finish_request(request, client_address)
            if entry is not None and expired(request) is not None:
                entry.outcome = Outcome.TIMED_OUT
            self.shutdown_request(request)
        finally:
            self._ns_handles_in_loop = False
        self.request_closed(request)

    def finish_request(self: Self, request: RequestT, client_address: AddressT) -> None:
        """Call :attr:`RequestHandlerClass`, which handles the request."""
        if self.opens_requests:
            entry = self._ns_ledger.find(request)
            if entry is not None and entry.opening:
                # Whoever runs it, as the standard library's mix-ins, knows of no opening.
                client_address = self.open_and_wait(request, client_address)
        self.RequestHandlerClass(request, client_address, self)

    def refuse_request(self, request: RequestT, client_address: AddressT) -> None:
        """Send :attr:`farewell` to a client that is over a limit; does nothing here.

        :meth:`shutdown_request` is called next. It runs in the loop, and must
        not block.
        """

    def shutdown_request(self, request: RequestT) -> None:
        """End *request* towards the peer, and close it."""
        self.close_request(request)

    def close_request(self, request: RequestT) -> None:
        """Release what *request* holds in this process."""
        self.request_closed(request)

    def handle_timeout(self) -> None:
        """Called when :meth:`handle_request` has waited in vain; does nothing."""

    def prepare_wait(self) -> None:
        """Have the loop listen in the wait that comes, or not, if it has no room or is to stop.

        For a loop of a mix-in's own, in a thread that leads it in place of the one
        in :meth:`serve_forever`.
        """
        loop = self._ns_loop
        if loop is not None and not self._ns_listen(loop):
            loop.listen(None)

    def take_requests(self) -> None:
        """Take the requests that wait, at most :attr:`requests_per_wait`; none after a stop.

        For a loop of a mix-in's own, in the thread that leads it.
        """
        if self._ns_stop_requested:
            return
        for _ in range(self.requests_per_wait - 1):
            if not self._handle_request_noblock():
                return
            # What listens is decided anew before the next wait.
            if self._ns_stop_requested or self._ns_paused or not self.may_accept():
                return
        self._handle_request_noblock()

    def add_reader(self, descriptor: int, callback: Callable[[], None]) -> bool:
        """Call *callback* in the loop whenever *descriptor* is ready to read.

        For mix-ins, in the loop's own thread. Returns false, and does nothing,
        while no loop runs.
        """
        if self._ns_loop is None:
            return False
        self._ns_loop.add_reader(descriptor, callback)
        return True

    def remove_reader(self, descriptor: int) -> None:
        """Undo :meth:`add_reader`; before the descriptor is closed.

        Harmless when the loop to which it was added has ended.
        """
        if self._ns_loop is not None:
            with suppress(KeyError):
                self._ns_loop.remove_reader(descriptor)

    def call_later(self, delay: float, callback: Callable[[], None]) -> bool:
        """Call *callback* in the loop once, after *delay* seconds.

        For mix-ins, in the loop's own thread. Returns false, and does nothing,
        while no loop runs.
        """
        if self._ns_loop is None:
            return False
        self._ns_loop.call_later(delay, callback)
        return True

    def _ns_steps(self, loop: Loop, poll_interval: float) -> Waits:
        """All that :meth:`serve_forever` does but its waits, to which it yields their timeouts.

        So that a coroutine can do it too. After each wait, ``loop.ready`` must tell what
        came of it.
        """
        try:
            while self._ns_listen(loop):
                yield self._ns_interval(loop, poll_interval)
                # Nothing is accepted once a stop was asked for.
                if self._ns_stop_requested:
                    break
                if loop.ready:
                    self.take_requests()
                if getattr(self.service_actions, "__func__", None) is not _NO_ACTIONS:
                    self._ns_call_hook(self.service_actions, "service_actions")
            if self._ns_drain is not None:
                yield from self._ns_carry_out(self._ns_drain, loop, poll_interval)
        finally:
            self._ns_paused = False
            self._ns_give_up_kept()

    def _ns_check_handler(self, handler: object) -> None:
        if not callable(handler):
            msg = (
                f"RequestHandlerClass must be callable as handler(request,"
                f" client_address, server), not {handler!r}"
            )
            raise TypeError(msg)
        if is_coroutine_handler(handler) and not getattr(self, "runs_coroutines", False):
            msg = (
                f"{type(self).__name__} doesn't await coroutines, which {handler!r} handles"
                f" requests with: class Server(AsyncioMixIn, {type(self).__name__}) does"
            )
            raise TypeError(msg)

    def _ns_listen(self, loop: Loop) -> bool:
        """Wait for requests from now on, if there is room; false when told to stop."""
        if self._ns_stop_requested:
            return False
        # The common case first: this is asked before each wait.
        has_room = not self._ns_paused and self.may_accept()
        if has_room and loop.listener is self:
            return True
        self._ns_watch(loop, has_room or self._ns_has_room(loop))
        return not self._ns_stop_requested

    def _ns_watch(self, loop: Loop, wanted: bool) -> None:
        """Have *loop* wait for requests if they are *wanted*, unless the server is closed."""
        try:
            loop.listen(self if wanted else None)
        except (ValueError, OSError):
            # The descriptor is gone, also between two looks at it, which is as it should
            # be after server_close.
            if not self._ns_stop_requested:
                raise

    def _ns_has_room(self, loop: Loop) -> bool:
        """Whether there is room after all; if not, whatever changes that wakes the loop."""
        if self._ns_paused:
            return False
        if not self._ns_told_full:
            self._ns_told_full = True
            log.warning(
                "%r: %d requests are in progress, and the next ones wait until one has ended",
                self,
                self._ns_ledger.active,
                extra={"server": self},
            )
        self._ns_ledger.wake = loop.wake
        # One that ended in between has woken nobody.
        return self.may_accept()

    def _ns_interval(self, loop: Loop, poll_interval: float) -> float | None:
        """How long the loop may sleep: for ever, unless somebody needs the interval."""
        hook = getattr(self.service_actions, "__func__", None)
        if loop.may_sleep and hasattr(hook, NEEDS_NO_INTERVAL):
            return None
        return poll_interval

    def _ns_patience(self) -> float | None:
        """How long :meth:`handle_request` waits, in seconds; None: for ever."""
        return self.timeout

    def _handle_request_noblock(self) -> bool:
        """Take one request, which should be there, and process it; false if there was none."""
        taken = self._ns_get(self.get_request)
        if taken is None:
            return False
        request, client_address = taken
        entry = self._ns_ledger.begin(request, client_address, opening=self.opens_requests)
        if self._ns_ledger.draining:
            self._ns_end_input(entry)
        self._ns_attempt(request, client_address, entry, self._ns_admit)
        return True

    def _ns_get(self, get: Callable[[], _Taken]) -> _Taken | None:
        """What *get* takes, or None if that fails, which is dealt with."""
        try:
            taken = get()
        except Exception as error:
            self._ns_get_failed(error)
            return None
        if self._ns_in_trouble:
            self._ns_get_succeeded()
        return taken

    def _ns_get_failed(self, error: Exception) -> None:
        """Deal with *error*, which is being handled, and which taking a request has raised."""
        self._ns_in_trouble = True
        if isinstance(error, OSError):
            # Otherwise the peer has left again, or another process was faster.
            if calls_for_a_pause(error):
                self._ns_pause(error)
            return
        log.exception("%r: get_request raised", self, extra={"server": self})
        self._ns_failures += 1
        # One bad client must not hold up the others; this is none.
        if self._ns_failures >= _BROKEN:
            self._ns_pause(error)

    def _ns_get_succeeded(self) -> None:
        """Note that a request was taken, for the first time after a failure."""
        self._ns_in_trouble = False
        self._ns_failures = 0
        if self._ns_backoff.failing:
            self._ns_recover()

    def _ns_admit(self, request: RequestT, client_address: AddressT, entry: Entry) -> bool:
        """Whether *request* may be processed: by the limits, and by ``verify_request``."""
        admission = Admission.ACCEPT
        if self.overload == "refuse":
            active = self._ns_ledger.active - 1
            admission = admit(active, self.max_connections, self.overload)
        if admission is Admission.REFUSE:
            self.refuse_request(request, client_address)
            return False
        return self._ns_learns_address_late or self._ns_admit_peer(request, client_address, entry)

    def _ns_admit_peer(self, request: RequestT, client_address: AddressT, entry: Entry) -> bool:
        """Whether the client at *client_address*, which *entry* has too, may be served."""
        if self.max_connections_per_peer is not None:
            held = self._ns_ledger.count_peer(entry)
            if admit_peer(held, self.max_connections_per_peer) is Admission.REFUSE:
                self.refuse_request(request, client_address)
                return False
        return self.verify_request(request, client_address)

    def _ns_attempt(
        self,
        request: RequestT,
        client_address: AddressT,
        entry: Entry,
        admit: Callable[[RequestT, AddressT, Entry], bool] | None,
    ) -> None:
        """Process *request*, if *admit* lets it; see it to its end if that fails."""
        outcome: Outcome | None = Outcome.FAILED
        try:
            if admit is not None and not admit(request, client_address, entry):
                outcome = Outcome.REFUSED
            else:
                self.process_request(request, client_address)
                outcome = None
        except ExhaustedError as error:
            if self._ns_loop is None:
                report_error(self, request, client_address)
            else:
                self._ns_kept.append(entry)
                self._ns_pause(error)
                outcome = None
        except Exception:
            # An opening may know better by now whose request it is.
            outcome = report_error(self, request, entry.address)
        finally:
            if outcome is not None:
                self._ns_end(entry, outcome)

    def _ns_end(self, entry: Entry, outcome: Outcome) -> None:
        """End *entry*, which no handler has, in the loop's own thread."""
        entry.outcome = outcome
        self._ns_handles_in_loop = True
        end_request(self, entry.request)
        self._ns_handles_in_loop = False
        self.request_ended(entry)

    def _ns_pause(self, error: Exception) -> None:
        """Take nothing for a while, because the system has run out of something."""
        # A descriptor that server_close has taken away is nothing to wait for.
        if self._ns_loop is None or self._ns_state is State.CLOSED:
            return
        if not self._ns_backoff.failing:
            self._ns_ledger.exhausted += 1
            log.warning(
                "%r: the system has run out of something (%s);"
                " requests wait in the backlog until there is room again",
                self,
                error,
                extra={"server": self},
            )
        self._ns_paused = True
        self._ns_loop.call_later(self._ns_backoff.failed(), self._ns_resume)

    def _ns_resume(self) -> None:
        """End the pause: first what was kept, then what waits in the backlog."""
        self._ns_paused = False
        # One by one, because what isn't tried must stay in the list.
        tries = len(self._ns_kept)
        for _ in range(tries):
            entry = self._ns_kept.pop(0)
            self._ns_attempt(entry.request, entry.address, entry, None)
            if self._ns_paused:
                # It is kept again, and still the first.
                self._ns_kept.insert(0, self._ns_kept.pop())
                return
        if tries:
            self._ns_recover()

    def _ns_give_up_kept(self) -> None:
        """End the requests that could never be run."""
        kept = self._ns_kept.copy()
        self._ns_kept.clear()
        for entry in kept:
            log.error(
                "%r: the request from %s was never run: the system had no room for it",
                self,
                entry.address,
                extra={"server": self},
            )
            self._ns_end(entry, Outcome.FAILED)

    def _ns_recover(self) -> None:
        self._ns_backoff.succeeded()
        log.info("%r: there is room again for requests", self, extra={"server": self})

    def _ns_carry_out(self, drain: Drain, loop: Loop, poll_interval: float) -> Waits:
        """Bring what was accepted to its end, until the grace is over, then by force."""
        self._ns_ledger.wake = loop.wake
        yield from self._ns_take_backlog(drain, loop, poll_interval)
        loop.listen(None)
        drain.backlog_taken = True
        self._ns_ledger.notify()
        yield from self._ns_await_ends(loop, poll_interval, lambda: drain.deadline)
        if self._ns_ledger.active:
            self._ns_force()
            yield from self._ns_await_ends(loop, poll_interval, lambda: drain.deadline + UNWIND)
        if self._ns_ledger.active:
            self._ns_abandon()
        drain.carried_out = True

    def _ns_backlog_size(self) -> int:
        """How many requests the system keeps waiting at the most."""
        size: int = getattr(self, "request_queue_size", _BACKLOG)
        return size

    def _ns_take_backlog(self, drain: Drain, loop: Loop, poll_interval: float) -> Waits:
        """Take the requests that wait in the system's backlog at this moment."""
        # As many as fit in it, so that newcomers can't keep the drain from ending.
        for _ in range(self._ns_backlog_size() + 1 if self.drains_backlog else 0):
            while not (self.may_accept() and not self._ns_paused) and drain.remaining() > 0:
                drain.full = True
                self._ns_ledger.notify()
                loop.listen(None)
                yield from self._ns_wait_for_an_end(loop, poll_interval, drain.remaining())
            drain.full = False
            if drain.remaining() <= 0 or self._ns_state is State.CLOSED:
                return
            self._ns_watch(loop, wanted=True)
            yield 0
            if not loop.ready:
                return
            self._handle_request_noblock()

    def _ns_await_ends(self, loop: Loop, poll_interval: float, until: Callable[[], float]) -> Waits:
        """Wait until no request is in progress, or until the time that *until* tells."""
        while self._ns_ledger.active:
            left = until() - time.monotonic()
            if left <= 0:
                return
            yield from self._ns_wait_for_an_end(loop, poll_interval, left)

    def _ns_wait_for_an_end(self, loop: Loop, poll_interval: float, longest: float) -> Waits:
        """Wait once in a drain, at most *longest* seconds."""
        interval = self._ns_interval(loop, poll_interval)
        yield longest if interval is None else min(longest, interval)
        self._ns_call_hook(self.service_actions, "service_actions")


# What needn't be called.
_NO_ACTIONS: Final = Lifecycle.service_actions

# After how many failures of get_request in a row the loop pauses.
_BROKEN: Final = 10

# How many requests a server without request_queue_size may have waiting.
_BACKLOG: Final = 128
