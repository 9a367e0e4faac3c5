"""Mistakes with datagrams."""

from netserve.core import DatagramRequest, InetAddress
from netserve.transports import UDPServer


def verify(server: UDPServer, request: DatagramRequest, address: InetAddress) -> bool:
    # E whole-datagram-as-truncated: verify_truncated
    return server.verify_truncated(request, address)


class Server(UDPServer):
    # E packet-size-as-text: int
    max_packet_size = "512"
