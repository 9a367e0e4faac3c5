"""Internet servers that run each request in a task of an event loop.

The constructors add nothing but a type: what they take makes handlers whose work is a
coroutine, or handlers of messages, so that a checker finds a handler of another kind.
"""

from collections.abc import Callable

from typing_extensions import Self, Unpack

from netserve.concurrency import AsyncioMixIn
from netserve.core import (
    CoroutineHandler,
    DatagramRequest,
    InetAddress,
    MessageHandler,
    StreamRequest,
)
from netserve.servers._options import InternetOptions, InternetStreamOptions
from netserve.transports import TCPServer, UDPServer

__all__ = ["AsyncioTCPServer", "AsyncioUDPServer"]


class AsyncioTCPServer(AsyncioMixIn, TCPServer):
    """A TCP server that handles each connection in a task of an event loop."""

    def __init__(
        self,
        server_address: InetAddress,
        RequestHandlerClass: Callable[
            [StreamRequest, InetAddress, Self], CoroutineHandler | MessageHandler
        ],
        bind_and_activate: bool = True,
        **options: Unpack[InternetStreamOptions],
    ) -> None:
        super().__init__(server_address, RequestHandlerClass, bind_and_activate, **options)


class AsyncioUDPServer(AsyncioMixIn, UDPServer):
    """A UDP server that handles each datagram in a task of an event loop."""

    def __init__(
        self,
        server_address: InetAddress,
        RequestHandlerClass: Callable[
            [DatagramRequest, InetAddress, Self], CoroutineHandler | MessageHandler
        ],
        bind_and_activate: bool = True,
        **options: Unpack[InternetOptions],
    ) -> None:
        super().__init__(server_address, RequestHandlerClass, bind_and_activate, **options)
