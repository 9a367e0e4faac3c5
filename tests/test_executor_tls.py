"""An executor that answers the messages of a multiplexing server under TLS."""

import contextlib
import logging
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import pytest

from netserve.concurrency import MultiplexingMixIn
from netserve.concurrency._connection import HIGH_WATER, LOW_WATER
from netserve.handlers import Lines, MessageRequestHandler
from netserve.transports import TCPServer, TLSMixIn, server_context
from tests._multiplexing import HOME, until
from tests._tls import PATIENCE, Authority, Client


class Work(MessageRequestHandler):
    """Answers in capitals; some words wait for others, or for the test."""

    framing = Lines(max_size=1 << 24)
    early: ClassVar[threading.Event]
    gate: ClassVar[threading.Event]
    at_work: ClassVar[threading.Semaphore]

    @classmethod
    def process_message(cls, message: bytes) -> bytes | None:
        """Answer, in a thread of the executor."""
        if message == b"late":
            assert cls.early.wait(PATIENCE)
        if message == b"early":
            cls.early.set()
        if message == b"gate":
            cls.at_work.release()
            assert cls.gate.wait(PATIENCE)
        if message.startswith(b"big "):
            return b"x" * int(message[4:])
        return message.upper()


class Server(MultiplexingMixIn, TLSMixIn, TCPServer):
    """Works on four messages of a connection at a time."""

    max_in_flight_per_connection = 4


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority with a certificate for the server, in files."""
    authority = Authority(tmp_path_factory.mktemp("tls"))
    authority.issue("server")
    return authority


@pytest.fixture
def work() -> type[Work]:
    """A handler with events of its own."""

    class Fresh(Work):
        early = threading.Event()
        gate = threading.Event()
        at_work = threading.Semaphore(0)

    return Fresh


@pytest.fixture
def start(authority: Authority, work: type[Work]) -> Iterator[Callable[..., Any]]:
    """A function that serves, with four threads for the work and what attributes it is given."""
    with contextlib.ExitStack() as ends:
        executor = ends.enter_context(ThreadPoolExecutor(4))
        given = {"executor": executor, "ssl_context": server_context(*authority.files)}

        def start(**attributes: Any) -> Any:
            served = type("Served", (Server,), {**given, **attributes})(HOME, work)
            return ends.enter_context(served.background(PATIENCE))

        yield start
        work.gate.set()
        work.early.set()


@pytest.fixture
def connect(authority: Authority) -> Iterator[Callable[[Any], Client]]:
    """A function that connects to what runs."""
    with contextlib.ExitStack() as ends:
        yield lambda running: ends.enter_context(Client(running.address, authority.client()))


def take(client: Client, size: int) -> bytes:
    """So many bytes."""
    data = b""
    while len(data) < size:
        part = client.recv(min(size - len(data), 1 << 18))
        assert part, data[-100:]
        data += part
    return data


def rest(client: Client) -> bytes:
    """All until the end."""
    return b"".join(iter(lambda: client.recv(1 << 18), b""))


def test_answers_come_in_the_order_of_the_messages(start: Any, connect: Any) -> None:
    """Whatever is done first; at the end both have told that they have sent everything."""
    running = start()
    client = connect(running)
    for _ in range(3):
        client.sendall(b"late\nearly\nlast\n")
        assert take(client, 16) == b"LATE\nEARLY\nLAST\n"
    client.sendall(b"more\n")
    client.end()
    assert rest(client) == b"MORE\n"
    assert client.whole
    # There is nothing more of TLS to come, and so it ends.
    client.socket.close()
    until(lambda: running.server.stats().completed == 1)


def test_what_comes_with_the_end_of_the_handshake(start: Any, authority: Authority) -> None:
    """The selector can't tell of messages that are with TLS already, nor of an end behind them."""
    running = start(max_in_flight_per_connection=1)
    client = Late(running.address, authority.client())
    with client:
        assert rest(client) == b"ONE\nTWO\n"
        assert client.whole
    until(lambda: running.server.stats().completed == 1)


class Late(Client):
    """Sends the end of its handshake together with two messages and the end of its input."""

    def _send(self) -> None:
        if self.tls.version() is None or getattr(self, "sent", False):
            super()._send()
        elif self.tls.getpeercert():
            self.sent = True
            self.tls.write(b"one\ntwo\n")
            with contextlib.suppress(ssl.SSLWantReadError):
                self.tls.unwrap()
            super()._send()


def test_large_messages(start: Any, connect: Any) -> None:
    """Of many records, both ways."""
    running = start()
    client = connect(running)
    large = b"y" * 3_000_000 + b"\n"
    client.sendall(b"one\n" + large)
    assert take(client, 4 + len(large)) == b"ONE\n" + large.upper()
    client.end()
    assert rest(client) == b""
    assert client.whole


def test_a_client_that_does_not_take_its_answers_is_not_read(start: Any, connect: Any) -> None:
    """Until it does: all of them come, and what was asked meanwhile, too."""
    running = start()
    client = connect(running)
    # Less than what lies between the two marks, so that there is a time in between.
    size = (HIGH_WATER - LOW_WATER) // 2
    sent = 0
    loop = running.server.current_loop
    until(lambda: all(hasattr(each, "lane") for each in loop._connections.values()))
    (connection,) = loop._connections.values()
    while not connection._clogged:
        client.sendall(b"big %d\n" % size)
        sent += 1
        until(lambda: connection._clogged or not connection.lane.is_busy)
    client.sendall(b"last\n")
    assert take(client, sent * (size + 1)) == (b"x" * size + b"\n") * sent
    assert take(client, 5) == b"LAST\n"


def test_a_drain_loses_no_answer(start: Any, connect: Any, work: type[Work]) -> None:
    """Neither of what is being worked on, nor of what waits; and the client is told the end."""
    running = start(max_in_flight_per_connection=1)
    idle, busy = connect(running), connect(running)
    busy.sendall(b"gate\nnext\nlast\n")
    assert work.at_work.acquire(timeout=PATIENCE)
    stopping = threading.Thread(target=running.stop)
    stopping.start()
    # It has begun when this one's input has ended.
    assert rest(idle) == b""
    assert idle.whole
    work.gate.set()
    assert rest(busy) == b"GATE\nNEXT\nLAST\n"
    assert busy.whole
    for client in (idle, busy):
        client.socket.close()
    stopping.join(PATIENCE)
    assert (running.result.drained, running.result.forced) == (2, 0)


def test_a_client_that_breaks_off(
    start: Any, connect: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """An end without ``close_notify`` is no end of the messages; one record says so."""
    caplog.set_level(logging.DEBUG)
    running = start()
    client = connect(running)
    client.sendall(b"one\n")
    assert take(client, 4) == b"ONE\n"
    client.socket.close()
    until(lambda: running.server.stats().disconnected == 1)
    (record,) = [each for each in caplog.records if "went away" in each.getMessage()]
    assert not record.exc_info
