"""Tests of netserve.concurrency._multiplexer where threads meet, each step by step."""

import contextlib
import errno
import logging
import socket
import socketserver
import threading

import pytest

from netserve.concurrency import MultiplexingMixIn, WorkerPool, _multiplexer
from netserve.concurrency._connection import READ, UNREGISTERED, WRITE, Connection, Stage
from netserve.concurrency._multiplexer import Multiplexer
from netserve.core import Entry, Outcome
from netserve.handlers import Lines, MessageRequestHandler
from netserve.transports import TCPServer

PATIENCE = 20


class Server:
    """What a multiplexer needs of a server; it notes what it is told."""

    idle_timeout = None
    message_timeout = 30.0
    connection_timeout = None
    linger_timeout = 2.0
    linger_bytes = 1000

    def __init__(self):
        self.notes = []

    def prepare_wait(self):
        """Nothing to listen to."""

    def take_requests(self):
        """Note it."""
        self.notes.append("take")

    def finish_request(self, request, client_address):
        """Not called."""

    def handle_error(self, request, client_address):
        """Note it."""
        self.notes.append("error")

    def shutdown_request(self, request):
        """Close it."""
        request.close()

    def close_request(self, request):
        """Note it, and close it."""
        self.notes.append("close")
        request.close()

    def request_ended(self, entry):
        """Note how."""
        self.notes.append(entry.outcome)

    def has_unread_input(self, request):
        """Say no."""
        return False


class Handler:
    """Answers in capitals."""

    closing = False

    def __init__(self):
        self.decoder = Lines().decoder()
        self.ran = threading.Event()

    def setup(self):
        """Nothing."""

    def feed(self, data):
        """Answer."""
        self.ran.set()
        return data.upper()

    def end_of_input(self):
        """Nothing."""
        return b""

    def flush(self):
        """Nothing."""

    def finish(self):
        """Nothing."""


@pytest.fixture
def server():
    """A server."""
    return Server()


@pytest.fixture
def loop(server):
    """A loop without a pool, which has been entered."""
    with Multiplexer(server, None) as loop:
        yield loop


@pytest.fixture
def connect():
    """A function that makes a connection; it returns it and the client's socket."""
    with contextlib.ExitStack() as ends:

        def connect():
            ours, client = socket.socketpair()
            ends.enter_context(ours)
            ends.enter_context(client)
            client.settimeout(PATIENCE)
            return Connection(ours, Handler(), Entry(1, ours, "client")), client

        yield connect


def end(connection, client, loop):
    """Have *connection* end of itself."""
    client.close()
    loop.wait(0)
    assert connection.stage is Stage.DONE


def test_a_connection_that_a_worker_has_is_not_watched(loop, connect):
    """If it is reported even so, it is taken out of the selector, and not read."""
    connection, client = connect()
    loop.add(connection)
    connection.owned = True
    client.send(b"hello\n")
    assert not loop.wait(0)
    assert connection.armed == UNREGISTERED
    assert not connection.handler.ran.is_set()
    loop._give_up(connection)
    assert connection.armed == READ
    loop.wait(0)
    assert client.recv(10) == b"HELLO\n"
    end(connection, client, loop)


def test_a_connection_may_be_given_back_before_it_is_unwatched(loop, connect):
    """Whoever has it watched again has the last word."""
    connection, client = connect()
    loop.add(connection)
    loop._unwatch(connection)
    assert connection.armed == READ
    end(connection, client, loop)


def test_a_reader_may_remove_another(loop):
    """Which was ready in the same wait, and isn't called any more."""
    pairs = [socket.socketpair() for _ in range(2)]
    called = []

    def remove(number):
        called.append(number)
        loop.remove_reader(pairs[1 - number][0].fileno())

    for number, (ours, theirs) in enumerate(pairs):
        loop.add_reader(ours.fileno(), lambda number=number: remove(number))
        theirs.send(b"x")
    assert not loop.wait(PATIENCE)
    assert len(called) == 1
    loop.remove_reader(pairs[called[0]][0].fileno())
    for pair in pairs:
        for each in pair:
            each.close()


def test_setup_that_raises_in_a_worker(server, loop, connect):
    """It is reported, and the connection ends."""
    connection, client = connect()
    loop._connections[connection.descriptor] = connection

    def fail():
        msg = "of setup"
        raise RuntimeError(msg)

    connection.handler.setup = fail
    loop._open(connection)
    assert server.notes == ["error", "close", Outcome.FAILED]
    assert connection.stage is Stage.DONE
    assert client.recv(10) == b""


@pytest.mark.parametrize("timeout", [30.0, None])
def test_half_a_message_has_its_time_only_where_there_is_one(server, loop, connect, timeout):
    """Without message_timeout nothing is timed."""
    server.message_timeout = timeout
    connection, client = connect()
    loop.add(connection)
    connection.decoder.decode(b"half")
    client.send(b"more")
    loop.wait(0)
    assert (connection.began is not None) == (timeout is not None)
    end(connection, client, loop)


def test_closing_twice(server, loop, connect):
    """Only the first time counts."""
    connection, _ = connect()
    loop.add(connection)
    connection.cut()
    loop._close(connection)
    loop._close(connection)
    assert server.notes == ["close", None]


def test_the_monitor_finds_the_leader_back(loop, server):
    """One that has left the handler in the meantime isn't stood in for."""
    loop._depose(loop._serial - 1)
    assert not loop._deposed
    assert server.notes == []
    # It has nothing to wait for then.
    loop._await_return()
    assert not loop._returning


def test_a_loop_that_is_stuck_elsewhere_is_stood_in_for(loop, server):
    """In a hook, for instance: then no connection is owned."""
    loop._serial += 1
    loop._returning = True
    leader = loop._leader
    loop._depose(loop._serial)
    assert (loop._deposed, loop._returning, loop._leader) == (False, False, leader)
    assert loop._current is None


def test_a_closed_pool_is_done_without(server, connect):
    """The connection is attended to here, however long it takes."""
    pool = WorkerPool(1, "pool")
    pool.close()
    with Multiplexer(server, pool) as loop:
        connection, client = connect()
        loop.add(connection)
        client.send(b"hello\n")
        loop._hand_over(connection)
        assert client.recv(10) == b"HELLO\n"
        assert connection.armed == READ
        end(connection, client, loop)


def test_a_connection_that_is_open_at_the_end_is_told_of(server, connect, caplog):
    """In one record for all."""
    connection, client = connect()
    with caplog.at_level(logging.WARNING), Multiplexer(server, None) as loop:
        loop.add(connection)
    assert "1 connections were open when the loop ended" in caplog.text
    assert client.recv(10) == b""
    assert connection.entry.forced


@pytest.mark.parametrize("workers", [0, 1])
def test_abandoning_without_a_pool(workers):
    """There is nobody to forget, when none has been made, or may be."""

    class Multiplexing(MultiplexingMixIn, TCPServer):
        max_workers = workers

    with Multiplexing(("127.0.0.1", 0), MessageRequestHandler) as server:
        server.abandon_requests()
        assert "_worker_pool" not in vars(server)
        assert (server.worker_pool is None) == (workers == 0)


def test_a_server_of_the_standard_library_is_refused() -> None:
    """Its loop can't wait for connections; the error says what it can have."""
    with pytest.raises(TypeError, match="Wrong: MultiplexingMixIn needs the loop of netserve's"):
        type("Wrong", (MultiplexingMixIn, socketserver.TCPServer), {})


def test_a_client_that_leaves_what_is_being_sent_in_pooled_mode(
    server, loop, connect, monkeypatch
) -> None:
    """Whoever leads sends what is left; an error of that ends the connection alone."""
    connection, _ = connect()
    loop.add(connection)
    connection.stage = Stage.CLOSING
    connection.unsent = b"left"

    def attend(_connection, _events):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr(Connection, "attend", attend)
    loop._serve_pooled([(connection.descriptor, WRITE)], None)
    assert "error" in server.notes
    assert connection.stage is not Stage.OPEN


def test_the_monitor_goes_on_while_the_leader_is_at_work(loop, monkeypatch) -> None:
    """Quiet as it was, the leader isn't waiting: then the monitor doesn't sleep."""
    monkeypatch.setattr(_multiplexer, "_QUIET", 0)
    monkeypatch.setattr(_multiplexer.time, "sleep", lambda _: setattr(loop, "_ended", True))
    loop._idle = False
    loop._keep_watch()
    assert loop._watching is True


def test_an_opening_that_ends_before_its_handler_begins(loop) -> None:
    """Its time was over meanwhile: nothing is begun."""

    class Over:
        stage = Stage.DONE

    loop._opened.append(Over())
    loop._begin_opened()
    assert not loop._opened


def test_a_leader_that_was_stood_in_for_waits_for_its_place(loop, monkeypatch) -> None:
    """After work that has blocked, whatever it raised."""
    waited = []
    monkeypatch.setattr(loop, "_await_return", lambda: waited.append(True))

    def work():
        loop._deposed = True
        raise RuntimeError("of the work")

    with pytest.raises(RuntimeError, match="of the work"):
        loop.call(work)
    loop._deposed = False
    assert waited == [True]
    loop.call(lambda: None)
    assert waited == [True]


class Crowded:
    """A socket that has no room for what TLS has to say at the end, at first."""

    def __init__(self, real):
        self.real = real
        self.tries = 0

    def shutdown(self, how):
        """Fail once."""
        self.tries += 1
        if self.tries == 1:
            raise BlockingIOError
        self.real.shutdown(how)

    def __getattr__(self, name):
        return getattr(self.real, name)


def test_an_end_that_there_is_no_room_for_is_tried_again(server, loop, connect) -> None:
    """When there is room, and not before."""
    connection, client = connect()
    loop.add(connection)
    connection.socket = crowded = Crowded(connection.socket)
    connection.stage = Stage.CLOSING
    loop._settle(connection)
    assert connection.stage is Stage.CLOSING
    assert connection.armed == WRITE
    loop.wait(0)
    assert crowded.tries == 2
    assert connection.stage is Stage.DONE
    assert client.recv(10) == b""
