"""Tests of netserve.transports._datagram."""

import logging
import os
import socket
import threading
import time

import pytest

from netserve.core import State, TruncatedDatagram
from netserve.transports import DatagramServer, UDPServer, _datagram

LOCAL = ("127.0.0.1", 0)
PATIENCE = 20


def shout(request, client_address, server):
    """Answer the datagram in upper case."""
    data, answers = request
    answers.sendto(data.upper(), client_address)


@pytest.fixture
def server():
    """A UDP server that answers in upper case, closed after the test."""
    with UDPServer(LOCAL, shout) as server:
        yield server


@pytest.fixture
def client(server):
    """A socket that talks to the server."""
    with socket.socket(type=socket.SOCK_DGRAM) as client:
        client.settimeout(PATIENCE)
        client.connect(server.server_address)
        yield client


def test_datagrams_are_answered(server, client, serve):
    """serve_forever handles one datagram after the other."""
    serve(server)
    for data in [b"one", b"two"]:
        client.send(data)
        assert client.recv(100) == data.upper()


def test_a_request_is_the_datagram_and_the_servers_socket(server, client):
    """get_request gives (data, socket) and the client's address."""
    client.send(b"data")
    assert server.get_request() == ((b"data", server.socket), client.getsockname())


def test_an_empty_datagram_is_a_request(server, client):
    """A datagram may be empty."""
    client.send(b"")
    server.handle_request()
    assert client.recv(100) == b""


def test_the_longest_datagram_of_udp_is_read_whole(server, client):
    """By default none is too long."""
    client.send(b"x" * 65507)
    request, _ = server.get_request()
    assert len(request[0]) == 65507
    assert type(request) is tuple


def test_a_datagram_of_max_packet_size_is_whole(server, client):
    """Only a longer one isn't."""
    server.max_packet_size = 3
    client.send(b"abc")
    server.handle_request()
    assert client.recv(100) == b"ABC"


def test_a_longer_datagram_is_refused_with_one_record(server, client, caplog):
    """It isn't handled as if it were whole."""
    caplog.set_level(logging.INFO, "netserve.server")
    server.RequestHandlerClass = pytest.fail
    server.max_packet_size = 3
    client.send(b"abcdef")
    server.handle_request()
    (record,) = caplog.records
    assert (record.levelno, record.exc_info) == (logging.INFO, None)
    assert "longer than max_packet_size, 3 bytes" in record.getMessage()
    assert record.peer == client.getsockname()
    assert server.stats().refused == 1


@pytest.mark.skipif(not hasattr(socket.socket, "recvmsg"), reason="needs recvmsg")
def test_a_longer_datagram_is_of_a_class_of_its_own(server, client):
    """So that a hook or a handler can tell it from a whole one."""
    seen = []
    server.max_packet_size = 3
    server.verify_truncated = lambda request, address: seen.append((request, address)) or True
    server.verify_request = lambda request, address: seen.append((request, address)) or True
    server.RequestHandlerClass = lambda request, *_: seen.append(request)
    client.send(b"abcdef")
    server.handle_request()
    request = TruncatedDatagram((b"abc", server.socket))
    assert seen == [(request, client.getsockname())] * 2 + [request]
    assert {type(each) for each in (seen[0][0], seen[1][0], seen[2])} == {TruncatedDatagram}


def test_without_recvmsg_a_datagram_is_cut(server, client, monkeypatch):
    """Where the system has no way to tell."""
    monkeypatch.setattr(_datagram, "_HAS_RECVMSG", False)
    server.max_packet_size = 3
    client.send(b"abcdef")
    server.handle_request()
    assert client.recv(100) == b"ABC"


def test_ending_a_request_leaves_the_servers_socket_open(server, client):
    """shutdown_request calls close_request, which closes nothing."""
    calls = []
    own = server.close_request
    server.close_request = lambda request: (calls.append(request), own(request))
    client.send(b"data")
    request, _ = server.get_request()
    server.shutdown_request(request)
    assert calls == [request]
    client.send(b"more")
    server.handle_request()
    assert client.recv(100) == b"MORE"


def test_a_datagram_server_does_not_listen(server):
    """server_activate has nothing to do on a datagram socket, which can't listen."""
    assert server.server_activate() is None
    assert issubclass(UDPServer, DatagramServer)


def test_a_handler_that_raises_does_not_end_the_loop(server, client, serve, caplog):
    """The next datagram is answered, and the error logged."""

    def handler(*arguments):
        server.RequestHandlerClass = shout
        raise ValueError

    server.RequestHandlerClass = handler
    serve(server)
    client.send(b"bad")
    client.send(b"good")
    assert client.recv(100) == b"GOOD"
    assert len(caplog.records) == 1


# --- in the loop ---


def test_a_datagram_that_another_process_took_is_passed_over(server, client, serve):
    """The loop goes on when there is none after all, instead of waiting for the next."""
    own = server.get_request
    tried = threading.Event()

    def robbed():
        server.get_request = own
        own()
        try:
            return own()
        finally:
            tried.set()

    server.get_request = robbed
    serve(server)
    client.send(b"taken")
    assert tried.wait(PATIENCE)
    client.send(b"next")
    assert client.recv(100) == b"NEXT"
    assert server.stats().accepted == 1


def test_the_socket_blocks_while_serving(server, client):
    """A handler that answers relies on it."""
    seen = []
    server.RequestHandlerClass = lambda *_: (
        seen.append((server.socket.gettimeout(), os.get_blocking(server.fileno()))),
        server.shutdown(),
    )
    client.send(b"x")
    server.serve_forever()
    assert seen == [(None, True)]
    assert server.socket.gettimeout() is None


def test_the_bytes_of_datagrams_are_counted(server, client):
    """What came in; what a handler sends isn't known."""
    for data in (b"12345", b"678"):
        client.send(data)
        server.handle_request()
    stats = server.stats()
    assert (stats.bytes_received, stats.bytes_sent) == (8, 0)
    assert (stats.accepted, stats.completed, stats.active) == (2, 2, 0)


# --- refusing ---


def test_a_refused_client_gets_the_farewell(server, client):
    """As a datagram; no handler sees its own."""
    server.RequestHandlerClass = pytest.fail
    server.max_connections = 0
    server.overload = "refuse"
    server.farewell = b"busy"
    client.send(b"hello")
    server.handle_request()
    assert client.recv(100) == b"busy"
    assert server.stats().refused == 1


def test_without_a_farewell_a_refused_client_gets_nothing(server, client):
    """The next datagram that it gets is the answer to a later one."""
    server.max_connections = 0
    server.overload = "refuse"
    client.send(b"refused")
    server.handle_request()
    server.max_connections = None
    client.send(b"taken")
    server.handle_request()
    assert client.recv(100) == b"TAKEN"


def test_a_farewell_that_cannot_be_sent_is_passed_over(server, caplog):
    """A client that can't be reached is no error of the server's."""
    server.farewell = b"busy"
    server.refuse_request((b"", server.socket), ("127.0.0.1", 0))
    assert caplog.records == []


# --- reaching into a request ---


def test_there_is_no_connection_to_reach_into(server, client):
    """The hooks of a drain leave the server's socket as it is, and the client unaware."""
    client.send(b"hello")
    request, address = server.get_request()
    assert server.is_connected(request)
    assert server.duplicate_request(request) is request
    assert server.has_unread_input(request) is False
    server.end_input(request)
    server.abort_request(request)
    server.close_duplicate(request)
    shout(request, address, server)
    assert client.recv(100) == b"HELLO"
    client.send(b"again")
    server.handle_request()
    assert client.recv(100) == b"AGAIN"


def test_a_drain_answers_the_datagrams_that_wait(server, client, serve):
    """They have been accepted, as far as a datagram can be."""
    handling, go_on = threading.Event(), threading.Event()

    def handle(*arguments):
        handling.set()
        go_on.wait(PATIENCE)
        shout(*arguments)

    server.RequestHandlerClass = handle
    serve(server)
    client.send(b"one")
    assert handling.wait(PATIENCE)
    client.send(b"two")
    client.send(b"three")
    results = []
    stopping = threading.Thread(target=lambda: results.append(server.stop(PATIENCE)))
    stopping.start()
    server.requests_in_progress.wait_for(
        lambda: server.state is State.DRAINING, lambda: time.monotonic() + PATIENCE
    )
    go_on.set()
    stopping.join(PATIENCE)
    assert [client.recv(100) for _ in range(3)] == [b"ONE", b"TWO", b"THREE"]
    assert [(result.drained, result.forced) for result in results] == [(3, 0)]
