"""The check of a framing: its encoder, and its decoders on streams good and bad."""

import random
from collections.abc import Callable, Iterable
from typing import Final

from netserve.core import Decoder, Framing, FramingError
from netserve.testing._contract import Contract, cuts, shown

SAMPLES: Final = (b"hello", b"", b"a", b"0", b"two words", b"\x00\xff\x80", b"x" * 300)
"""The messages that are tried besides those of the test."""

_HOSTILE: Final = (b"\n", b"\r\n", b"a\nb", b"\r", b",", b"\0", b"5:hello,", b"y" * 70_000)
_FILLERS: Final = (b"x", b"1", b"\0", b"\xff", b" ")
_STREAMS: Final = 60

_ROUND_TRIP: Final = "what encode() returns, a decoder gives back"
_REFUSAL: Final = "encode() raises ValueError, and nothing else, for what can't be framed"
_PIECES: Final = "the messages are the same in whatever pieces the bytes come"
_FAULTS: Final = "decode() and end() raise FramingError, and nothing else"
_BEFORE: Final = "a FramingError has the messages that were complete before the fault"
_PENDING: Final = "pending is how many bytes are held of a message that isn't complete"
_BOUND: Final = "no more is held than the longest message that the framing allows"
_MANY: Final = "one framing may serve any number of streams at once"
_END: Final = "end() returns the messages that the end completes, or raises FramingError"


def check_framing(
    framing: Framing,
    messages: Iterable[bytes] = (),
    *,
    malformed: Iterable[bytes] = (),
    most_held: int = 1 << 20,
) -> None:
    """Check that *framing* keeps what :class:`Framing` and :class:`Decoder` guarantee.

    *messages* are some that it can frame, and are tried besides a few of all kinds.
    *malformed* are streams that it must refuse. *most_held* is how many bytes a
    decoder may hold, whatever comes (default 1 MiB).

    Raises :class:`ContractError`, which says what is broken, and
    :class:`ValueError` when none of the messages can be framed.
    """
    own = list(messages)
    framed = _check_encoder(framing, own)
    good = list(framed)
    stream = b"".join(framed.values())
    for pieces in cuts(stream):
        _expect(framing, pieces, good)
    encode_all: Callable[[list[bytes]], bytes] | None = getattr(framing, "encode_all", None)
    if encode_all is not None:
        together = encode_all(good)
        _framing(framing).require(
            together == stream,
            "encode_all() is the same as encode() for each",
            f"it gave {shown(together)}, and not {shown(stream)}",
        )
    _check_independence(framing, framed)
    for message, data in framed.items():
        _check_halves(framing, message, data)
    _check_faults(framing, framed, list(malformed))
    _check_bound(framing, most_held)


class _Reading:
    """What one decoder makes of a stream."""

    def __init__(self, framing: Framing, pieces: Iterable[bytes]) -> None:
        self.contract = _decoder(framing)
        self.decoder = _new_decoder(framing)
        self.messages: list[bytes] = []
        self.fault: FramingError | None = None
        for piece in pieces:
            if self.fault is None:
                self.take(piece)

    def take(self, data: bytes | None) -> None:
        """Decode *data*, or the end."""
        doing = "end()" if data is None else f"decode({shown(data)})"
        try:
            with self.contract.only(FramingError, guarantee=_FAULTS, doing=doing):
                found = self.decoder.end() if data is None else self.decoder.decode(data)
                kinds = {type(each) for each in found}
                self.contract.require(
                    type(found) is list and kinds <= {bytes},
                    "decode() and end() return a list of bytes",
                    f"{doing} returned {shown(found)}",
                )
                self.messages += found
        except FramingError as error:
            self.fault = error
            self.messages += error.messages


def _check_encoder(framing: Framing, own: list[bytes]) -> dict[bytes, bytes]:
    """Frame what can be framed; returns it by message."""
    contract = _framing(framing)
    framed: dict[bytes, bytes] = {}
    for message in [*own, *SAMPLES, *_HOSTILE]:
        try:
            with contract.only(ValueError, guarantee=_REFUSAL, doing=f"encode({shown(message)})"):
                data = framing.encode(message)
        except ValueError as error:
            contract.require(
                message not in own,
                "the messages of the test can be framed",
                f"encode({shown(message)}) raised {error!r}",
            )
            continue
        reading = _Reading(framing, [data, data])
        if reading.messages != [message, message] or reading.fault:
            found = f"{shown(message)} came back as {shown(reading.messages)}"
            raise contract.broken(_ROUND_TRIP, f"sent twice, {found}, {reading.fault!r}")
        framed[message] = data
    if not framed:
        msg = f"{framing!r} frames none of the usual messages: give some that it does"
        raise ValueError(msg)
    # Long ones take long to cut.
    return {message: data for message, data in framed.items() if len(data) < 1000 or message in own}


def _expect(framing: Framing, pieces: list[bytes], messages: list[bytes]) -> None:
    reading = _Reading(framing, pieces)
    contract = reading.contract
    contract.require(
        reading.messages == messages and reading.fault is None,
        _PIECES,
        f"the pieces {shown(pieces)} gave {shown(reading.messages)}, {reading.fault!r},"
        f" and not {shown(messages)}",
    )
    contract.require(
        reading.decoder.pending == 0, _PENDING, f"{reading.decoder.pending} after whole messages"
    )
    reading.take(None)
    contract.require(
        reading.messages == messages and reading.fault is None,
        _END,
        f"after whole messages it gave {shown(reading.messages[len(messages) :])},"
        f" {reading.fault!r}",
    )


def _check_halves(framing: Framing, message: bytes, data: bytes) -> None:
    """Check what a decoder says within a message, and at a stream's end there."""
    for size in sorted({1, len(data) // 2, len(data) - 1} & set(range(1, len(data)))):
        reading = _Reading(framing, [data[:size]])
        if reading.messages or reading.fault:
            # A delimiter may end a message early: then the half is whole.
            continue
        contract, pending = reading.contract, reading.decoder.pending
        contract.require(
            0 < pending <= size,
            _PENDING,
            f"{pending} after {size} of the {len(data)} bytes of {shown(message)}",
        )
        reading.take(None)
        contract.require(
            reading.fault is not None or reading.messages,
            _END,
            f"neither, {size} bytes after the beginning of {shown(message)}",
        )


def _check_independence(framing: Framing, framed: dict[bytes, bytes]) -> None:
    one, other = _Reading(framing, []), _Reading(framing, [])
    for data in framed.values():
        middle = len(data) // 2
        for reading, piece in [(one, data[:middle]), (other, data), (one, data[middle:])]:
            reading.take(piece)
    for reading in (one, other):
        _framing(framing).require(
            reading.messages == list(framed) and reading.fault is None,
            _MANY,
            f"two interleaved streams: one gave {shown(reading.messages)}, {reading.fault!r}",
        )


def _check_faults(framing: Framing, framed: dict[bytes, bytes], malformed: list[bytes]) -> None:
    """Feed what is wrong, or may be; the pieces must make no difference."""
    first, data = next(iter(framed.items()))
    chance = random.Random(1)
    alphabet = sorted({*b"".join(framed.values())[:200], *b"0123456789:,\r\n\0\xff"})
    strange = [bytes(chance.choices(alphabet, k=chance.randrange(1, 40))) for _ in range(_STREAMS)]
    for wrong in [*malformed, *strange]:
        whole = _Reading(framing, [data, wrong])
        whole.take(None) if whole.fault is None else None
        contract = whole.contract
        if wrong in malformed:
            contract.require(
                whole.fault, _FAULTS, f"none for {shown(wrong)}; it gave {shown(whole.messages)}"
            )
        contract.require(whole.messages[:1] == [first], _PIECES, f"{shown(whole.messages)}")
        for pieces in cuts(data + wrong):
            reading = _Reading(framing, pieces)
            if reading.fault is None:
                reading.take(None)
            contract.require(
                reading.messages == whole.messages
                and (reading.fault is None) == (whole.fault is None),
                _PIECES if reading.fault is None else _BEFORE,
                f"the pieces {shown(pieces)} gave {shown(reading.messages)},"
                f" {reading.fault!r}; others gave {shown(whole.messages)}, {whole.fault!r}",
            )


def _check_bound(framing: Framing, most_held: int) -> None:
    """Send what never ends a message, until the decoder has had enough."""
    for filler in _FILLERS:
        reading = _Reading(framing, [])
        chunk = filler * 65536
        for _ in range(most_held // len(chunk) + 2):
            reading.take(chunk)
            if reading.fault:
                break
            reading.messages.clear()
            pending = reading.decoder.pending
            reading.contract.require(
                pending <= most_held,
                _BOUND,
                f"it holds {pending} bytes after that many of {filler!r}",
            )


def _new_decoder(framing: Framing) -> Decoder:
    with _framing(framing).only(guarantee="decoder() makes a new decoder", doing="decoder()"):
        return framing.decoder()


def _framing(framing: Framing) -> Contract:
    return Contract("Framing", framing)


def _decoder(framing: Framing) -> Contract:
    return Contract("Decoder", framing)
