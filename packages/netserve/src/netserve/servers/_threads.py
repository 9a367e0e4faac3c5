"""Internet servers with threads: one for each request, or a bounded number."""

from netserve.concurrency import ThreadingMixIn, ThreadPoolMixIn
from netserve.transports import TCPServer, UDPServer

__all__ = ["ThreadPoolTCPServer", "ThreadPoolUDPServer", "ThreadingTCPServer", "ThreadingUDPServer"]


class ThreadingTCPServer(ThreadingMixIn, TCPServer):
    """A TCP server that handles each connection in a thread of its own."""


class ThreadingUDPServer(ThreadingMixIn, UDPServer):
    """A UDP server that handles each datagram in a thread of its own."""


class ThreadPoolTCPServer(ThreadPoolMixIn, TCPServer):
    """A TCP server that handles each connection in one of a bounded number of threads."""


class ThreadPoolUDPServer(ThreadPoolMixIn, UDPServer):
    """A UDP server that handles each datagram in one of a bounded number of threads."""
