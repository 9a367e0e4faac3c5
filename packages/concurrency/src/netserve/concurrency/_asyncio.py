"""The mix-in that runs handlers as coroutines, on asyncio's event loop or uvloop's."""

import asyncio
import contextlib
import inspect
import socket as _socket
import sys
import time
from collections.abc import Callable
from typing import Any, Final, Protocol, cast

from typing_extensions import TypeVar

from netserve.concurrency._asyncio_connection import Connection
from netserve.concurrency._asyncio_loop import AsyncioLoop
from netserve.concurrency._asyncio_request import (
    begin_handler,
    begin_tls,
    close,
    connect,
    serve_datagram,
    serve_stream,
)
from netserve.core import (
    BaseServer,
    CoroutineHandler,
    Entry,
    HookAddressT,
    HookRequestT,
    Ledger,
    Loop,
    MessageHandler,
    Outcome,
    RequestHooks,
    ServerMixIn,
    StopResult,
    run_request,
)

_RequestT = TypeVar("_RequestT", contravariant=True)
_AddressT = TypeVar("_AddressT", contravariant=True)

_INTERNET: Final = {_socket.AF_INET, _socket.AF_INET6}


class AsyncioHooks(RequestHooks[_RequestT, _AddressT], Protocol[_RequestT, _AddressT]):
    """What :class:`AsyncioMixIn` needs of the class that it is mixed into, and itself."""

    @property
    def RequestHandlerClass(self) -> Callable[..., object]:
        """Makes the handlers."""
        ...

    @property
    def current_loop(self) -> Loop | None:
        """The loop that runs."""
        ...

    @property
    def requests_in_progress(self) -> Ledger:
        """The table of the requests."""
        ...

    def make_handler(
        self, request: _RequestT, client_address: _AddressT, /
    ) -> CoroutineHandler | MessageHandler:
        """Make the handler of a request."""
        ...


class AsyncioMixIn(ServerMixIn):
    """Runs each request in a task of an event loop, which has them all in one thread.

    It comes before the server class: ``class Server(AsyncioMixIn, TCPServer)``. It
    takes handlers whose work is a coroutine, as
    ``netserve.handlers.AsyncStreamRequestHandler``, and handlers of messages, as
    ``netserve.handlers.MessageRequestHandler``. A handler that blocks, instead of
    awaiting, holds up all connections; :func:`asyncio.to_thread` is for what does.

    ``serve_forever`` and all that belongs to it work as everywhere, and run an event
    loop of their own. :meth:`serve_async` serves in an event loop that runs already.
    """

    def __init_subclass__(cls, **keywords: object) -> None:
        super().__init_subclass__(**keywords)
        if hasattr(cls, "serve_forever") and not issubclass(cls, BaseServer):
            msg = (
                f"{cls.__qualname__}: AsyncioMixIn needs the loop of netserve's servers;"
                " the standard library's can have ThreadPoolMixIn or ThreadingMixIn"
            )
            raise TypeError(msg)

    runs_coroutines: bool = True
    """That this server awaits the work of its handlers."""

    drives_messages: bool = True
    """That this server reads the connections of handlers of messages, and calls them."""

    speaks_tls_itself: bool = True
    """That this server does the handshake of TLS, and leaves the accepted socket plain."""

    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    """What makes the event loop of ``serve_forever``; None, the default: asyncio's own.

    For uvloop it is ``uvloop.new_event_loop``.
    """

    block_on_close: bool = True
    """Whether the end of ``serve_forever`` waits for what handlers gave to threads.

    That is what runs in the event loop's executor, by :func:`asyncio.to_thread` for
    one (default: yes). After a drain that had to force a request it doesn't wait.
    """

    requests_per_wait: int = 64
    """How many connections are accepted after one wait (default 64)."""

    message_timeout: float | None = 30.0
    """How long a message may take to arrive, in seconds (default 30); None: for ever."""

    async def serve_async(self, poll_interval: float = 0.5) -> None:
        """As :meth:`~netserve.core.BaseServer.serve_forever`, in the event loop that runs.

        It returns after ``shutdown``, ``stop`` or :meth:`stop_async`. When its task is
        cancelled it drains for :attr:`~netserve.core.BaseServer.grace` seconds, and
        when that is cancelled again, no longer; then it raises
        :class:`asyncio.CancelledError`.

        The event loop must be able to watch descriptors, which on Windows is
        :class:`asyncio.SelectorEventLoop`.
        """
        server = cast("BaseServer[Any, Any]", self)
        cancelled: asyncio.CancelledError | None = None
        with self._ns_serving() as loop:
            assert isinstance(loop, AsyncioLoop)
            try:
                with contextlib.closing(self._ns_steps(loop, poll_interval)) as steps:
                    for timeout in steps:
                        loop.ready = False
                        try:
                            loop.ready = await loop.wait_async(timeout)
                        except asyncio.CancelledError as error:
                            self._ns_begin_drain(0 if cancelled else server.grace)
                            cancelled = error
            finally:
                await loop.end_tasks()
        if cancelled is not None:
            raise cancelled

    async def stop_async(self, grace: float | None = None) -> StopResult:
        """Drain, as :meth:`~netserve.core.BaseServer.stop` does, without blocking the event loop.

        In the task of a request of this server, or another one that ends with the
        server's event loop, it asks and returns at once.
        """
        server = cast("BaseServer[Any, Any]", self)
        loop = server.current_loop
        if not isinstance(loop, AsyncioLoop) or loop.event_loop is not asyncio.get_running_loop():
            return await asyncio.to_thread(server.stop, grace)
        drain = self._ns_begin_drain(self._ns_checked(grace))
        if loop.outlives(asyncio.current_task()):
            await loop.ended.wait()
        return drain.result(server.requests_in_progress.ends())

    def make_loop(self) -> Loop:
        """The loop: in the event loop that runs in this thread, or else one of its own."""
        return AsyncioLoop(cast("Any", self), self.make_event_loop, running_loop())

    def make_event_loop(self) -> asyncio.AbstractEventLoop:
        """Make the event loop of ``serve_forever``, by :attr:`loop_factory`."""
        # By the class, which doesn't make a method of a function.
        own = vars(self).get("loop_factory", type(self).loop_factory)
        factory = cast("Callable[[], asyncio.AbstractEventLoop] | None", own)
        return _new_event_loop() if factory is None else factory()

    def server_activate(self) -> None:
        """Listen; the answers on connections are sent at once (``TCP_NODELAY``)."""
        listener: _socket.socket = cast("Any", self).socket
        if listener.family in _INTERNET and listener.type == _socket.SOCK_STREAM:
            # The accepted connections inherit it.
            listener.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
        super().server_activate()

    def process_request(
        self: AsyncioHooks[HookRequestT, HookAddressT],
        request: HookRequestT,
        client_address: HookAddressT,
    ) -> None:
        """Start a task for the request; a datagram for a handler of messages is handled at once.

        Outside of the loop, in ``handle_request``, it brings the request to its end.
        """
        loop = self.current_loop
        entry = self.requests_in_progress.find(request)
        if not isinstance(loop, AsyncioLoop) or entry is None:
            run_request(self, request, client_address)
        elif isinstance(request, _socket.socket):
            loop.release(request.fileno())
            loop.start(entry, serve_stream(cast("Any", self), entry, loop.outbox))
        elif hasattr(self.RequestHandlerClass, "feed"):
            run_request(self, request, client_address)
        else:
            loop.start(entry, serve_datagram(cast("Any", self), entry))

    def finish_request(
        self: AsyncioHooks[HookRequestT, HookAddressT],
        request: HookRequestT,
        client_address: HookAddressT,
    ) -> None:
        """Handle the request here and now, in an event loop of its own.

        Raises :class:`RuntimeError` where one runs already, which this would block.
        """
        server = cast("Any", self)
        handler = None
        if not isinstance(request, _socket.socket):
            handler = self.make_handler(request, client_address)
            if not hasattr(handler, "run"):
                # It has handled the datagram in its making.
                return
        if running_loop() is not None:
            msg = (
                "handle_request() would block the event loop that runs in this thread:"
                " await serve_async() instead"
            )
            raise RuntimeError(msg)
        with AsyncioLoop(server, server.make_event_loop, None) as loop:
            if not isinstance(request, _socket.socket):
                loop.run(cast("CoroutineHandler", handler).run())
                return
            own = request.gettimeout()
            connection = connect(loop.outbox, server, request, time.monotonic())
            try:
                loop.run(_handle_to_the_end(server, connection, client_address))
            finally:
                connection.stop()
                # The handler may have closed it.
                with contextlib.suppress(OSError):
                    request.settimeout(own)

    def make_handler(
        self: AsyncioHooks[HookRequestT, HookAddressT],
        request: HookRequestT,
        client_address: HookAddressT,
    ) -> CoroutineHandler | MessageHandler:
        """Call ``RequestHandlerClass``; a handler of messages handles a datagram in its making.

        Raises :class:`TypeError` when that makes a handler of another kind.
        """
        handler = self.RequestHandlerClass(request, client_address, self)
        # Not isinstance, which looks at every member of the Protocol, each time.
        if not (hasattr(handler, "attach") or hasattr(handler, "feed")):
            if asyncio.iscoroutine(handler):
                handler.close()
            raise TypeError(_wrong(self.RequestHandlerClass))
        return cast("CoroutineHandler | MessageHandler", handler)

    def abort_request(self, request: Any) -> None:
        """End *request* in both directions, and cancel its task."""
        server = cast("BaseServer[Any, Any]", self)
        loop = server.current_loop
        entry = server.requests_in_progress.find(request)
        if entry is not None and isinstance(loop, AsyncioLoop):
            loop.cancel(entry)
        super().abort_request(request)

    def abandon_requests(self) -> None:
        """Wait no longer for the tasks that don't heed their cancellation."""
        super().abandon_requests()
        loop = cast("BaseServer[Any, Any]", self).current_loop
        if isinstance(loop, AsyncioLoop):
            loop.abandon()

    def drop_request(self, entry: Entry) -> None:
        """Close the request of *entry*, unless its task has done so."""
        server = cast("BaseServer[Any, Any]", self)
        if server.requests_in_progress.find(entry.request) is entry:
            entry.outcome = Outcome.FORCED
            close(cast("Any", self), entry)

    def _ns_check_handler(self, handler: object) -> None:
        super()._ns_check_handler(handler)
        # What isn't a class shows only in the end what it makes.
        if not isinstance(handler, type):
            if inspect.iscoroutinefunction(handler):
                raise TypeError(_wrong(handler))
            return
        if hasattr(handler, "feed"):
            return
        if not (hasattr(handler, "attach") and hasattr(handler, "run")):
            raise TypeError(_wrong(handler))
        wanted = getattr(self, "socket_type", _socket.SOCK_STREAM) == _socket.SOCK_STREAM
        if getattr(handler, "handles_streams", wanted) != wanted:
            kinds = ("connections", "AsyncStreamRequestHandler")
            if not wanted:
                kinds = ("datagrams", "AsyncDatagramRequestHandler")
            msg = (
                f"the requests of {type(self).__name__} are {kinds[0]}, which {handler!r}"
                f" doesn't handle; an {kinds[1]} does"
            )
            raise TypeError(msg)


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The event loop that runs in this thread, if one does."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


async def _handle_to_the_end(server: Any, connection: Connection, address: Any) -> None:
    """Run the handler, and see that what it has written is sent."""
    try:
        await begin_tls(server, connection)
        await begin_handler(server, connection, address)
    finally:
        await connection.wait_sent()


def _wrong(handler: object) -> str:
    return (
        f"AsyncioMixIn takes handlers whose work is a coroutine, such as an"
        f" AsyncStreamRequestHandler, and handlers of messages, such as a MessageRequestHandler,"
        f" not {handler!r}; ThreadPoolMixIn and ThreadingMixIn take any that blocks"
    )


# What Windows has by default can't watch descriptors.
_new_event_loop: Final[Callable[[], asyncio.AbstractEventLoop]] = (
    asyncio.SelectorEventLoop if sys.platform == "win32" else asyncio.new_event_loop
)
