"""Tests of netserve.transports._stream."""

import contextlib
import logging
import os
import socket
import struct
import sys
import threading
import time

import pytest

from netserve.core import State, StateError
from netserve.transports import StreamServer, TCPServer, _stream
from netserve.transports._deadline_socket import DeadlineSocket

LOCAL = ("127.0.0.1", 0)
PATIENCE = 20
BUSY = 0.4  # seconds that a machine may be late which has other things to do


def shout(request, client_address, server):
    """Answer one line in upper case."""
    request.sendall(request.recv(100).upper())


def ask(server, data):
    """Send *data* to *server*; return all that comes back."""
    with socket.create_connection(server.server_address, PATIENCE) as connection:
        connection.sendall(data)
        answer = b""
        while part := connection.recv(100):
            answer += part
        return answer


@pytest.fixture
def server():
    """A TCP server that answers in upper case, closed after the test."""
    with TCPServer(LOCAL, shout) as server:
        yield server


def test_clients_are_served(server, serve):
    """One client after the other gets its answer, and the end of the connection."""
    serve(server)
    assert [ask(server, data) for data in [b"one", b"two"]] == [b"ONE", b"TWO"]


def test_handle_request_serves_one_client(server):
    """A client that is in the backlog is served by handle_request, with its address."""
    addresses = []
    server.RequestHandlerClass = lambda *arguments: (
        addresses.append(arguments[1]),
        shout(*arguments),
    )
    with socket.create_connection(server.server_address) as client:
        client.sendall(b"hello")
        server.handle_request()
        assert client.recv(100) == b"HELLO"
        assert client.recv(100) == b""
        assert addresses == [client.getsockname()]


def test_the_backlog_is_request_queue_size(monkeypatch):
    """server_activate listens with a queue of 128 unless told otherwise."""
    asked = []

    class Noted(socket.socket):
        def listen(self, backlog):
            asked.append(backlog)
            super().listen(backlog)

    class Short(TCPServer):
        request_queue_size = 3

    monkeypatch.setattr(socket, "socket", Noted)
    for kind in (TCPServer, Short):
        kind(LOCAL, print).server_close()
    assert asked == [128, 3]


def test_reuse_of_the_address_follows_the_system():
    """TCP servers reuse addresses on POSIX, where that is safe; other streams don't."""
    assert TCPServer.allow_reuse_address is (os.name == "posix")
    assert StreamServer.allow_reuse_address is False


def test_the_end_is_told_although_a_copy_of_the_socket_is_open(server):
    """SHUT_WR before close: the client sees the end while somebody else holds a duplicate."""
    copies = []
    server.RequestHandlerClass = lambda request, *_: copies.append(request.dup())
    with socket.create_connection(server.server_address, PATIENCE) as client:
        server.handle_request()
        assert client.recv(1) == b""
        # Only one direction was ended: what the client still sends arrives.
        client.sendall(b"late")
        assert copies[0].recv(4) == b"late"
    copies[0].close()


def test_close_request_tells_the_peer_nothing(server):
    """close_request alone leaves the connection to the other holder of the socket."""
    with socket.create_connection(server.server_address, PATIENCE) as client:
        request, _ = server.get_request()
        copy = request.dup()
        server.close_request(request)
        assert request.fileno() == -1
        copy.sendall(b"still here")
        assert client.recv(100) == b"still here"
        copy.close()


@pytest.mark.parametrize("gone", ["closed", "unconnected"])
def test_a_connection_that_is_gone_is_closed_all_the_same(server, gone):
    """shutdown_request of a socket that can't be shut down closes it without a word."""
    request = socket.socket()
    if gone == "closed":
        request.close()
    server.shutdown_request(request)
    assert request.fileno() == -1


def test_shutdown_request_calls_close_request(server):
    """A subclass's close_request is what closes."""
    calls = []
    server.close_request = calls.append
    with socket.socket() as request:
        server.shutdown_request(request)
        assert calls == [request]


@pytest.mark.parametrize("hook", ["finish_request", "verify_request", "process_request"])
def test_a_hook_that_raises_costs_one_client_its_answer(server, serve, hook, caplog):
    """The client sees the end of its connection; the next one is served; it was logged."""
    own = getattr(server, hook)

    def raise_once(*_):
        setattr(server, hook, own)
        raise ValueError(hook)

    setattr(server, hook, raise_once)
    serve(server)
    assert ask(server, b"") == b""
    assert ask(server, b"next") == b"NEXT"
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("netserve.server", logging.ERROR)


def test_get_request_that_fails_does_not_end_the_loop(server, serve, caplog):
    """An override of get_request, to wrap TLS for example, may raise anything."""
    own = server.get_request

    def raise_once():
        server.get_request = own
        own()[0].close()
        raise ValueError("get_request")

    server.get_request = raise_once
    serve(server)
    assert ask(server, b"") == b""
    assert ask(server, b"next") == b"NEXT"
    assert len(caplog.records) == 1


def test_nothing_is_accepted_after_shutdown(server):
    """A connection that is in the backlog at shutdown stays there, for the next loop."""
    handled = []
    server.RequestHandlerClass = lambda request, *_: (
        handled.append(request.recv(100)),
        server.shutdown(),
    )
    with (
        socket.create_connection(server.server_address) as first,
        socket.create_connection(server.server_address) as second,
    ):
        first.sendall(b"first")
        second.sendall(b"second")
        server.serve_forever()
        assert handled == [b"first"]
        server.serve_forever()
        assert handled == [b"first", b"second"]


def test_closing_while_another_thread_serves(server, serve):
    """server_close without shutdown ends the loop of the other thread."""
    thread = serve(server)
    assert ask(server, b"x") == b"X"
    server.server_close()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert server.state is State.CLOSED


def test_closing_while_a_handler_runs(server, serve):
    """The request that is being handled gets its answer although the server closes."""
    handling, go_on = threading.Event(), threading.Event()

    def handler(request, client_address, server):
        handling.set()
        go_on.wait(PATIENCE)
        shout(request, client_address, server)

    server.RequestHandlerClass = handler
    thread = serve(server)
    with socket.create_connection(server.server_address, PATIENCE) as client:
        client.sendall(b"hello")
        assert handling.wait(PATIENCE)
        server.server_close()
        go_on.set()
        assert client.recv(100) == b"HELLO"
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_a_socket_bound_elsewhere_is_served():
    """With bind_and_activate=False, server.socket may be replaced by a listening one."""
    with socket.create_server(LOCAL) as listening:
        with TCPServer(LOCAL, shout, bind_and_activate=False) as server:
            server.socket.close()
            server.socket = listening
            server.RequestHandlerClass = lambda *arguments: (
                shout(*arguments),
                server.shutdown(),
            )
            with socket.create_connection(listening.getsockname()) as client:
                client.sendall(b"hello")
                server.serve_forever()
                assert client.recv(100) == b"HELLO"
            assert server.state is State.STOPPED


# --- while serving ---


def test_accepted_sockets_block_and_the_listener_does_not_while_serving(server):
    """The loop never hangs in accept, and a handler's socket waits; afterwards all is as it was."""
    seen = []

    def look(request, client_address, server):
        seen.append((request.gettimeout(), os.get_blocking(request.fileno())))
        seen.append((server.socket.gettimeout(), os.get_blocking(server.fileno())))
        server.shutdown()

    server.RequestHandlerClass = look
    with socket.create_connection(server.server_address):
        server.serve_forever()
    assert seen == [(None, True), (0.0, False)]
    assert server.socket.gettimeout() is None
    assert os.get_blocking(server.fileno())


def test_outside_of_the_loop_the_listener_blocks(server):
    """handle_request, and get_request called by the program, wait."""
    server.RequestHandlerClass = lambda *_: seen.append(server.socket.gettimeout())
    seen = []
    with socket.create_connection(server.server_address):
        server.handle_request()
    assert seen == [None]


def test_a_timeout_of_the_programs_own_is_left_on_the_listener(server):
    """It is what handle_request goes by, and survives serving."""
    seen = []
    server.socket.settimeout(7)
    server.RequestHandlerClass = lambda *_: (
        seen.append(server.socket.gettimeout()),
        server.shutdown(),
    )
    with socket.create_connection(server.server_address):
        server.serve_forever()
    assert seen == [7]
    assert server.socket.gettimeout() == 7


@pytest.mark.parametrize("default", [None, 3.0])
def test_accepted_sockets_block_where_they_inherit_from_the_listener(server, monkeypatch, default):
    """On other systems than Linux an accepted socket is like its listener; it is put right."""
    monkeypatch.setattr(_stream, "_INHERITS_BLOCKING", True)
    accepted = server.socket.accept

    class Inheriting:
        def accept(self):
            request, address = accepted()
            request.setblocking(False)
            return request, address

    with socket.create_connection(server.server_address):
        listening, server.socket = server.socket, Inheriting()
        socket.setdefaulttimeout(default)
        try:
            request, _ = server.get_request()
        finally:
            socket.setdefaulttimeout(None)
            server.socket = listening
        with request:
            assert request.gettimeout() == default


def test_a_connection_that_another_process_took_is_passed_over(server, serve):
    """The loop goes on when there is none after all, instead of waiting in accept."""
    own = server.get_request
    tried = threading.Event()

    def robbed():
        server.get_request = own
        own()[0].close()
        try:
            return own()
        finally:
            tried.set()

    server.get_request = robbed
    serve(server)
    assert ask(server, b"") == b""
    assert tried.wait(PATIENCE)
    assert ask(server, b"next") == b"NEXT"
    assert server.stats().accepted == 1


def test_a_server_that_was_closed_before_it_is_served_says_so(server):
    """That its socket is gone already is no other error."""
    server.server_close()
    with pytest.raises(StateError, match="serve_forever"):
        server.serve_forever()


# --- deadlines ---


@pytest.mark.parametrize("limit", ["idle_timeout", "message_timeout", "connection_timeout"])
def test_with_a_deadline_requests_keep_it(server, limit):
    """Each limit alone makes the request a socket that knows it."""
    assert getattr(TCPServer, limit) is None
    setattr(server, limit, 5)
    with socket.create_connection(server.server_address) as client:
        request, address = server.get_request()
        with request:
            assert address == client.getsockname()
            assert isinstance(request, DeadlineSocket)
            limits = {deadline.value: value for deadline, value in request.deadlines.limits.items()}
            assert limits.pop(limit.removesuffix("_timeout")) == 5
            assert set(limits.values()) == {None}


def test_without_a_deadline_requests_are_plain_sockets(server):
    """Nobody pays for what isn't set."""
    with socket.create_connection(server.server_address):
        request, _ = server.get_request()
        with request:
            assert type(request) is socket.socket


def test_sockets_of_another_class_are_left_alone(server):
    """A listening socket that gives its own, as for TLS, has them kept."""

    class Own(socket.socket):
        pass

    accepted = server.socket.accept
    server.idle_timeout = 5

    class Listener:
        def accept(self):
            request, address = accepted()
            return Own(fileno=request.detach()), address

    with socket.create_connection(server.server_address):
        listening, server.socket = server.socket, Listener()
        request, _ = server.get_request()
        server.socket = listening
        with request:
            assert type(request) is Own


def test_a_client_that_is_too_slow_is_ended(serve, caplog):
    """It sees the end of the connection in time; that is one record, without a traceback."""
    with TCPServer(LOCAL, shout) as server:
        server.idle_timeout = 0.15
        with caplog.at_level(logging.INFO, "netserve.server"):
            serve(server)
            began = time.monotonic()
            assert ask(server, b"") == b""
            assert 0.14 <= time.monotonic() - began < 0.15 + 0.1 + BUSY
            server.shutdown()
        (record,) = caplog.records
        assert record.levelno == logging.INFO
        assert record.exc_info is None
        stats = server.stats()
        assert (stats.timed_out, stats.failed, stats.accepted) == (1, 0, 1)


def test_a_handler_that_catches_its_deadline_is_counted_all_the_same(server, caplog):
    """The request was ended by the deadline, whatever the handler makes of it."""

    def forgiving(request, client_address, server):
        with contextlib.suppress(TimeoutError):
            request.recv(1)

    server.RequestHandlerClass = forgiving
    server.idle_timeout = 0.01
    with socket.create_connection(server.server_address):
        server.handle_request()
    assert server.stats().timed_out == 1
    assert caplog.records == []


# --- refusing ---


@pytest.mark.parametrize("farewell", [b"", b"busy\n"])
@pytest.mark.parametrize("early", [True, False], ids=["early", "silent"])
@pytest.mark.parametrize("limit", [None, 5], ids=["plain", "deadlines"])
def test_a_refused_client_gets_the_farewell_and_the_end(server, serve, farewell, early, limit):
    """Whole, although it has sent something already; no handler sees it."""
    server.RequestHandlerClass = pytest.fail
    server.idle_timeout = limit
    server.max_connections = 0
    server.overload = "refuse"
    server.farewell = farewell
    thread = serve(server)
    for _ in range(20):
        assert ask(server, b"x" * 10_000 if early else b"") == farewell
    server.shutdown()
    thread.join(PATIENCE)
    stats = server.stats()
    assert (stats.refused, stats.accepted, stats.failed) == (20, 20, 0)


def test_refusing_does_not_wait_for_anybody(server):
    """A client that stays and sends nothing, nor takes anything, keeps the loop for no time."""
    server.max_connections = 0
    server.overload = "refuse"
    server.farewell = bytes(50_000_000)
    with socket.create_connection(server.server_address) as client:
        client.sendall(b"surplus")
        began = time.monotonic()
        server.handle_request()
        assert time.monotonic() - began < server.linger_timeout / 2


def test_a_refused_client_that_has_left_is_no_error(server, caplog):
    """The farewell can't be sent, and that is all."""
    server.max_connections = 0
    server.overload = "refuse"
    server.farewell = b"busy\n"
    with caplog.at_level(logging.DEBUG):
        client = socket.create_connection(server.server_address)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        server.handle_request()
    assert server.stats().refused == 1
    assert caplog.records == []


def test_one_peer_too_many_is_refused(server):
    """With max_connections_per_peer, the farewell is for the peer that has its share."""
    server.max_connections_per_peer = 1
    server.farewell = b"busy\n"
    own, server.process_request = server.process_request, lambda *arguments: None
    with socket.create_connection(server.server_address, PATIENCE) as first:
        with socket.create_connection(server.server_address, PATIENCE) as second:
            server.handle_request()
            (entry,) = server.requests_in_progress.entries()
            server.handle_request()
            assert second.recv(100) == b"busy\n"
            assert second.recv(1) == b""
            first.sendall(b"one")
            own(entry.request, entry.address)
            assert first.recv(100) == b"ONE"


# --- reaching into a request ---


@pytest.fixture
def request_and_client(server):
    """A connection that the server has accepted, and its client."""
    with socket.create_connection(server.server_address, PATIENCE) as client:
        request, _ = server.get_request()
        with request:
            yield request, client


@pytest.mark.parametrize("copied", [False, True], ids=["itself", "duplicate"])
def test_ending_the_input_leaves_what_has_come_and_the_reply(server, request_and_client, copied):
    """A reader gets what was sent before, then the end; the other direction is open."""
    request, client = request_and_client
    client.sendall(b"sent before")
    assert len(request.recv(11, socket.MSG_PEEK | socket.MSG_WAITALL)) == 11
    handle = server.duplicate_request(request) if copied else request
    server.end_input(handle)
    if copied:
        server.close_duplicate(handle)
    assert request.recv(100) == b"sent before"
    assert request.recv(100) == b""
    request.sendall(b"reply")
    assert client.recv(100) == b"reply"


def test_ending_the_input_ends_a_wait(server, request_and_client):
    """A handler that is blocked in reading sees the end."""
    request, _ = request_and_client
    timer = threading.Timer(0.02, server.end_input, [request])
    timer.start()
    assert request.recv(1) == b""
    timer.join()


@pytest.mark.parametrize("copied", [False, True], ids=["itself", "duplicate"])
def test_aborting_ends_both_directions(server, request_and_client, copied):
    """The handler can't write any more, and the client sees the end."""
    request, client = request_and_client
    handle = server.duplicate_request(request) if copied else request
    server.abort_request(handle)
    if copied:
        server.close_duplicate(handle)
    assert client.recv(1) == b""
    assert request.recv(1) == b""
    with pytest.raises(BrokenPipeError):
        request.sendall(b"reply")


def test_aborting_ends_a_wait_for_room(server, request_and_client):
    """A handler that is blocked in writing to a client that reads nothing fails."""
    request, _ = request_and_client
    timer = threading.Timer(0.05, server.abort_request, [request])
    timer.start()
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        request.sendall(bytes(50_000_000))
    timer.join()


def test_a_connection_is_connected_until_both_ends_have_ended(server, request_and_client):
    """A client that has ended its output may still wait for the reply."""
    request, client = request_and_client
    assert server.is_connected(request)
    client.shutdown(socket.SHUT_WR)
    assert request.recv(1) == b""
    assert server.is_connected(request)
    request.shutdown(socket.SHUT_WR)
    assert not server.is_connected(request)


def test_a_duplicate_tells_the_peer_nothing_when_it_is_closed(server, request_and_client):
    """It is another descriptor of the same connection."""
    request, client = request_and_client
    duplicate = server.duplicate_request(request)
    assert duplicate.fileno() != request.fileno()
    assert duplicate.getpeername() == client.getsockname()
    server.close_duplicate(duplicate)
    assert duplicate.fileno() == -1
    client.sendall(b"still here")
    assert request.recv(100) == b"still here"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_the_bytes_of_a_request_that_another_process_has_are_not_counted(server):
    """Whoever holds its entry asks for them, of the duplicate, when that process has ended."""
    with socket.create_connection(server.server_address, PATIENCE) as client:
        request, address = server.get_request()
        entry = server.requests_in_progress.begin(request, address)
        entry.handle, entry.held = server.duplicate_request(request), True
        client.sendall(b"x" * 1000)
        request.sendall(b"y" * 500)
        assert len(request.recv(1000, socket.MSG_WAITALL)) == 1000
        server.close_request(request)
        assert server.stats().bytes_received == 0
        assert server.stats().active == 1
        assert server.request_traffic(entry.handle) == (1000, 500)
        server.close_duplicate(entry.handle)
        server.request_ended(entry)
        assert server.stats().bytes_received == 0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_the_bytes_of_a_request_that_this_process_kept_are_counted_once(server):
    """A duplicate for a process that couldn't be started doesn't count."""
    with socket.create_connection(server.server_address, PATIENCE) as client:
        request, address = server.get_request()
        entry = server.requests_in_progress.begin(request, address)
        client.sendall(b"x" * 1000)
        assert len(request.recv(1000, socket.MSG_WAITALL)) == 1000
        entry.handle = server.duplicate_request(request)
        server.close_duplicate(entry.handle)
        entry.handle = request
        assert server.stats().bytes_received == 0
        server.close_request(request)
        assert server.stats().bytes_received == 1000


def test_a_peer_that_resets_is_one_debug_record(server, caplog):
    """No traceback, no error: the handler did nothing wrong."""
    server.RequestHandlerClass = lambda request, *_: (request.recv(1), request.recv(1))
    with caplog.at_level(logging.DEBUG, "netserve.server"):
        client = socket.create_connection(server.server_address)
        client.sendall(b"x")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        server.handle_request()
    (record,) = caplog.records
    assert (record.levelno, record.exc_info) == (logging.DEBUG, None)
    assert server.stats().disconnected == 1


# --- draining ---


def test_a_drain_answers_what_was_sent_and_takes_the_backlog(server, serve):
    """The idle handler sees the end at once; who waited in the backlog is answered too."""
    entered = threading.Event()

    def conversation(request, client_address, server):
        while data := request.recv(100):
            request.sendall(data.upper())
            entered.set()

    server.RequestHandlerClass = conversation
    thread = serve(server)
    with contextlib.ExitStack() as ends:
        first, *others = (
            ends.enter_context(socket.create_connection(server.server_address, PATIENCE))
            for _ in range(4)
        )
        first.sendall(b"first")
        assert entered.wait(PATIENCE)
        for other in others:
            other.sendall(b"other")
        result = server.stop(grace=PATIENCE)
        assert (result.drained, result.forced) == (4, 0)
        assert result.elapsed < PATIENCE / 2
        assert first.recv(100) == b"FIRST"
        assert [other.recv(100) for other in others] == [b"OTHER"] * 3
        assert [each.recv(1) for each in (first, *others)] == [b""] * 4
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_at_the_end_of_the_grace_a_connection_is_cut(server, serve):
    """A handler that waits for a client which never reads is forced."""
    entered = threading.Event()

    def talkative(request, client_address, server):
        entered.set()
        request.sendall(bytes(50_000_000))

    server.RequestHandlerClass = talkative
    serve(server)
    with socket.create_connection(server.server_address, PATIENCE):
        assert entered.wait(PATIENCE)
        result = server.stop(grace=0.1)
    assert (result.drained, result.forced) == (0, 1)
    assert result.elapsed < 5
    assert server.stats().forced == 1


def test_a_synchronous_server_does_not_wait_for_a_slow_reader():
    """What it has sent is in the system's hands; the next client is taken at once."""

    class Patient(TCPServer):
        linger_timeout = 2 * PATIENCE

    def handle(request, client_address, server):
        request.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 22)
        request.settimeout(0)
        with contextlib.suppress(BlockingIOError):
            while True:
                request.send(bytes(65536))

    with Patient(("127.0.0.1", 0), handle) as server, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(server.server_address)
        began = time.monotonic()
        server.handle_request()
        assert time.monotonic() - began < PATIENCE
