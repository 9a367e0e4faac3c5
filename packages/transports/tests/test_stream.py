"""Tests of netserve.transports._stream."""

import logging
import os
import socket
import threading

import pytest

from netserve.core import State
from netserve.transports import StreamServer, TCPServer

LOCAL = ("127.0.0.1", 0)
PATIENCE = 20


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
