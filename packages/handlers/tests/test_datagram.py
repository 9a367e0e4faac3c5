"""Tests of netserve.handlers._datagram."""

import logging
import socket

import pytest

from netserve.core import AnswerQueue, PeerError, UnnamedPeerError
from netserve.handlers import DatagramRequestHandler


@pytest.fixture
def pair():
    """A server's and a client's datagram socket."""
    with (
        socket.socket(type=socket.SOCK_DGRAM) as server,
        socket.socket(type=socket.SOCK_DGRAM) as client,
    ):
        for each in (server, client):
            each.bind(("127.0.0.1", 0))
            each.settimeout(20)
        yield server, client


def test_the_answer_is_one_datagram(pair):
    """What handle wrote, in however many pieces, is sent to the client as one datagram."""
    server, client = pair

    class Handler(DatagramRequestHandler):
        def handle(self):
            assert self.packet == b"line one\nline two"
            assert self.socket is server
            for line in self.rfile:
                self.wfile.write(line.upper())

    Handler((b"line one\nline two", server), client.getsockname(), None)
    assert client.recv(100) == b"LINE ONE\nLINE TWO"


def test_no_answer_is_sent_when_nothing_was_written(pair):
    """The next datagram that the client gets is the answer to another."""
    server, client = pair
    DatagramRequestHandler((b"data", server), client.getsockname(), None)
    server.sendto(b"next", client.getsockname())
    assert client.recv(100) == b"next"


@pytest.mark.parametrize("name", [None, ""])
def test_an_answer_to_a_client_without_an_address_is_an_error(pair, name):
    """One that says so; without an answer there is none."""
    server, _ = pair

    class Answering(DatagramRequestHandler):
        def handle(self):
            self.wfile.write(self.packet)

    with pytest.raises(UnnamedPeerError, match="no address") as raised:
        Answering((b"data", server), name, None)
    assert isinstance(raised.value, PeerError)
    Answering((b"", server), name, None)


@pytest.mark.parametrize("takes", [True, False])
def test_a_server_may_send_the_answer_with_others(pair, takes):
    """It is asked, and if it doesn't the handler sends it, after those that are queued."""
    server, client = pair
    calls = []

    class Queue:
        def queue_answer(self, *arguments):
            calls.append(arguments)
            return takes

        def send_answers(self):
            calls.append("send")

    class Answering(DatagramRequestHandler):
        def handle(self):
            self.wfile.write(self.packet.upper())

    assert isinstance(Queue(), AnswerQueue)
    request = (b"data", server)
    Answering(request, client.getsockname(), Queue())
    assert calls == [(request, b"DATA", client.getsockname())] + ["send"] * (not takes)
    server.sendto(b"next", client.getsockname())
    assert client.recv(100) == (b"next" if takes else b"DATA")


def test_the_answer_is_sent_although_handle_raised(pair):
    """finish runs after a failed handle, and sends what there is."""
    server, client = pair

    class Handler(DatagramRequestHandler):
        def handle(self):
            self.wfile.write(b"so far")
            raise ValueError("handle")

    with pytest.raises(ValueError, match="handle"):
        Handler((b"data", server), client.getsockname(), None)
    assert client.recv(100) == b"so far"


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix domain sockets")
@pytest.mark.parametrize("unlinked", [True, False])
def test_a_client_that_has_left_is_one_debug_record(short_folder, caplog, unlinked):
    """The answer finds nobody, and that is nobody's fault: no exception, no traceback."""
    caplog.set_level(logging.DEBUG, "netserve.server")
    path = short_folder / "client"
    client = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    client.bind(str(path))
    client.close()
    if unlinked:
        path.unlink()

    class Answering(DatagramRequestHandler):
        def handle(self):
            self.wfile.write(b"answer")

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        Answering((b"question", server), str(path), None)
    (record,) = caplog.records
    assert record.levelno == logging.DEBUG
    assert record.exc_info is None
    assert "has left" in record.getMessage()
