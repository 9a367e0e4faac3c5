"""What happens before a handler begins, on the multiplexing server: without TLS, and with it."""

import contextlib
import logging
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from netserve.concurrency import MultiplexingMixIn, _multiplexer
from netserve.core import (
    Deadline,
    ExhaustedError,
    InetAddress,
    Opening,
    PeerError,
    StreamRequest,
    Wait,
)
from netserve.handlers import Lines, MessageRequestHandler
from netserve.transports import TCPServer, TLSMixIn, server_context
from tests._tls import PATIENCE, Authority, Client

HERE = ("127.0.0.1", 0)


class Preface:
    """Before its handler begins, a client says on a line who it is.

    Of what follows nothing is taken, and the handler is told the name.
    """

    patience = float(PATIENCE)

    def open_request(
        self: Any, request: StreamRequest, client_address: InetAddress
    ) -> Opening[InetAddress]:
        """Read the line, byte by byte, and answer it."""
        deadline = Wait(False, self.clock() + self.patience, Deadline.HANDSHAKE, self.patience)
        line = b""
        while not line.endswith(b"\n"):
            try:
                part = socket.socket.recv(request, 1, socket.MSG_DONTWAIT)
            except BlockingIOError:
                yield deadline
                continue
            if not part:
                raise ConnectionResetError(104, "left")
            line += part
            if line == b"!":
                msg = "nobody is called so"
                raise PeerError(msg)
        # It may have to wait for room, too.
        yield deadline._replace(writing=True)
        socket.socket.send(request, b"welcome\n", socket.MSG_DONTWAIT)
        following = yield from self.opening_below(request, (line.strip().decode(), 1))
        return following

    def opening_below(self: Any, request: Any, address: Any) -> Opening[Any]:
        """What the classes behind this one want to open."""
        below = super().open_request(request, address)  # type: ignore[misc]  # a mix-in
        return address if below is None else (yield from below)

    @staticmethod
    def clock() -> float:
        """The time."""
        return time.monotonic()


class Names(MessageRequestHandler):
    """Answers with the client's name before each message."""

    framing = Lines(max_size=1 << 21)
    gate = threading.Event()

    def handle_message(self, message: bytes) -> bytes:
        """Answer."""
        if message == b"block":
            assert self.gate.wait(PATIENCE)
        return self.client_address[0].encode() + b": " + message


class Server(Preface, MultiplexingMixIn, TCPServer):  # type: ignore[misc]  # Preface has no types
    """A server that asks for a name."""

    message_timeout = None


@pytest.fixture
def connect() -> Iterator[Any]:
    """A function that connects to an address, and reads lines."""
    with contextlib.ExitStack() as ends:

        def connected(address: Any, words: bytes = b"") -> Any:
            client = ends.enter_context(socket.create_connection(address, PATIENCE))
            client.sendall(words)
            reader = ends.enter_context(client.makefile("rb"))
            return client, reader

        yield connected


def served(server: Any) -> Any:
    """How the requests of *server* ended, those that did not at all left out."""
    stats = server.stats()
    return {
        name: getattr(stats, name)
        for name in ("completed", "failed", "disconnected", "timed_out", "drained", "forced")
        if getattr(stats, name)
    }


@pytest.mark.parametrize("workers", [0, 4])
def test_many_are_opened_at_once(connect: Any, workers: int) -> None:
    """However slowly some of them are; nobody waits for another."""
    with Server(HERE, Names).background() as running:
        running.server.max_workers = workers
        slow = [connect(running.address, b"slow") for _ in range(20)]
        _, lines = connect(running.address, b"quick\nfirst\n")
        assert [lines.readline() for _ in range(2)] == [b"welcome\n", b"quick: first\n"]
        for client, reader in slow:
            client.sendall(b"ly\nsecond\n")
            assert [reader.readline() for _ in range(2)] == [b"welcome\n", b"slowly: second\n"]


def test_they_are_opened_while_handlers_block(connect: Any) -> None:
    """By whoever leads, and their handlers go to the pool."""
    Names.gate = threading.Event()
    with Server(HERE, Names).background() as running:
        _, lines = connect(running.address, b"one\nblock\n")
        assert lines.readline() == b"welcome\n"
        for _ in range(3):
            _, others = connect(running.address, b"two\nhello\n")
            assert [others.readline() for _ in range(2)] == [b"welcome\n", b"two: hello\n"]
        _, nothing = connect(running.address, b"!")
        assert nothing.readline() == b""
        Names.gate.set()
        assert lines.readline() == b"one: block\n"
    ends = served(running.server)
    assert ends.pop("failed") == 1
    assert sum(ends.values()) == 4


@pytest.mark.parametrize(
    ("words", "outcome", "record"),
    [
        (b"!", "failed", "nobody is called so"),
        (b"half", "timed_out", "the handshake deadline of 0.2 s has passed"),
    ],
)
def test_an_opening_that_fails_is_one_record(
    connect: Any, caplog: Any, words: bytes, outcome: str, record: str
) -> None:
    """No handler is made, and the client is let go."""
    caplog.set_level(logging.DEBUG, "netserve.server")
    made: list[object] = []

    class Counting(Names):
        def __init__(self, *args: Any) -> None:
            made.append(self)
            super().__init__(*args)

    class Hasty(Server):
        patience = 0.2

    with Hasty(HERE, Counting).background() as running:
        _, reader = connect(running.address, words)
        assert reader.readline() == b""
        running.stop()
    assert served(running.server) == {outcome: 1}
    assert made == []
    (told,) = caplog.records
    assert told.levelno == logging.INFO
    assert record in told.getMessage()


def test_a_connection_has_its_deadline_while_it_is_opened(connect: Any, caplog: Any) -> None:
    """The whole of it counts."""
    caplog.set_level(logging.INFO, "netserve.server")

    class Brief(Server):
        connection_timeout = 0.2

    with Brief(HERE, Names).background() as running:
        _, reader = connect(running.address, b"half")
        assert reader.readline() == b""
    assert served(running.server) == {"timed_out": 1}
    assert "the connection deadline of 0.2 s" in caplog.text


def test_a_time_that_is_moved_on_is_looked_at_again(connect: Any) -> None:
    """A second step of the opening may have more time than the first."""

    class Growing(Server):
        def open_request(self, request: Any, client_address: Any) -> Any:
            yield Wait(False, self.clock() + 0.1, Deadline.HANDSHAKE, 0.1)
            waits = 0
            while waits < 2:
                waits += 1
                yield Wait(False, self.clock() + PATIENCE, Deadline.HANDSHAKE, PATIENCE)
                assert socket.socket.recv(request, 1) in {b"a", b"b"}
            return ("grown", 1)

    with Growing(HERE, Names).background() as running:
        client, reader = connect(running.address, b"a")
        gone = threading.Event()
        assert not gone.wait(0.3)
        client.sendall(b"bx\n")
        assert reader.readline() == b"grown: x\n"


def test_what_the_handlers_making_raises_ends_the_request(connect: Any, caplog: Any) -> None:
    """As where there is nothing to open."""

    class Broken(Names):
        def __init__(self, *args: Any) -> None:
            msg = "in the making"
            raise RuntimeError(msg)

    with Server(HERE, Broken).background() as running:
        _, reader = connect(running.address, b"me\n")
        assert reader.readline() == b"welcome\n"
        assert reader.readline() == b""
        running.stop()
    assert served(running.server) == {"failed": 1}
    assert "in the making" in caplog.text


def test_where_there_is_no_thread_the_request_ends(connect: Any, monkeypatch: Any) -> None:
    """It has been accepted and opened, and can't be kept."""

    def full(self: Any, connection: Any) -> None:
        self._connections[connection.descriptor] = connection
        msg = "no thread"
        raise ExhaustedError(msg)

    with Server(HERE, Names).background() as running:
        with monkeypatch.context() as patch:
            patch.setattr(_multiplexer.Multiplexer, "add", full)
            _, reader = connect(running.address, b"me\n")
            assert reader.readline() == b"welcome\n"
            assert reader.readline() == b""
        _, reader = connect(running.address, b"me\nhello\n")
        assert [reader.readline() for _ in range(2)] == [b"welcome\n", b"me: hello\n"]
        running.stop()
    ends = served(running.server)
    assert ends.pop("failed") == 1


def test_a_drain_lets_an_opening_finish_then_ends_the_input(connect: Any) -> None:
    """What the client has sent before is answered."""
    with Server(HERE, Names).background() as running:
        client, reader = connect(running.address, b"la")
        while running.server.stats().accepted < 1:
            pass
        stopping = threading.Thread(target=running.stop)
        stopping.start()
        while not running.server.requests_in_progress.draining:
            pass
        client.sendall(b"te\nhello\n")
        assert [reader.readline() for _ in range(3)] == [b"welcome\n", b"late: hello\n", b""]
        stopping.join()
    assert served(running.server) == {"drained": 1}


def test_what_is_being_opened_at_the_end_of_the_grace_is_forced(connect: Any) -> None:
    """Or at the end of the loop, when nobody drains."""
    with Server(HERE, Names).background() as running:
        _, reader = connect(running.address, b"half")
        while running.server.stats().accepted < 1:
            pass
        running.stop(0.1)
        assert reader.readline() == b""
    assert served(running.server) == {"forced": 1}
    with Server(HERE, Names).background() as running:
        _, reader = connect(running.address, b"half")
        while running.server.stats().accepted < 1:
            pass
        running.server.shutdown()
        assert reader.readline() == b""
    assert served(running.server) == {"forced": 1}


def test_without_an_opening_the_handler_begins_at_once(connect: Any) -> None:
    """Also where there might have been one."""

    class Sometimes(Server):
        def open_request(self, request: Any, client_address: Any) -> None:
            return None

    with Sometimes(HERE, Names).background() as running:
        _, reader = connect(running.address, b"hello\n")
        assert reader.readline() == b"127.0.0.1: hello\n"
    assert served(running.server) == {"drained": 1}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority with a certificate for the server, in files."""
    authority = Authority(tmp_path_factory.mktemp("tls"))
    authority.issue("server")
    return authority


@pytest.mark.parametrize("bases", [(Preface, TLSMixIn), (TLSMixIn, Preface)])
def test_what_comes_before_tls_comes_before_it_in_either_order(
    authority: Authority, bases: Any
) -> None:
    """The handler is told the name that was given in plain text."""

    class Before(Preface):
        def opening_below(self, request: Any, address: Any) -> Any:
            # Behind TLSMixIn there is nothing below that would have to be opened.
            if bases[0] is TLSMixIn:
                return address
            return (yield from super().opening_below(request, address))

    mixed = tuple(Before if base is Preface else base for base in bases)
    context = server_context(*authority.files)
    cls: Any = type("Server", (MultiplexingMixIn, *mixed, TCPServer), {"ssl_context": context})

    class Named(Client):
        def _through(self, step: Any, *arguments: Any) -> Any:
            if step == self.tls.do_handshake and not self.whole:
                self.socket.sendall(b"someone\n")
                assert self.socket.recv(8) == b"welcome\n"
            return super()._through(step, *arguments)

    with cls(HERE, Names).background() as running:
        with Named(running.address, authority.client()) as client:
            client.sendall(b"hello\n")
            assert client.recv(100) == b"someone: hello\n"


def test_what_a_client_does_not_take_is_kept_under_tls(authority: Authority) -> None:
    """And sent when it does, in order; nothing of it is lost at the end."""
    context = server_context(*authority.files)
    big = b"x" * 500_000

    class Big(MessageRequestHandler):
        framing = Lines(max_size=1 << 21)

        def handle_message(self, message: bytes) -> bytes:
            if message == b"quit":
                self.close()
            return big + message

    class Secret(MultiplexingMixIn, TLSMixIn, TCPServer):
        ssl_context = context

    with Secret(HERE, Big).background() as running:
        with Client(running.address, authority.client()) as client:
            # Otherwise the systems on both sides would make room for it all.
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 131072)
            for number in range(20):
                client.sendall(b"%d\n" % number)
            client.sendall(b"quit\n")
            received = b""
            while data := client.recv(1 << 20):
                received += data
            assert client.whole
    expected = b"".join(big + b"%d\n" % number for number in range(20)) + big + b"quit\n"
    assert received == expected
    assert sum(served(running.server).values()) == 1


def test_a_client_under_tls_that_resets_is_gone(authority: Authority, tmp_path: Path) -> None:
    """With one record at level DEBUG, in the handshake or later."""

    class Secret(MultiplexingMixIn, TLSMixIn, TCPServer):
        ssl_context = server_context(*authority.files)

    reset = (socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    with Secret(HERE, Names).background() as running:
        with socket.create_connection(running.address, PATIENCE) as plain:
            plain.sendall(b"\x16\x03\x01")
            plain.setsockopt(*reset)
        with Client(running.address, authority.client()) as client:
            client.sendall(b"hello\n")
            assert client.recv(100) == b"127.0.0.1: hello\n"
            client.socket.setsockopt(*reset)
        while running.server.stats().active:
            pass
    assert served(running.server) == {"disconnected": 2}


def test_surplus_under_tls_is_thrown_away(authority: Authority) -> None:
    """A client that goes on sending has its answer nevertheless, and the end."""

    class Secret(MultiplexingMixIn, TLSMixIn, TCPServer):
        ssl_context = server_context(*authority.files)
        linger_timeout = PATIENCE

    class Closing(Names):
        def handle_message(self, message: bytes) -> bytes:
            self.close()
            return message

    with Secret(HERE, Closing).background() as running:
        with Client(running.address, authority.client()) as client:
            with contextlib.suppress(ConnectionError):
                client.sendall(b"hello\n" + b"x" * 300_000)
            assert client.recv(100) == b"hello\n"
            assert client.recv(100) == b""
            assert client.whole


def test_the_standard_librarys_tls_is_multiplexed_too(authority: Authority) -> None:
    """A server that wraps its connections itself, and shakes hands before, has TLS as well."""
    context = server_context(*authority.files)

    class Wrapping(MultiplexingMixIn, TCPServer):
        def get_request(self) -> tuple[StreamRequest, InetAddress]:
            request, address = super().get_request()
            return context.wrap_socket(request, server_side=True), address

    with Wrapping(HERE, Names).background() as running:
        with Client(running.address, authority.client()) as client:
            client.sendall(b"hello\n")
            assert client.recv(100) == b"127.0.0.1: hello\n"
            large = b"y" * 1_000_000
            client.sendall(large + b"\n")
            received = b""
            while not received.endswith(b"\n"):
                received += client.recv(1 << 20)
            assert len(received) == len(large) + 12
            client.end()
            assert client.recv(100) == b""
    assert isinstance(context, ssl.SSLContext)
