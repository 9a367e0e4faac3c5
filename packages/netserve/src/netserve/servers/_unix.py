"""Unix domain servers with threads, or one thread for all; only where there are such sockets."""

from collections.abc import Callable

from typing_extensions import Self, Unpack

from netserve.concurrency import MultiplexingMixIn, ThreadingMixIn, ThreadPoolMixIn
from netserve.core import DatagramRequest, MessageHandler, StreamRequest, UnixAddress, UnixPath
from netserve.servers._options import UnixOptions, UnixStreamOptions
from netserve.transports import UnixDatagramServer, UnixStreamServer

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
        **options: Unpack[UnixStreamOptions],
    ) -> None:
        super().__init__(server_address, RequestHandlerClass, bind_and_activate, **options)


class MultiplexingUnixDatagramServer(MultiplexingMixIn, UnixDatagramServer):
    """A Unix datagram server that handles datagrams in one thread, each as a message."""

    def __init__(
        self,
        server_address: UnixPath,
        RequestHandlerClass: Callable[[DatagramRequest, UnixAddress, Self], MessageHandler],
        bind_and_activate: bool = True,
        **options: Unpack[UnixOptions],
    ) -> None:
        super().__init__(server_address, RequestHandlerClass, bind_and_activate, **options)
