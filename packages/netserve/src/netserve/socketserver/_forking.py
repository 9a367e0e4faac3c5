"""The forking mix-in under CPython's name, and its combinations; only with ``fork``.

As in CPython, a mix-in that comes after the server class is no error; it has
no effect.
"""

from netserve import concurrency
from netserve.socketserver._servers import TCPServer, UDPServer


class ForkingMixIn(concurrency.ForkingMixIn):
    """Handles each request in a process of its own."""

    _enforce_order = False


class ForkingTCPServer(ForkingMixIn, TCPServer):
    """A TCP server that handles each request in a process."""


class ForkingUDPServer(ForkingMixIn, UDPServer):
    """A UDP server that handles each request in a process."""
