"""Internet servers with processes; only with ``fork``."""

from netserve.concurrency import ForkingMixIn
from netserve.transports import TCPServer, UDPServer

__all__ = ["ForkingTCPServer", "ForkingUDPServer"]


class ForkingTCPServer(ForkingMixIn, TCPServer):
    """A TCP server that handles each connection in a process of its own."""


class ForkingUDPServer(ForkingMixIn, UDPServer):
    """A UDP server that handles each datagram in a process of its own."""
