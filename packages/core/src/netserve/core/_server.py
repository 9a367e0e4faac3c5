"""The loop, and the hooks that make a server of it.

Theory of operation. ``serve_forever`` sleeps in one selector over the server's
descriptor and a :class:`~netserve.core.Waker`; nothing else wakes it, unless
``service_actions`` is overridden and so wants its interval. What the loop does
for each ready descriptor is the sequence of the original reference:
``get_request``, ``verify_request``, ``process_request``, each a hook. A hook
that raises an Exception is reported and ends its request, never the loop.

Stopping is a flag and a wake-up. Whoever asks sets the flag under the lock and
wakes the selector; the loop looks at the flag after each wait, before it takes
anything, so that nothing is accepted after ``shutdown``. A request to stop that
comes while no loop runs is kept, and ends the next one before it takes
anything: so a ``shutdown`` that overtakes the start of the serving thread isn't
lost.

The lock is reentrant, because a signal handler may call ``shutdown`` in the
thread that holds it.
"""

import selectors
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import TracebackType
from typing import Final, Generic

from typing_extensions import Self

from netserve.core._errors import StateError
from netserve.core._requests import end_request, log, report_error
from netserve.core._state import State, may_follow
from netserve.core._types import AddressT, RequestT
from netserve.core._waker import Waker

# poll and select need no descriptor of their own, and two are soon looked through.
_Selector: Final[type[selectors.BaseSelector]] = getattr(
    selectors, "PollSelector", selectors.SelectSelector
)

# select() on Windows doesn't return for Ctrl-C, so that it has to end by itself.
_SLEEP_ENDS_ON_SIGNAL: Final = sys.platform != "win32"

_REMEDIES: Final = {
    State.SERVING: "shutdown() ends the loop that runs",
    State.CLOSED: "make a new server, or bind this one to a new socket",
}


class BaseServer(Generic[RequestT, AddressT]):
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

    server_address: AddressT
    """The address that the server listens on, once it is bound."""

    RequestHandlerClass: Callable[[RequestT, AddressT, Self], object]
    """Called with request, client address and server to handle each request."""

    # Defaults on the class, for programs that build a server without __init__.
    _state: State = State.CREATED
    _stop_requested: bool = False
    _waker: Waker | None = None
    _may_sleep: bool = True
    _loop_thread: int | None = None
    _lock = threading.RLock()

    def __init__(
        self,
        server_address: AddressT,
        RequestHandlerClass: Callable[[RequestT, AddressT, Self], object],
    ) -> None:
        self._check_handler(RequestHandlerClass)
        self.server_address = server_address
        self.RequestHandlerClass = RequestHandlerClass
        self._lock = threading.RLock()
        self._loop_ended = threading.Event()
        self._loop_ended.set()

    def __repr__(self) -> str:
        address = getattr(self, "server_address", None)
        return f"<{type(self).__name__} {self._state} at {address!r}>"

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
        return self._state

    def fileno(self) -> int:
        """The descriptor to wait on for requests; a subclass must define it."""
        msg = f"{type(self).__name__} must define fileno(): the descriptor to wait on"
        raise NotImplementedError(msg)

    def serve_forever(self, poll_interval: float = 0.5) -> None:
        """Handle requests until :meth:`shutdown` is called.

        The loop sleeps until a request arrives, a signal does, or it is told to
        stop. It wakes every *poll_interval* seconds (default 0.5) besides when
        :meth:`service_actions` is overridden, to call it; and where nothing
        else would let a signal's handler run: on Windows, and where the program
        has given :func:`signal.set_wakeup_fd` a descriptor of its own.

        Raises :class:`StateError` when the server is being served already, or
        is closed.
        """
        with _Selector() as selector, self._serving() as waker:
            selector.register(waker, selectors.EVENT_READ)
            if not self._begin_waiting(selector):
                return
            while not self._must_stop():
                ready = selector.select(self._sleep(poll_interval))
                # Nothing is accepted once a stop was asked for.
                if self._must_stop():
                    break
                for key, _ in ready:
                    if key.fileobj is self:
                        self._handle_request_noblock()
                    else:
                        waker.drain()
                self._run_service_actions()

    def shutdown(self) -> None:
        """Tell :meth:`serve_forever` to stop, and wait until it has.

        From within the loop's own thread (a handler of a synchronous server, a
        signal handler) it asks and returns at once. While no loop runs it
        returns at once too, and the next :meth:`serve_forever` ends before it
        takes a request.
        """
        self._request_stop()
        if self._loop_thread != threading.get_ident():
            self._loop_ended.wait()

    def handle_request(self) -> None:
        """Wait for one request and handle it.

        Calls :meth:`get_request`, :meth:`verify_request` and
        :meth:`process_request`; or :meth:`handle_timeout` when nothing arrives
        within :attr:`timeout` seconds.
        """
        with _Selector() as selector:
            selector.register(self, selectors.EVENT_READ)
            if selector.select(self._patience()):
                self._handle_request_noblock()
            else:
                self.handle_timeout()

    def server_close(self) -> None:
        """Close the server for good; a loop in another thread ends soon after.

        Waits for nothing, except that mix-ins wait for their threads or
        children. May be called twice.
        """
        with self._lock:
            self._move(State.CLOSED, "server_close")
            if self._loop_thread is not None:
                self._request_stop()

    def server_bind(self) -> None:
        """Bind to :attr:`server_address`; the constructor of a subclass calls it."""

    def server_activate(self) -> None:
        """Begin to listen; the constructor of a subclass calls it."""

    def service_actions(self) -> None:
        """Called by :meth:`serve_forever` after each wait; does nothing.

        Overriding it is what makes the loop wake at its interval.
        """

    def get_request(self) -> tuple[RequestT, AddressT]:
        """Take one request; a subclass must define it.

        Returns the request and the client's address. An :class:`OSError` means
        that there was none after all, and is passed over.
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
        self.finish_request(request, client_address)
        self.shutdown_request(request)

    def finish_request(self: Self, request: RequestT, client_address: AddressT) -> None:
        """Call :attr:`RequestHandlerClass`, which handles the request."""
        self.RequestHandlerClass(request, client_address, self)

    def shutdown_request(self, request: RequestT) -> None:
        """End *request* towards the peer, and close it."""
        self.close_request(request)

    def close_request(self, request: RequestT) -> None:
        """Release what *request* holds in this process; does nothing here."""

    def handle_timeout(self) -> None:
        """Called when :meth:`handle_request` has waited in vain; does nothing."""

    def handle_error(self, request: RequestT, client_address: AddressT) -> None:
        """Report the exception being handled: one record on ``netserve.server``.

        Called when the handler, or a hook that serves the request, has raised
        an :class:`Exception`. The record has level ERROR and the traceback.
        """
        log.exception("%r: an error while processing a request from %s", self, client_address)

    def _check_handler(self, handler: object) -> None:
        if not callable(handler):
            msg = (
                f"RequestHandlerClass must be callable as handler(request,"
                f" client_address, server), not {handler!r}"
            )
            raise TypeError(msg)

    def _move(self, following: State, operation: str) -> None:
        """Go to state *following*, or say why *operation* can't be done."""
        with self._lock:
            if not may_follow(self._state, following):
                msg = (
                    f"{self!r} doesn't allow {operation}() while it is {self._state}:"
                    f" {_REMEDIES[self._state]}"
                )
                raise StateError(msg)
            self._state = following

    @contextmanager
    def _serving(self) -> Generator[Waker]:
        """The span of one loop: entered with a waker, left with the stop carried out."""
        with Waker() as waker, waker.woken_by_signals() as may_sleep:
            with self._lock:
                self._move(State.SERVING, "serve_forever")
                self._waker = waker
                self._may_sleep = may_sleep
                self._loop_thread = threading.get_ident()
                self._loop_ended.clear()
            try:
                yield waker
            finally:
                with self._lock:
                    if self._state is State.SERVING:
                        self._move(State.STOPPED, "serve_forever")
                    self._stop_requested = False
                    self._waker = self._loop_thread = None
                    self._loop_ended.set()

    def _begin_waiting(self, selector: selectors.BaseSelector) -> bool:
        """Register the server; false when a stop was asked for, and so it may be closed."""
        try:
            if not self._must_stop():
                selector.register(self, selectors.EVENT_READ)
        except ValueError:
            # The descriptor is gone, which is as it should be after server_close.
            if not self._must_stop():
                raise
        return not self._must_stop()

    def _must_stop(self) -> bool:
        return self._stop_requested

    def _request_stop(self) -> None:
        with self._lock:
            self._stop_requested = True
            if self._waker is not None:
                self._waker.wake()

    def _sleep(self, poll_interval: float) -> float | None:
        """How long the loop may sleep: for ever, unless somebody needs the interval."""
        hook = getattr(self.service_actions, "__func__", None)
        if hook is _NO_ACTIONS and _SLEEP_ENDS_ON_SIGNAL and self._may_sleep:
            return None
        return poll_interval

    def _patience(self) -> float | None:
        """How long :meth:`handle_request` waits, in seconds; None: for ever."""
        return self.timeout

    def _handle_request_noblock(self) -> None:
        """Take one request, which is known to be there, and process it."""
        try:
            request, client_address = self.get_request()
        except OSError:
            # The peer has left again, or another process was faster.
            return
        except Exception:
            self._report_hook("get_request")
            return
        in_good_hands = False
        try:
            if self.verify_request(request, client_address):
                self.process_request(request, client_address)
                in_good_hands = True
        except Exception:
            report_error(self, request, client_address)
        finally:
            if not in_good_hands:
                end_request(self, request)

    def _run_service_actions(self) -> None:
        try:
            self.service_actions()
        except Exception:
            self._report_hook("service_actions")

    def _report_hook(self, hook: str) -> None:
        """Report the exception that *hook* raised, which belongs to no request."""
        log.exception("%r: %s raised", self, hook)


_NO_ACTIONS: Final[object] = vars(BaseServer)["service_actions"]
