"""Messages that end with a delimiter: lines.

Theory of operation. With nothing held, the bytes are cut at each delimiter, and
what follows the last one is held. With something held, the delimiter is looked for
in the new bytes alone, and just before them, as it may have come in two pieces.
Only when it is there are both put together and cut.

This is the hot path of most servers, so there are three ways to cut, each the
fastest for what it is given: ``partition`` for a single line, which is what a client
sends that waits for its answer; ``split`` for many short lines; and for long ones
``find``, because ``split`` looks at each byte by itself, where ``find`` looks at
many at once. No length is looked at while all bytes together are within the
maximum.
"""

from dataclasses import KW_ONLY, dataclass
from typing import Final, NoReturn

from netserve.core import Decoder, FramingError
from netserve.handlers._decoding import (
    DEFAULT_MAX_SIZE,
    HoldingDecoder,
    check_count,
    check_fits,
)

# From how many bytes a line is long: where find() is as fast as split().
_LONG: Final = 512


@dataclass(frozen=True)
class Lines:
    r"""The framing of messages that end with *delimiter*, by default a newline.

    *max_size* is how many bytes a message may have without its delimiter (default
    65536). With *tolerate_cr* (default: no) a message may end with a carriage
    return and a newline just as well; the former is taken away, and doesn't count.
    It goes with the delimiter ``b"\n"`` alone: to insist on both, make
    ``b"\r\n"`` the delimiter.

    A last line without a delimiter is an error: it may be half of what the peer
    meant.

    Raises :class:`ValueError` for arguments that make no sense, and
    :class:`TypeError` for those of a wrong type.
    """

    delimiter: bytes = b"\n"
    _: KW_ONLY
    max_size: int = DEFAULT_MAX_SIZE
    tolerate_cr: bool = False

    def __post_init__(self) -> None:
        check_delimiter(self.delimiter)
        check_count("max_size", self.max_size)
        if self.tolerate_cr and self.delimiter != b"\n":
            msg = f"tolerate_cr goes with the delimiter b'\\n', not with {self.delimiter!r}"
            raise ValueError(msg)

    def decoder(self) -> Decoder:
        """A new decoder, for one stream."""
        kind = TolerantLineDecoder if self.tolerate_cr else LineDecoder
        return kind(self.delimiter, self.max_size)

    def encode(self, message: bytes, /) -> bytes:
        """*message* and the delimiter.

        Raises :class:`ValueError` when it is too long, or a decoder would end it
        elsewhere.
        """
        framed = message + self.delimiter
        # Found earlier also where the message ends with a part of the delimiter.
        end = framed.find(self.delimiter)
        if end != len(message) or end > self.max_size or self.tolerate_cr:
            self._check(message, end)
        return framed

    def encode_all(self, messages: list[bytes], /) -> bytes:
        """All *messages*, each with the delimiter, in one piece; raises as :meth:`encode` does."""
        delimiter = self.delimiter
        framed = delimiter.join(messages) + delimiter
        # The delimiters are all ours, and no message can be too long.
        if (
            len(framed) <= self.max_size
            and len(delimiter) == 1
            and framed.count(delimiter) == len(messages)
            and not self.tolerate_cr
        ):
            return framed
        return b"".join(map(self.encode, messages))

    def _check(self, message: bytes, end: int) -> None:
        check_fits(message, self.max_size)
        if end != len(message):
            msg = f"a message may not contain its delimiter {self.delimiter!r}, as at byte {end}"
            raise ValueError(msg)
        if self.tolerate_cr and message.endswith(b"\r"):
            msg = "a message may not end with a carriage return, which tolerate_cr takes away"
            raise ValueError(msg)


class LineDecoder(HoldingDecoder):
    """Cuts a stream at each *delimiter* into lines of at most *max_size* bytes."""

    __slots__ = ("_delimiter", "_max_size", "_most")

    def __init__(self, delimiter: bytes, max_size: int) -> None:
        super().__init__()
        self._delimiter = delimiter
        self._max_size = max_size
        # What may be held without a delimiter is shorter: within as many bytes
        # the longest line has ended.
        self._most = max_size + len(delimiter)

    def decode(self, data: bytes, /) -> list[bytes]:
        """Take the next bytes; return the lines that they complete.

        Raises :class:`FramingError` for a line that is too long.
        """
        held = self._held
        if held:
            begin = max(0, len(held) - len(self._delimiter) + 1)
            held += data
            if held.find(self._delimiter, begin) < 0:
                if len(held) >= self._most:
                    self._refuse([])
                return []
            data = bytes(held)
            held.clear()
        delimiter = self._delimiter
        line, ended, rest = data.partition(delimiter)
        if ended and not rest and len(line) <= self._max_size:
            return [line]
        lines = data.split(delimiter) if len(line) < _LONG else cut(data, delimiter)
        held += lines.pop()
        if len(data) > self._max_size:
            self._check(lines)
        return lines

    def _check(self, lines: list[bytes]) -> None:
        """Raise unless all *lines*, and what is held, are within the maximum."""
        if lines and max(map(len, lines)) > self._max_size:
            sizes = map(len, lines)
            first = next(place for place, size in enumerate(sizes) if size > self._max_size)
            self._refuse(lines[:first])
        if len(self._held) >= self._most:
            self._refuse(lines)

    def _refuse(self, good: list[bytes]) -> NoReturn:
        """Raise for a line that is too long after the *good* ones."""
        msg = f"a line is longer than the maximum of {self._max_size} bytes"
        raise FramingError(msg, good)


class TolerantLineDecoder(LineDecoder):
    """The same, with a carriage return before the delimiter taken away."""

    __slots__ = ()

    def __init__(self, delimiter: bytes, max_size: int) -> None:
        super().__init__(delimiter, max_size)
        self._most += 1

    def decode(self, data: bytes, /) -> list[bytes]:
        """Take the next bytes; return the lines that they complete.

        Raises :class:`FramingError` for a line that is too long.
        """
        return [line.removesuffix(b"\r") for line in super().decode(data)]

    def _check(self, lines: list[bytes]) -> None:
        super()._check([line.removesuffix(b"\r") for line in lines])


def cut(data: bytes, delimiter: bytes) -> list[bytes]:
    """The same as ``data.split(delimiter)``, in less time when the pieces are long."""
    pieces: list[bytes] = []
    start = 0
    while (end := data.find(delimiter, start)) >= 0:
        pieces.append(data[start:end])
        start = end + len(delimiter)
    pieces.append(data[start:])
    return pieces


def check_delimiter(delimiter: object) -> None:
    """Raise unless *delimiter* is at least one byte."""
    if not isinstance(delimiter, bytes):
        msg = f"delimiter must be bytes, not {delimiter!r}"
        raise TypeError(msg)
    if not delimiter:
        msg = "delimiter must be at least one byte"
        raise ValueError(msg)
