"""Tests of netserve.transports._datagram."""

import socket

import pytest

from netserve.transports import DatagramServer, UDPServer

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


@pytest.mark.parametrize(("size", "read"), [(8192, 8192), (8193, 8192)])
def test_a_datagram_is_cut_at_max_packet_size(server, client, size, read):
    """By default 8192 bytes are read."""
    client.send(b"x" * size)
    (data, _), _ = server.get_request()
    assert len(data) == read


def test_max_packet_size_may_be_chosen(client, server):
    """A subclass or an instance chooses another size."""
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
