"""Servers of datagrams: UDP."""

import socket as _socket

from netserve.core import AddressT, DatagramRequest, InetAddress
from netserve.transports._socket_server import SocketServer


class DatagramServer(SocketServer[DatagramRequest, AddressT]):
    """A server whose requests are datagrams, each with the socket to answer on."""

    socket_type: int = _socket.SOCK_DGRAM

    max_packet_size: int = 8192
    """How many bytes of a datagram are read; what exceeds them is lost."""

    def server_activate(self) -> None:
        """Do nothing: a bound datagram socket receives already."""

    def get_request(self) -> tuple[DatagramRequest, AddressT]:
        """Receive a datagram; returns (data, socket) and the client's address."""
        data, client_address = self.socket.recvfrom(self.max_packet_size)
        return (data, self.socket), client_address

    def shutdown_request(self, request: DatagramRequest) -> None:
        """Call :meth:`close_request`; a datagram has no connection to end."""
        self.close_request(request)

    def close_request(self, request: DatagramRequest) -> None:
        """Do nothing: the socket is the server's own."""


class UDPServer(DatagramServer[InetAddress]):
    """A server of UDP datagrams (:rfc:`768`), over IPv4 unless a subclass says otherwise."""
