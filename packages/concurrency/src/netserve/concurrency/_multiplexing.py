"""The mix-in that has one thread serve thousands of connections, by their messages."""

import socket as _socket
from collections.abc import Callable
from functools import partial
from typing import Any, Final, Protocol, cast

from typing_extensions import TypeVar

from netserve.concurrency._connection import Connection
from netserve.concurrency._multiplexer import MultiplexedServer, Multiplexer
from netserve.concurrency._pool import WorkerPool
from netserve.core import (
    BaseServer,
    HookAddressT,
    HookRequestT,
    Ledger,
    Loop,
    MessageHandler,
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
    """Whether ``server_close`` waits for handlers in other threads (default: yes)."""

    requests_per_wait: int = 64
    """How many connections are accepted after one wait (default 64)."""

    message_timeout: float | None = 30.0
    """How long a message may take to arrive, in seconds (default 30); None: for ever."""

    def make_loop(self) -> Loop:
        """The loop, with the pool."""
        return Multiplexer(cast("MultiplexedServer", self), self.worker_pool)

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
            handler = self.make_handler(cast("Any", request), client_address)
            loop.add(Connection(request, handler, entry))
        else:
            loop.call(partial(run_request, self, request, client_address))

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

    def server_close(self) -> None:
        """Close the server, then the pool, and wait as :attr:`block_on_close` says."""
        super().server_close()
        pool = self._ns_take_pool()
        if pool is not None:
            pool.close(wait=self.block_on_close)

    def _ns_take_pool(self) -> WorkerPool | None:
        """The pool, if one was made, which the next request won't find any more."""
        return cast("WorkerPool | None", vars(self).pop("_worker_pool", None))

    def _ns_check_handler(self, handler: object) -> None:
        super()._ns_check_handler(handler)
        # What isn't a class shows only in the end what it makes.
        if isinstance(handler, type) and not hasattr(handler, "feed"):
            raise TypeError(_wrong(handler))


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
