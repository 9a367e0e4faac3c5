"""Tests of netserve.transports._socket_server: what every server on a socket does."""

import errno
import socket
import warnings

import pytest

from netserve.core import State, StateError
from netserve.transports import SocketServer, StreamServer, TCPServer, UDPServer

LOCAL = ("127.0.0.1", 0)

needs_ipv6 = pytest.mark.skipif(not socket.has_ipv6, reason="there is no IPv6")


def option(server, level, name):
    """Whether a socket option is set."""
    return bool(server.socket.getsockopt(level, name))


class TCP6Server(StreamServer):
    """A TCP server over IPv6."""

    address_family = socket.AF_INET6


# --- construction ---


@pytest.mark.parametrize(
    ("kind", "socket_type"), [(TCPServer, socket.SOCK_STREAM), (UDPServer, socket.SOCK_DGRAM)]
)
def test_the_constructor_binds_and_activates(kind, socket_type):
    """A server is bound when it is made, and knows the port that the system chose."""
    with kind(LOCAL, print) as server:
        assert server.state is State.BOUND
        assert server.socket.family == server.address_family == socket.AF_INET
        assert server.socket.type == server.socket_type == socket_type
        assert server.server_address == server.socket.getsockname()
        assert server.server_address[1] != 0
        assert server.RequestHandlerClass is print
        assert server.fileno() == server.socket.fileno()


def test_binding_may_be_left_to_the_user():
    """With bind_and_activate=False the socket is made, and bound by the hooks."""
    with TCPServer(LOCAL, print, bind_and_activate=False) as server:
        assert server.state is State.CREATED
        assert server.server_address == LOCAL
        assert server.socket.getsockname()[1] == 0
        server.server_bind()
        assert server.state is State.BOUND
        assert server.server_address[1] != 0
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(server.server_address)
        server.server_activate()
        socket.create_connection(server.server_address).close()


def test_the_socket_class_is_looked_up_late(monkeypatch):
    """Programs that patch socket.socket get their own."""

    class Own(socket.socket):
        pass

    monkeypatch.setattr(socket, "socket", Own)
    with TCPServer(LOCAL, print) as server:
        assert type(server.socket) is Own


@needs_ipv6
def test_another_family_is_one_attribute_away():
    """A subclass chooses the family with address_family."""
    with TCP6Server(("::1", 0), print) as server:
        assert server.socket.family == socket.AF_INET6
        assert server.server_address[0] == "::1"
        socket.create_connection(server.server_address[:2]).close()


def test_a_socket_server_is_a_stream_server_that_reuses_nothing():
    """The base's documented defaults."""
    assert SocketServer.address_family == socket.AF_INET
    assert SocketServer.socket_type == socket.SOCK_STREAM
    assert SocketServer.allow_reuse_address is False
    assert SocketServer.allow_reuse_port is False


# --- options ---


@pytest.mark.parametrize("wanted", [True, False])
@pytest.mark.parametrize("kind", [TCPServer, UDPServer])
def test_allow_reuse_address_sets_the_option(kind, wanted):
    """SO_REUSEADDR is set exactly when asked for."""
    server = kind(LOCAL, print, bind_and_activate=False)
    with server:
        server.allow_reuse_address = wanted
        server.server_bind()
        assert option(server, socket.SOL_SOCKET, socket.SO_REUSEADDR) is wanted


def test_the_address_is_free_again_at_once():
    """A TCP server may be restarted on its port although old connections linger."""
    with TCPServer(LOCAL, print) as server:
        with socket.create_connection(server.server_address):
            # The side that closes first is the one that lingers.
            connection, _ = server.get_request()
            connection.close()
    with TCPServer(server.server_address, print):
        pass


@pytest.mark.parametrize("wanted", [True, False])
@pytest.mark.skipif(not hasattr(socket, "SO_REUSEPORT"), reason="the system has no SO_REUSEPORT")
def test_allow_reuse_port_lets_several_servers_share_a_port(wanted):
    """SO_REUSEPORT is set exactly when asked for, and then works."""

    class Server(TCPServer):
        allow_reuse_address = False
        allow_reuse_port = wanted

    with Server(LOCAL, print) as server:
        assert option(server, socket.SOL_SOCKET, socket.SO_REUSEPORT) is wanted
        if wanted:
            with Server(server.server_address, print) as other:
                assert other.server_address == server.server_address
        else:
            with pytest.raises(OSError, match="holds it"):
                Server(server.server_address, print)


@needs_ipv6
@pytest.mark.skipif(not hasattr(socket, "SO_REUSEPORT"), reason="the system has no SO_REUSEPORT")
def test_allow_reuse_port_is_for_ipv6_as_well():
    """SO_REUSEPORT is set on either kind of Internet socket."""
    server = TCP6Server(("::1", 0), print, bind_and_activate=False)
    with server:
        server.allow_reuse_port = True
        server.server_bind()
        assert option(server, socket.SOL_SOCKET, socket.SO_REUSEPORT)


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="there are no Unix domain sockets")
def test_allow_reuse_port_is_for_internet_sockets_alone():
    """On another family the option, which some systems refuse there, is left alone."""

    class Refusing(socket.socket):
        def setsockopt(self, *arguments):
            raise OSError(errno.EOPNOTSUPP, "not supported")

    server = StreamServer("", print, bind_and_activate=False)
    with server:
        server.socket.close()
        server.address_family = socket.AF_UNIX
        server.socket = Refusing(socket.AF_UNIX)
        server.allow_reuse_port = True
        server.server_bind()
        assert server.state is State.BOUND


@pytest.mark.parametrize("name", ["SO_REUSEADDR", "SO_REUSEPORT"])
def test_an_option_that_the_system_lacks_is_passed_over(monkeypatch, name):
    """A wish for an option that isn't there is no error."""
    monkeypatch.delattr(socket, name, raising=False)

    class Server(TCPServer):
        allow_reuse_address = name == "SO_REUSEADDR"
        allow_reuse_port = name == "SO_REUSEPORT"

    with Server(LOCAL, print) as server:
        assert server.state is State.BOUND


# --- bad addresses ---


@pytest.fixture
def sockets(monkeypatch):
    """Every socket that is made during the test."""
    made = []

    class Noted(socket.socket):
        def __init__(self, *arguments, **keywords):
            super().__init__(*arguments, **keywords)
            made.append(self)

    monkeypatch.setattr(socket, "socket", Noted)
    return made


@pytest.mark.parametrize("kind", [TCPServer, UDPServer])
@pytest.mark.parametrize(
    ("address", "error", "words"),
    [
        (("127.0.0.1", 65536), OverflowError, ["65536", "give a port from 0 to 65535"]),
        (("127.0.0.1", -1), OverflowError, ["-1", "give a port from 0 to 65535"]),
        (("127.0.0.1", "80"), TypeError, ["'80'", "give a (host, port) tuple such as"]),
        (("127.0.0.1",), TypeError, ["('127.0.0.1',)", "give a (host, port) tuple such as"]),
        ("/run/service.sock", TypeError, ["'/run/service.sock'", "give a (host, port) tuple"]),
        (None, TypeError, ["None", "give a (host, port) tuple"]),
        (("::g", 0), ValueError, ["'::g' isn't an IPv6 address", "give a (host, port) tuple"]),
        (("\u00e9" * 100, 0), ValueError, ["\u00e9\u00e9", "give a (host, port) tuple"]),
        (("no host", 0), socket.gaierror, ["'no host'", "the host isn't known"]),
        (("203.0.113.1", 0), OSError, ["203.0.113.1", "no interface of this machine has it"]),
    ],
)
def test_a_bad_address_is_explained_and_leaves_no_socket(kind, address, error, words, sockets):
    """The constructor's exception is bind's class, names value and remedy, and closes."""
    with pytest.raises(error) as caught:
        kind(address, print)
    for word in words:
        assert word in str(caught.value)
    assert caught.value.__cause__ is not None
    assert {made.fileno() for made in sockets} <= {-1}


@needs_ipv6
def test_an_ipv4_host_on_an_ipv6_server_is_explained(sockets):
    """The remedy shows an IPv6 address."""
    with pytest.raises(socket.gaierror, match=r"AF_INET6: give a \(host, port\) .*'::1'"):
        TCP6Server(("127.0.0.1", 0), print)
    assert {made.fileno() for made in sockets} <= {-1}


@pytest.mark.parametrize("kind", [TCPServer, UDPServer])
def test_an_address_in_use_is_explained_and_leaves_no_socket(kind, sockets):
    """Two servers can't hold one address: the second says so, and who has to give way."""
    with kind(LOCAL, print) as server:
        with pytest.raises(OSError, match="stop its owner, or choose another") as caught:
            kind(server.server_address, print)
        assert caught.value.errno == errno.EADDRINUSE
        assert repr(server.server_address) in str(caught.value)
        assert sockets[1].fileno() == -1


@pytest.mark.parametrize("hook", ["server_bind", "server_activate"])
@pytest.mark.parametrize("error", [ValueError("hook"), KeyboardInterrupt()])
def test_a_constructor_that_fails_closes_the_socket(hook, error, sockets):
    """Whatever a hook raises in the constructor goes on, after server_close."""
    closed = []

    class Failing(TCPServer):
        def server_close(self):
            super().server_close()
            closed.append(self.state)

    def fail(_):
        raise error

    setattr(Failing, hook, fail)
    with pytest.raises(type(error)) as caught:
        Failing(LOCAL, print)
    assert caught.value is error
    assert closed == [State.CLOSED]
    assert [made.fileno() for made in sockets] == [-1]


def test_a_handler_that_is_not_callable_makes_no_socket(sockets):
    """The handler is looked at before there is anything to close."""
    with pytest.raises(TypeError, match=r"must be callable as handler.*not 42"):
        TCPServer(LOCAL, 42)
    assert sockets == []


# --- closing and binding anew ---


def test_closing_closes_the_socket():
    """After server_close the descriptor is gone; a second close is harmless."""
    server = TCPServer(LOCAL, print)
    server.server_close()
    assert server.fileno() == -1
    assert server.socket.fileno() == -1
    server.server_close()
    assert server.state is State.CLOSED


def test_a_server_that_is_not_closed_warns():
    """A forgotten socket is Python's ResourceWarning: nothing here keeps it alive."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        TCPServer(LOCAL, print)
    assert [warning.category for warning in caught] == [ResourceWarning]


@pytest.mark.parametrize("close", [True, False])
def test_a_new_socket_may_be_bound(close):
    """server.socket may be replaced and bound, before as well as after server_close."""
    with TCPServer(LOCAL, print) as server:
        if close:
            server.server_close()
        server.socket.close()
        server.socket = socket.socket()
        server.server_address = LOCAL
        server.server_bind()
        assert server.state is State.BOUND
        assert server.server_address == server.socket.getsockname()


def test_a_server_that_is_being_served_cannot_be_bound():
    """server_bind from a handler is refused, with the reason."""
    errors = []

    def handler(request, client_address, server):
        server.socket.close()
        server.socket = socket.socket()
        server.server_address = LOCAL
        with pytest.raises(StateError, match=r"server_bind\(\) while it is serving: shutdown"):
            server.server_bind()
        errors.append(True)
        server.shutdown()

    with TCPServer(LOCAL, handler) as server:
        with socket.create_connection(server.server_address):
            server.serve_forever()
    assert errors == [True]


# --- how long handle_request waits ---


@pytest.mark.parametrize(
    ("of_server", "of_socket", "patience"),
    [(None, None, None), (3, None, 3), (None, 2, 2), (3, 2, 2), (2, 3, 2), (0, 5, 0), (5, 0, 0)],
)
def test_handle_request_waits_for_the_shorter_of_two_timeouts(of_server, of_socket, patience):
    """The server's timeout and its socket's both count."""
    with TCPServer(LOCAL, print) as server:
        server.timeout = of_server
        server.socket.settimeout(of_socket)
        assert server._ns_patience() == patience


@pytest.mark.parametrize("kind", [TCPServer, UDPServer])
@pytest.mark.parametrize("of_socket", [True, False])
def test_handle_request_that_waits_in_vain_calls_handle_timeout(kind, of_socket):
    """Either timeout ends the wait, with handle_timeout."""
    calls = []
    with kind(LOCAL, print) as server:
        server.handle_timeout = lambda: calls.append(True)
        if of_socket:
            server.socket.settimeout(0.001)
        else:
            server.timeout = 0.001
        server.handle_request()
    assert calls == [True]
