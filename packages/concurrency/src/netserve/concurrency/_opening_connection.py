"""A connection of the multiplexer that is being opened, before it has a handler.

It takes the steps of its opening (see ``netserve.core._opening``) as the socket
becomes ready for them. When they are done it is OPENED, and the multiplexer puts
the connection with the handler in its place.
"""

import socket as _socket
from collections.abc import Callable
from typing import Any, Final

from netserve.concurrency._connection import READ, WRITE, Connection, Stage
from netserve.core import Decoder, Entry, Opening, Wait

_CHUNK: Final = 65536
_DONT_WAIT: Final = getattr(_socket, "MSG_DONTWAIT", 0)


class OpeningConnection(Connection):
    """A connected stream and its opening; *begin* makes what follows it."""

    __slots__ = ("_opening", "address", "begin", "wait")

    wait: Wait

    def __init__(
        self,
        socket: _socket.socket,
        opening: Opening[Any],
        entry: Entry,
        begin: Callable[[Any], Connection],
    ) -> None:
        super().__init__(socket, _Nobody(), entry)
        self.stage = Stage.OPENING
        self._opening = opening

        self.begin = begin
        """Makes the connection with the handler, given the client's address."""

        self.address: Any = entry.address
        """The client's address, as far as it is known."""

        # What is thrown away in the end is no matter of TLS's.
        self._recv = _receive(socket)

    def open(self) -> None:
        """Take the first steps; raises what they do."""
        self._step()

    def attend(self, events: int) -> None:
        """Take the next steps, or go on with the end; raises what they do."""
        if self.stage is Stage.OPENING:
            self._step()
        else:
            super().attend(events)

    def fail(self) -> None:
        """Take no more steps."""
        self._opening.close()
        super().fail()

    def cut(self) -> None:
        """Take no more steps, and send nothing."""
        self._opening.close()
        super().cut()

    def _step(self) -> None:
        try:
            self.wait = next(self._opening)
        except StopIteration as end:
            self.address = end.value
            self.stage = Stage.OPENED
            self.watched = self.armed
        else:
            self.watched = WRITE if self.wait.writing else READ


def _receive(socket: _socket.socket) -> Callable[[int, int], bytes]:
    def receive(size: int, flags: int) -> bytes:
        return _socket.socket.recv(socket, size, flags)

    return receive


class _Nobody:
    """Stands for the handler that isn't there yet, of which nothing is asked."""

    transmit: Callable[[bytes], None]
    closing = False

    def __init__(self) -> None:
        self.decoder: Decoder = _Nothing()

    def setup(self) -> None:
        """Do nothing."""

    flush = finish = setup

    def feed(self, _data: bytes, /) -> bytes:
        """Answer nothing."""
        return b""

    def end_of_input(self) -> bytes:
        """Answer nothing."""
        return b""


class _Nothing:
    """Decodes nothing."""

    pending = 0

    def decode(self, _data: bytes, /) -> list[bytes]:
        """Return nothing."""
        return []

    def end(self) -> list[bytes]:
        """Return nothing."""
        return []
