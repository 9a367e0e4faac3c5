"""Unix domain servers with threads, or one thread for all; only where there are such sockets."""

from collections.abc import Callable

from typing_extensions import Self

from netserve.concurrency import MultiplexingMixIn, ThreadingMixIn, ThreadPoolMixIn
from netserve.core import DatagramRequest, MessageHandler, StreamRequest, UnixAddress, UnixPath
from netserve.transports import SocketOptions, UnixDatagramServer, UnixStreamServer

__all__ = [
    "MultiplexingUnixDatagramServer",
    "MultiplexingUnixStreamServer",
    "ThreadPoolUnixDatagramServer",
    "ThreadPoolUnixStreamServer",
    "ThreadingUnixDatagramServer",
    "ThreadingUnixStreamServer",
]


class ThreadingUnixStreamServer(ThreadingMixIn, UnixStreamServer):
    """A Unix stream server that handles each connection in a thread of its own."""


class ThreadingUnixDatagramServer(ThreadingMixIn, UnixDatagramServer):
    """A Unix datagram server that handles each datagram in a thread of its own."""


class ThreadPoolUnixStreamServer(ThreadPoolMixIn, UnixStreamServer):
    """A Unix stream server that handles each connection in one of a bounded number of threads."""


class ThreadPoolUnixDatagramServer(ThreadPoolMixIn, UnixDatagramServer):
    """A Unix datagram server that handles each datagram in one of a bounded number of threads."""


class MultiplexingUnixStreamServer(MultiplexingMixIn, UnixStreamServer):
    """A Unix stream server that serves all connections in one thread, by their messages."""

    def __init__(
        self,
        server_address: UnixPath,
        RequestHandlerClass: Callable[[StreamRequest, UnixAddress, Self], MessageHandler],
        bind_and_activate: bool = True,
        *,
        socket_mode: int | None = None,
        socket_owner: str | int | None = None,
        socket_group: str | int | None = None,
        request_queue_size: int | None = None,
        socket_options: SocketOptions | None = None,
    ) -> None:
        super().__init__(
            server_address,
            RequestHandlerClass,
            bind_and_activate,
            socket_mode=socket_mode,
            socket_owner=socket_owner,
            socket_group=socket_group,
            request_queue_size=request_queue_size,
            socket_options=socket_options,
        )


class MultiplexingUnixDatagramServer(MultiplexingMixIn, UnixDatagramServer):
    """A Unix datagram server that handles datagrams in one thread, each as a message."""

    def __init__(
        self,
        server_address: UnixPath,
        RequestHandlerClass: Callable[[DatagramRequest, UnixAddress, Self], MessageHandler],
        bind_and_activate: bool = True,
        *,
        socket_mode: int | None = None,
        socket_owner: str | int | None = None,
        socket_group: str | int | None = None,
        socket_options: SocketOptions | None = None,
    ) -> None:
        super().__init__(
            server_address,
            RequestHandlerClass,
            bind_and_activate,
            socket_mode=socket_mode,
            socket_owner=socket_owner,
            socket_group=socket_group,
            socket_options=socket_options,
        )
