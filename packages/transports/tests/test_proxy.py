"""Tests of netserve.transports._proxy: whose a connection is, and who may say so."""

import contextlib
import logging
import socket
import struct
import threading
import time

import pytest

from netserve.core import Deadline, DeadlineError, ServerMixIn, Wait
from netserve.transports import (
    ProxyCommand,
    ProxyFamily,
    ProxyHeader,
    ProxyProtocolError,
    ProxyProtocolMixIn,
    ProxyTransport,
    StreamServer,
    TCPServer,
    UDPServer,
    _proxy,
    encode_proxy_header,
)

LOCAL = ("127.0.0.1", 0)
PATIENCE = 20
STREAM = ProxyTransport.STREAM
LINE = b"PROXY TCP4 192.0.2.1 192.0.2.11 56324 443\r\n"
CLIENT = ("192.0.2.1", 56324)

needs_unix = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs AF_UNIX")


def header_of(source, family=ProxyFamily.INET, **more):
    """A header of version 2 for a client at *source*."""
    header = ProxyHeader(2, ProxyCommand.PROXY, family, STREAM, source, source, **more)
    return encode_proxy_header(header)


class Proxied(ProxyProtocolMixIn, TCPServer):
    """A server behind proxies on this machine, which notes what its hooks see."""

    trusted_proxies = ("127.0.0.1",)
    access_log = True

    def __init__(self, *arguments, **keywords):
        self.verified = []
        self.denied = None
        super().__init__(*arguments, **keywords)

    def verify_request(self, request, client_address):
        """Note the address, and deny the one that is denied."""
        self.verified.append(client_address)
        return client_address[0] != self.denied


class Handler:
    """Sends back what it knows and what it reads; notes the servers' answers."""

    seen: list

    def __init__(self, request, client_address, server):
        header = server.proxy_header(request)
        proxy = server.proxy_address(request)
        Handler.seen.append((client_address, header, proxy, request.recv(1000)))
        request.sendall(repr(client_address).encode())


@pytest.fixture(autouse=True)
def seen(caplog):
    """What the handlers saw: client address, header, the proxy's address, what they read."""
    caplog.set_level(logging.DEBUG, "netserve")
    Handler.seen = []
    return Handler.seen


@pytest.fixture
def server(serve):
    """A server that serves."""
    with Proxied(LOCAL, Handler) as server:
        serve(server)
        yield server


def read_to_end(connection):
    """What comes until the end, or a reset."""
    parts = []
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(1000):
            parts.append(part)
    return b"".join(parts)


def ask(server, *parts, address=None):
    """Send *parts* one by one to *server*; returns what comes back, and our address."""
    with socket.create_connection(address or server.server_address, PATIENCE) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # It may have been reset by then.
        with contextlib.suppress(OSError):
            for part in parts:
                connection.sendall(part)
            connection.shutdown(socket.SHUT_WR)
        return read_to_end(connection), connection.getsockname()


def records(caplog, name="netserve.server"):
    """The level and the message of each record of *name*; none may have a traceback."""
    assert not [record for record in caplog.records if record.exc_info]
    return [
        (record.levelname, record.getMessage()) for record in caplog.records if record.name == name
    ]


def settled(server):
    """The statistics of *server*, once no request is in progress."""
    ledger = server.requests_in_progress
    assert ledger.wait_for(lambda: not ledger.active, lambda: time.monotonic() + PATIENCE)
    return server.stats()


def test_the_client_is_the_one_in_the_header(server, seen, caplog):
    """For the handler, verify_request and the access log; the proxy stays reachable."""
    answer, proxy = ask(server, LINE + b"hello")
    assert answer == repr(CLIENT).encode()
    ((client_address, header, proxy_address, data),) = seen
    assert client_address == CLIENT
    assert header == ProxyHeader(
        1,
        ProxyCommand.PROXY,
        ProxyFamily.INET,
        STREAM,
        CLIENT,
        ("192.0.2.11", 443),
    )
    assert proxy_address == proxy
    assert data == b"hello"
    assert server.verified == [CLIENT]
    assert settled(server).completed == 1
    server.shutdown()
    ((level, message),) = records(caplog, "netserve.access")
    assert level == "INFO"
    assert message.startswith("('192.0.2.1', 56324) completed in ")
    assert records(caplog) == []


def test_the_header_may_come_byte_by_byte(server, seen):
    """And what comes behind it is the handler's, all of it."""
    whole = header_of(CLIENT, unique_id=b"id", checksummed=True) + b"hello"
    ask(server, *(whole[i : i + 1] for i in range(len(whole))))
    ((client_address, header, _, data),) = seen
    assert client_address == CLIENT
    assert header.unique_id == b"id"
    assert b"hello".startswith(data)
    assert data


@pytest.mark.parametrize(
    ("header", "address"),
    [
        (header_of(("2001:db8::1", 5), ProxyFamily.INET6), ("2001:db8::1", 5)),
        (header_of(("::ffff:192.0.2.1", 5), ProxyFamily.INET6), ("192.0.2.1", 5)),
        (header_of(CLIENT), CLIENT),
    ],
    ids=["IPv6", "IPv4 mapped into IPv6", "IPv4"],
)
def test_an_address_has_the_form_of_the_servers(header, address, serve, seen):
    """A pair on an IPv4 server, and four on an IPv6 server, whichever the client has."""
    with Proxied(LOCAL, Handler) as server:
        serve(server)
        ask(server, header + b"x")
    assert seen.pop()[0] == address
    if not socket.has_ipv6:
        return

    class Proxied6(ProxyProtocolMixIn, StreamServer):
        address_family = socket.AF_INET6
        trusted_proxies = ("::1",)

    with Proxied6(("::1", 0), Handler) as server:
        serve(server)
        ask(server, header + b"x", address=server.server_address[:2])
    assert seen.pop()[0] == (*address, 0, 0)


@pytest.mark.parametrize(
    "header",
    [
        encode_proxy_header(ProxyHeader(2, ProxyCommand.LOCAL)),
        b"PROXY UNKNOWN\r\n",
        encode_proxy_header(ProxyHeader(2)),
        header_of("/path", ProxyFamily.UNIX),
    ],
    ids=["LOCAL", "UNKNOWN", "unspecified", "a path"],
)
def test_without_a_usable_address_the_proxys_own_is_kept(header, server, seen):
    """A health check is the proxy's own connection."""
    _, proxy = ask(server, header + b"hello")
    ((client_address, told, proxy_address, data),) = seen
    assert client_address == proxy_address == proxy
    assert told is not None
    assert data == b"hello"
    assert server.verified == [proxy]


BAD = {
    "another protocol": b"GET / HTTP/1.1\r\nHost: example\r\n\r\n",
    "a bad line": b"PROXY TCP4 192.0.2.1 192.0.2.11 65536 443\r\n",
    "a bad checksum": header_of(CLIENT)[:14] + b"\0\x13" + header_of(CLIENT)[16:] + b"\3\0\4" * 2,
    "cut off": LINE[:-1],
    "cut off in binary": header_of(CLIENT)[:20],
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD)
def test_no_header_no_service(data, server, seen, caplog):
    """The connection is closed, with one record, and nothing reaches the handler."""
    answer, proxy = ask(server, data)
    assert answer == b""
    stats = settled(server)
    assert (stats.failed, stats.accepted) == (1, 1)
    assert seen == []
    assert server.verified == []
    ((level, message),) = records(caplog)
    assert level == "INFO"
    assert f": {proxy} sent what isn't allowed (" in message


def test_what_a_bad_client_sends_besides_holds_nobody_up(server, caplog):
    """The server doesn't linger for it, although it goes on."""
    with socket.create_connection(server.server_address, PATIENCE) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n" + b"x" * 100_000)
        assert read_to_end(connection) == b""
        assert ask(server, LINE + b"x")[0] == repr(CLIENT).encode()


def test_a_late_header_is_late(serve, seen, caplog):
    """The deadline is for all of it, however steadily its bytes come."""
    with Proxied(LOCAL, Handler) as server:
        server.proxy_timeout = 0.1
        serve(server)
        with socket.create_connection(server.server_address, PATIENCE) as connection:
            connection.sendall(LINE[:20])
            assert read_to_end(connection) == b""
            own = connection.getsockname()
        assert settled(server).timed_out == 1
    assert seen == []
    ((level, message),) = records(caplog)
    assert level == "INFO"
    assert f"{own} was too slow (the proxy deadline of 0.1 s has passed)" in message


def test_a_connection_without_a_byte_is_no_fault(server, seen, caplog):
    """Health checks, and scanners, connect and leave."""
    assert ask(server)[0] == b""
    assert settled(server).disconnected == 1
    assert seen == []
    ((level, message),) = records(caplog)
    assert level == "DEBUG"
    assert "went away" in message


def test_a_reset_in_the_header_is_a_peer_that_left(server, seen, caplog):
    """As it is everywhere."""
    with socket.create_connection(server.server_address, PATIENCE) as connection:
        connection.sendall(LINE[:20])
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    ask(server, LINE + b"x")
    assert settled(server).disconnected == 1
    assert [level for level, _ in records(caplog)] == ["DEBUG"]


@pytest.mark.parametrize("data", [LINE[:20], b""], ids=["begun", "mute"])
def test_a_drain_forces_a_header_that_doesnt_come(data, server, serve, caplog):
    """Its connection is closed when the grace is over, which is no fault of the peer's."""
    with socket.create_connection(server.server_address, PATIENCE) as connection:
        connection.sendall(data)
        while not server.stats().active:
            pass
        assert server.stop(grace=0.05).forced == 1
        assert read_to_end(connection) == b""
    assert server.stats().forced == 1
    assert [level for level, _ in records(caplog)] == ["DEBUG"]


# --- who is trusted ---


def test_nobody_else_is_believed(server, seen, caplog):
    """A header from a peer that isn't trusted is never read; one record says why."""
    server.trusted_proxies = ("10.0.0.0/8",)
    answer, own = ask(server, LINE + b"hello")
    assert answer == b""
    assert settled(server).refused == 1
    assert seen == []
    assert server.verified == []
    ((level, message),) = records(caplog)
    assert level == "INFO"
    assert f"{own} was refused (it is none of trusted_proxies, and only those" in message


class Open(Proxied):
    """A server that others than proxies may use too."""

    trusted_proxies = ("10.0.0.0/8",)
    allow_direct_clients = True


def test_direct_clients_may_be_allowed(serve, seen):
    """They have their own address, and what looks like a header is data of theirs."""
    with Open(LOCAL, Handler) as server:
        serve(server)
        _, own = ask(server, LINE)
    assert seen == [(own, None, None, LINE)]
    assert server.verified == [own]


@pytest.mark.parametrize("wrong", [(), ("unix:",)], ids=repr)
def test_a_server_that_trusts_nobody_isnt_made(wrong):
    """The error says what to give."""

    class Unset(ProxyProtocolMixIn, TCPServer):
        trusted_proxies = wrong

    with pytest.raises(ValueError, match=r"Unset.trusted_proxies is .*no\b.*10\.0\.0\.0/8"):
        Unset(LOCAL, Handler)


def test_what_is_trusted_may_be_said_before_the_activation():
    """By a program that reads its configuration."""

    class Unset(ProxyProtocolMixIn, TCPServer):
        pass

    with Unset(LOCAL, Handler, bind_and_activate=False) as server:
        server.trusted_proxies = ["127.0.0.0/8"]
        server.server_bind()
        server.server_activate()


@pytest.mark.parametrize("wrong", [0, -1, float("inf"), float("nan")])
def test_the_deadline_is_finite(wrong):
    """A mute peer would keep its place for ever."""

    class Wrong(Proxied):
        proxy_timeout = wrong

    with pytest.raises(ValueError, match="proxy_timeout must be a number of seconds, not"):
        Wrong(LOCAL, Handler)


def test_it_is_for_stream_servers():
    """Behind a datagram there is no connection that a header could stand before."""
    with pytest.raises(TypeError, match="Wrong: ProxyProtocolMixIn needs a stream server"):

        class Wrong(ProxyProtocolMixIn, UDPServer):
            pass


@needs_unix
def test_a_unix_socket_trusts_whoever_may_connect(short_folder, serve, seen):
    """The pair of an Internet client is its address there; a path is one too."""
    from netserve.transports import UnixStreamServer

    class OnPath(ProxyProtocolMixIn, UnixStreamServer):
        trusted_proxies = ("unix:",)

    path = str(short_folder / "socket")
    with OnPath(path, Handler) as server:
        serve(server)
        for header in (LINE, header_of("/run/client", ProxyFamily.UNIX)):
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(PATIENCE)
                connection.connect(path)
                connection.sendall(header + b"x")
                read_to_end(connection)
    assert [address for address, *_ in seen] == [CLIENT, "/run/client"]
    assert {proxy for _, _, proxy, _ in seen} == {""}

    class Wrong(ProxyProtocolMixIn, UnixStreamServer):
        trusted_proxies = ("127.0.0.1",)

    with pytest.raises(ValueError, match="give it 'unix:'"):
        Wrong(str(short_folder / "other"), Handler)


# --- who may be served ---


def test_verify_request_denies_the_real_client(server, seen, caplog):
    """Not the proxy, and without a word of its header."""
    server.denied = "192.0.2.1"
    assert ask(server, LINE + b"x")[0] == b""
    assert ask(server, header_of(("192.0.2.2", 1)) + b"x")[0] == b"('192.0.2.2', 1)"
    stats = settled(server)
    assert (stats.refused, stats.completed) == (1, 1)
    assert len(seen) == 1
    ((level, message),) = records(caplog)
    assert level == "INFO"
    assert f"{CLIENT} was refused (by max_connections_per_peer or verify_request)" in message


def test_a_verify_request_that_raises_is_a_bug(server, seen, caplog):
    """It is reported with its traceback, and as everywhere it ends the request."""
    server.verify_request = lambda *_: 1 / 0
    assert ask(server, LINE + b"x")[0] == b""
    assert settled(server).failed == 1
    assert seen == []
    (record,) = (each for each in caplog.records if each.name == "netserve.server")
    assert record.levelname == "ERROR"
    assert record.exc_info
    assert str(CLIENT) in record.getMessage()


class Threads(ServerMixIn):
    """Runs each request in a thread, by the hooks alone."""

    def process_request(self, request, client_address):
        """Run it."""
        from netserve.core import run_request

        work = threading.Thread(target=run_request, args=(self, request, client_address))
        self.threads = [*getattr(self, "threads", ()), work]
        work.start()


class Limited(Threads, Proxied):
    """A server with a limit for each peer, whose handlers wait."""

    max_connections_per_peer = 2
    farewell = b"too many"


def test_the_limit_of_a_peer_is_the_clients(serve):
    """Each client behind a proxy has its own, and who is over it gets the farewell."""
    release = threading.Event()

    def hold(request, client_address, server):
        request.sendall(b"in")
        release.wait(PATIENCE)

    with contextlib.ExitStack() as stack:
        server = stack.enter_context(Limited(LOCAL, hold))
        serve(server)
        answers = []
        for host in ("192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.2"):
            connection = stack.enter_context(
                socket.create_connection(server.server_address, PATIENCE)
            )
            connection.sendall(header_of((host, 1)))
            answers.append(connection.recv(100))
        release.set()
        for thread in server.threads:
            thread.join(PATIENCE)
        assert answers == [b"in", b"in", b"too many", b"in"]
        assert server.stats().refused == 1
        assert ask(server, header_of(("192.0.2.1", 1)))[0] == b"in"
        for thread in server.threads:
            thread.join(PATIENCE)


def test_over_all_limits_the_loop_refuses(serve, seen):
    """It needn't know whose connection it is for that."""

    class Full(Proxied):
        max_connections = 0
        overload = "refuse"
        farewell = b"full"

    with Full(LOCAL, Handler) as server:
        serve(server)
        assert ask(server)[0] == b"full"
        assert settled(server).refused == 1


# --- the opening by itself ---


@pytest.fixture
def pair():
    """Two connected sockets."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def proxied():
    """A server that isn't bound."""
    return Proxied(LOCAL, Handler, bind_and_activate=False)


def test_the_opening_doesnt_block(pair):
    """It says what it waits for; a timeout of the socket's own makes no difference."""
    ours, theirs = pair
    ours.settimeout(PATIENCE)
    with proxied() as server:
        server._ns_trusted.include = lambda *_: True
        opening = server.open_request(ours, ("127.0.0.1", 1))
        wait = next(opening)
        assert isinstance(wait, Wait)
        assert (wait.writing, wait.deadline, wait.limit) == (False, Deadline.PROXY, 5.0)
        theirs.sendall(LINE[:20])
        assert next(opening) == wait
        theirs.sendall(LINE[20:] + b"hello")
        with pytest.raises(StopIteration) as end:
            next(opening)
    assert end.value.value == CLIENT
    assert ours.gettimeout() == PATIENCE
    assert ours.recv(100) == b"hello"


@pytest.mark.parametrize("without", [False, True], ids=["MSG_DONTWAIT", "non-blocking"])
def test_the_opening_leaves_the_timeout_as_it_was(pair, without, monkeypatch):
    """Also where the system has no MSG_DONTWAIT, and when it fails."""
    ours, theirs = pair
    if without:
        monkeypatch.setattr(_proxy, "_DONT_WAIT", 0)
    with proxied() as server:
        server._ns_trusted.include = lambda *_: True
        opening = server.open_request(ours, ("127.0.0.1", 1))
        next(opening)
        opening.close()
        assert ours.gettimeout() is None
        opening = server.open_request(ours, ("127.0.0.1", 1))
        next(opening)
        theirs.sendall(b"what?")
        with pytest.raises(ProxyProtocolError):
            next(opening)
        assert ours.gettimeout() is None


class Step(ServerMixIn):
    """Another step before the handler."""

    steps = ()

    def open_request(self, request, client_address):
        """Wait once, as for a handshake."""
        type(self).steps += ((client_address, request.recv(5, socket.MSG_PEEK)),)
        yield Wait(True, float("inf"), Deadline.IDLE, 0)
        return client_address


def test_another_step_comes_after_the_header(serve, seen):
    """It sees the real address, and what comes after the header."""

    class Both(Step, ProxyProtocolMixIn, TCPServer):
        trusted_proxies = ("127.0.0.1",)
        steps = ()

        def open_request(self, request, client_address):
            """Let the header come first."""
            client_address = yield from ProxyProtocolMixIn.open_request(
                self, request, client_address
            )
            return (yield from Step.open_request(self, request, client_address))

    class Behind(ProxyProtocolMixIn, Step, TCPServer):
        trusted_proxies = ("127.0.0.1",)
        steps = ()

    for kind in (Both, Behind):
        with kind(LOCAL, Handler) as server:
            serve(server)
            ask(server, LINE + b"hello")
        assert kind.steps == ((CLIENT, b"hello"),)
    assert [(address, data) for address, _, _, data in seen] == [(CLIENT, b"hello")] * 2


def test_a_failure_after_the_header_is_the_clients(serve, caplog):
    """The record names whom the header named."""

    class Fails(ServerMixIn):
        def open_request(self, request, client_address):
            raise DeadlineError(Deadline.IDLE, 1)

    class Behind(ProxyProtocolMixIn, Fails, TCPServer):
        trusted_proxies = ("127.0.0.1",)

    with Behind(LOCAL, Handler) as server:
        serve(server)
        ask(server, LINE)
        assert settled(server).timed_out == 1
    ((_, message),) = records(caplog)
    assert f"{CLIENT} was too slow" in message


def test_a_request_that_is_in_no_table_is_opened_too(pair):
    """A hook may be called by hand."""
    ours, theirs = pair
    theirs.sendall(LINE)
    with proxied() as server:
        server._ns_trusted.include = lambda *_: True
        assert server.open_and_wait(ours, ("127.0.0.1", 1)) == CLIENT
        theirs.sendall(LINE[:5])
        theirs.close()
        with pytest.raises(ProxyProtocolError, match="ended after 5 bytes of the header"):
            server.open_and_wait(ours, ("127.0.0.1", 1))
