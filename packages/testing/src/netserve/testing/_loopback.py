"""A plain server of TCP connections on the loopback, for the check of a mix-in."""

import os
import select
import socket as _socket
from collections.abc import Callable
from contextlib import suppress

from typing_extensions import Self

from netserve.core import BaseServer, InetAddress, State, StreamRequest


class LoopbackServer(BaseServer[StreamRequest, InetAddress]):
    """No more than a mix-in needs; what the hooks do is what core describes."""

    address_family = _socket.AF_INET
    socket_type = _socket.SOCK_STREAM

    # What a mix-in may look for that reads the connections itself.
    idle_timeout: float | None = None
    message_timeout: float | None = None
    connection_timeout: float | None = None
    linger_timeout = 5.0
    linger_bytes = 1 << 20

    def __init__(
        self,
        server_address: InetAddress,
        RequestHandlerClass: Callable[[StreamRequest, InetAddress, Self], object],
    ) -> None:
        super().__init__(server_address, RequestHandlerClass)
        self.socket = _socket.socket(self.address_family, self.socket_type)
        self.server_bind()
        self.server_activate()

    def server_bind(self) -> None:
        """Bind, and read back the port."""
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self._ns_move(State.BOUND, "server_bind")

    def server_activate(self) -> None:
        """Listen."""
        self.socket.setblocking(False)
        self.socket.listen(128)

    def server_close(self) -> None:
        """Close the listening socket."""
        super().server_close()
        self.socket.close()

    def fileno(self) -> int:
        """The listening socket's."""
        return self.socket.fileno()

    def get_request(self) -> tuple[StreamRequest, InetAddress]:
        """Accept."""
        connection, address = self.socket.accept()
        connection.setblocking(True)
        return connection, address

    def shutdown_request(self, request: StreamRequest) -> None:
        """End the output, then close."""
        with suppress(OSError):
            request.shutdown(_socket.SHUT_WR)
        self.close_request(request)

    def close_request(self, request: StreamRequest) -> None:
        """Close."""
        request.close()
        self.request_closed(request)

    def end_input(self, request: StreamRequest) -> None:
        """Shut the reading side."""
        request.shutdown(_socket.SHUT_RD)

    def abort_request(self, request: StreamRequest) -> None:
        """Shut both sides."""
        request.shutdown(_socket.SHUT_RDWR)

    def is_connected(self, request: StreamRequest) -> bool:
        """Whether it is open in either direction."""
        poll = select.poll()
        poll.register(request, 0)
        return not poll.poll(0)

    def duplicate_request(self, request: StreamRequest) -> StreamRequest:
        """A socket of its own."""
        return _socket.socket(fileno=os.dup(request.fileno()))

    def close_duplicate(self, duplicate: StreamRequest) -> None:
        """Close it."""
        duplicate.close()
