"""The deadlines of one connection, as arithmetic on a clock that is passed in.

Three limits, each in seconds or None. *Idle* is the time that one wait may take
without a byte in either direction; the handler's own working time doesn't count.
*Message* is the time that a message may take to arrive, from its first byte,
however steadily the bytes drip in. *Connection* is the whole life.

Whoever does the I/O asks :meth:`Deadlines.allowance` before a wait, and tells
:meth:`Deadlines.received` and :meth:`Deadlines.sent` what came of it. No thread
and no timer belongs to it, so that it serves a blocking socket and a loop alike.
"""

import enum
from typing import Final

_NEVER: Final = float("inf")


class Deadline(enum.Enum):
    """One of the limits in time that a connection has."""

    IDLE = "idle"
    """Nothing has come or gone for too long."""

    MESSAGE = "message"
    """A message has begun, and wasn't complete in time."""

    CONNECTION = "connection"
    """The connection has been open for too long."""

    PROXY = "proxy"
    """A proxy hasn't said in time for whom the connection is."""

    HANDSHAKE = "handshake"
    """The handshake of TLS has taken too long."""


class Deadlines:
    """When the next wait on a connection must end.

    *idle*, *message* and *connection* are limits in seconds, None for none;
    *now* is the time at which the connection began, on the clock that all
    methods are given.
    """

    __slots__ = ("_ends", "_idle", "_message", "_message_since", "_waiting_since", "limits")

    def __init__(
        self, idle: float | None, message: float | None, connection: float | None, now: float
    ) -> None:
        self.limits: dict[Deadline, float | None] = {
            Deadline.IDLE: idle,
            Deadline.MESSAGE: message,
            Deadline.CONNECTION: connection,
        }
        self._idle = _NEVER if idle is None else idle
        self._message = _NEVER if message is None else message
        self._ends = _NEVER if connection is None else now + connection
        self._waiting_since: float | None = None
        self._message_since: float | None = None

    def __repr__(self) -> str:
        limits = ", ".join(f"{which.value}={limit}" for which, limit in self.limits.items())
        return f"<{type(self).__name__} {limits}>"

    def allowance(self, now: float, *, receiving: bool) -> tuple[float, Deadline]:
        """How long a wait that begins at *now* may take, and which deadline ends it.

        *receiving* tells a wait for input from one for room to send. The time is
        in seconds: infinite without a limit, zero or less when it has passed.
        """
        if self._waiting_since is None:
            self._waiting_since = now
        left, which = self._waiting_since + self._idle - now, Deadline.IDLE
        if receiving and self._message_since is not None:
            message = self._message_since + self._message - now
            if message < left:
                left, which = message, Deadline.MESSAGE
        if self._ends - now < left:
            left, which = self._ends - now, Deadline.CONNECTION
        return left, which

    def received(self, now: float) -> None:
        """Note that input came at *now*; the first begins a message."""
        self._waiting_since = None
        if self._message_since is None:
            self._message_since = now

    def sent(self) -> None:
        """Note that output went; a reply ends the message that it answers."""
        self._waiting_since = None
        self._message_since = None

    def message_ended(self) -> None:
        """Note that a message is complete, for one that isn't answered."""
        self._message_since = None

    def message_began(self, now: float) -> None:
        """Note that the first bytes of the next message are there already."""
        self._message_since = now
