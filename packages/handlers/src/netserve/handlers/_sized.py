"""Messages of a known size: with a length before each, or all of one length."""

from dataclasses import KW_ONLY, dataclass
from typing import Literal

from netserve.core import Decoder, FramingError
from netserve.handlers._decoding import DEFAULT_MAX_SIZE, SizedDecoder, check_count, check_fits


@dataclass(frozen=True)
class LengthPrefixed:
    """The framing of messages that follow their length, a number of *size* bytes.

    *size* is from 1 to 8 (default 4), and *byteorder* ``"big"``, the network's and
    the default, or ``"little"``. The length is that of the message without the
    prefix. *max_size* is how many bytes a message may have (default 65536, or
    what the prefix can say, if that is less).

    Raises :class:`ValueError` for arguments that make no sense, and
    :class:`TypeError` for those of a wrong type.
    """

    size: int = 4
    byteorder: Literal["big", "little"] = "big"
    _: KW_ONLY
    max_size: int = DEFAULT_MAX_SIZE

    def __post_init__(self) -> None:
        check_count("size", self.size, 8)
        check_byteorder(self.byteorder)
        check_count("max_size", self.max_size)

    def decoder(self) -> Decoder:
        """A new decoder, for one stream."""
        return LengthPrefixedDecoder(self.size, self.byteorder, self.max_size)

    def encode(self, message: bytes, /) -> bytes:
        """The length and *message*; raises :class:`ValueError` when it is too long."""
        length = len(message)
        if length > self.max_size or length >> 8 * self.size:
            check_fits(message, min(self.max_size, (1 << 8 * self.size) - 1))
        return length.to_bytes(self.size, self.byteorder) + message


class LengthPrefixedDecoder(SizedDecoder):
    """Reads a length, and takes as many bytes."""

    __slots__ = ("_byteorder", "_max_size", "_size")

    def __init__(self, size: int, byteorder: Literal["big", "little"], max_size: int) -> None:
        super().__init__()
        self._size = size
        self._byteorder: Literal["big", "little"] = byteorder
        self._max_size = max_size

    def _cut(self, data: bytes, messages: list[bytes]) -> int:
        size, byteorder, max_size, available = (
            self._size,
            self._byteorder,
            self._max_size,
            len(data),
        )
        start = 0
        while (body := start + size) <= available:
            length = int.from_bytes(data[start:body], byteorder)
            if length > max_size:
                msg = f"a message of {length} bytes exceeds the maximum of {max_size}"
                raise FramingError(msg, messages)
            end = body + length
            if end > available:
                self._wanted = end - start
                return start
            messages.append(data[body:end])
            start = end
        self._wanted = size
        return start


@dataclass(frozen=True)
class FixedSize:
    """The framing of messages that have *size* bytes each, and nothing between them.

    Raises :class:`ValueError` when *size* is less than 1, and :class:`TypeError`
    when it is no number.
    """

    size: int

    def __post_init__(self) -> None:
        check_count("size", self.size)

    def decoder(self) -> Decoder:
        """A new decoder, for one stream."""
        return FixedSizeDecoder(self.size)

    def encode(self, message: bytes, /) -> bytes:
        """*message* as it is; raises :class:`ValueError` when it has another size."""
        if len(message) != self.size:
            msg = f"a message must have {self.size} bytes, not {len(message)}"
            raise ValueError(msg)
        return message


class FixedSizeDecoder(SizedDecoder):
    """Cuts a stream in pieces of *size* bytes."""

    __slots__ = ()

    def __init__(self, size: int) -> None:
        super().__init__()
        self._wanted = size

    def _cut(self, data: bytes, messages: list[bytes]) -> int:
        size = self._wanted
        rest = len(data) - len(data) % size
        messages += [data[start : start + size] for start in range(0, rest, size)]
        return rest


def check_byteorder(byteorder: object) -> None:
    """Raise unless *byteorder* is one of the two."""
    if byteorder not in {"big", "little"}:
        msg = f"byteorder must be 'big' or 'little', not {byteorder!r}"
        raise ValueError(msg)
