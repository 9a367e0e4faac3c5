"""Tests of netserve.transports._options: what is set where, and read back from real sockets."""

import dataclasses
import errno
import socket
import sys

import pytest

from netserve import transports
from netserve.transports import SocketOptions, TCPServer, UDPServer
from netserve.transports._options import Plan, plan, set_all

PATIENCE = 20
LOCAL = ("127.0.0.1", 0)

linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux has all of them")
unix = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="there are no Unix sockets")

EVERY = SocketOptions(
    no_delay=True,
    keepalive_idle=61,
    keepalive_interval=7,
    keepalive_count=3,
    user_timeout=1.5,
    defer_accept=1,
    fast_open=16,
    receive_buffer=100_000,
    send_buffer=200_000,
)


def read(connection, level, name):
    """The value of an option."""
    return connection.getsockopt(level, getattr(socket, name))


@linux
def test_each_option_is_set_where_it_belongs():
    """On the listening socket, or on the accepted one; in the unit of the system."""
    accepted = []

    def handler(request, *_):
        accepted.append(request.dup())
        # What is left unread would be waited for at the end.
        request.recv(1)

    with TCPServer(LOCAL, handler) as plain:
        usual = read(plain.socket, socket.SOL_SOCKET, "SO_RCVBUF")
    with TCPServer(LOCAL, handler, socket_options=EVERY) as server:
        own = server.socket
        assert read(own, socket.IPPROTO_TCP, "TCP_DEFER_ACCEPT") == 1
        assert read(own, socket.IPPROTO_TCP, "TCP_FASTOPEN") == 16
        assert read(own, socket.SOL_SOCKET, "SO_RCVBUF") == 200_000 != usual
        assert read(own, socket.SOL_SOCKET, "SO_SNDBUF") == 400_000
        assert not read(own, socket.IPPROTO_TCP, "TCP_NODELAY")
        assert not read(own, socket.SOL_SOCKET, "SO_KEEPALIVE")
        with socket.create_connection(server.server_address) as client:
            client.sendall(b"x")
            server.handle_request()
    with accepted[0] as connection:
        assert read(connection, socket.IPPROTO_TCP, "TCP_NODELAY")
        assert read(connection, socket.SOL_SOCKET, "SO_KEEPALIVE")
        assert read(connection, socket.IPPROTO_TCP, "TCP_KEEPIDLE") == 61
        assert read(connection, socket.IPPROTO_TCP, "TCP_KEEPINTVL") == 7
        assert read(connection, socket.IPPROTO_TCP, "TCP_KEEPCNT") == 3
        assert read(connection, socket.IPPROTO_TCP, "TCP_USER_TIMEOUT") == 1500
        assert read(connection, socket.SOL_SOCKET, "SO_RCVBUF") == 200_000
        assert read(connection, socket.SOL_SOCKET, "SO_SNDBUF") == 400_000


@linux
def test_a_silent_connection_is_deferred():
    """The loop sees it when its data come."""

    def handler(request, *_):
        # What is left unread would be waited for at the end.
        request.recv(1)

    with TCPServer(LOCAL, handler, socket_options=SocketOptions(defer_accept=30)) as server:
        server.timeout = 0
        calls = []
        server.handle_timeout = lambda: calls.append("nobody")
        with socket.create_connection(server.server_address) as client:
            server.handle_request()
            assert calls == ["nobody"]
            client.sendall(b"x")
            server.timeout = PATIENCE
            server.handle_request()
            assert calls == ["nobody"]
            assert server.stats().accepted == 1


def test_the_attribute_of_a_class_is_enough():
    """The keyword takes precedence over it."""

    class Quick(TCPServer):
        socket_options = SocketOptions(no_delay=True)

    for keyword, wanted in [(None, True), (SocketOptions(no_delay=False), False)]:
        with Quick(LOCAL, print, socket_options=keyword) as server:
            with socket.create_connection(server.server_address):
                request, _ = server.get_request()
                with request:
                    assert bool(read(request, socket.IPPROTO_TCP, "TCP_NODELAY")) is wanted


def test_nothing_is_set_unless_given():
    """The system's defaults stay."""
    assert plan(SocketOptions(), socket.AF_INET, socket.SOCK_STREAM) == Plan((), ())


def test_a_keepalive_that_is_off_stays_off():
    """Although its times are given."""
    options = SocketOptions(keepalive=False, keepalive_count=3)
    settings = dict(plan(options, socket.AF_INET, socket.SOCK_STREAM).connection)
    assert settings["keepalive"][2] == 0


def test_options_are_frozen_and_named():
    """One object may be shared by many servers."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        EVERY.no_delay = False
    with pytest.raises(TypeError):
        SocketOptions(True)


@unix
@linux
@pytest.mark.parametrize("kind", ["UnixStreamServer", "UnixDatagramServer"])
def test_a_unix_server_has_buffers(short_folder, kind):
    """Of streams, the accepted socket gets its size itself."""
    options = SocketOptions(send_buffer=100_000, receive_buffer=100_000)
    kind_class = getattr(transports, kind)
    with kind_class(short_folder / "s", print, socket_options=options) as server:
        if kind == "UnixDatagramServer":
            assert read(server.socket, socket.SOL_SOCKET, "SO_RCVBUF") == 200_000
            return
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(server.server_address)
            request, _ = server.get_request()
            with request:
                assert read(request, socket.SOL_SOCKET, "SO_SNDBUF") == 200_000


@linux
@pytest.mark.parametrize(
    "name",
    [field.name for field in dataclasses.fields(SocketOptions) if "buffer" not in field.name],
)
@pytest.mark.parametrize("kind", ["UDPServer", "UnixStreamServer"])
def test_an_option_of_another_kind_of_socket_is_refused(short_folder, kind, name):
    """When the server is made."""
    address = LOCAL if kind == "UDPServer" else short_folder / "s"
    with pytest.raises(ValueError, match=r"socket_options: .* is for connections of TCP"):
        getattr(transports, kind)(address, print, socket_options=SocketOptions(**{name: 1}))
    assert not (short_folder / "s").exists()


def test_an_option_that_the_platform_lacks_is_refused(monkeypatch):
    """By its name here and there."""
    monkeypatch.delattr(socket, "TCP_USER_TIMEOUT")
    with pytest.raises(OSError, match=r"no user_timeout \(TCP_USER_TIMEOUT\); leave") as caught:
        TCPServer(LOCAL, print, socket_options=SocketOptions(user_timeout=3))
    assert caught.value.errno == errno.ENOPROTOOPT


def test_another_name_of_an_option_is_known(monkeypatch):
    """macOS calls the idle time of the keepalive otherwise."""
    monkeypatch.delattr(socket, "TCP_KEEPIDLE")
    monkeypatch.setattr(socket, "TCP_KEEPALIVE", 16, raising=False)
    settings = plan(SocketOptions(keepalive_idle=3), socket.AF_INET, socket.SOCK_STREAM).connection
    assert settings[1] == ("keepalive_idle", (socket.IPPROTO_TCP, 16, 3))


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_an_endless_time_is_refused(value):
    """None is the word for it."""
    with pytest.raises(ValueError, match="user_timeout must be a finite number"):
        TCPServer(LOCAL, print, socket_options=SocketOptions(user_timeout=value))


@linux
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (SocketOptions(keepalive_idle=0), r"refuses keepalive_idle, as 0 \(Invalid argument\)"),
        (SocketOptions(user_timeout=-1), r"refuses user_timeout, as -1000 \(Invalid"),
        (SocketOptions(fast_open=-1), "refuses fast_open, as -1"),
        (SocketOptions(receive_buffer=1 << 40), r"as 1099511627776 \(out of range\)"),
    ],
)
def test_a_value_that_the_system_refuses_is_named(options, words):
    """When the server is made, though it is for connections to come; no socket is left open."""
    with pytest.raises(OSError, match=words) as caught:
        TCPServer(LOCAL, print, socket_options=options)
    assert caught.value.errno == errno.EINVAL


def test_a_connection_that_is_gone_is_accepted_all_the_same(monkeypatch):
    """Some systems then refuse to set an option; the handler sees the end."""
    with TCPServer(LOCAL, print, socket_options=SocketOptions(no_delay=True)) as server:
        with socket.create_connection(server.server_address):
            monkeypatch.setattr("netserve.transports._stream.set_all", fail)
            request, _ = server.get_request()
            request.close()


def fail(connection, settings):
    """Refuse."""
    raise OSError(errno.EINVAL, "gone")


def test_every_setting_is_named_when_it_fails():
    """The function that sets them says which."""
    with socket.socket() as some:
        with pytest.raises(OSError, match="the system refuses x, as 1"):
            set_all(some, [("x", (-1, -1, 1))])


def test_udp_buffers_are_the_servers_own():
    """There is no other socket."""
    with UDPServer(LOCAL, print, socket_options=SocketOptions(receive_buffer=50_000)) as server:
        assert read(server.socket, socket.SOL_SOCKET, "SO_RCVBUF") >= 50_000
