"""TLS between a connection of the asyncio mix-in and its handler.

TLS itself does no I/O here: an :class:`ssl.SSLObject` turns what has come in into
plain text, and plain text into what is to go out, between two buffers in memory.
The connection moves the bytes, as it does without TLS, so that all else about it
stays as it is: the socket, the deadlines, the drain, the lingering close.
"""

import contextlib
import errno
import socket
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from netserve.core import PlainTextError, TLSError, TruncatedError

if TYPE_CHECKING:
    from netserve.concurrency._asyncio_connection import Connection

_CHUNK: Final = 65536

# The first byte of a client's first record (RFC 8446, section 5.1).
_HANDSHAKE: Final = 22


class TLS:
    """The server's side of TLS on *connection*, with the certificates of *context*.

    *input_was_ended* tells whether this side has ended the input; an end that the
    peer hasn't announced is an error otherwise (``close_notify``, :rfc:`8446`,
    section 6.1).
    """

    def __init__(
        self,
        connection: "Connection",
        context: ssl.SSLContext,
        input_was_ended: Callable[[], bool],
    ) -> None:
        self._connection = connection
        self._input_was_ended = input_was_ended
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._ended = False
        self.ssl_object: ssl.SSLObject = context.wrap_bio(
            self._incoming, self._outgoing, server_side=True
        )
        """The state of TLS."""

    async def shake_hands(self) -> None:
        """Do the handshake.

        Raises :class:`~netserve.core.TLSError` when it fails, and what the
        connection does.
        """
        connection = self._connection
        greeted = False
        while True:
            try:
                self.ssl_object.do_handshake()
            except ssl.SSLWantReadError:
                self._push()
            except ssl.SSLError as error:
                # The peer is told why, as far as that is possible at once.
                self._push()
                raise TLSError.explaining("the handshake of TLS failed", error) from error
            else:
                self._push()
                return
            data = await connection.receive_raw()
            if not data:
                self._give_up()
                msg = "the client left in the handshake of TLS"
                raise ConnectionResetError(errno.ECONNRESET, msg)
            if not greeted and data[0] != _HANDSHAKE:
                raise PlainTextError(data)
            greeted = True
            self._incoming.write(data)

    async def receive(self) -> bytes:
        """The next bytes of plain text; none at the end."""
        while not self._ended:
            data = self._decrypt()
            self._push()
            if data or self._ended:
                return data
            raw = await self._connection.receive_raw()
            if raw:
                self._incoming.write(raw)
            elif self._input_was_ended():
                self._ended = True
            else:
                self._give_up()
                msg = "the connection broke off: what has come may not be all that was sent"
                raise TruncatedError(msg)
        return b""

    def encrypt(self, data: bytes) -> bytes:
        """What is to be sent for *data*, after what TLS itself has to say."""
        if data:
            self.ssl_object.write(data)
        return self._outgoing.read()

    def say_goodbye(self) -> None:
        """Announce the end of what is sent."""
        # It waits for the peer's announcement, which the peer may not send.
        with contextlib.suppress(ssl.SSLError):
            self.ssl_object.unwrap()
        self._push()

    def _decrypt(self) -> bytes:
        """What has come in by now, up to the size of one reading; may be nothing."""
        parts: list[bytes] = []
        left = _CHUNK
        while left > 0:
            try:
                part = self.ssl_object.read(left)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLError as error:
                if parts:
                    # It is raised again when these have been taken.
                    break
                raise TLSError.explaining(
                    "the connection isn't one of TLS any more", error
                ) from error
            if not part:
                self._ended = not parts
                break
            parts.append(part)
            left -= len(part)
        return b"".join(parts)

    def _give_up(self) -> None:
        """End a connection whose peer has left without a word: nobody is there to send to."""
        with contextlib.suppress(OSError):
            self._connection.socket.shutdown(socket.SHUT_RDWR)

    def _push(self) -> None:
        """Send what TLS itself has to say."""
        if self._outgoing.pending:
            self._connection.flush()
