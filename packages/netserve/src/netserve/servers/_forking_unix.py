"""The combinations that need both ``fork`` and Unix domain sockets."""

from netserve.concurrency import ForkingMixIn
from netserve.transports import UnixDatagramServer, UnixStreamServer

__all__ = ["ForkingUnixDatagramServer", "ForkingUnixStreamServer"]


class ForkingUnixStreamServer(ForkingMixIn, UnixStreamServer):
    """A Unix stream server that handles each connection in a process of its own."""


class ForkingUnixDatagramServer(ForkingMixIn, UnixDatagramServer):
    """A Unix datagram server that handles each datagram in a process of its own."""
