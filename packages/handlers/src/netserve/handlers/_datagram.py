"""The handler that reads a datagram, and writes its answer, as files."""

from io import BytesIO
from socket import socket as Socket
from typing import Any

from netserve.core import DatagramRequest, log
from netserve.handlers._base import AddressT, BaseRequestHandler, ServerT


class DatagramRequestHandler(BaseRequestHandler[DatagramRequest, AddressT, ServerT]):
    """Gives :meth:`handle` the datagram to read, and sends what it wrote as the answer.

    The type parameters are those of the client's address and the server; each
    is ``Any`` unless given.
    """

    packet: bytes
    """The datagram."""

    socket: Socket
    """The server's socket, on which the answer leaves."""

    rfile: BytesIO
    """The datagram, to be read."""

    wfile: BytesIO
    """The answer, to be written."""

    def setup(self) -> None:
        """Take the request apart, and open :attr:`rfile` and :attr:`wfile`."""
        self.packet, self.socket = self.request
        self.rfile = BytesIO(self.packet)
        self.wfile = BytesIO()

    def finish(self) -> None:
        """Send what was written to :attr:`wfile` as one datagram, an empty one included.

        That the client has left meanwhile is no error, but one DEBUG record.
        """
        address: Any = self.client_address
        try:
            self.socket.sendto(self.wfile.getvalue(), address)
        except (ConnectionError, FileNotFoundError) as error:
            # Its socket is closed, or its path in the file system gone.
            log.debug("%r left before its answer came (%s)", address, error)
