"""Servers of connected streams: TCP."""

import contextlib
import os
import socket as _socket

from netserve.core import AddressT, InetAddress, StreamRequest
from netserve.transports._socket_server import SocketServer


class StreamServer(SocketServer[StreamRequest, AddressT]):
    """A server whose requests are connections.

    Derive from it for a family that has no class here:
    ``StreamServer[Inet6Address]`` with ``address_family = socket.AF_INET6``.
    """

    request_queue_size: int = 128
    """How many connections the system keeps waiting (see :manpage:`listen(2)`)."""

    def server_activate(self) -> None:
        """Listen, with a queue of :attr:`request_queue_size`."""
        self.socket.listen(self.request_queue_size)

    def get_request(self) -> tuple[StreamRequest, AddressT]:
        """Accept a connection; returns its socket and the client's address."""
        return self.socket.accept()

    def shutdown_request(self, request: StreamRequest) -> None:
        """Tell the client that nothing more will come, and close *request*.

        The connection ends even where another process still holds a copy of
        the socket.
        """
        # A connection that is gone already has nothing to shut down.
        with contextlib.suppress(OSError):
            request.shutdown(_socket.SHUT_WR)
        self.close_request(request)

    def close_request(self, request: StreamRequest) -> None:
        """Close this process's socket of the connection."""
        request.close()


class TCPServer(StreamServer[InetAddress]):
    """A server of TCP connections (:rfc:`9293`), over IPv4 unless a subclass says otherwise."""

    # On Windows the option would let two servers take one port.
    allow_reuse_address: bool = os.name == "posix"
