"""TLS on the asyncio mix-in: the handshake, both directions, and every bad end."""

import contextlib
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trustme

from netserve.concurrency import AsyncioMixIn
from netserve.core import State, TLSError
from netserve.handlers import AsyncStreamRequestHandler, Lines
from netserve.transports import TCPServer
from tests._multiplexing import until
from tests.test_asyncio import FACTORIES, PATIENCE, Make, Upper, UpperMessages, received

Plain = Callable[[Any], socket.socket]
Connect = Callable[..., ssl.SSLSocket]

HOME = ("127.0.0.1", 0)
AUTHORITY = trustme.CA()


class Server(AsyncioMixIn, TCPServer):
    """Connections under TLS."""

    ssl_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    handshake_timeout: float | None = PATIENCE


AUTHORITY.issue_cert("localhost").configure_cert(Server.ssl_context)


class UnlimitedServer(Server):
    """Its clients may take any time for the handshake."""

    handshake_timeout = None


@pytest.fixture(params=FACTORIES)
def make(request: pytest.FixtureRequest) -> Make:
    """A function that makes a server for a handler, on either event loop."""
    factory = FACTORIES[request.param]

    def make(handler: Any, base: Any = Server, **attributes: Any) -> Any:
        factories = {} if factory is None else {"loop_factory": staticmethod(factory)}
        return type("Made", (base,), {**factories, **attributes})(HOME, handler)

    return make


@pytest.fixture
def plain() -> Iterator[Plain]:
    """A function that connects to a server, without TLS."""
    with contextlib.ExitStack() as ends:

        def connect(server: Any) -> socket.socket:
            client = socket.create_connection(server.server_address, PATIENCE)
            return ends.enter_context(client)

        yield connect


def trusting() -> ssl.SSLContext:
    """A client's context that trusts the server."""
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


@pytest.fixture
def connect(plain: Plain) -> Iterator[Connect]:
    """A function that connects to a server, with TLS."""
    with contextlib.ExitStack() as ends:

        def connect(server: Any, context: ssl.SSLContext | None = None) -> ssl.SSLSocket:
            wrapped = (context or trusting()).wrap_socket(
                plain(server), server_hostname="localhost", suppress_ragged_eofs=False
            )
            return ends.enter_context(wrapped)

        yield connect


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Record everything of ours."""
    with caplog.at_level(logging.DEBUG, "netserve"):
        yield


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("handler", [Upper, UpperMessages])
@pytest.mark.parametrize("base", [Server, UnlimitedServer])
def test_lines_under_tls(
    make: Make, connect: Connect, handler: Any, base: Any, version: ssl.TLSVersion
) -> None:
    """Short ones and many at once, then a drain, which says goodbye."""
    context = trusting()
    context.minimum_version = context.maximum_version = version
    lines = b"".join(b"line %d\n" % number for number in range(4000))
    with make(handler, base).background() as running:
        client = connect(running.server, context)
        client.sendall(b"one\n")
        assert client.recv(10) == b"ONE\n"
        for _ in range(5):
            client.sendall(lines)
            heard = b""
            while len(heard) < len(lines):
                heard += client.recv(1 << 20)
            assert heard == lines.upper()
        result = running.stop(PATIENCE)
        assert (result.drained, result.forced) == (1, 0)
        # The end is announced: a connection that breaks off would raise.
        assert client.recv(10) == b""


def test_the_handler_knows_the_client(make: Make, connect: Connect) -> None:
    """By its certificate; without TLS there is nothing to know."""

    class Greeting(AsyncStreamRequestHandler):
        async def handle(self) -> None:
            state = self.connection.ssl_object
            assert state is not None
            certificate: Any = state.getpeercert()
            names = dict(certificate["subjectAltName"])
            await self.wfile.write(names["DNS"].encode())

    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.verify_mode = ssl.CERT_REQUIRED
    AUTHORITY.configure_trust(server_side)
    AUTHORITY.issue_cert("localhost").configure_cert(server_side)
    context = trusting()
    AUTHORITY.issue_cert("client.example").configure_cert(context)
    with make(Greeting, ssl_context=server_side).background() as running:
        assert received(connect(running.server, context)) == b"client.example"


def test_a_mute_client_is_given_up(make: Make, plain: Plain, connect: Connect) -> None:
    """It holds up nobody meanwhile."""
    with make(Upper, handshake_timeout=0.3).background() as running:
        mute = plain(running.server)
        client = connect(running.server)
        client.sendall(b"one\n")
        assert client.recv(10) == b"ONE\n"
        assert received(mute) == b""
    assert running.server.stats().timed_out == 1


def test_plain_text_is_no_bug_of_ours(
    make: Make, plain: Plain, caplog: pytest.LogCaptureFixture
) -> None:
    """One record without a traceback, and a clean end."""
    with make(Upper).background() as running:
        client = plain(running.server)
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert received(client) == b""
    assert running.server.stats().failed == 1
    (record,) = caplog.records
    assert (record.levelname, record.exc_info) == ("DEBUG", None)
    assert "doesn't speak TLS: it has sent b'GET / HTTP/1.0" in record.getMessage()


def test_a_certificate_of_another_authority(
    make: Make, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    """It isn't taken, and the record says why."""
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.verify_mode = ssl.CERT_REQUIRED
    AUTHORITY.configure_trust(server_side)
    AUTHORITY.issue_cert("localhost").configure_cert(server_side)
    context = trusting()
    trustme.CA().issue_cert("client.example").configure_cert(context)
    with make(Upper, ssl_context=server_side).background() as running:
        with pytest.raises(OSError):  # noqa: PT011  # an alert, or a reset before that is read
            connect(running.server, context).recv(10)
        until(lambda: running.server.stats().failed)
    (record,) = caplog.records
    assert (record.levelname, record.exc_info) == ("INFO", None)
    assert "the client's certificate can't be verified: " in record.getMessage()


def test_a_handshake_that_begins_well_may_fail_later(
    make: Make, plain: Plain, caplog: pytest.LogCaptureFixture
) -> None:
    """That isn't taken for plain text."""
    with make(Upper).background() as running:
        client = plain(running.server)
        client.sendall(b"\x16\x03\x01")
        until(running.server.requests_in_progress.entries)
        (entry,) = running.server.requests_in_progress.entries()
        until(lambda: not running.server.has_unread_input(entry.request))
        # A message of a kind that there isn't.
        client.sendall(b"\x00\x04\xff\x00\x00\x00")
        # The alert of TLS (RFC 8446, section 6).
        assert received(client)[:1] == b"\x15"
    (record,) = caplog.records
    assert (record.levelname, record.exc_info) == ("INFO", None)
    assert "the handshake of TLS failed (" in record.getMessage()


def test_handlers_of_messages_know_the_client(make: Make, connect: Connect) -> None:
    """From the beginning; and one may well not want to."""
    seen: list[Any] = []

    class Knowing(UpperMessages):
        def setup(self) -> None:
            seen.append(self.ssl_object)

    class Ignorant:
        def __init__(self, *_: object) -> None:
            self.decoder = Lines().decoder()
            self.closing = False

        def setup(self) -> None:
            seen.append(vars(self).get("ssl_object"))

        def feed(self, data: bytes) -> bytes:
            self.closing = True
            return data.upper()

        flush = finish = lambda _self: None

    for handler in (Knowing, Ignorant):
        with make(handler).background() as running:
            client = connect(running.server)
            client.sendall(b"one\n")
            assert client.recv(10) == b"ONE\n"
    assert isinstance(seen[0], ssl.SSLObject)
    assert seen[0].version() == "TLSv1.3"
    assert seen[1] is None


def test_client_that_leaves_in_the_handshake(
    make: Make, plain: Plain, caplog: pytest.LogCaptureFixture
) -> None:
    """It has gone away, as clients do."""
    with make(Upper).background() as running:
        plain(running.server).close()
        until(lambda: running.server.stats().disconnected)
    assert [record.levelname for record in caplog.records] == ["DEBUG"]


def test_connection_that_breaks_off(
    make: Make, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    """Without the announcement of its end it isn't taken for whole."""
    with make(Upper).background() as running:
        client = connect(running.server)
        client.sendall(b"one\nha")
        assert client.recv(10) == b"ONE\n"
        socket.socket.shutdown(client, socket.SHUT_WR)
        until(lambda: running.server.stats().disconnected)
    assert [record.levelname for record in caplog.records] == ["DEBUG"]


def test_garbage_within_the_connection(
    make: Make, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    """What came before it is answered; then it is the same error as elsewhere, and one record."""
    found = []

    class Noting(Upper):
        async def handle(self) -> None:
            try:
                await super().handle()
            except TLSError as error:
                found.append(error)
                raise

    with make(Noting).background() as running:
        client = connect(running.server)
        client.sendall(b"one\n")
        assert client.recv(10) == b"ONE\n"
        socket.socket.send(client, b"garbage" * 100)
        until(lambda: running.server.stats().failed)
    assert [record.levelname for record in caplog.records] == ["INFO"]
    (error,) = found
    assert isinstance(error, ssl.SSLError)
    assert "isn't one of TLS any more" in str(error)
    assert str(error) in caplog.text


def test_client_that_says_goodbye(make: Make, connect: Connect) -> None:
    """Its end is announced, and so is ours, with all answers before it."""
    with make(Upper).background() as running:
        client = connect(running.server)
        client.sendall(b"one\n")
        assert client.recv(10) == b"ONE\n"
        client.unwrap().close()
        until(lambda: running.server.stats().completed)


def test_long_reply_to_a_slow_reader(make: Make, connect: Connect) -> None:
    """It arrives whole, in spite of surplus input."""

    class Long(AsyncStreamRequestHandler):
        async def handle(self) -> None:
            await self.rfile.readline()
            for _ in range(100):
                await self.wfile.write(bytes(65536))

    with make(Long).background() as running:
        client = connect(running.server)
        client.sendall(b"line\n" + bytes(10_000))
        time.sleep(0.1)
        assert len(received(client)) == 100 * 65536


def test_handle_request_does_the_handshake_too(make: Make, connect: Connect) -> None:
    """In the event loop of the request."""
    heard: list[bytes] = []

    class Once(AsyncStreamRequestHandler):
        async def handle(self) -> None:
            await self.wfile.write((await self.rfile.readline()).upper())

    with make(Once) as server:

        def visit() -> None:
            client = connect(server)
            client.sendall(b"one\n")
            heard.append(client.recv(10))

        thread = threading.Thread(target=visit)
        thread.start()
        server.handle_request()
        thread.join(PATIENCE)
    assert heard == [b"ONE\n"]


def test_a_drain_leaves_a_handshake_its_input(make: Make, plain: Plain) -> None:
    """Who has connected before is answered, although the handshake comes later."""
    with make(Upper).background() as running:
        client = plain(running.server)
        until(running.server.requests_in_progress.entries)
        until(lambda: running.server.requests_in_progress.entries()[0].opening)
        stopping = threading.Thread(target=running.stop, args=(PATIENCE,))
        stopping.start()
        until(lambda: running.server.state is State.DRAINING)
        with trusting().wrap_socket(client, server_hostname="localhost") as secured:
            assert secured.recv(10) == b""
        stopping.join(PATIENCE)
    assert (running.server.stats().drained, running.server.stats().forced) == (1, 0)


def test_forcing_cuts_a_handshake_off(make: Make, plain: Plain) -> None:
    """A drain waits for it until the grace is over."""
    with make(Upper, UnlimitedServer).background() as running:
        plain(running.server)
        until(lambda: running.server.stats().active)
        result = running.stop(0)
        assert result.drained + result.forced == 1
