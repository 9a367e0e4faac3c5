"""Tests of netserve.testing._check_framing: a good framing passes, each broken one is caught."""

from typing import ClassVar

import pytest

from netserve.core import FramingError
from netserve.testing import ContractError, check_framing

MOST = 1000


class Decoder:
    """Cuts lines."""

    def __init__(self):
        self.held = b""

    @property
    def pending(self):
        """How much is held."""
        return len(self.held)

    def decode(self, data, /):
        """Cut."""
        *lines, self.held = (self.held + data).split(b"\n")
        for place, line in enumerate(lines):
            if len(line) > MOST or line == b"bad":
                raise FramingError("too long, or bad", lines[:place])
        if len(self.held) > MOST:
            raise FramingError("too long", lines)
        return lines

    def end(self):
        """Half a line is an error."""
        if self.held:
            raise FramingError("half a line")
        return []


class Lines:
    """A framing that keeps every promise, and has the decoder that a test gives it."""

    def __init__(self, decoder=Decoder):
        self.decoder = decoder

    def encode(self, message, /):
        """Frame."""
        if b"\n" in message or len(message) > MOST or message == b"bad":
            raise ValueError("can't be framed")
        return message + b"\n"


def test_a_good_framing_passes():
    """With messages of its own, and streams that it refuses."""
    check_framing(Lines(), [b"GET /"], malformed=[b"bad\n", b"x" * 1001, b"half"])


def test_without_messages_there_is_nothing_to_check():
    """That is the test's fault."""

    class Strange(Lines):
        def encode(self, message, /):
            raise ValueError("none of these")

    with pytest.raises(ValueError, match="give some that it does"):
        check_framing(Strange())


def broken_decoder(name):  # noqa: C901 one fault is one branch
    """The decoder with one fault."""

    class Broken(Decoder):
        decoders: ClassVar = []

        def decode(self, data, /):
            if name == "forgets":
                *lines, self.held = data.split(b"\n")
                return lines
            if name == "needs whole pieces" and not data.endswith(b"\n"):
                raise FramingError("half")
            if name == "shares":
                self.decoders[:] = self.decoders or [Decoder()]
                return self.decoders[0].decode(data)
            if name == "returns a tuple":
                return tuple(super().decode(data))
            if name == "returns views":
                return [memoryview(each) for each in super().decode(data)]
            if name == "raises ValueError" and b"\0" in data and b"\x80" not in data:
                raise ValueError("a zero")
            if name == "never refuses":
                *lines, self.held = (self.held + data).split(b"\n")
                return lines
            try:
                return super().decode(data)
            except FramingError as error:
                if name == "loses the good":
                    raise FramingError(str(error)) from None
                raise

        @property
        def pending(self):
            if name == "always pending":
                return len(self.held) + 1
            if name == "never pending":
                return 0
            return super().pending

        def end(self):
            if name == "ends quietly":
                return []
            if name == "ends with None":
                return None
            if name == "ends with an error":
                raise FramingError("always")
            if name == "ends with KeyError" and self.held:
                raise KeyError
            if name == "ends with a surprise" and not self.held:
                return [b"surprise"]
            return super().end()

    return Broken


@pytest.mark.parametrize(
    ("name", "guarantee"),
    [
        ("forgets", "in whatever pieces"),
        ("needs whole pieces", "in whatever pieces"),
        ("shares", "one framing may serve any number|in whatever pieces|gives back"),
        ("returns a tuple", "return a list of bytes"),
        ("returns views", "return a list of bytes"),
        ("raises ValueError", "raise FramingError, and nothing else"),
        ("never refuses", "raise FramingError, and nothing else"),
        ("loses the good", "has the messages that were complete before|in whatever pieces"),
        ("always pending", "pending is how many bytes"),
        ("never pending", "pending is how many bytes"),
        ("ends quietly", "the messages that the end completes, or raises"),
        ("ends with None", "nothing else"),
        ("ends with an error", "the messages that the end completes, or raises"),
        ("ends with KeyError", "raise FramingError, and nothing else"),
        ("ends with a surprise", "the messages that the end completes, or raises"),
    ],
)
def test_a_broken_decoder_is_caught(name, guarantee):
    """The failure says which guarantee of Decoder, or of Framing, it doesn't keep."""
    with pytest.raises(ContractError, match=guarantee) as caught:
        check_framing(Lines(broken_decoder(name)), malformed=[b"bad\n"])
    assert caught.value.contract in {"Decoder", "Framing"}
    assert caught.value.guarantee in str(caught.value)


def test_a_decoder_that_holds_without_end_is_caught():
    """However it is fed."""

    class Greedy(Decoder):
        def decode(self, data, /):
            *lines, self.held = (self.held + data).split(b"\n")
            return lines

    with pytest.raises(ContractError, match="no more is held than the longest message"):
        check_framing(Lines(Greedy), most_held=200_000)


def test_a_stream_that_should_be_refused():
    """The test says which."""
    with pytest.raises(ContractError, match="none for b'fine"):
        check_framing(Lines(), malformed=[b"fine\n"])


class Encodings(Lines):
    """A framing whose encoder has one fault."""

    def __init__(self, name):
        super().__init__()
        self.name = name

    def encode(self, message, /):
        """Frame, wrongly."""
        if self.name == "lets the delimiter through":
            return message + b"\n"
        if self.name == "raises TypeError" and len(message) > MOST:
            raise TypeError
        if self.name == "strips":
            return super().encode(message.strip())
        if self.name == "refuses what the test sends" and message == b"mine":
            raise ValueError("not this")
        return super().encode(message)

    def encode_all(self, messages):
        """Frame all."""
        rest = messages[1:] if self.name == "all but one" else messages
        return b"".join(map(self.encode, rest))


@pytest.mark.parametrize(
    ("name", "guarantee"),
    [
        ("lets the delimiter through", "what encode.. returns, a decoder gives back"),
        ("raises TypeError", "raises ValueError, and nothing else"),
        ("strips", "what encode.. returns, a decoder gives back"),
        ("refuses what the test sends", "the messages of the test can be framed"),
        ("all but one", "encode_all"),
    ],
)
def test_a_broken_encoder_is_caught(name, guarantee):
    """The failure says which guarantee of Framing it doesn't keep."""
    with pytest.raises(ContractError, match=guarantee) as caught:
        check_framing(Encodings(name), [b"mine", b" mine"])
    assert caught.value.contract == "Framing"


def test_one_that_makes_no_decoder_is_caught():
    """What it raises is the cause."""

    def raises():
        raise ZeroDivisionError

    with pytest.raises(ContractError, match="makes a new decoder") as caught:
        check_framing(Lines(raises))
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
