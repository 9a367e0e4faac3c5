"""The Internet servers under CPython's names, with CPython's defaults and class diagram.

At run time ``UDPServer`` is a ``TCPServer``, as programs that test or patch the
base class expect. Type checkers are told the truth instead: its requests are
others.
"""

from typing import TYPE_CHECKING

from netserve import transports
from netserve.core import DatagramRequest, InetAddress, StreamRequest
from netserve.socketserver._base import BaseServer


class TCPServer(transports.TCPServer, BaseServer[StreamRequest, InetAddress]):
    """A server of TCP connections, with CPython's defaults: a queue of 5, no reuse."""

    request_queue_size = 5
    allow_reuse_address = False
    dual_stack: bool | None = None

    # A family is stated, not found out; addresses are the system's; a path stays.
    _ns_as_cpython = True


if TYPE_CHECKING:
    _Base = BaseServer[DatagramRequest, InetAddress]
else:
    _Base = TCPServer


class UDPServer(transports.UDPServer, _Base):
    """A server of UDP datagrams, with CPython's defaults."""

    # Not TCPServer's: a program that switches reuse on there means streams.
    allow_reuse_address = False
    allow_reuse_port = False
    dual_stack: bool | None = None
    max_packet_size = 8192
    answers_from_destination = False

    _ns_as_cpython = True

    def _ns_receive(self, flags: int = 0) -> tuple[DatagramRequest, InetAddress]:
        # What exceeds max_packet_size is lost without a word.
        data, client_address = self.socket.recvfrom(self.max_packet_size, flags)
        return (data, self.socket), client_address
