"""Tests of netserve.handlers._reader: the limit of lines, and the time of messages."""

import io
import socket

import pytest

from netserve.core import Deadlines, LineTooLongError, PeerError
from netserve.handlers import StreamRequestHandler
from netserve.handlers._reader import MessageReader

PATIENCE = 20


class Parts(io.RawIOBase):
    """What a client sends: a part with each read; None is that nothing is there yet.

    It is the clock too, and notes what it is told.
    """

    def __init__(self, *parts):
        self.parts = list(parts)
        self.bytes_received = 0
        self.told = []

    def readable(self):
        """True."""
        return True

    def readinto(self, buffer):
        """Give the next part."""
        self.told.append("read")
        part = self.parts.pop(0) if self.parts else b""
        if part is None:
            return None
        size = len(buffer)
        buffer[: len(part[:size])] = part[:size]
        if part[size:]:
            self.parts.insert(0, part[size:])
        self.bytes_received += len(part[:size])
        return len(part[:size])

    def message_began(self):
        """Note it."""
        self.told.append("began")

    def message_ended(self):
        """Note it."""
        self.told.append("ended")


def reader(*parts, limit=None, size=100, timed=True):
    """A MessageReader on *parts*, and the clock."""
    raw = Parts(*parts)
    return MessageReader(raw, size, limit, raw if timed else None), raw


def filled(read):
    """What *read* puts into a buffer of four bytes."""
    buffer = bytearray(4)
    return bytes(buffer[: read(buffer)])


READING = {
    "readline": lambda file: file.readline(),
    "readline size": lambda file: file.readline(50),
    "readline none": lambda file: file.readline(None),
    "read": lambda file: file.read(4),
    "read1": lambda file: file.read1(4),
    "readinto": lambda file: filled(file.readinto),
    "readinto1": lambda file: filled(file.readinto1),
    "next": next,
}

every_way = pytest.mark.parametrize("read", READING.values(), ids=READING)


# --- as any buffered file ---


@pytest.mark.parametrize("way", READING)
@pytest.mark.parametrize("timed", [True, False])
@pytest.mark.parametrize("limit", [None, 4])
def test_every_way_to_read_gives_what_the_original_does(way, timed, limit):
    """With a limit and a clock, or without."""
    parts = (b"abc\nde", b"f\nrest")
    original = io.BufferedReader(Parts(*parts), 100)
    file, _ = reader(*parts, timed=timed, limit=limit)
    read = READING[way]
    assert isinstance(file, io.BufferedReader)
    assert [read(file), read(file)] == [read(original), read(original)]


def test_reading_to_the_end():
    """read without a size, and the list of lines."""
    assert reader(b"a\nb", b"c\n")[0].read() == b"a\nbc\n"
    assert reader(b"a\nb", b"c\n")[0].read(None) == b"a\nbc\n"
    assert reader(b"a\nb", b"c\n")[0].readlines() == [b"a\n", b"bc\n"]
    assert list(reader(b"a\nb", b"c\n")[0]) == [b"a\n", b"bc\n"]
    assert reader(b"abc")[0].read1() == b"abc"


def test_the_end_is_the_end():
    """Nothing more is no line, and no error."""
    file, _ = reader(limit=4)
    assert file.readline() == file.read() == file.read1() == b""
    assert list(file) == []


def test_the_buffer_has_the_given_size():
    """No more than that is read ahead."""
    file, raw = reader(b"x" * 100, size=10)
    file.read(1)
    assert raw.bytes_received == 10


def test_where_nothing_is_there_yet_none_is_given_on():
    """On a connection that doesn't block; the message goes on."""
    file, raw = reader(None, b"ab", None)
    assert file.read(2) is None
    assert file.readinto(bytearray(2)) == 2
    assert raw.told == ["read", "read", "ended"]


# --- lines ---


@pytest.mark.parametrize("size", [(), (-1,), (None,), (1000,)])
def test_a_line_beyond_the_limit_is_refused(size):
    """Its end counts; what is asked for doesn't lift it."""
    file, _ = reader(b"abc\nabcd\n", limit=4)
    assert file.readline(*size) == b"abc\n"
    with pytest.raises(LineTooLongError, match="a line of more than 4 bytes, which is max_line"):
        file.readline(*size)


@pytest.mark.parametrize("size", [-1, 11, 500])
def test_a_line_without_an_end_is_refused_in_time(size):
    """No more is read than what shows that it is too long, whatever is asked for."""
    file, raw = reader(*[b"x"] * 1000, limit=10)
    with pytest.raises(PeerError):
        file.readline(size)
    assert raw.bytes_received == 11


def test_lines_are_limited_however_they_are_read():
    """By iteration, and as a list."""
    for read in (list, io.BufferedReader.readlines):
        with pytest.raises(LineTooLongError):
            read(reader(b"ab\nabcdef\n", limit=4)[0])


@pytest.mark.parametrize("size", [0, 1, 4])
def test_a_part_of_a_line_may_be_asked_for(size):
    """Up to the limit, a size is what it always is."""
    file, _ = reader(b"abcdefgh\n", limit=4)
    assert file.readline(size) == b"abcdefgh\n"[:size]


def test_a_last_line_of_the_limit_is_whole():
    """The end of the input may end it."""
    assert reader(b"abcd", limit=4)[0].readline() == b"abcd"


def test_only_lines_are_limited():
    """read gives as many bytes as are asked for."""
    assert reader(b"x" * 50, limit=4)[0].read(50) == b"x" * 50


# --- messages ---


@every_way
def test_what_one_call_reads_is_a_message(read):
    """The clock is told of its end, once, and begins it itself with the first byte."""
    file, raw = reader(b"abc\n")
    assert read(file) == b"abc\n"
    assert raw.told == ["read", "ended"]


@every_way
def test_what_is_in_the_buffer_begins_the_next_message(read):
    """Its time begins with the call, not with the bytes that were read ahead."""
    file, raw = reader(b"abc\nde", b"f\n")
    file.readline()
    del raw.told[:]
    read(file)
    assert raw.told[0] == "began"
    assert raw.told[-1] == "ended"
    assert raw.told.count("began") == raw.told.count("ended") == 1


@every_way
def test_with_an_empty_buffer_the_next_message_has_not_begun(read):
    """The client may take its time for it."""
    file, raw = reader(b"abc\n", b"def\n")
    read(file)
    read(file)
    assert raw.told == ["read", "ended", "read", "ended"]


def test_a_line_that_is_too_long_was_a_message():
    """What is left of it begins another."""
    file, raw = reader(b"abcdef\n", limit=4)
    with pytest.raises(LineTooLongError):
        file.readline()
    assert file.readline() == b"f\n"
    assert raw.told == ["read", "ended", "began", "ended"]


def test_without_a_clock_nobody_is_told():
    """The limit of lines works alone."""
    file, raw = reader(b"abc\nrest", timed=False, limit=10)
    file.readline()
    file.read(1)
    assert raw.told == ["read"]


# --- in a handler ---


class Timing(socket.socket):
    """A connection with a clock, which notes what it is told."""

    bytes_received = 0

    def __init__(self, *arguments, **keywords):
        super().__init__(*arguments, **keywords)
        self.told = []
        self.deadlines = Deadlines(None, None, None, 0)

    def recv_into(self, *arguments):
        """Count the bytes."""
        received = super().recv_into(*arguments)
        self.bytes_received += received
        return received

    def message_began(self):
        """Note it."""
        self.told.append("began")

    def message_ended(self):
        """Note it."""
        self.told.append("ended")


@pytest.fixture
def pair():
    """Both ends of a connection; the server's is a Timing."""
    one, client = socket.socketpair()
    with client, Timing(fileno=one.detach()) as server:
        client.settimeout(PATIENCE)
        server.settimeout(PATIENCE)
        yield server, client


class Looking(StreamRequestHandler):
    """Calls its server, which is a function, to look at it while it handles."""

    def handle(self):
        """Show this handler."""
        self.server(self)


def handled(look, connection, **attributes):
    """Handle *connection* with *look*, in a handler class with *attributes*."""
    type("Handler", (Looking,), attributes)(connection, "client", look)


def test_lines_have_no_limit_by_default():
    """The protocol has to set one."""
    assert StreamRequestHandler.max_line_size is None


def test_a_handler_tells_the_connection_of_its_messages(pair):
    """Where the connection has deadlines, rfile says where messages end."""
    server, client = pair
    client.sendall(b"one\ntwo\n")

    def look(handler):
        assert handler.rfile.readline() == b"one\n"
        assert server.told == ["ended"]
        assert handler.rfile.readline() == b"two\n"
        assert server.told == ["ended", "began", "ended"]

    handled(look, server)
    assert server.fileno() >= 0


def test_a_handler_limits_lines():
    """max_line_size works on a connection without deadlines too, and rfile is closed at the end."""
    files = []

    def look(handler):
        files.append(handler.rfile)
        assert handler.rfile.readline() == b"abc\n"
        with pytest.raises(LineTooLongError):
            handler.rfile.readline()

    other, own = socket.socketpair()
    with other, own:
        other.sendall(b"abc\nabcdef\n")
        handled(look, own, max_line_size=4)
    assert files[0].closed


@pytest.mark.parametrize(("size", "ahead"), [(10, 10), (-1, io.DEFAULT_BUFFER_SIZE), (1, 1)])
def test_rbufsize_is_the_size_of_the_buffer(pair, size, ahead):
    """As without a limit."""
    server, client = pair
    client.sendall(b"x" * 20_000)

    def look(handler):
        assert isinstance(handler.rfile, MessageReader)
        handler.rfile.read(1)
        assert server.bytes_received == ahead

    handled(look, server, rbufsize=size)


def test_an_unbuffered_rfile_has_no_limit_to_lines(pair):
    """The mistake is told, before the handler reads anything."""
    with pytest.raises(ValueError, match="max_line_size needs a buffered rfile"):
        handled(pytest.fail, pair[0], rbufsize=0, max_line_size=4)


def test_an_unbuffered_rfile_is_the_bare_one(pair):
    """Also on a connection with deadlines, which counts what is received until it sends."""
    handled(lambda handler: handler.rfile.read(0), pair[0], rbufsize=0)
    seen = []
    handled(lambda handler: seen.append(type(handler.rfile)), pair[0], rbufsize=0)
    assert seen == [socket.SocketIO]


def test_a_plain_connection_has_the_plain_file(pair):
    """Nobody pays for what isn't set; and a mock connection has everything, but no deadlines."""
    seen = []
    one, other = socket.socketpair()
    with one, other:
        handled(lambda handler: seen.append(type(handler.rfile)), one)
    pair[0].deadlines = object()
    handled(lambda handler: seen.append(type(handler.rfile)), pair[0])
    assert seen == [io.BufferedReader, io.BufferedReader]
