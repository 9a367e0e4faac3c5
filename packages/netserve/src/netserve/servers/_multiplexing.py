"""Internet servers with one thread for all connections.

The constructors add nothing but a type: what they take makes handlers of messages,
so that a checker finds a handler of another kind.
"""

from collections.abc import Callable

from typing_extensions import Self

from netserve.concurrency import MultiplexingMixIn
from netserve.core import DatagramRequest, InetAddress, MessageHandler, StreamRequest
from netserve.transports import SocketOptions, TCPServer, UDPServer

__all__ = ["MultiplexingTCPServer", "MultiplexingUDPServer"]


class MultiplexingTCPServer(MultiplexingMixIn, TCPServer):
    """A TCP server that serves all connections in one thread, by their messages."""

    def __init__(
        self,
        server_address: InetAddress,
        RequestHandlerClass: Callable[[StreamRequest, InetAddress, Self], MessageHandler],
        bind_and_activate: bool = True,
        *,
        request_queue_size: int | None = None,
        allow_reuse_address: bool | None = None,
        allow_reuse_port: bool | None = None,
        dual_stack: bool | None = None,
        socket_options: SocketOptions | None = None,
    ) -> None:
        super().__init__(
            server_address,
            RequestHandlerClass,
            bind_and_activate,
            request_queue_size=request_queue_size,
            allow_reuse_address=allow_reuse_address,
            allow_reuse_port=allow_reuse_port,
            dual_stack=dual_stack,
            socket_options=socket_options,
        )


class MultiplexingUDPServer(MultiplexingMixIn, UDPServer):
    """A UDP server that handles datagrams in one thread, each as a message."""

    def __init__(
        self,
        server_address: InetAddress,
        RequestHandlerClass: Callable[[DatagramRequest, InetAddress, Self], MessageHandler],
        bind_and_activate: bool = True,
        *,
        allow_reuse_address: bool | None = None,
        allow_reuse_port: bool | None = None,
        dual_stack: bool | None = None,
        socket_options: SocketOptions | None = None,
    ) -> None:
        super().__init__(
            server_address,
            RequestHandlerClass,
            bind_and_activate,
            allow_reuse_address=allow_reuse_address,
            allow_reuse_port=allow_reuse_port,
            dual_stack=dual_stack,
            socket_options=socket_options,
        )
