"""The other side, to a handler that does its own I/O: a connection, or a datagram's sender.

That it has left is no error of the handler's: it is one record at level DEBUG.
What the handler's own code raises doesn't pass through here, so that an
:class:`OSError` of a database isn't taken for one of the client's.
"""

from socket import socket as Socket
from typing import Any, Final

from netserve.core import DatagramRequest, UnnamedPeerError, log

# As much as the system hands over at once for the price of little.
_READ_SIZE: Final = 65536


class StreamPeer:
    """The client at the other end of *connection*."""

    __slots__ = ("_address", "_connection", "_is_gone")

    def __init__(self, connection: Socket, address: object) -> None:
        self._connection = connection
        self._address = address
        self._is_gone = False

    def receive(self) -> bytes:
        """The next bytes; none at the end, or when the client has left."""
        if not self._is_gone:
            try:
                return self._connection.recv(_READ_SIZE)
            except ConnectionError as error:
                self._leave(error)
        return b""

    def transmit(self, data: bytes) -> None:
        """Send all of *data*, unless the client has left."""
        if not self._is_gone:
            try:
                self._connection.sendall(data)
            except ConnectionError as error:
                self._leave(error)

    def _leave(self, error: ConnectionError) -> None:
        self._is_gone = True
        log.debug("%r has left: %s", self._address, error)


class DatagramPeer:
    """The sender of a datagram, the *request*, to be answered on its socket.

    A *server* that is a :class:`~netserve.core.AnswerQueue` is to send what it has
    queued before.
    """

    __slots__ = ("_address", "_request", "_server")

    def __init__(self, request: DatagramRequest, address: Any, server: object) -> None:
        self._request = request
        self._address = address
        self._server = server

    def transmit(self, data: bytes) -> None:
        """Send *data* as one datagram, now, unless the client has left.

        Raises :class:`UnnamedPeerError` when the client has no address.
        """
        if self._address is None or self._address == "":
            msg = "the sender of the datagram has no address to answer to; it isn't bound"
            raise UnnamedPeerError(msg)
        flush = getattr(self._server, "send_answers", None)
        if flush is not None:
            flush()
        try:
            self._request[1].sendto(data, self._address)
        except (ConnectionError, FileNotFoundError) as error:
            log.debug("%r has left: %s", self._address, error)


def transmit_last(request: DatagramRequest, address: Any, server: object, data: bytes) -> None:
    """Send *data* as the last answer to the datagram *request* from *address*.

    As :meth:`DatagramPeer.transmit` does; but a *server* that is a
    :class:`~netserve.core.AnswerQueue` may send it with others.
    """
    queue = getattr(server, "queue_answer", None)
    if queue is None or not queue(request, data, address):
        DatagramPeer(request, address, server).transmit(data)
