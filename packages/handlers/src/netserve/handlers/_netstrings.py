"""Netstrings: ``5:hello,``, as in https://cr.yp.to/proto/netstrings.txt."""

import re
from dataclasses import dataclass
from typing import Final, NoReturn

from netserve.core import Decoder, FramingError
from netserve.handlers._decoding import DEFAULT_MAX_SIZE, SizedDecoder, check_count, check_fits

_COMMA: Final = ord(",")

# A length, or what has come of it. No other begins with a zero than zero itself.
_LENGTH: Final = re.compile(rb"(0|[1-9][0-9]*)(:?)")


@dataclass(frozen=True)
class Netstrings:
    """The framing of messages as netstrings: a decimal length, a colon, the message, a comma.

    See https://cr.yp.to/proto/netstrings.txt. *max_size* is how many bytes a
    message may have (default 65536). Raises :class:`ValueError` when that is
    less than 1, and :class:`TypeError` when it is no number.
    """

    max_size: int = DEFAULT_MAX_SIZE

    def __post_init__(self) -> None:
        check_count("max_size", self.max_size)

    def decoder(self) -> Decoder:
        """A new decoder, for one stream."""
        return NetstringDecoder(self.max_size)

    def encode(self, message: bytes, /) -> bytes:
        """The netstring of *message*; raises :class:`ValueError` when it is too long."""
        check_fits(message, self.max_size)
        return b"%d:%b," % (len(message), message)


class NetstringDecoder(SizedDecoder):
    """Reads a length in decimal digits, and takes as many bytes and the comma."""

    __slots__ = ("_digits", "_max_size")

    def __init__(self, max_size: int) -> None:
        super().__init__()
        self._max_size = max_size
        self._digits = len(str(max_size))

    def _cut(self, data: bytes, messages: list[bytes]) -> int:
        start = 0
        while start < len(data):
            # One digit more than there may be is too many already.
            head = _LENGTH.match(data, start, start + self._digits + 1)
            if head is None:
                self._refuse("begins with", data, start, messages)
            length = int(head[1])
            if length > self._max_size:
                msg = f"a netstring of {length} bytes or more exceeds {self._max_size}"
                raise FramingError(msg, messages)
            body = head.end()
            end = body + length
            if not head[2]:
                if body < len(data):
                    self._refuse("has in its length", data, body, messages)
                end = body
            if end >= len(data):
                self._wanted = end + 1 - start
                break
            if data[end] != _COMMA:
                self._refuse("ends with", data, end, messages)
            messages.append(data[body:end])
            start = end + 1
        return start

    def _refuse(self, has: str, data: bytes, place: int, messages: list[bytes]) -> NoReturn:
        """Raise for the byte at *place*, which may not be there."""
        msg = f"a netstring {has} {data[place : place + 1]!r}"
        raise FramingError(msg, messages)
