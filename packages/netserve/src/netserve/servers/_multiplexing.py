"""Internet servers with one thread for all connections.

The constructors add nothing but a type: what they take makes handlers of messages,
so that a checker finds a handler of another kind.
"""

from collections.abc import Callable

from typing_extensions import Self, Unpack

from netserve.concurrency import MultiplexingMixIn
from netserve.core import DatagramRequest, InetAddress, MessageHandler, StreamRequest
from netserve.servers._options import InternetOptions, InternetStreamOptions
from netserve.transports import TCPServer, UDPServer

__all__ = ["MultiplexingTCPServer", "MultiplexingUDPServer"]


class MultiplexingTCPServer(MultiplexingMixIn, TCPServer):
    """A TCP server that serves all connections in one thread, by their messages."""

    def __init__(
        self,
        server_address: InetAddress,
        RequestHandlerClass: Callable[[StreamRequest, InetAddress, Self], MessageHandler],
        bind_and_activate: bool = True,
        **options: Unpack[InternetStreamOptions],
    ) -> None:
        super().__init__(server_address, RequestHandlerClass, bind_and_activate, **options)


class MultiplexingUDPServer(MultiplexingMixIn, UDPServer):
    """A UDP server that handles datagrams in one thread, each as a message."""

    def __init__(
        self,
        server_address: InetAddress,
        RequestHandlerClass: Callable[[DatagramRequest, InetAddress, Self], MessageHandler],
        bind_and_activate: bool = True,
        **options: Unpack[InternetOptions],
    ) -> None:
        super().__init__(server_address, RequestHandlerClass, bind_and_activate, **options)
