"""The combinations that need both ``fork`` and Unix domain sockets."""

from netserve.socketserver._forking import ForkingMixIn
from netserve.socketserver._unix import UnixDatagramServer, UnixStreamServer


class ForkingUnixStreamServer(ForkingMixIn, UnixStreamServer):
    """A Unix stream server that handles each request in a process."""


class ForkingUnixDatagramServer(ForkingMixIn, UnixDatagramServer):
    """A Unix datagram server that handles each request in a process."""
