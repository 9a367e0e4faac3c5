"""Tests of netserve.concurrency._connection, on a pair of sockets and without a loop."""

import contextlib
import socket

import pytest

from netserve.concurrency._connection import (
    HIGH_WATER,
    LOW_WATER,
    READ,
    UNREGISTERED,
    WRITE,
    Connection,
    Stage,
)
from netserve.core import Entry

PATIENCE = 20

ERROR = 8
HANG_UP = 16


class Handler:
    """Answers with what *answer* makes of what comes, and notes its calls."""

    decoder = None

    def __init__(self):
        self.closing = False
        self.calls = []
        self.answer = bytes.upper
        self.farewell = b""
        self.greeting = b""

    def setup(self):
        """Note it."""
        self.calls.append("setup")

    def flush(self):
        """Send the greeting, if there is one."""
        self.calls.append("flush")
        if self.greeting:
            self.transmit(self.greeting)

    def feed(self, data):
        """Answer; what contains "quit" is the end."""
        self.calls.append(data)
        self.closing = b"quit" in data
        return self.answer(data)

    def end_of_input(self):
        """Say goodbye."""
        self.calls.append("end")
        return self.farewell

    def finish(self):
        """Note it."""
        self.calls.append("finish")


class Pair:
    """A connection, its handler, and the client's socket."""

    def __init__(self, ends):
        ours, self.client = socket.socketpair()
        ends.enter_context(ours)
        ends.enter_context(self.client)
        self.client.settimeout(PATIENCE)
        self.handler = Handler()
        self.entry = Entry(1, ours, "client")
        self.connection = Connection(ours, self.handler, self.entry)

    def receive(self, size):
        """Exactly *size* bytes."""
        received = b""
        while len(received) < size:
            received += self.client.recv(size - len(received))
        return received


@pytest.fixture
def pair():
    """A pair whose handler hasn't begun."""
    with contextlib.ExitStack() as ends:
        yield Pair(ends)


@pytest.fixture
def connection(pair):
    """Its connection, which is open."""
    pair.connection.open()
    return pair.connection


def ask(pair, data):
    """Have the connection read *data*."""
    pair.client.sendall(data)
    pair.connection.ready()


def full(pair):
    """Have more answered than the client's buffer takes; returns how many bytes."""
    pair.handler.answer = lambda data: b"x" * (1 << 22)
    ask(pair, b"big")
    return 1 << 22


def drain(pair, size):
    """Let the client read *size* bytes, and the connection write meanwhile."""
    while size:
        size -= len(pair.client.recv(min(size, 65536)))
        pair.connection.attend(WRITE)


@pytest.mark.skipif(not hasattr(socket, "MSG_MORE"), reason="needs MSG_MORE")
def test_the_last_answer_goes_with_the_end(pair):
    """Only when the handler is through, the system is told that the end follows."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    with client, ours:
        # Otherwise what is held back for the end would be sent at once, all the same.
        ours.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, False)
        client.settimeout(PATIENCE)
        connection = Connection(ours, pair.handler, Entry(1, ours, "client"))
        connection.open()
        client.sendall(b"more")
        connection.ready()
        assert client.recv(99) == b"MORE"
        client.sendall(b"quit")
        connection.ready()
        assert connection.stage is Stage.CLOSING
        client.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.recv(99)
        ours.shutdown(socket.SHUT_WR)
        client.settimeout(PATIENCE)
        assert client.recv(99) == b"QUIT"
        assert client.recv(99) == b""


def test_a_new_connection_waits_for_input(pair):
    """It isn't in a selector, and nobody has it."""
    connection = pair.connection
    assert (connection.stage, connection.watched, connection.armed) == (
        Stage.OPEN,
        READ,
        UNREGISTERED,
    )
    assert not connection.owned
    assert connection.descriptor == connection.socket.fileno()
    assert repr(connection) == "<Connection open of <Entry 1 from 'client'>>"


def test_opening_sets_the_handler_up(pair):
    """And sends what it has queued."""
    pair.handler.greeting = b"hello"
    pair.connection.open()
    assert pair.handler.calls == ["setup", "flush"]
    assert pair.client.recv(10) == b"hello"
    assert pair.connection.stage is Stage.OPEN


def test_a_handler_may_end_at_once(pair):
    """Then nothing is read, and it is finished."""
    pair.handler.closing = True
    pair.connection.open()
    assert pair.handler.calls == ["setup", "flush", "finish"]
    assert (pair.connection.stage, pair.connection.watched) == (Stage.CLOSING, 0)


def test_a_handler_whose_setup_raises_is_not_finished(pair):
    """As with every other server."""

    def fail():
        msg = "of setup"
        raise RuntimeError(msg)

    pair.handler.setup = fail
    with pytest.raises(RuntimeError, match="of setup"):
        pair.connection.open()
    pair.connection.fail()
    pair.connection.finish()
    assert pair.handler.calls == []


def test_it_answers_what_it_reads(pair, connection):
    """In one piece, and goes on reading."""
    ask(pair, b"hello")
    assert pair.client.recv(10) == b"HELLO"
    assert (connection.stage, connection.watched, connection.unsent) == (Stage.OPEN, READ, b"")


def test_no_answer_is_no_send(pair, connection):
    """Some messages have none."""
    pair.handler.answer = lambda data: b""
    ask(pair, b"hello")
    assert connection.watched == READ
    pair.client.setblocking(False)
    with pytest.raises(BlockingIOError):
        pair.client.recv(10)


def test_nothing_there_is_passed_over(pair, connection):
    """Whoever reported it may have been wrong."""
    connection.ready()
    connection.attend(READ)
    assert pair.handler.calls == ["setup", "flush"]


def test_the_handler_ends_the_connection(pair, connection):
    """What it has answered is sent; it is finished once."""
    ask(pair, b"quit")
    assert pair.client.recv(10) == b"QUIT"
    assert connection.stage is Stage.CLOSING
    assert connection.watched == 0
    assert not connection.input_ended
    connection.finish()
    assert pair.handler.calls.count("finish") == 1


@pytest.mark.parametrize("farewell", [b"", b"bye"])
def test_the_peer_ends_its_input(pair, connection, farewell):
    """The handler may still answer."""
    pair.handler.farewell = farewell
    pair.client.shutdown(socket.SHUT_WR)
    connection.ready()
    assert connection.input_ended
    assert connection.stage is Stage.CLOSING
    assert pair.handler.calls[-2:] == ["end", "finish"]
    connection.socket.shutdown(socket.SHUT_WR)
    assert pair.client.recv(10) == farewell


def test_what_the_client_does_not_read_is_kept(pair, connection):
    """Above the high mark nothing is read, below the low one it is again."""
    size = full(pair)
    assert len(connection.unsent) > HIGH_WATER
    assert connection.watched == WRITE
    calls = len(pair.handler.calls)
    pair.client.sendall(b"more")
    connection.attend(WRITE)
    assert len(pair.handler.calls) == calls
    watched = set()
    received = 0
    while connection.unsent:
        received += len(pair.client.recv(4096))
        connection.attend(WRITE)
        held = len(connection.unsent)
        watched.add(connection.watched)
        if held > LOW_WATER:
            assert connection.watched == WRITE
        elif held:
            assert connection.watched == READ | WRITE
    assert connection.watched == READ
    assert WRITE in watched
    pair.receive(size - received)
    pair.handler.answer = bytes.upper
    connection.attend(READ)
    assert pair.client.recv(10) == b"MORE"


def hold(connection, data):
    """Have *connection* keep *data*, as if the client's buffer were full."""
    connection._send = refuse
    connection.transmit(data)


def refuse(data, flags):
    """What a send to a full buffer does."""
    raise BlockingIOError


@pytest.mark.parametrize(
    ("held", "watched"),
    [
        (1, READ | WRITE),
        (LOW_WATER, READ | WRITE),
        (HIGH_WATER - 1, READ | WRITE),
        (HIGH_WATER, WRITE),
    ],
)
def test_the_high_mark(pair, connection, held, watched):
    """Up to it, a connection that is read goes on being read."""
    hold(connection, b"x" * held)
    assert connection.watched == watched


@pytest.mark.parametrize(("left", "watched"), [(LOW_WATER + 1, WRITE), (LOW_WATER, READ | WRITE)])
def test_the_low_mark(pair, connection, left, watched):
    """Down to it, a connection that isn't read isn't read."""
    hold(connection, b"x" * HIGH_WATER)
    connection._send = lambda data, flags: HIGH_WATER - left
    connection.attend(WRITE)
    assert len(connection.unsent) == left
    assert connection.watched == watched


def test_a_full_buffer_keeps_everything(pair, connection):
    """Answers that follow stay behind what is kept."""
    connection._send = refuse
    ask(pair, b"one")
    assert connection.unsent == b"ONE"
    ask(pair, b"two")
    connection.transmit(b"three")
    connection.attend(WRITE)
    assert connection.unsent == b"ONETWOthree"
    connection._send = connection.socket.send
    connection.attend(WRITE)
    assert pair.client.recv(100) == b"ONETWOthree"
    assert (connection.unsent, connection.watched) == (b"", READ)


def test_what_is_partly_sent(pair, connection):
    """The rest is kept, whether it was an answer or transmitted."""
    connection._send = lambda data, flags: 2
    ask(pair, b"hello")
    assert connection.unsent == b"LLO"
    connection.attend(WRITE)
    assert connection.unsent == b"O"
    connection.unsent = b""
    connection.transmit(b"12345")
    assert connection.unsent == b"345"


def test_transmitting_to_a_peer_that_has_left(pair, connection):
    """It is passed over; reading tells the handler."""
    pair.client.close()
    connection.transmit(b"hello")
    assert connection.unsent == b""
    assert connection.stage is Stage.OPEN
    connection.ready()
    assert connection.input_ended


def test_answering_a_peer_that_has_left(pair, connection):
    """It is an error of the connection's, as a read is."""
    pair.client.sendall(b"hello")
    pair.client.close()
    with pytest.raises(BrokenPipeError):
        connection.attend(READ)


def test_writing_the_rest_to_a_peer_that_has_left(pair, connection):
    """Likewise."""
    full(pair)
    pair.client.close()
    with pytest.raises(OSError):  # noqa: PT011 - which one, depends on the system
        connection.attend(WRITE | HANG_UP)


def test_attending_to_what_can_be_written(pair, connection):
    """Without anything to send, nothing is done, and nothing read."""
    pair.client.sendall(b"hello")
    connection.attend(WRITE)
    assert pair.handler.calls == ["setup", "flush"]
    connection.attend(READ | WRITE)
    assert pair.client.recv(10) == b"HELLO"


@pytest.mark.parametrize("event", [READ, ERROR, HANG_UP, READ | HANG_UP])
def test_an_error_is_found_by_reading(pair, connection, event):
    """Whatever the system reports that isn't writing."""
    pair.client.close()
    connection.attend(event)
    assert connection.input_ended


def test_closing_reads_no_more(pair, connection):
    """It only sends what is left."""
    connection._send = refuse
    ask(pair, b"quit")
    assert (connection.stage, connection.watched) == (Stage.CLOSING, WRITE)
    pair.client.sendall(b"more")
    connection._send = connection.socket.send
    connection.attend(READ | WRITE)
    assert pair.client.recv(10) == b"QUIT"
    assert connection.watched == 0
    assert b"more" not in pair.handler.calls


def test_lingering_throws_away_what_comes(pair, connection):
    """It counts it, until the peer ends."""
    connection.stage = Stage.LINGERING
    connection.attend(READ)
    assert (connection.surplus, connection.input_ended) == (0, False)
    pair.client.sendall(b"12345")
    connection.attend(READ)
    assert (connection.surplus, connection.input_ended) == (5, False)
    pair.client.close()
    connection.attend(READ | HANG_UP)
    assert (connection.surplus, connection.input_ended) == (5, True)
    assert pair.handler.calls == ["setup", "flush"]


def test_a_failed_connection_still_sends(pair, connection):
    """What the handler has answered before it raised."""
    hold(connection, b"x" * 10)
    connection.fail()
    assert (connection.stage, connection.watched) == (Stage.CLOSING, WRITE)
    connection._send = connection.socket.send
    connection.attend(READ | WRITE)
    assert pair.client.recv(100) == b"x" * 10
    assert connection.watched == 0


def test_a_cut_connection_sends_nothing(pair, connection):
    """It is done, and its handler is finished by whoever cuts it."""
    hold(connection, b"hello")
    connection.cut()
    assert (connection.stage, connection.unsent) == (Stage.DONE, b"")
    connection.attend(READ | WRITE)
    assert pair.handler.calls == ["setup", "flush"]
    connection.finish()
    assert pair.handler.calls[-1] == "finish"


def test_a_large_answer_arrives_whole(pair, connection):
    """Piece by piece, as the client reads."""
    drain(pair, full(pair))
    assert connection.unsent == b""
    assert connection.watched == READ


def test_the_descriptor_is_known_when_the_socket_is_closed(pair, connection):
    """The selector must be told of it."""
    number = connection.descriptor
    connection.socket.close()
    assert connection.descriptor == number
    with pytest.raises(OSError, match="Bad file descriptor"):
        connection.ready()
