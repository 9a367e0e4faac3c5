"""The handler that reads a datagram, and writes its answer, as files."""

from io import BytesIO
from socket import socket as Socket

from netserve.core import DatagramRequest
from netserve.handlers._base import AddressT, BaseRequestHandler, ServerT
from netserve.handlers._peers import transmit_last


class DatagramRequestHandler(BaseRequestHandler[DatagramRequest, AddressT, ServerT]):
    """Gives :meth:`handle` the datagram to read, and sends what it wrote as the answer.

    The type parameters are those of the client's address and the server; each
    is ``Any`` unless given.
    """

    packet: bytes
    """The datagram."""

    socket: Socket
    """The socket on which the answer leaves.

    Its ``getsockname`` tells to which address of this host the datagram came, if
    the server knows (see ``DatagramServer.answers_from_destination``).
    """

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
        """Send what was written to :attr:`wfile`, if anything was, as one datagram.

        That the client has left meanwhile is no error, but one DEBUG record.
        Raises :class:`~netserve.core.UnnamedPeerError` when the client has no
        address, as a Unix domain socket that isn't bound.
        """
        answer = self.wfile.getvalue()
        if answer:
            self._ns_answer(answer)

    def _ns_answer(self, answer: bytes) -> None:
        transmit_last(self.request, self.client_address, self.server, answer)
