"""The errors that netserve raises itself.

Each derives from :class:`NetserveError` and from the built-in exception that
says the same, so that a program may catch either.
"""

import errno
import logging
from collections.abc import Iterable
from typing import ClassVar

from netserve.core._deadlines import Deadline
from netserve.core._state import State


class NetserveError(Exception):
    """Any error that netserve itself finds."""


class StateError(NetserveError, RuntimeError):
    """An operation that the server's state doesn't allow.

    The message names the server with its state, the operation, and what would
    be right. *state* and *operation*, a method's name, are attributes too.
    """

    def __init__(self, message: str, state: State, operation: str) -> None:
        super().__init__(message, state, operation)
        self.state = state
        self.operation = operation

    def __str__(self) -> str:
        return str(self.args[0])


class MixInOrderError(NetserveError, TypeError):
    """A mix-in that stands behind the server class whose hooks it overrides.

    The message names the order that works. The original reference asks for it
    in its *Server Creation Notes*.
    """


class ExhaustedError(NetserveError, OSError, RuntimeError):
    """The system has no thread or process left to run a request with.

    Raised before anything has been done for the request, so that the loop may
    keep it and try again after a pause.
    """


class PeerError(NetserveError, ValueError):
    """The peer has sent what the protocol or a limit doesn't allow.

    Uncaught in a handler it ends the connection, with one record that has no
    traceback: it is no fault of the handler's.
    """

    level: ClassVar[int] = logging.INFO
    """The level of that record (default INFO)."""


class RefusedError(PeerError):
    """The request is refused, though it has been taken; no handler is to see it.

    Raised by an opening that learns only late whose request it is. The request
    then counts as refused.
    """


class FramingError(PeerError):
    """A stream that can't be cut into messages, as its framing asks.

    *reason* says what is wrong with it. *messages* are those that were complete
    before the fault, in the call that raises this; none unless given.
    """

    messages: list[bytes]
    """The good messages before the fault, in order, which nobody else returns."""

    def __init__(self, reason: str, messages: Iterable[bytes] = ()) -> None:
        super().__init__(reason)
        self.messages = list(messages)


class TruncatedError(NetserveError, ConnectionResetError):
    """The peer's stream has broken off, where its protocol would have told of its end.

    What came before may be incomplete, by accident or because somebody cut it
    short. Its ``errno`` is ``ECONNRESET``.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(errno.ECONNRESET, reason)

    def __str__(self) -> str:
        return str(self.strerror)


class LineTooLongError(PeerError):
    """A line that is longer than the handler's ``max_line_size``."""


class DeadlineError(NetserveError, TimeoutError):
    """A deadline of the connection has passed; *deadline* says which.

    Raised by the operation on the socket that would have had to wait longer,
    and by each one after it.
    """

    def __init__(self, deadline: Deadline, seconds: float) -> None:
        super().__init__(deadline, seconds)
        self.deadline = deadline
        self.seconds = seconds

    def __str__(self) -> str:
        return f"the {self.deadline.value} deadline of {self.seconds:g} s has passed"


class UnnamedPeerError(PeerError, OSError):
    """An answer to a datagram whose sender has no address to send it to.

    A Unix domain socket has none unless it was bound.
    """
