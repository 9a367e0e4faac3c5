"""Tests of netserve.transports._closing, on real connections."""

import contextlib
import errno
import os
import select
import socket
import struct
import sys
import threading
import time

import pytest

from netserve.core import DeadlineError, Deadlines, Stats
from netserve.transports import TCPServer, _closing
from netserve.transports._closing import discard, linger, peer_is_gone, traffic
from netserve.transports._deadline_socket import DeadlineSocket

if hasattr(socket, "AF_UNIX"):
    from netserve.transports import UnixStreamServer

LOCAL = ("127.0.0.1", 0)
PATIENCE = 20
REPLY = os.urandom(3_000_000)

FAMILIES = ["AF_INET", "AF_UNIX"]

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what it holds")


@pytest.fixture(params=FAMILIES)
def pair(request, short_folder):
    """Both ends of a connection, of TCP and on a Unix domain socket: server's, client's."""
    family = getattr(socket, request.param)
    address = LOCAL if family == socket.AF_INET else str(short_folder / "s")
    with socket.socket(family) as listening:
        listening.bind(address)
        listening.listen()
        with socket.socket(family) as client:
            client.connect(listening.getsockname())
            client.settimeout(PATIENCE)
            accepted, _ = listening.accept()
            with accepted:
                yield accepted, client


@pytest.fixture
def tcp():
    """Both ends of a TCP connection: server's, client's."""
    with socket.create_server(LOCAL) as listening:
        with socket.create_connection(listening.getsockname(), PATIENCE) as client:
            accepted, _ = listening.accept()
            with accepted:
                yield accepted, client


@pytest.fixture
def waits(monkeypatch):
    """The time that each wait of linger may take."""
    waits = []
    own = _closing._await_input

    def await_input(connection, timeout):
        waits.append(timeout)
        own(connection, timeout)

    monkeypatch.setattr(_closing, "_await_input", await_input)
    return waits


def reset(connection):
    """Close with a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def stuff(connection):
    """Send until nothing more fits between *connection* and its peer; returns how much that is."""
    connection.setblocking(False)
    sent = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            sent += connection.send(bytes(10_001))
    connection.setblocking(True)
    return sent


def arrived(connection, size):
    """Wait until *size* bytes can be read from *connection*."""
    flags = socket.MSG_PEEK | socket.MSG_WAITALL
    assert len(connection.recv(size, flags)) == size


def unread(connection):
    """How many bytes wait to be read from *connection*."""
    connection.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        return len(connection.recv(10_000_000, socket.MSG_PEEK))
    return 0


# --- linger ---


@on_linux
def test_where_all_is_read_and_delivered_nothing_is_waited_for(pair, waits):
    """The usual case costs no wait, although the client stays."""
    server, client = pair
    server.sendall(b"reply")
    arrived(client, 5)
    server.shutdown(socket.SHUT_WR)
    linger(server, PATIENCE, 1000)
    assert waits == []


def test_what_was_sent_to_a_unix_socket_is_delivered(waits):
    """A client that hasn't read it keeps nobody waiting, and reads it after the close."""
    server, client = socket.socketpair()
    with client:
        with server:
            sent = stuff(server)
            server.shutdown(socket.SHUT_WR)
            linger(server, PATIENCE, 1000)
        assert waits == []
        with client.makefile("rb") as file:
            assert len(file.read()) == sent


def test_surplus_is_thrown_away_until_the_peer_closes(pair):
    """Whatever has come and still comes is read, and the end of it ends the lingering."""
    server, client = pair
    client.sendall(b"x" * 10_000)
    arrived(server, 10_000)
    server.shutdown(socket.SHUT_WR)

    def go_on():
        client.sendall(b"x" * 10_000)
        client.shutdown(socket.SHUT_WR)

    sender = threading.Timer(0.05, go_on)
    began = time.monotonic()
    sender.start()
    linger(server, PATIENCE, 1_000_000)
    assert 0.04 < time.monotonic() - began < PATIENCE / 2
    sender.join()
    assert socket.socket.recv(server, 1) == b""


@pytest.mark.parametrize("timeout", [None, 0.01, PATIENCE])
def test_a_peer_that_stays_is_waited_for_so_long(pair, timeout):
    """The time is the limit, whatever timeout the handler has left on the socket."""
    server, client = pair
    client.sendall(b"surplus")
    arrived(server, 7)
    server.settimeout(timeout)
    server.shutdown(socket.SHUT_WR)
    began = time.monotonic()
    linger(server, 0.2, 1000)
    assert 0.2 <= time.monotonic() - began < 5
    assert unread(server) == 0


def test_deadlines_do_not_limit_the_lingering(tcp):
    """A deadline that has passed ended the handler; what it has sent is still delivered."""
    server, client = tcp
    with DeadlineSocket.adopt(server, Deadlines(0.01, None, None, 0)) as connection:
        with pytest.raises(DeadlineError):
            connection.recv(1)
        client.sendall(b"surplus")
        assert socket.socket.recv(connection, 7, socket.MSG_PEEK | socket.MSG_WAITALL)
        began = time.monotonic()
        linger(connection, 0.2, 1000)
        assert 0.2 <= time.monotonic() - began < 5
        with pytest.raises(BlockingIOError):
            socket.socket.recv(connection, 1, socket.MSG_DONTWAIT)


def test_a_peer_that_sends_without_end_is_read_so_far(pair, monkeypatch):
    """The number of bytes is the limit, to within one read."""
    server, client = pair
    read = []

    def recv(connection, size, flags):
        data = own(connection, size, flags)
        read.append(len(data))
        return data

    own = socket.socket.recv
    stop = threading.Event()

    def flood():
        with contextlib.suppress(OSError):
            while not stop.is_set():
                client.send(bytes(10_000))

    flooding = threading.Thread(target=flood)
    flooding.start()
    try:
        arrived(server, 1)
        monkeypatch.setattr(socket.socket, "recv", recv, raising=False)
        linger(server, PATIENCE, 300_000)
    finally:
        stop.set()
        server.shutdown(socket.SHUT_RDWR)
        flooding.join(PATIENCE)
    assert 300_000 <= sum(read) < 300_000 + 65536


def test_no_bytes_at_all_are_read_where_the_limit_says_so(pair):
    """A limit of zero closes at once."""
    server, client = pair
    client.sendall(b"surplus")
    arrived(server, 7)
    linger(server, PATIENCE, 0)
    assert unread(server) == 7


@on_linux
def test_what_is_on_its_way_is_waited_for(tcp):
    """A client that takes its time gets the rest of the reply; then the lingering ends."""
    server, client = tcp
    sent = stuff(server)
    server.shutdown(socket.SHUT_WR)
    taken = []

    def take():
        while part := client.recv(65536):
            taken.append(len(part))

    taker = threading.Timer(0.05, take)
    began = time.monotonic()
    taker.start()
    linger(server, PATIENCE, 1000)
    assert 0.04 < time.monotonic() - began < PATIENCE / 2
    taker.join()
    assert sum(taken) == sent


@on_linux
def test_a_peer_that_takes_nothing_is_waited_for_so_long(tcp, waits):
    """The time is the limit there too, and what is held is looked at again and again."""
    server, _ = tcp
    stuff(server)
    server.shutdown(socket.SHUT_WR)
    began = time.monotonic()
    linger(server, 0.1, 1000)
    assert 0.1 <= time.monotonic() - began < 5
    assert max(waits) <= 0.02


@on_linux
def test_surplus_that_comes_while_the_reply_is_on_its_way_is_thrown_away(tcp):
    """Nothing was unread at first; what comes later would reset the connection all the same."""
    server, client = tcp
    stuff(server)
    server.shutdown(socket.SHUT_WR)
    sender = threading.Timer(0.05, client.sendall, [b"late"])
    sender.start()
    linger(server, 0.3, 1000)
    sender.join()
    assert unread(server) == 0


def test_a_connection_that_is_reset_ends_the_lingering(tcp):
    """The error is the caller's to pass over."""
    server, client = tcp
    client.sendall(b"surplus")
    arrived(server, 7)
    resetting = threading.Timer(0.05, reset, [client])
    resetting.start()
    with pytest.raises(ConnectionResetError):
        linger(server, PATIENCE, 1000)
    resetting.join()


@pytest.mark.parametrize("poll", [True, False])
def test_where_the_system_does_not_tell_the_peer_is_waited_for(tcp, monkeypatch, poll):
    """It may have more to take or to send: its end, or the time, ends the lingering."""
    server, client = tcp
    monkeypatch.setattr(_closing, "_TELLS", False)
    if not poll:
        monkeypatch.delattr(select, "poll")
    began = time.monotonic()
    linger(server, 0.1, 1000)
    assert 0.1 <= time.monotonic() - began < 5
    closing = threading.Timer(0.05, client.shutdown, [socket.SHUT_WR])
    began = time.monotonic()
    closing.start()
    linger(server, PATIENCE, 1000)
    assert 0.04 < time.monotonic() - began < PATIENCE / 2
    closing.join()


def test_without_a_flag_for_it_a_socket_is_told_not_to_wait(pair, monkeypatch):
    """Where MSG_DONTWAIT is missing, the socket itself doesn't block."""
    server, client = pair
    client.sendall(b"surplus")
    arrived(server, 7)
    monkeypatch.setattr(_closing, "_DONT_WAIT", 0)
    began = time.monotonic()
    linger(server, 0.1, 1000)
    assert 0.1 <= time.monotonic() - began < 5


def test_a_copy_of_the_socket_keeps_blocking(pair):
    """What another process, or a thread, holds of the connection is left as it is."""
    server, client = pair
    client.sendall(b"surplus")
    arrived(server, 7)
    linger(server, 0.01, 1000)
    discard(server)
    assert os.get_blocking(server.fileno())


# --- the whole of it, with a server ---


class Reply:
    """A handler that looks at one byte of its input, and replies at length."""

    timeout = None

    def __call__(self, request, client_address, server):
        """Reply."""
        request.settimeout(self.timeout)
        request.recv(1)
        request.sendall(REPLY)


def collected(client, pause):
    """All that *client* gets, taking its time."""
    parts = []
    with contextlib.suppress(ConnectionError):
        while part := client.recv(262_144):
            parts.append(part)
            pause()
    return b"".join(parts)


def connected(server):
    """A client of *server*, with small buffers."""
    client = socket.socket(server.address_family)
    client.settimeout(PATIENCE)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    client.connect(server.server_address)
    return client


@pytest.fixture(params=FAMILIES)
def server(request, short_folder):
    """A server that replies at length, of TCP and on a Unix domain socket."""
    if request.param == "AF_INET":
        server = TCPServer(LOCAL, Reply())
    else:
        server = UnixStreamServer(short_folder / "s", Reply())
    with server:
        yield server


@pytest.mark.parametrize("timeout", [None, 2])
def test_a_reply_is_delivered_whole_though_surplus_was_never_read(server, serve, timeout):
    """Twenty of twenty, with a reader that takes its time and goes on sending."""
    server.RequestHandlerClass.timeout = timeout
    serve(server)
    tick = threading.Event()
    whole = 0
    for _ in range(20):
        with connected(server) as client:
            client.sendall(b"x" * 20_000)

            def pause(client=client):
                with contextlib.suppress(ConnectionError):
                    client.sendall(b"more")
                tick.wait(0.001)

            whole += collected(client, pause) == REPLY
    assert whole == 20


def test_a_short_timeout_of_the_handler_does_not_cut_the_reply(serve):
    """Only operations of the handler are limited by it; the lingering has its own time."""

    def handle(request, client_address, server):
        request.recv(1)
        request.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_000_000)
        request.settimeout(0.01)
        with contextlib.suppress(TimeoutError):
            request.sendall(REPLY)
        handled.set()

    handled, tick = threading.Event(), threading.Event()
    with TCPServer(LOCAL, handle) as server:
        serve(server)
        with connected(server) as client:
            client.sendall(b"x" * 20_000)
            assert handled.wait(PATIENCE)
            # Longer than the handler's timeout, and shorter than linger_timeout.
            tick.wait(0.1)
            answer = b""
            while part := client.recv(262_144):
                answer += part
    assert len(answer) > 65536
    assert REPLY.startswith(answer)


@on_linux
def test_without_lingering_the_reply_would_be_lost(serve):
    """What the tests before prove: closed at once, the connection is reset under its reader."""
    with TCPServer(LOCAL, Reply()) as server:
        server.linger_timeout = 0
        serve(server)
        with connected(server) as client:
            client.sendall(b"x" * 20_000)
            tick = threading.Event()
            assert len(collected(client, lambda: tick.wait(0.001))) < len(REPLY)


def test_a_client_that_never_leaves_keeps_a_server_so_long(server, serve):
    """The documented limit in time: after it, the next client is served."""
    server.RequestHandlerClass = lambda request, *_: request.sendall(request.recv(1))
    server.linger_timeout = 0.2
    serve(server)
    with connected(server) as first, connected(server) as second:
        began = time.monotonic()
        first.sendall(b"x" * 1000)
        second.sendall(b"y")
        assert first.recv(1) == b"x"
        assert second.recv(1) == b"y"
        assert 0.2 <= time.monotonic() - began < 5


def test_the_documented_defaults():
    """Five seconds, a mebibyte."""
    assert TCPServer.linger_timeout == 5
    assert TCPServer.linger_bytes == 1 << 20


# --- discard ---


@pytest.mark.parametrize("timeout", [None, PATIENCE])
def test_discarding_takes_what_is_there_and_waits_for_nothing(pair, timeout):
    """Several reads' worth, whatever timeout the socket has."""
    server, client = pair
    client.sendall(b"x" * 100_000)
    arrived(server, 100_000)
    server.settimeout(timeout)
    began = time.monotonic()
    discard(server)
    assert time.monotonic() - began < PATIENCE / 2
    assert unread(server) == 0


def test_discarding_ends_at_the_end(pair):
    """A peer that has closed has nothing more."""
    server, client = pair
    client.sendall(b"surplus")
    client.shutdown(socket.SHUT_WR)
    arrived(server, 7)
    discard(server)
    assert server.recv(1) == b""


def test_discarding_passes_over_a_connection_that_is_gone(tcp):
    """Neither a reset nor a closed socket is an error."""
    server, client = tcp
    client.sendall(b"surplus")
    arrived(server, 7)
    reset(client)
    discard(server)
    server.close()
    discard(server)


# --- traffic ---


def exchange(server, client):
    """Send 1000 bytes to the server, and 30000 back."""
    client.sendall(b"x" * 1000)
    server.sendall(b"y" * 30_000)
    arrived(server, 1000)
    arrived(client, 30_000)


@on_linux
@pytest.mark.parametrize(
    "ended", ["", "client", "server", "client server", "server client", "reset"]
)
def test_traffic_tells_of_both_directions(tcp, ended):
    """What was received, read or not, and what was sent; ends that were told don't count."""
    server, client = tcp
    assert traffic(server) == (0, 0)
    exchange(server, client)
    for who in ended.split():
        if who == "reset":
            reset(client)
        else:
            {"server": server, "client": client}[who].shutdown(socket.SHUT_WR)
    while ended.startswith("client") and server.recv(1000):
        pass
    received, sent = traffic(server)
    assert sent == 30_000
    assert received == 1000 or (ended == "reset" and received == 999)


@on_linux
@pytest.mark.parametrize("first", ["client", "server", "reset"])
def test_an_exchange_of_nothing_counts_nothing(tcp, first):
    """A connection that is opened and closed has no bytes."""
    server, client = tcp
    if first == "reset":
        reset(client)
        assert traffic(server) == (0, 0)
        return
    ends = [server, client] if first == "server" else [client, server]
    for end in ends:
        end.shutdown(socket.SHUT_WR)
    assert server.recv(1) == client.recv(1) == b""
    assert traffic(server) == (0, 0)


@on_linux
def test_what_waits_to_be_sent_counts_as_sent(tcp):
    """The handler has handed it over."""
    server, _ = tcp
    sent = stuff(server)
    assert traffic(server) == (0, sent)
    server.shutdown(socket.SHUT_WR)
    assert traffic(server) == (0, sent)


@on_linux
@pytest.mark.skipif(not socket.has_ipv6, reason="there is no IPv6")
def test_traffic_tells_of_ipv6():
    """TCP is TCP."""
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listening:
        with socket.create_connection(listening.getsockname()[:2], PATIENCE) as client:
            server, _ = listening.accept()
            with server:
                exchange(server, client)
                assert traffic(server) == (1000, 30_000)


@pytest.mark.parametrize("why", ["unix", "datagrams", "closed", "system", "older"])
def test_where_it_is_not_known_traffic_is_zero(why, tcp, monkeypatch):
    """Another family, another type, a closed socket, another system, or an older one."""
    server, client = tcp
    exchange(server, client)
    with contextlib.ExitStack() as ends:
        if why == "unix":
            server, other = map(ends.enter_context, socket.socketpair())
            other.sendall(b"x")
        elif why == "datagrams":
            server = ends.enter_context(socket.socket(type=socket.SOCK_DGRAM))
        elif why == "closed":
            server.close()
        elif why == "system":
            monkeypatch.setattr(_closing, "_TELLS", False)
        else:
            monkeypatch.setattr(socket.socket, "getsockopt", lambda *_: bytes(100), raising=False)
        assert traffic(server) == (0, 0)


@on_linux
def test_statistics_have_the_bytes_of_ended_connections(serve):
    """Of each, what came and what went."""

    def handle(request, client_address, server):
        request.sendall(b"y" * len(request.recv(1000, socket.MSG_WAITALL)) * 3)

    with TCPServer(LOCAL, handle) as server:
        thread = serve(server)
        for _ in range(2):
            with connected(server) as client:
                client.sendall(b"x" * 1000)
                with client.makefile("rb") as file:
                    assert len(file.read()) == 3000
        server.shutdown()
        thread.join(PATIENCE)
        stats = server.stats()
    assert isinstance(stats, Stats)
    assert (stats.bytes_received, stats.bytes_sent) == (2000, 6000)
    assert (stats.accepted, stats.completed, stats.active) == (2, 2, 0)


# --- peer_is_gone ---


def test_an_open_connection_has_its_peer(pair):
    """Idle, or with data in both directions."""
    server, client = pair
    assert not peer_is_gone(server)
    client.sendall(b"x")
    server.sendall(b"y")
    arrived(server, 1)
    assert not peer_is_gone(server)


@pytest.mark.parametrize("first", ["server", "client"])
def test_a_connection_is_gone_when_both_directions_have_ended(pair, first):
    """With one direction ended, the other may still be used."""
    server, client = pair
    ends = [server, client] if first == "server" else [client, server]
    ends[0].shutdown(socket.SHUT_WR)
    assert not peer_is_gone(server)
    ends[1].shutdown(socket.SHUT_WR)
    assert client.recv(1) == server.recv(1) == b""
    assert peer_is_gone(server)


def test_a_connection_that_was_reset_is_gone(tcp):
    """At once."""
    server, client = tcp
    reset(client)
    with pytest.raises(ConnectionResetError):
        server.recv(1)
    assert peer_is_gone(server)


def test_a_connection_that_was_closed_here_is_gone(pair):
    """A handler may have closed its request."""
    server, _ = pair
    server.close()
    assert peer_is_gone(server)


def test_where_the_system_does_not_tell_the_peer_is_taken_for_gone(pair, monkeypatch):
    """An error of the connection is then read as its end."""
    monkeypatch.delattr(select, "poll")
    assert peer_is_gone(pair[0])


def test_a_descriptor_that_tells_nothing_holds_nothing(pair, monkeypatch):
    """An ioctl that fails, as on a socket of another kind, keeps nobody waiting."""
    import fcntl

    def refuse(*_):
        raise OSError(errno.ENOTTY, "no such ioctl")

    monkeypatch.setattr(fcntl, "ioctl", refuse)
    began = time.monotonic()
    linger(pair[0], PATIENCE, 1000)
    assert time.monotonic() - began < 5
