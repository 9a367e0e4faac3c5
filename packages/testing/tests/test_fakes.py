"""Tests of the fakes, and of running handlers on them."""

import selectors
import socket
import socketserver

import pytest

from netserve.core import UnnamedPeerError
from netserve.testing import (
    FakeConnection,
    FakeDatagramSocket,
    FakeServer,
    MessageExchange,
    StarvedError,
    handle_datagram,
    handle_stream,
)


class Upper(socketserver.StreamRequestHandler):
    """Answers lines in capitals."""

    def handle(self):
        """Answer."""
        for line in self.rfile:
            self.wfile.write(line.upper())


class Datagram(socketserver.DatagramRequestHandler):
    """Answers a datagram in capitals."""

    def handle(self):
        """Answer."""
        self.wfile.write(self.packet.upper())


class Pieces:
    """A handler of messages, each a byte."""

    closing = False
    decoder = None

    def __init__(self, request, client_address, server):
        self.request = request
        self.server = server
        assert server.drives_messages

    def setup(self):
        """Greet."""
        self.transmit(b"hello;")

    def feed(self, data):
        """Answer."""
        self.transmit(b"%d;" % len(data))
        self.closing = b"q" in data
        return data

    def end_of_input(self):
        """Answer."""
        return b"end;"

    def flush(self):
        """Flush."""
        self.transmit(b"flushed;")

    def finish(self):
        """Say so."""
        self.transmit(b"bye;")


def test_a_handler_on_a_stream():
    """In one piece or several."""
    assert handle_stream(Upper, b"one\ntwo") == b"ONE\nTWO"
    assert handle_stream(Upper, [b"on", b"", b"e\n"], server=object()) == b"ONE\n"


def test_a_handler_on_a_datagram():
    """Its answers, to the client alone."""
    assert handle_datagram(Datagram, b"one") == [b"ONE"]

    def two(request, client_address, server):
        request[1].sendto(b"x", client_address)
        request[1].sendto(b"y", 0, ("127.0.0.1", 9))

    assert handle_datagram(two, b"", client_address=("192.0.2.1", 1)) == [b"x"]


def test_pieces_come_one_by_one():
    """As many bytes as are asked for, at the most."""
    connection = FakeConnection(b"hello")
    connection.feed_pieces(b"abcde", 2)
    connection.feed(b"")
    assert connection.recv(3, socket.MSG_PEEK) == b"hel"
    assert [connection.recv(3) for _ in range(5)] == [b"hel", b"lo", b"ab", b"cd", b"e"]
    connection.feed(b"12345")
    buffer = bytearray(4)
    assert (connection.recv_into(buffer, 2), bytes(buffer)) == (2, b"12\0\0")
    assert (connection.recv_into(buffer), bytes(buffer)) == (3, b"345\0")
    connection.end()
    assert connection.recv(3) == connection.recv(3) == b""


def test_a_read_that_would_wait():
    """For ever, without a timeout; else it is over at once."""
    connection = FakeConnection()
    with pytest.raises(StarvedError, match=r"feed\(\) it, or tell it the end\(\)"):
        connection.recv(1)
    connection.settimeout(5)
    with pytest.raises(TimeoutError):
        connection.recv(1)
    connection.setblocking(False)
    assert not connection.getblocking()
    with pytest.raises(BlockingIOError):
        connection.recv(1)
    connection.setblocking(True)
    assert connection.getblocking()


def test_a_pause_is_seen_by_a_timeout():
    """Once; a handler that has none notices nothing."""
    connection = FakeConnection()
    connection.pause()
    connection.feed(b"x")
    connection.settimeout(1)
    assert connection.timeout == connection.gettimeout() == 1
    with pytest.raises(TimeoutError):
        connection.recv(1)
    assert connection.recv(1) == b"x"
    connection.settimeout(None)
    connection.pause()
    connection.end()
    assert connection.recv(1) == b""


def test_the_client_resets():
    """After what it has sent before."""
    connection = FakeConnection(b"x")
    connection.reset()
    assert connection.recv(5) == b"x"
    connection.sendall(b"y")
    with pytest.raises(ConnectionResetError):
        connection.recv(5)
    with pytest.raises(BrokenPipeError):
        connection.sendall(b"z")
    with pytest.raises(OSError, match="not connected"):
        connection.getpeername()
    assert connection.sent == b"y"


def test_the_handler_ends_its_output_and_input():
    """The client sees it, and the handler."""
    connection = FakeConnection(b"x")
    assert not connection.output_ended
    assert not connection.input_ended
    connection.shutdown(socket.SHUT_RD)
    assert connection.recv(1) == b""
    assert connection.input_ended
    connection.shutdown(socket.SHUT_WR)
    assert connection.output_ended
    with pytest.raises(BrokenPipeError):
        connection.send(b"x")
    connection.close()
    for call in (connection.recv, connection.shutdown):
        with pytest.raises(OSError, match="Bad file descriptor"):
            call(1)


def test_reading_on_after_the_end_is_found():
    """Otherwise such a handler would run for ever."""

    def endless(request, *_):
        while True:
            request.recv(1)

    with pytest.raises(StarvedError, match="went on reading"):
        handle_stream(endless)


def test_a_client_that_answers():
    """It feeds what comes next."""
    connection = FakeConnection()
    connection.on_send = lambda data: connection.feed(b"re:" + data)
    connection.send(b"x")
    assert connection.recv(10) == b"re:x"


def test_what_a_socket_says_of_itself():
    """As a real one of the client's family."""
    connection = FakeConnection(peer=("::1", 5, 0, 0))
    assert isinstance(connection, socket.socket)
    assert connection.family == socket.AF_INET6
    assert (connection.type, connection.proto) == (socket.SOCK_STREAM, 0)
    assert connection.getpeername() == ("::1", 5, 0, 0)
    assert connection.getsockname()[0] == "::1"
    assert FakeConnection().getsockname()[0] == "127.0.0.1"
    assert FakeConnection(peer="").family == socket.AF_UNIX
    assert FakeConnection(peer="", family=7).family == 7
    assert FakeConnection(peer="").getsockname() == "/server"
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
    connection.setsockopt(1, 2, b"x")
    assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
    assert connection.getsockopt(1, 2) == connection.getsockopt(3, 4) == 0
    assert repr(connection) == "<FakeConnection of ('::1', 5, 0, 0), 0 pieces to be read>"
    connection.close()
    assert "closed" in repr(connection)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("detach", []), ("dup", []), ("accept", []), ("bind", [0]), ("connect", [0]),
        ("connect_ex", [0]), ("listen", []), ("recvfrom", [1]), ("recvfrom_into", [b""]),
        ("recvmsg", [1]), ("recvmsg_into", [[]]), ("sendto", [b"", 0]), ("sendmsg", [[]]),
        ("sendfile", [None]),
    ],
)  # fmt: skip
def test_what_is_not_simulated_says_so(name, arguments):
    """Instead of an error about descriptors."""
    with pytest.raises(NotImplementedError, match=rf"doesn't simulate {name}\(\)"):
        getattr(FakeConnection(), name)(*arguments)


def test_there_is_no_descriptor():
    """A selector refuses it."""
    with selectors.DefaultSelector() as selector:
        with pytest.raises(ValueError, match="Invalid file"):
            selector.register(FakeConnection(), selectors.EVENT_READ)


def test_a_datagram_socket_collects():
    """With the addresses; a client that can't be answered is told as by a real one."""
    fake = FakeDatagramSocket()
    assert fake.sendto(b"abc", "/a") == 3
    assert (fake.answers, fake.sent) == ([b"abc"], [(b"abc", "/a")])
    assert repr(fake) == "<FakeDatagramSocket with 1 datagrams sent>"
    for address in (None, ""):
        with pytest.raises(UnnamedPeerError):
            fake.sendto(b"", address)
    fake.is_gone = True
    with pytest.raises(ConnectionRefusedError):
        fake.sendto(b"", "/a")
    with pytest.raises(AssertionError, match="must not close"):
        fake.close()


def test_a_fake_server_has_what_it_is_given():
    """And says how to give it more."""
    server = FakeServer(Upper, values={1: 2})
    assert (server.values, server.RequestHandlerClass) == ({1: 2}, Upper)
    assert repr(server) == "<FakeServer at ('127.0.0.1', 1)>"
    with pytest.raises(AttributeError, match=r"FakeServer\(limit=...\) gives it one"):
        _ = server.limit


def test_an_exchange_step_by_step():
    """What the handler transmits comes before what it returns."""
    with MessageExchange(Pieces) as exchange:
        assert exchange.sent == b"hello;flushed;"
        assert exchange.feed(b"ab") == b"2;ab"
        assert not exchange.closing
        assert exchange.feed(b"q") == b"1;q"
        assert exchange.closing
        assert exchange.end() == b"end;"
        assert exchange.finish() == b"bye;"
    assert exchange.sent == b"hello;flushed;2;ab1;qend;bye;"


def test_an_exchange_with_another_handler():
    """It says which it takes."""
    with pytest.raises(TypeError, match="makes no handler of messages"):
        MessageExchange(lambda *_: object())


def test_a_driven_handler_has_no_connection():
    """To touch it is an error."""

    class Touches(Pieces):
        def feed(self, data):
            return self.request.recv(1)

    with MessageExchange(Touches) as exchange:
        with pytest.raises(AssertionError, match="no I/O of its own"):
            exchange.feed(b"x")
