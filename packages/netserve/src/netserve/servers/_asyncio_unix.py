"""Unix domain servers that run each request in a task; only where there are such sockets."""

from collections.abc import Callable

from typing_extensions import Self, Unpack

from netserve.concurrency import AsyncioMixIn
from netserve.core import (
    CoroutineHandler,
    DatagramRequest,
    MessageHandler,
    StreamRequest,
    UnixAddress,
    UnixPath,
)
from netserve.servers._options import UnixOptions, UnixStreamOptions
from netserve.transports import UnixDatagramServer, UnixStreamServer

__all__ = ["AsyncioUnixDatagramServer", "AsyncioUnixStreamServer"]


class AsyncioUnixStreamServer(AsyncioMixIn, UnixStreamServer):
    """A Unix stream server that handles each connection in a task of an event loop."""

    def __init__(
        self,
        server_address: UnixPath,
        RequestHandlerClass: Callable[
            [StreamRequest, UnixAddress, Self], CoroutineHandler | MessageHandler
        ],
        bind_and_activate: bool = True,
        **options: Unpack[UnixStreamOptions],
    ) -> None:
        super().__init__(server_address, RequestHandlerClass, bind_and_activate, **options)


class AsyncioUnixDatagramServer(AsyncioMixIn, UnixDatagramServer):
    """A Unix datagram server that handles each datagram in a task of an event loop."""

    def __init__(
        self,
        server_address: UnixPath,
        RequestHandlerClass: Callable[
            [DatagramRequest, UnixAddress, Self], CoroutineHandler | MessageHandler
        ],
        bind_and_activate: bool = True,
        **options: Unpack[UnixOptions],
    ) -> None:
        super().__init__(server_address, RequestHandlerClass, bind_and_activate, **options)
