"""Tests of the framings: netserve.handlers._lines, _sized, _netstrings and _decoding."""

import contextlib
import copy
import itertools
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserve.core import FramingError
from netserve.handlers import FixedSize, LengthPrefixed, Lines, Netstrings

FRAMINGS = [
    Lines(),
    Lines(b"\r\n"),
    Lines(b"aba"),
    Lines(max_size=8),
    Lines(b"ab", max_size=8),
    Lines(tolerate_cr=True),
    Lines(tolerate_cr=True, max_size=8),
    LengthPrefixed(),
    LengthPrefixed(1),
    LengthPrefixed(2, "little", max_size=8),
    LengthPrefixed(8, max_size=8),
    FixedSize(1),
    FixedSize(4),
    Netstrings(),
    Netstrings(8),
]
each_framing = pytest.mark.parametrize("framing", FRAMINGS, ids=repr)

# Few letters, so that delimiters, digits and their parts are frequent.
streams = st.lists(
    st.one_of(
        st.sampled_from(
            [b"\n", b"\r", b"\r\n", b"a", b"ab", b"aba", b"3:abc,", b"0:,", b"0", b"\0\0\0\2xy"]
        ),
        st.binary(max_size=12),
        st.sampled_from([b"x", b"1:", b",", b"ba"]).map(lambda piece: piece * 7),
    ),
    max_size=12,
).map(b"".join)
cuts = st.lists(st.integers(0, 100), max_size=20)


def pieces(stream, places):
    """*stream* cut at *places*; some pieces may be empty."""
    edges = [0, *sorted(min(place, len(stream)) for place in places), len(stream)]
    return [stream[start:end] for start, end in itertools.pairwise(edges)]


def read(framing, parts):
    """All messages in *parts*, and whether they end well, badly, or half-way."""
    decoder = framing.decoder()
    messages = []
    try:
        for part in parts:
            messages += decoder.decode(part)
    except FramingError as error:
        return messages + error.messages, "bad"
    if decoder.pending == 0:
        return messages + decoder.end(), "well"
    with pytest.raises(FramingError, match=f" {decoder.pending} bytes ") as caught:
        decoder.end()
    return messages + caught.value.messages, f"half, {decoder.pending} bytes"


@each_framing
@given(stream=streams, places=cuts)
def test_the_pieces_make_no_difference(framing, stream, places):
    """A stream gives the same messages, and the same fault, however it is cut."""
    whole = read(framing, [stream])
    assert read(framing, pieces(stream, places)) == whole
    assert read(framing, [stream[place : place + 1] for place in range(len(stream))]) == whole


@each_framing
@given(messages=st.lists(st.binary(max_size=12), max_size=8), places=cuts)
def test_what_is_encoded_is_decoded(framing, messages, places):
    """Every message that can be framed arrives, in order, whatever it contains."""
    framed = b""
    sent = []
    for message in messages:
        try:
            framed += framing.encode(message)
        except ValueError:
            continue
        sent.append(message)
    assert read(framing, pieces(framed, places)) == (sent, "well")


@pytest.mark.parametrize("size", [511, 512, 513, 4096])
@pytest.mark.parametrize("delimiter", [b"\n", b"\r\n"])
def test_long_lines_are_cut_as_short_ones(delimiter, size):
    """The way for long lines gives what the one for short lines gives."""
    sent = [b"x" * size, b"", b"y", b"z" * size]
    stream = delimiter.join([*sent, b"rest"])
    decoder = Lines(delimiter).decoder()
    assert decoder.decode(stream) == sent
    assert decoder.pending == 4
    assert decoder.decode(delimiter) == [b"rest"]


# --- limits ---

AT_THE_LIMIT = [
    (Lines(max_size=3), b"abc\n", b"abcd\n"),
    (Lines(b"\r\n", max_size=3), b"abc\r\n", b"abcd\r\n"),
    (Lines(max_size=3, tolerate_cr=True), b"abc\r\n", b"abcd\r\n"),
    (Lines(max_size=3, tolerate_cr=True), b"abc\n", b"abcd\n"),
    (Lines(max_size=3, tolerate_cr=True), b"abc\r\n", b"abc\r\r\n"),
    (LengthPrefixed(1, max_size=3), b"\3abc", b"\4"),
    (LengthPrefixed(2, "little", max_size=3), b"\3\0abc", b"\4\0"),
    (Netstrings(3), b"3:abc,", b"4:abcd,"),
    (Netstrings(3), b"3:abc,", b"4"),
    (Netstrings(12), b"3:abc,", b"13"),
    (Netstrings(3), b"3:abc,", b"10"),
]


@pytest.mark.parametrize(("framing", "good", "bad"), AT_THE_LIMIT)
def test_a_message_may_have_its_maximum_and_no_more(framing, good, bad):
    """The error has the messages before it, in one read and byte by byte."""
    assert read(framing, [good]) == ([b"abc"], "well")
    assert read(framing, [good + good + bad + good]) == ([b"abc", b"abc"], "bad")
    assert read(framing, [bytes([byte]) for byte in good + bad]) == ([b"abc"], "bad")


@pytest.mark.parametrize(
    ("framing", "beginning", "most"),
    [
        (Lines(max_size=100), b"", 100),
        (Lines(b"\r\n", max_size=100), b"", 101),
        (Lines(max_size=100, tolerate_cr=True), b"", 101),
        (Netstrings(100), b"100:", 104),
        (LengthPrefixed(4, max_size=100), b"\0\0\0\x64", 103),
        (FixedSize(100), b"", 99),
    ],
    ids=repr,
)
@pytest.mark.parametrize("step", [1, 7, 64])
def test_no_more_is_held_than_a_message(framing, beginning, most, step):
    """However it drips, an endless message is refused, or whole, in time."""
    decoder = framing.decoder()
    assert decoder.decode(beginning) == []
    held = [decoder.pending]
    with contextlib.suppress(FramingError):
        while decoder.decode(b"x" * step) == []:
            held.append(decoder.pending)
            assert held[-1] <= most
    assert step > 1 or held[-1] == most


def test_a_long_fragment_is_refused_at_once():
    """Also when nothing was held before it."""
    with pytest.raises(FramingError, match="maximum of 10 bytes") as caught:
        Lines(max_size=10).decoder().decode(b"good\n" + b"x" * 11)
    assert caught.value.messages == [b"good"]


def test_a_drip_is_put_together_once():
    """A held line is neither searched nor copied again for each byte that comes."""
    looked_at = []

    class Watched(bytearray):
        def find(self, *arguments):
            looked_at.append(len(self) - arguments[1])
            return super().find(*arguments)

    decoder = Lines(b"\r\n").decoder()
    decoder._held = Watched()
    for _ in range(1000):
        assert decoder.decode(b"x") == []
    assert decoder.pending == 1000
    assert max(looked_at) <= 2
    assert decoder.decode(b"\r\n") == [b"x" * 1000]
    assert decoder.pending == 0


def test_a_sized_message_is_looked_at_when_it_may_be_whole(monkeypatch):
    """A drip within a message of known length is only collected."""
    for framing in (LengthPrefixed(2), Netstrings(), FixedSize(1000)):
        decoder = framing.decoder()
        calls = []
        cut = type(decoder)._cut
        monkeypatch.setattr(
            type(decoder), "_cut", lambda *args, cut=cut, calls=calls: calls.append(1) or cut(*args)
        )
        stream = framing.encode(b"x" * 1000)
        messages = [m for byte in stream for m in decoder.decode(bytes([byte]))]
        assert messages == [b"x" * 1000]
        assert len(calls) < 10


# --- malformed input ---


@pytest.mark.parametrize(
    ("stream", "fault"),
    [
        (b"x", "begins with b'x'"),
        (b":", "begins with b':'"),
        (b",", "begins with b','"),
        (b" 3:abc,", "begins with b' '"),
        (b"-1:,", "begins with b'-'"),
        (b"3;abc,", "has in its length b';'"),
        (b"03:abc,", "has in its length b'3'"),
        (b"00:,", "has in its length b'0'"),
        (b"3:abcd,", "ends with b'd'"),
        (b"3:ab,3:", "ends with b'3'"),
        (b"0:x", "ends with b'x'"),
        ("٣:abc,".encode(), "begins with"),
    ],
)
def test_a_malformed_netstring_is_refused_with_its_fault(stream, fault):
    """At the byte that is wrong; the good ones before it are in the error."""
    with pytest.raises(FramingError, match=fault) as caught:
        Netstrings().decoder().decode(b"2:ok," + stream)
    assert caught.value.messages == [b"ok"]
    assert read(Netstrings(), [bytes([byte]) for byte in stream]) == ([], "bad")


@pytest.mark.parametrize(
    ("framing", "stream"),
    [
        (Lines(), b"abc"),
        (Lines(b"\r\n"), b"abc\r"),
        (Lines(tolerate_cr=True), b"abc\r"),
        (LengthPrefixed(), b"\0\0\0"),
        (LengthPrefixed(), b"\0\0\0\2x"),
        (FixedSize(4), b"abc"),
        (Netstrings(), b"3"),
        (Netstrings(), b"3:"),
        (Netstrings(), b"3:abc"),
    ],
)
def test_a_message_cut_short_by_the_end_is_an_error(framing, stream):
    """A truncated message isn't taken for one; the error says how much has come."""
    decoder = framing.decoder()
    assert decoder.decode(stream) == []
    with pytest.raises(FramingError, match=rf"within a message, {len(stream)} bytes"):
        decoder.end()


# --- encoding ---


@pytest.mark.parametrize(
    ("framing", "message", "framed"),
    [
        (Lines(), b"", b"\n"),
        (Lines(), b"abc\r", b"abc\r\n"),
        (Lines(b"\r\n"), b"a\nb\r", b"a\nb\r\r\n"),
        (Lines(tolerate_cr=True), b"a\rb", b"a\rb\n"),
        (LengthPrefixed(), b"abc", b"\0\0\0\3abc"),
        (LengthPrefixed(8, "little"), b"", b"\0\0\0\0\0\0\0\0"),
        (LengthPrefixed(1), b"x" * 255, b"\xff" + b"x" * 255),
        (FixedSize(3), b"abc", b"abc"),
        (Netstrings(), b"", b"0:,"),
        (Netstrings(), b"hello world!", b"12:hello world!,"),
    ],
)
def test_encode_adds_the_framing(framing, message, framed):
    """As the definitions of the framings show."""
    assert framing.encode(message) == framed


@pytest.mark.parametrize(
    ("framing", "message", "words"),
    [
        (Lines(), b"ab\nc", r"contain its delimiter b'\\n', as at byte 2"),
        (Lines(b"aa"), b"ba", r"contain its delimiter b'aa', as at byte 1"),
        (Lines(max_size=3), b"abcd", "4 bytes exceeds the maximum of 3"),
        (Lines(tolerate_cr=True), b"a\r", "carriage return"),
        (LengthPrefixed(max_size=3), b"abcd", "4 bytes exceeds the maximum of 3"),
        (LengthPrefixed(1), b"x" * 256, "256 bytes exceeds the maximum of 255"),
        (FixedSize(3), b"ab", "must have 3 bytes, not 2"),
        (FixedSize(3), b"abcd", "must have 3 bytes, not 4"),
        (Netstrings(3), b"abcd", "4 bytes exceeds the maximum of 3"),
    ],
)
def test_what_cant_be_framed_is_refused(framing, message, words):
    """The message of the error says why."""
    with pytest.raises(ValueError, match=words):
        framing.encode(message)


# --- the framings as values ---


@each_framing
def test_a_framing_is_a_value(framing):
    """It is equal to its copies, can be hashed and pickled, and its repr makes it again."""
    assert pickle.loads(pickle.dumps(framing)) == framing
    assert copy.deepcopy(framing) == framing
    assert eval(repr(framing)) == framing
    assert len({framing, copy.copy(framing)}) == 1
    assert framing != Lines(b"another")
    with pytest.raises(AttributeError):
        framing.max_size = 1


@each_framing
def test_each_decoder_has_its_own_stream(framing):
    """Two connections don't meet in one decoder."""
    first, second = framing.decoder(), framing.decoder()
    first.decode(b"1")
    assert second.pending == 0


def test_the_maximum_is_finite_by_default():
    """64 KiB for each framing that has one."""
    assert [Lines().max_size, LengthPrefixed().max_size, Netstrings().max_size] == [65536] * 3


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: Lines("\n"), TypeError, r"delimiter must be bytes, not '\\n'"),
        (lambda: Lines(b""), ValueError, "delimiter must be at least one byte"),
        (lambda: Lines(max_size=0), ValueError, "max_size must be at least 1, not 0"),
        (lambda: Lines(max_size=None), TypeError, "max_size must be a number of bytes, not None"),
        (lambda: Lines(max_size=True), TypeError, "max_size must be a number of bytes, not True"),
        (lambda: Lines(b"\r\n", tolerate_cr=True), ValueError, r"tolerate_cr goes with .*b'\\n'"),
        (lambda: LengthPrefixed(0), ValueError, "size must be from 1 to 8, not 0"),
        (lambda: LengthPrefixed(9), ValueError, "size must be from 1 to 8, not 9"),
        (lambda: LengthPrefixed(4.0), TypeError, "size must be a number of bytes, not 4.0"),
        (lambda: LengthPrefixed(4, "native"), ValueError, "byteorder must be .* not 'native'"),
        (lambda: LengthPrefixed(max_size=-1), ValueError, "max_size must be at least 1, not -1"),
        (lambda: FixedSize(0), ValueError, "size must be at least 1, not 0"),
        (lambda: Netstrings(0), ValueError, "max_size must be at least 1, not 0"),
        (lambda: Netstrings("9"), TypeError, "max_size must be a number of bytes, not '9'"),
    ],
)
def test_arguments_without_sense_are_refused(make, error, words):
    """When the framing is made, with the argument's name and value."""
    with pytest.raises(error, match=words):
        make()
