"""What the framings share: checks of their arguments, and holding half a message.

Half a message is held in a bytearray, which grows without being copied each time.
So a peer that sends a long message byte by byte costs no more than one that sends
it whole, in time and in memory. Why not a list of the pieces: a piece of one byte
takes some forty.
"""

from abc import ABC, abstractmethod
from typing import Final

from netserve.core import FramingError

DEFAULT_MAX_SIZE: Final = 65536
"""How many bytes a message may have unless the program says otherwise."""


class HoldingDecoder:
    """A decoder that holds what has come of the next message."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = bytearray()

    @property
    def pending(self) -> int:
        """How many bytes are held of a message that isn't complete."""
        return len(self._held)

    def end(self) -> list[bytes]:
        """Return no messages; raises :class:`FramingError` when one is half-received."""
        if self._held:
            msg = f"the stream ended within a message, {len(self._held)} bytes after its beginning"
            raise FramingError(msg)
        return []


class SizedDecoder(HoldingDecoder, ABC):
    """A decoder of messages whose beginning tells how long they are."""

    __slots__ = ("_wanted",)

    def __init__(self) -> None:
        super().__init__()
        # How many bytes have to be there before it is worth looking at them again.
        self._wanted = 0

    def decode(self, data: bytes, /) -> list[bytes]:
        """Take the next bytes; return the messages that they complete.

        Raises :class:`FramingError`.
        """
        held = self._held
        if held:
            held += data
            if len(held) < self._wanted:
                return []
            data = bytes(held)
            held.clear()
        messages: list[bytes] = []
        rest = self._cut(data, messages)
        if rest < len(data):
            held += data[rest:]
        return messages

    @abstractmethod
    def _cut(self, data: bytes, messages: list[bytes]) -> int:
        """Append the whole messages in *data* to *messages*; return where the rest begins.

        Sets ``_wanted`` to the least length of the rest, with what follows, that
        tells more.
        """


def check_count(name: str, value: object, highest: int | None = None) -> None:
    """Raise unless *value*, of the argument *name*, is a number of bytes from 1 to *highest*."""
    if not isinstance(value, int) or isinstance(value, bool):
        msg = f"{name} must be a number of bytes, not {value!r}"
        raise TypeError(msg)
    if value < 1 or (highest is not None and value > highest):
        range_ = "at least 1" if highest is None else f"from 1 to {highest}"
        msg = f"{name} must be {range_}, not {value}"
        raise ValueError(msg)


def check_fits(message: bytes, max_size: int) -> None:
    """Raise :class:`ValueError` when *message* is longer than *max_size* bytes."""
    if len(message) > max_size:
        msg = f"a message of {len(message)} bytes exceeds the maximum of {max_size}"
        raise ValueError(msg)
