"""The threading mix-in under CPython's name, and its ready-made combinations.

As in CPython, a mix-in that comes after the server class is no error; it has
no effect.
"""

from netserve import concurrency
from netserve.concurrency import ThreadGroup
from netserve.socketserver._servers import TCPServer, UDPServer


class ThreadingMixIn(concurrency.ThreadingMixIn):
    """Handles each request in a thread of its own."""

    _enforce_order = False

    @property
    def _threads(self) -> ThreadGroup:
        """The running threads, under the name that CPython's own tests read."""
        return self.request_threads


class ThreadingTCPServer(ThreadingMixIn, TCPServer):
    """A TCP server that handles each request in a thread."""


class ThreadingUDPServer(ThreadingMixIn, UDPServer):
    """A UDP server that handles each request in a thread."""
