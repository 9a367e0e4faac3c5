"""The Unix domain servers under CPython's names; only where the platform has them.

As in ``_servers``, the class diagram is CPython's at run time and the precise
one for type checkers.
"""

from typing import TYPE_CHECKING

from netserve import transports
from netserve.core import DatagramRequest, StreamRequest, UnixAddress
from netserve.socketserver._base import BaseServer
from netserve.socketserver._servers import TCPServer, UDPServer
from netserve.socketserver._threading import ThreadingMixIn

if TYPE_CHECKING:
    _StreamBase = BaseServer[StreamRequest, UnixAddress]
    _DatagramBase = BaseServer[DatagramRequest, UnixAddress]
else:
    _StreamBase = TCPServer
    _DatagramBase = UDPServer


class UnixStreamServer(transports.UnixStreamServer, _StreamBase):
    """A server of connections on a Unix domain socket, with CPython's defaults."""


class UnixDatagramServer(transports.UnixDatagramServer, _DatagramBase):
    """A server of datagrams on a Unix domain socket, with CPython's defaults."""


class ThreadingUnixStreamServer(ThreadingMixIn, UnixStreamServer):
    """A Unix stream server that handles each request in a thread."""


class ThreadingUnixDatagramServer(ThreadingMixIn, UnixDatagramServer):
    """A Unix datagram server that handles each request in a thread."""
