"""Servers of datagrams: UDP."""

import contextlib
import socket as _socket
from typing import Any, Final

from netserve.core import AddressT, DatagramRequest, InetAddress
from netserve.transports._socket_server import SocketServer

_DONT_WAIT: Final = getattr(_socket, "MSG_DONTWAIT", 0)


class DatagramServer(SocketServer[DatagramRequest, AddressT]):
    """A server whose requests are datagrams, each with the socket to answer on."""

    socket_type: int = _socket.SOCK_DGRAM

    max_packet_size: int = 8192
    """How many bytes of a datagram are read; what exceeds them is lost."""

    def server_activate(self) -> None:
        """Do nothing: a bound datagram socket receives already."""

    def get_request(self) -> tuple[DatagramRequest, AddressT]:
        """Receive a datagram; returns (data, socket) and the client's address."""
        # In the loop, another process may have been faster; elsewhere one waits for it.
        flags = 0 if self._ns_loop is None else _DONT_WAIT
        data, client_address = self.socket.recvfrom(self.max_packet_size, flags)
        self.requests_in_progress.add_bytes(len(data), 0)
        return (data, self.socket), client_address

    def refuse_request(self, request: DatagramRequest, client_address: AddressT) -> None:
        """Send :attr:`farewell`, if there is one, as far as that is possible at once."""
        address: Any = client_address
        if self.farewell:
            with contextlib.suppress(OSError):
                self.socket.sendto(self.farewell, _DONT_WAIT, address)

    def shutdown_request(self, request: DatagramRequest) -> None:
        """Call :meth:`close_request`; a datagram has no connection to end."""
        self.close_request(request)

    def close_request(self, request: DatagramRequest) -> None:
        """Close nothing: the socket is the server's own."""
        self.request_closed(request)

    # A datagram has no connection to reach into. Said here, because in the drop-in
    # module, as in CPython, a stream server stands behind this class.

    def end_input(self, request: DatagramRequest) -> None:
        """Do nothing: the whole datagram is there."""

    def abort_request(self, request: DatagramRequest) -> None:
        """Do nothing: there is no connection to shut."""

    def is_connected(self, request: DatagramRequest) -> bool:
        """True."""
        return True

    def has_unread_input(self, request: DatagramRequest) -> bool:
        """False."""
        return False

    def duplicate_request(self, request: DatagramRequest) -> DatagramRequest:
        """*request* itself."""
        return request

    def close_duplicate(self, duplicate: DatagramRequest) -> None:
        """Do nothing: the socket is the server's own."""

    # A handler that answers relies on it.
    _ns_blocks_while_serving = True

    def _ns_backlog_size(self) -> int:
        # The drop-in module's class has the queue of a stream server too, which isn't meant.
        return _BACKLOG


# More of the smallest datagrams than fit in a buffer of the usual size.
_BACKLOG: Final = 1024


class UDPServer(DatagramServer[InetAddress]):
    """A server of UDP datagrams (:rfc:`768`), over IPv4 or IPv6, as its address says.

    Addresses are pairs of host and port in either family. A subclass that sets
    ``address_family`` takes only that one.
    """

    _ns_pairs = True
