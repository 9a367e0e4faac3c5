"""The file behind ``rfile``, where lines have a limit or messages a deadline.

What one call reads is one message: while it waits for more, the connection's
message deadline runs; when it returns, the message is complete. Bytes that are in
the buffer already belong to the next message, whose time begins with the next
call; otherwise it begins with the first byte that comes.
"""

from collections.abc import Callable
from io import BufferedReader, RawIOBase
from typing import TYPE_CHECKING, Protocol, TypeVar

from netserve.core import LineTooLongError

if TYPE_CHECKING:
    from typing_extensions import Buffer

_T = TypeVar("_T")


class TimesMessages(Protocol):
    """A connection that is to be told where messages begin and end."""

    bytes_received: int
    """How many bytes it has read into buffers so far."""

    def message_began(self) -> None:
        """Note that the first bytes of the next message have been received already."""

    def message_ended(self) -> None:
        """Note that the message which is being received is complete."""


class MessageReader(BufferedReader):
    """A buffered file that times each call, and refuses lines without end.

    *raw* is read with a buffer of *buffer_size* bytes. A line of more than
    *max_line_size* bytes, its end included, raises
    :class:`~netserve.core.LineTooLongError`; None is no limit. *clock*, if there
    is one, is told of each call.
    """

    def __init__(
        self,
        raw: RawIOBase,
        buffer_size: int,
        max_line_size: int | None,
        clock: TimesMessages | None,
    ) -> None:
        super().__init__(raw, buffer_size)
        self._max_line_size = max_line_size
        self._clock = clock
        self._taken = 0

    def readline(self, size: int | None = -1, /) -> bytes:
        """As :meth:`io.BufferedReader.readline`."""
        limit = self._max_line_size
        wanted = -1 if size is None else size
        if limit is not None and (wanted < 0 or wanted > limit):
            wanted = limit + 1
        line = self._timed(len, super().readline, wanted)
        if limit is not None and len(line) > limit:
            msg = f"a line of more than {limit} bytes, which is max_line_size"
            raise LineTooLongError(msg)
        return line

    def read(self, size: int | None = -1, /) -> bytes:
        """As :meth:`io.BufferedReader.read`."""
        return self._timed(len, super().read, size)

    def read1(self, size: int = -1, /) -> bytes:
        """As :meth:`io.BufferedReader.read1`."""
        return self._timed(len, super().read1, size)

    def readinto(self, buffer: "Buffer", /) -> int:
        """As :meth:`io.BufferedReader.readinto`."""
        return self._timed(int, super().readinto, buffer)

    def readinto1(self, buffer: "Buffer", /) -> int:
        """As :meth:`io.BufferedReader.readinto1`."""
        return self._timed(int, super().readinto1, buffer)

    def _timed(self, size: Callable[[_T], int], call: Callable[..., _T], *arguments: object) -> _T:
        """Call *call*, one message long; *size* tells how many bytes its result is."""
        if self._clock is None:
            return call(*arguments)
        if self._clock.bytes_received > self._taken:
            self._clock.message_began()
        result = call(*arguments)
        if result is None:
            # Nothing is there, on a connection that doesn't block.
            return result
        self._taken += size(result)
        self._clock.message_ended()
        return result
