"""One connection of the multiplexer: what has come in, what has to go out.

This is the hot path. Its methods never block and never touch the selector: they
leave in :attr:`Connection.watched` what is to be watched for, and the multiplexer
sees to that. The socket's ``recv`` and ``send`` and the handler's ``feed`` are
looked up once.

A connection goes through *stages*. One that has to be opened is OPENING, then OPENED
(see ``_opening_connection``), and is replaced by another. That begins OPEN: it is read,
fed to the handler and answered. When the handler is through, or the peer's input, it
is CLOSING: what is left is sent, and nothing read. Then its writing side is shut, and
while the peer may have sent what nobody has read it is LINGERING: that is thrown away,
so that closing doesn't reset the connection under the reply. At last it is DONE.

What a client doesn't read is kept, up to a mark; above it, no more is read from
that client until the rest is below a second mark. So a connection holds no more
than the first mark and the answers to one read.

Only one thread at a time has a connection: the one that leads, or the worker that
it was handed to.
"""

import enum
import socket as _socket
from collections.abc import Callable
from typing import Final

from netserve.core import Entry, MessageHandler

READ: Final = 1
WRITE: Final = 4
UNREGISTERED: Final = -1

HIGH_WATER: Final = 65536
LOW_WATER: Final = 16384

_CHUNK: Final = 65536
_DONT_WAIT: Final = getattr(_socket, "MSG_DONTWAIT", 0)
# The end of the output goes in one packet with the answer before it, where the system can
# wait for it (MSG_MORE in send(2)): at most 0.2 s, should finish() take so long.
_AND_END: Final = _DONT_WAIT | getattr(_socket, "MSG_MORE", 0)


class Stage(enum.Enum):
    """Where a connection stands."""

    OPENING = "opening"
    OPENED = "opened"
    OPEN = "open"
    CLOSING = "closing"
    LINGERING = "lingering"
    DONE = "done"


_OPEN: Final = Stage.OPEN
_NEVER: Final = float("inf")


class Connection:
    """A connected stream and its handler, neither of which blocks."""

    __slots__ = (
        "_feed",
        "_recv",
        "_send",
        "armed",
        "began",
        "decoder",
        "descriptor",
        "due",
        "entry",
        "finishes",
        "handler",
        "input_ended",
        "last",
        "owned",
        "socket",
        "stage",
        "surplus",
        "unsent",
        "watched",
    )

    def __init__(self, socket: _socket.socket, handler: MessageHandler, entry: Entry) -> None:
        self.socket = socket
        self.handler = handler
        self.entry = entry
        self.stage = _OPEN

        self.watched = READ
        """What the selector is to look for."""

        self.armed = UNREGISTERED
        """What it looks for."""

        self.owned = False
        """Whether a worker has it."""

        self.unsent = b""
        """What is to be sent and couldn't be yet."""

        self.surplus = 0
        """How many bytes were thrown away while lingering."""

        self.input_ended = False
        """Whether the peer has said that it sends no more."""

        self.last: float | None = None
        """When something came last, where that matters."""

        self.began: float | None = None
        """When the message began that isn't complete."""

        self.due = _NEVER
        """When a timer will look at it."""

        self.descriptor = socket.fileno()
        """The socket's descriptor, also once a handler has closed that."""

        self.finishes = False
        """Whether the handler's ``finish`` is still to be called."""

        self.decoder = handler.decoder
        self._recv: Callable[[int, int], bytes] = socket.recv
        self._send: Callable[[bytes, int], int] = socket.send
        self._feed = handler.feed
        handler.transmit = self.transmit

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.stage.value} of {self.entry!r}>"

    def open(self) -> None:
        """Let the handler begin; raises what its ``setup`` does."""
        self.handler.setup()
        self.finishes = True
        self.handler.flush()
        if self.handler.closing:
            self._end_messages()

    def ready(self) -> None:
        """Read, and answer what was read; raises what the handler or the socket does."""
        try:
            data = self._recv(_CHUNK, _DONT_WAIT)
        except BlockingIOError:
            return
        if not data:
            self._read_end()
            return
        answers = self._feed(data)
        closing = self.handler.closing
        if answers:
            if self.unsent:
                self._keep(answers)
            else:
                try:
                    sent = self._send(answers, _AND_END if closing else _DONT_WAIT)
                except BlockingIOError:
                    sent = 0
                if sent != len(answers):
                    self._keep(answers[sent:])
        if closing:
            self._end_messages()

    def transmit(self, data: bytes) -> None:
        """Send *data*, or keep what can't be sent now; a peer that has left is passed over."""
        sent = 0
        if not self.unsent:
            try:
                sent = self._send(data, _DONT_WAIT)
            except BlockingIOError:
                pass
            except OSError:
                # The next read will tell.
                return
        if sent != len(data):
            self._keep(data[sent:])

    def attend(self, events: int) -> None:
        """Do whatever *events* and the stage allow; raises as :meth:`ready` does."""
        # Also when the connection is shut in both directions, which sending finds out.
        if events & ~READ and self.unsent:
            self._write()
        if events & ~WRITE:
            if self.stage is _OPEN:
                self.ready()
            elif self.stage is Stage.LINGERING:
                self._throw_away()

    def fail(self) -> None:
        """Read no more, because the handler has raised; what it has answered is still sent."""
        self.stage = Stage.CLOSING
        self._watch()

    def cut(self) -> None:
        """Give the connection up: send nothing more."""
        self.stage = Stage.DONE
        self.unsent = b""

    def finish(self) -> None:
        """Let the handler clean up, once, unless its ``setup`` has raised."""
        if self.finishes:
            self.finishes = False
            self.handler.finish()

    def _read_end(self) -> None:
        self.input_ended = True
        answers = self.handler.end_of_input()
        if answers:
            self.transmit(answers)
        self._end_messages()

    def _end_messages(self) -> None:
        self.stage = Stage.CLOSING
        self.finish()
        self._watch()

    def _keep(self, data: bytes) -> None:
        self.unsent += data
        self._watch()

    def _write(self) -> None:
        try:
            sent = self._send(self.unsent, _DONT_WAIT)
        except BlockingIOError:
            return
        self.unsent = self.unsent[sent:]
        self._watch()

    def _watch(self) -> None:
        """Decide what to wait for."""
        reads = self.watched & READ
        held = len(self.unsent)
        if self.stage is not _OPEN or held >= HIGH_WATER:
            reads = 0
        elif held <= LOW_WATER:
            reads = READ
        self.watched = reads | (WRITE if held else 0)

    def _throw_away(self) -> None:
        try:
            data = self._recv(_CHUNK, _DONT_WAIT)
        except BlockingIOError:
            return
        self.surplus += len(data)
        self.input_ended = not data
