"""A connection of the multiplexer under TLS.

Only how it receives and sends differs from a plain one, so that this is all that
is here, and plain connections are none the slower for it. The socket is an
:class:`ssl.SSLSocket` that doesn't block. TLS takes and gives whole records: more
is asked for in one receiving than TLS may hold, so that nothing is left with it
which the selector knows nothing of. What can't be sent is kept, and is offered
again with what follows it.
"""

import socket as _socket
import ssl
from collections.abc import Callable
from typing import Final

from netserve.concurrency._connection import Connection, Stage
from netserve.core import Entry, MessageHandler

_CHUNK: Final = 65536
_ALL: Final = 1 << 18
_DONT_WAIT: Final = getattr(_socket, "MSG_DONTWAIT", 0)


class TLSConnection(Connection):
    """A connected stream under TLS and its handler, neither of which blocks."""

    __slots__ = ()

    socket: ssl.SSLSocket

    def __init__(self, socket: ssl.SSLSocket, handler: MessageHandler, entry: Entry) -> None:
        super().__init__(socket, handler, entry)
        socket.setblocking(False)
        self._recv = _receiving(socket)
        self._send = _sending(socket)

    def open(self) -> None:
        """Let the handler begin, with what has come on the heels of the handshake, too."""
        super().open()
        if self.stage is Stage.OPEN and self.socket.pending():
            self.ready()

    def ready(self) -> None:
        """As of a plain one; and again, if the end has come with what was read."""
        super().ready()
        if self.stage is Stage.OPEN and self.socket.pending():
            super().ready()

    def _read_end(self) -> None:
        super()._read_end()
        # The end of what TLS brings isn't that of the connection, which is yet to come.
        self.input_ended = False

    def _throw_away(self) -> None:
        try:
            data = _socket.socket.recv(self.socket, _CHUNK, _DONT_WAIT)
        except BlockingIOError:
            return
        self.surplus += len(data)
        self.input_ended = not data


def _receiving(connection: ssl.SSLSocket) -> Callable[[int, int], bytes]:
    """What receives on *connection* as a plain socket does."""
    receive = connection.recv

    def recv(_size: int, _flags: int) -> bytes:
        try:
            return receive(_ALL)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise BlockingIOError from None

    return recv


def _sending(connection: ssl.SSLSocket) -> Callable[[bytes, int], int]:
    """What sends on *connection* as a plain socket does."""
    send_part = connection.send

    def send(data: bytes, _flags: int) -> int:
        sent = 0
        try:
            while sent < len(data):
                sent += send_part(data[sent:] if sent else data)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            if not sent:
                raise BlockingIOError from None
        return sent

    return send
