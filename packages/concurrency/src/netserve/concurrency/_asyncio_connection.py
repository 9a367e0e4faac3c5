"""One connection of the asyncio mix-in: it moves bytes, in time, and joins what is written.

This is the hot path. The socket is watched for input through the loop's own
``add_reader``, and stays so from one message to the next; when something comes
while nobody waits for it, the watching is given up until somebody does. So no more
is read than one piece for each time the handler asks, and what a client sends in
excess waits in the system.

What the handler writes is kept until its coroutine waits again, and then sent in
one piece: many answers to a client that pipelines cost one system call. The outbox
says when exactly. What can't be sent is kept, and above a mark the handler is to wait
until less is left.

Each call here is made for each message, and there are as few as can be: what a
handler awaits to receive is one generator, which yields what the task waits in.

The deadlines are looked at by one timer, which isn't set anew for each message:
it fires when a deadline may have passed, looks, and waits for the next.
"""

import asyncio
import socket as _socket
import time
import types
from collections.abc import Awaitable, Generator
from typing import TYPE_CHECKING, Final

from netserve.concurrency._outbox import Outbox
from netserve.concurrency._turn import Turn
from netserve.core import Deadline, DeadlineError

if TYPE_CHECKING:
    from ssl import SSLObject

    from netserve.concurrency._tls import TLS

HIGH_WATER: Final = 65536
LOW_WATER: Final = 16384

_CHUNK: Final = 65536
_NEVER: Final = float("inf")


class Connection:
    """A connected *socket*, which must not block, in the event loop of *outbox*.

    *idle*, *message* and *connection* are its limits in seconds, None for none; the
    last one counts from *since*, on the monotonic clock. It is an
    :class:`~netserve.core.AsyncConnection`.
    """

    __slots__ = (
        "_data",
        "_descriptor",
        "_ends",
        "_error",
        "_idle",
        "_limits",
        "_loop",
        "_message",
        "_message_since",
        "_out",
        "_outbox",
        "_recv",
        "_room",
        "_send",
        "_since",
        "_stepping",
        "_timer",
        "_tried",
        "_turn",
        "_unsent",
        "_watched",
        "congested",
        "expired",
        "held",
        "input_ended",
        "socket",
        "tls",
    )

    def __init__(
        self,
        outbox: Outbox,
        socket: _socket.socket,
        limits: tuple[float | None, float | None, float | None] = (None, None, None),
        since: float = 0.0,
    ) -> None:
        self.socket = socket
        self.tls: TLS | None = None
        """What encrypts it, if anything does."""

        self.input_ended = False
        """Whether the peer has said that it sends no more."""

        self.held = 0
        """How many bytes were written and aren't sent."""

        self.congested = False
        """Whether so much waits to be sent that the handler should wait."""

        self.expired: Deadline | None = None
        """The deadline that has passed, if one has."""

        self._loop = loop = outbox.loop
        self._outbox = outbox
        self._descriptor = socket.fileno()
        self._recv = socket.recv
        self._send = socket.send
        self._turn = Turn(loop)
        self._data = b""
        self._error: OSError | None = None
        self._watched = False
        self._tried = False
        self._stepping = False
        self._out: list[bytes] = []
        self._unsent = bytearray()
        self._room: asyncio.Future[None] | None = None
        self._limits = limits
        self._idle, self._message, whole = limits
        self._ends = _NEVER if whole is None else since + whole
        self._since: float | None = None
        self._message_since: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        if whole is not None:
            self._look_at(self._ends)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._descriptor}, {self.held} bytes to send>"

    @property
    def ssl_object(self) -> "SSLObject | None":
        """The state of TLS, or None."""
        return None if self.tls is None else self.tls.ssl_object

    def receive(self, partial: bool = False) -> Awaitable[bytes]:
        """The next bytes that come; none at the end of the input."""
        if partial:
            self._begin_message()
        else:
            self._message_since = None
        return self.receive_raw() if self.tls is None else self.tls.receive()

    @types.coroutine
    def receive_raw(self) -> Generator[Turn, None, bytes]:
        """The next bytes as they are on the wire; to be awaited."""
        if self._error is not None:
            raise self._error
        if self.input_ended:
            return b""
        if self._turn.taken_by is not None:
            msg = "another coroutine receives on this connection already"
            raise RuntimeError(msg)
        tried, self._tried = self._tried, True
        # Something is there most often; once only, so that the others get their turn.
        if tried or not self._try_to_read():
            if not self._watched:
                self._loop.add_reader(self._descriptor, self._read)
                self._watched = True
            if self._idle is not None:
                self._begin_wait(self._idle)
            yield self._turn
        if self._error is not None:
            raise self._error
        data, self._data = self._data, b""
        return data

    def _try_to_read(self) -> bool:
        """Read once; false when there is nothing."""
        receive = self._recv
        try:
            self._data = receive(_CHUNK)
        except BlockingIOError:
            return False
        except OSError as error:
            self._error = error
        else:
            self.input_ended = not self._data
        return True

    def write(self, data: bytes) -> None:
        """Have *data* sent when the coroutine waits next."""
        if self._error is not None:
            raise self._error
        if type(data) is not bytes:
            # What may be changed before it is sent, or can't be.
            data = bytes(memoryview(data))
        out = self._out
        if not (out or self._stepping):
            self._outbox.plan(self)
        out.append(data)
        self.held += len(data)
        if self.held >= HIGH_WATER:
            self.flush()
            self.congested = self.held >= HIGH_WATER

    async def drain(self) -> None:
        """Send what was written, and wait until not much of it is left."""
        await self.wait_sent(LOW_WATER)

    async def wait_sent(self, most: int = 0) -> None:
        """Send what was written, and wait until at most *most* bytes of it are left."""
        self.flush()
        while self.held > most and self._error is None:
            if self._room is not None:
                msg = "another coroutine drains this connection already"
                raise RuntimeError(msg)
            self._room = self._loop.create_future()
            if self._idle is not None:
                self._begin_wait(self._idle)
            try:
                await self._room
            finally:
                self._room = None
        if self._error is not None:
            raise self._error

    def flush(self) -> None:
        """Send what was written, and what TLS has to say, as far as that is possible now."""
        out = self._out
        data = out[0] if len(out) == 1 else b"".join(out)
        out.clear()
        send = self._send
        try:
            if self.tls is not None:
                self.held -= len(data)
                data = self.tls.encrypt(data)
                self.held += len(data)
            if self._unsent:
                self._unsent += data
                return
            sent = send(data) if data else 0
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self.fail(error)
            return
        self.held -= sent
        if sent != len(data):
            self._unsent += memoryview(data)[sent:]
            self._loop.add_writer(self._descriptor, self._write)

    def fail(self, error: OSError) -> None:
        """Have every operation raise *error* from now on."""
        self._error = self._error or error
        self._forget_output()
        # It may be another task of the handler that has found it.
        self._turn.wake_soon()
        self._wake_writer()

    def stop(self) -> None:
        """Let go of the event loop."""
        self._forget_output()
        if self._watched:
            self._watched = False
            self._loop.remove_reader(self._descriptor)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _read(self) -> None:
        """Called by the loop when there is input."""
        turn = self._turn
        if turn.taken_by is None:
            self._watched = self._tried = False
            self._loop.remove_reader(self._descriptor)
            return
        if not self._try_to_read():
            return
        self._since = None
        self._stepping = True
        try:
            turn.wake()
        finally:
            self._stepping = False
        if self._out:
            self._outbox.put(self)

    def _write(self) -> None:
        """Called by the loop when there is room."""
        try:
            sent = self._send(self._unsent)
        except BlockingIOError:
            return
        except OSError as error:
            self.fail(error)
            return
        del self._unsent[:sent]
        self.held -= sent
        if self._idle is not None:
            self._since = time.monotonic()
        if not self._unsent:
            self._loop.remove_writer(self._descriptor)
        if self.held <= LOW_WATER:
            self.congested = False
            self._wake_writer()

    def _forget_output(self) -> None:
        self._out.clear()
        if self._unsent:
            self._unsent.clear()
            self._loop.remove_writer(self._descriptor)
        self.held = 0
        self.congested = False

    def _wake_writer(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def _begin_wait(self, idle: float) -> None:
        self._since = now = time.monotonic()
        if self._timer is None:
            self._look_at(now + idle)

    def _begin_message(self) -> None:
        if self._message is not None and self._message_since is None:
            self._message_since = now = time.monotonic()
            self._look_at(now + self._message)

    def _look_at(self, due: float) -> None:
        """Have the timer fire at *due*, unless it does before."""
        due += self._loop.time() - time.monotonic()
        if self._timer is not None:
            if self._timer.when() <= due:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(due, self._look)

    def _look(self) -> None:
        """Called by the timer: end the wait if a deadline has passed, or look again in time."""
        self._timer = None
        if self._error is not None:
            return
        dues = [(self._ends, Deadline.CONNECTION)]
        receiving = self._turn.taken_by is not None
        if self._idle is not None and self._since is not None and (receiving or self._room):
            dues.append((self._since + self._idle, Deadline.IDLE))
        if self._message is not None and self._message_since is not None and receiving:
            dues.append((self._message_since + self._message, Deadline.MESSAGE))
        due, which = min(dues, key=_first)
        if due <= time.monotonic():
            self.expire(which)
        elif due < _NEVER:
            self._look_at(due)

    def expire(self, which: Deadline, limit: float | None = None) -> None:
        """End every wait, because the deadline *which* has passed."""
        if limit is None:
            limit = self._limits[_ORDER.index(which)] or 0.0
        self.expired = which
        self.fail(DeadlineError(which, limit))


_ORDER: Final = (Deadline.IDLE, Deadline.MESSAGE, Deadline.CONNECTION)


def _first(due: tuple[float, Deadline]) -> float:
    return due[0]
