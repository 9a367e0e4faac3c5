"""The mix-in that has one thread serve thousands of connections, by their messages."""

import socket as _socket
import threading
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from typing import Any, Final, Protocol, cast

from typing_extensions import TypeVar

from netserve.concurrency._connection import Connection
from netserve.concurrency._dispatch import Dispatch
from netserve.concurrency._executing import ExecutingMultiplexer
from netserve.concurrency._executors import Executors, sendable_function
from netserve.concurrency._multiplexer import MultiplexedServer, Multiplexer
from netserve.concurrency._opening_connection import OpeningConnection
from netserve.concurrency._pool import WorkerPool
from netserve.core import (
    BaseServer,
    Entry,
    ForwardedHandler,
    HookAddressT,
    HookRequestT,
    Ledger,
    Loop,
    MessageHandler,
    RequestBatch,
    RequestHooks,
    ServerMixIn,
    run_request,
)

_RequestT = TypeVar("_RequestT", contravariant=True)
_AddressT = TypeVar("_AddressT", contravariant=True)

_CHUNK: Final = 65536
_INTERNET: Final = {_socket.AF_INET, _socket.AF_INET6}


class MultiplexingHooks(RequestHooks[_RequestT, _AddressT], Protocol[_RequestT, _AddressT]):
    """What :class:`MultiplexingMixIn` needs of the class that it is mixed into, and itself."""

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

    def make_handler(self, request: _RequestT, client_address: _AddressT, /) -> MessageHandler:
        """Make the handler of a request."""
        ...


class MultiplexingMixIn(ServerMixIn):
    """Serves all connections in one thread, which waits for them all at once.

    It comes before the server class: ``class Server(MultiplexingMixIn,
    TCPServer)``, and takes handlers of messages, as
    ``netserve.handlers.MessageRequestHandler``. See the original reference,
    *Asynchronous Mixins*, where it is "another approach".

    Handlers may block nevertheless: as soon as one is seen to, connections that
    are ready go to a pool of at most :attr:`max_workers` threads, until no
    handler has blocked for a second. The messages of one connection stay in
    their order, and are handled one at a time.

    With an :attr:`executor`, or :meth:`make_executor`, the messages are answered
    there, by the handler's ``process_message``; the loop reads and sends.
    """

    def __init_subclass__(cls, **keywords: object) -> None:
        super().__init_subclass__(**keywords)
        if hasattr(cls, "handle_request") and not issubclass(cls, BaseServer):
            msg = (
                f"{cls.__qualname__}: MultiplexingMixIn needs the loop of netserve's servers;"
                " the standard library's can have ThreadPoolMixIn or ThreadingMixIn"
            )
            raise TypeError(msg)

    drives_messages: bool = True
    """That this server reads the connections and calls their handlers."""

    max_workers: int = 32
    """How many threads may run handlers while some of them block (default 32).

    With 0 there are none, and a handler that blocks holds up all connections.
    """

    block_on_close: bool = True
    """Whether ``server_close`` waits for handlers in other threads (default: yes).

    And for what an executor of :meth:`make_executor` is doing; in the loop's own
    thread, a signal's handler for one, it leaves that to the end of the loop.
    """

    requests_per_wait: int = 64
    """How many connections are accepted after one wait (default 64)."""

    message_timeout: float | None = 30.0
    """How long a message may take to arrive, in seconds (default 30); None: for ever."""

    executor: Executor | None = None
    """What answers the messages; None, the default, is nobody else.

    Any executor: a pool of threads or processes, or that of a cluster. It is its
    owner's, who shuts it down after the server is closed. When it is broken, each
    message fails until it is replaced.

    What is sent to it is ``process_message`` of the handler class, with a message:
    a static method, which is found by its module and name wherever it runs. A
    handler that has none, or one that can't be pickled or is a coroutine function,
    is a :class:`TypeError` when the server is made, or when it begins to serve if
    the executor was set since. The other methods of the handler are called in the
    loop's own thread, and must not block. :attr:`max_workers` has no meaning then.
    """

    max_in_flight: int = 256
    """How many messages may be with the executor at a time (default 256).

    Beyond it connections aren't read, and datagrams not received.
    """

    max_in_flight_per_connection: int = 1
    """How many of them may be of one connection (default 1).

    Beyond it the connection isn't read. With more than one, the work for a message
    may begin before that for the message before it has ended; the answers are sent
    in the order of the messages nevertheless.
    """

    def make_executor(self) -> Executor | None:
        """Make an executor of the server's own; None, here, for none.

        Called when the server begins to serve, unless :attr:`executor` is set, and
        again when what it made is broken. ``server_close`` shuts it down.
        """
        return None

    @property
    def forwards_messages(self) -> bool:
        """Whether an executor answers the messages: while it serves, if there is one."""
        return isinstance(self._ns_loop, ExecutingMultiplexer)

    def may_accept(self) -> bool:
        """Whether there is room; for a datagram, also with the executor."""
        if self.forwards_messages and self._ns_takes_datagrams:
            active = cast("BaseServer[Any, Any]", self).requests_in_progress.active
            if active >= self.max_in_flight:
                return False
        return super().may_accept()

    def make_loop(self) -> Loop:
        """The loop, with the executor, or else the pool."""
        server = cast("MultiplexedServer", self)
        if not self._ns_forwards:
            return Multiplexer(server, self.worker_pool)
        made = Executors(self.executor, self.make_executor)
        executors: Executors = vars(self).setdefault("_ns_executors", made)
        executors.given = self.executor
        handler = cast("BaseServer[Any, Any]", self).RequestHandlerClass
        return ExecutingMultiplexer(
            server,
            # Nothing blocks but a full socket for datagrams.
            self.worker_pool if self._ns_takes_datagrams else None,
            executors,
            sendable_function(handler, executors.get()),
            Dispatch(self.max_in_flight, self.max_in_flight_per_connection),
        )

    @property
    def worker_pool(self) -> WorkerPool | None:
        """The threads for handlers that block, which are made at first use, if any may be."""
        if not self.max_workers:
            return None
        made = WorkerPool(self.max_workers, type(self).__name__)
        return cast("WorkerPool", vars(self).setdefault("_worker_pool", made))

    def server_activate(self) -> None:
        """Listen; the answers on connections are sent at once (``TCP_NODELAY``)."""
        listener: _socket.socket = cast("Any", self).socket
        if listener.family in _INTERNET and listener.type == _socket.SOCK_STREAM:
            # The accepted connections inherit it.
            listener.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
        super().server_activate()

    def process_request(
        self: MultiplexingHooks[HookRequestT, HookAddressT],
        request: HookRequestT,
        client_address: HookAddressT,
    ) -> None:
        """Add the connection to those that the loop waits for; handle a datagram at once.

        Outside ``serve_forever`` it serves the connection to its end.
        """
        loop = self.current_loop
        entry = self.requests_in_progress.find(request)
        if not isinstance(loop, Multiplexer) or entry is None:
            run_request(self, request, client_address)
        elif isinstance(request, _socket.socket):
            connection: Any = request
            server = cast("BaseServer[Any, Any]", self)
            opening = server.open_request(connection, client_address)
            if opening is None:
                if entry.opening:
                    server.request_opened(entry, client_address)
                loop.add(_begin(self, loop, connection, entry, client_address))
            else:
                begin = partial(_begin, self, loop, connection, entry)
                loop.add_opening(OpeningConnection(connection, opening, entry, begin))
        elif isinstance(loop, ExecutingMultiplexer):
            handler = self.make_handler(request, client_address)
            loop.add_datagram(cast("ForwardedHandler", handler), entry)
        else:
            loop.call(partial(run_request, self, request, client_address))

    def process_batch(self, batch: RequestBatch) -> None:
        """Handle the datagrams of *batch* here, until one blocks; then in the pool."""
        loop = cast("BaseServer[Any, Any]", self).current_loop
        assert isinstance(loop, Multiplexer)
        loop.run_batch(batch)

    def finish_request(
        self: MultiplexingHooks[HookRequestT, HookAddressT],
        request: HookRequestT,
        client_address: HookAddressT,
    ) -> None:
        """Handle a datagram, or all messages of a connection, here and now."""
        handler = self.make_handler(request, client_address)
        if isinstance(request, _socket.socket):
            _drive(request, handler)

    def make_handler(
        self: MultiplexingHooks[HookRequestT, HookAddressT],
        request: HookRequestT,
        client_address: HookAddressT,
    ) -> MessageHandler:
        """Call ``RequestHandlerClass``, which handles a datagram in its making.

        Raises :class:`TypeError` when that makes no handler of messages.
        """
        handler = self.RequestHandlerClass(request, client_address, self)
        # Not isinstance, which looks at every member of the Protocol, each time.
        if not hasattr(handler, "feed"):
            raise TypeError(_wrong(self.RequestHandlerClass))
        return cast("MessageHandler", handler)

    def abandon_requests(self) -> None:
        """Wait no longer for handlers that don't heed their connection's end."""
        super().abandon_requests()
        pool = self._ns_take_pool()
        if pool is not None:
            pool.forget()
        executors: Executors | None = vars(self).get("_ns_executors")
        if executors is not None:
            executors.abandon()

    def server_close(self) -> None:
        """Close the server, then its pools, and wait as :attr:`block_on_close` says."""
        super().server_close()
        pool = self._ns_take_pool()
        if pool is not None:
            pool.close(wait=self.block_on_close)
        executors: Executors | None = vars(self).pop("_ns_executors", None)
        if executors is not None:
            executors.is_closed = True
            # A signal may have interrupted the loop in a submit, which holds a lock of
            # the executor's: then the loop shuts it down, when it ends.
            if not (executors.in_use and self._ns_leads(threading.get_ident())):
                executors.close(wait=self.block_on_close)

    def _ns_take_pool(self) -> WorkerPool | None:
        """The pool, if one was made, which the next request won't find any more."""
        return cast("WorkerPool | None", vars(self).pop("_worker_pool", None))

    def _ns_check_handler(self, handler: object) -> None:
        super()._ns_check_handler(handler)
        # What isn't a class shows only in the end what it makes.
        if isinstance(handler, type) and not hasattr(handler, "feed"):
            raise TypeError(_wrong(handler))
        if self._ns_forwards:
            sendable_function(handler, self.executor)

    @property
    def _ns_forwards(self) -> bool:
        """Whether there is an executor, or will be."""
        made = type(self).make_executor is not MultiplexingMixIn.make_executor
        return made or self.executor is not None

    @property
    def _ns_takes_datagrams(self) -> bool:
        listener: _socket.socket = cast("Any", self).socket
        return listener.type == _socket.SOCK_DGRAM


def _begin(
    server: MultiplexingHooks[Any, Any],
    loop: Multiplexer,
    request: _socket.socket,
    entry: Entry,
    address: object,
) -> Connection:
    """The connection of *request*, with its handler."""
    return loop.make_connection(request, server.make_handler(request, address), entry)


def _wrong(handler: object) -> str:
    return (
        f"MultiplexingMixIn takes handlers of messages, such as a MessageRequestHandler,"
        f" not {handler!r}; ThreadPoolMixIn and ThreadingMixIn take any"
    )


def _drive(request: _socket.socket, handler: MessageHandler) -> None:
    """Serve one connection to its end, and block meanwhile."""
    handler.transmit = request.sendall
    handler.setup()
    try:
        handler.flush()
        while not handler.closing:
            data = request.recv(_CHUNK)
            answers = handler.feed(data) if data else handler.end_of_input()
            if answers:
                request.sendall(answers)
            if not data:
                break
    finally:
        handler.finish()
