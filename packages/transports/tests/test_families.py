"""Servers of each family from their address alone, and what their handlers see."""

import contextlib
import errno
import socket
import sys

import pytest

from netserve.transports import DatagramServer, StreamServer, TCPServer, UDPServer
from netserve.transports._inet6_socket import Inet6Socket

PATIENCE = 20
V4 = ("127.0.0.1", 0)
V6 = ("::1", 0)

pytestmark = pytest.mark.skipif(not socket.has_ipv6, reason="there is no IPv6")


class TCP6Server(StreamServer):
    """All four parts of the address."""

    address_family = socket.AF_INET6


class UDP6Server(DatagramServer):
    """The same, of datagrams."""

    address_family = socket.AF_INET6


def seen_by_tcp(server, family, host):
    """The address that a handler of *server* sees of a client which connects to *host*."""
    seen = []
    server.RequestHandlerClass = lambda request, address, server: (
        seen.append(address),
        request.sendall(request.recv(100).upper()),
    )
    port = server.server_address[1]
    with socket.socket(family) as client:
        client.settimeout(PATIENCE)
        client.connect((host, port))
        client.sendall(b"hello")
        server.handle_request()
        assert client.recv(100) == b"HELLO"
        own = client.getsockname()
    return seen.pop(), own


def seen_by_udp(server, family, host):
    """The address that a handler of *server* sees, and answers to."""
    seen = []

    def handle(request, address, server):
        data, answering = request
        seen.append(address)
        answering.sendto(data.upper(), address)

    server.RequestHandlerClass = handle
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        client.settimeout(PATIENCE)
        client.sendto(b"hello", (host, server.server_address[1]))
        server.handle_request()
        assert client.recv(100) == b"HELLO"
        own = client.getsockname()
    return seen.pop(), own


KINDS = [(TCPServer, seen_by_tcp), (UDPServer, seen_by_udp)]


@pytest.mark.parametrize(("kind", "seen"), KINDS)
@pytest.mark.parametrize(("address", "family"), [(V4, socket.AF_INET), (V6, socket.AF_INET6)])
def test_the_family_is_the_addresses(kind, seen, address, family):
    """Whatever it is, addresses are pairs of host and port."""
    with kind(address, print) as server:
        assert server.address_family == server.socket.family == family
        assert server.server_address == (address[0], server.server_address[1])
        client, own = seen(server, family, address[0])
        assert client == (address[0], own[1])


@pytest.mark.parametrize("kind", [TCPServer, UDPServer])
def test_a_name_is_bound_as_its_address(kind):
    """It is resolved once, when the server is made."""
    with kind(("localhost", 0), print, bind_and_activate=False) as server:
        assert server.server_address == V4
        server.server_bind()
        assert server.server_address[0] == "127.0.0.1"


@pytest.mark.parametrize(("kind", "seen"), KINDS)
@pytest.mark.parametrize("host", ["::", ""])
def test_a_dual_stack_serves_both_families(kind, seen, host):
    """A client of IPv4 has its IPv4 address, which can be answered."""
    with kind((host, 0), print, dual_stack=True) as server:
        assert server.server_address[0] == "::"
        for family, there in [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]:
            client, own = seen(server, family, there)
            assert client == (there, own[1])


@pytest.mark.parametrize("dual_stack", [True, False])
@pytest.mark.parametrize("kind", [TCPServer, UDPServer])
def test_the_option_is_set_either_way(kind, dual_stack):
    """By the keyword and by the attribute, whatever the system's default is."""
    derived = type("Derived", (kind,), {"dual_stack": dual_stack})
    for server in [kind(("::", 0), print, dual_stack=dual_stack), derived(("::", 0), print)]:
        with server:
            only = server.socket.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
            assert only == (not dual_stack)
            assert server.dual_stack is dual_stack


def refuses_ipv4(**options):
    """Whether a server on all interfaces leaves its port alone for IPv4.

    Several are tried, because a port may be another program's there.
    """
    for _ in range(10):
        with TCPServer(("::", 0), print, **options) as server:
            port = server.server_address[1]
            with contextlib.suppress(OSError):
                TCPServer(("127.0.0.1", port), print).server_close()
                with pytest.raises(ConnectionRefusedError):
                    socket.create_connection(("127.0.0.1", port))
                return True
    return False


def test_without_a_dual_stack_a_client_of_ipv4_is_refused():
    """Its port is free there; with one it isn't."""
    assert refuses_ipv4()
    assert not refuses_ipv4(dual_stack=True)


def test_the_system_may_decide(monkeypatch):
    """None sets nothing."""
    options = []
    setsockopt = Inet6Socket.setsockopt
    monkeypatch.setattr(
        Inet6Socket, "setsockopt", lambda self, *a: (options.append(a), setsockopt(self, *a))
    )

    class Left(TCPServer):
        dual_stack = None
        allow_reuse_address = False

    Left(V6, print).server_close()
    assert options == []


@pytest.mark.parametrize(("kind", "seen"), [(TCP6Server, seen_by_tcp), (UDP6Server, seen_by_udp)])
def test_a_server_of_all_four_parts_has_them(kind, seen):
    """Where a class states its family, and isn't one of pairs; mapped ones are plain there too."""
    with kind(("::", 0), print, dual_stack=True) as server:
        assert server.server_address[2:] == (0, 0)
        client, own = seen(server, socket.AF_INET6, "::1")
        assert client == ("::1", own[1], 0, 0)
        client, own = seen(server, socket.AF_INET, "127.0.0.1")
        assert client == ("127.0.0.1", own[1], 0, 0)


def test_a_stated_family_is_kept():
    """A class that says IPv4 doesn't take IPv6, nor the other way round."""

    class Only4(TCPServer):
        address_family = socket.AF_INET

    class Only6(TCPServer):
        address_family = socket.AF_INET6

    with pytest.raises(socket.gaierror, match="the host isn't one of AF_INET:"):
        Only4(V6, print)
    with pytest.raises(socket.gaierror, match="the host isn't one of AF_INET6"):
        Only6(V4, print)
    with Only6(V6, print) as server:
        assert server.server_address[0] == "::1"
        assert len(server.server_address) == 2


def test_a_port_in_use_is_explained_on_ipv6_too():
    """With the pair that was asked for."""
    with TCPServer(V6, print) as server:
        with pytest.raises(OSError, match=r"'::1', [0-9]+\) \(Address already") as caught:
            TCPServer(server.server_address, print)
    assert caught.value.errno == errno.EADDRINUSE


@pytest.mark.skipif(sys.platform == "win32", reason="there is no recvmsg")
def test_messages_have_plain_addresses_too():
    """What a handler receives and sends with ancillary data."""
    with UDPServer(("::", 0), print, dual_stack=True) as server:
        with socket.socket(type=socket.SOCK_DGRAM) as client:
            client.settimeout(PATIENCE)
            client.bind(V4)
            client.sendto(b"hello", ("127.0.0.1", server.server_address[1]))
            data, beside, _, address = server.socket.recvmsg(100)
            assert (data, beside, address) == (b"hello", [], client.getsockname())
            server.socket.sendmsg([b"HEL", b"LO"], [], 0, address)
            assert client.recv(100) == b"HELLO"
            server.socket.sendto(b"again", 0, address)
            assert client.recv(100) == b"again"


def test_a_socket_of_ipv6_is_taken_over_with_its_timeout():
    """The given one is left closed."""
    with socket.socket(socket.AF_INET6) as given:
        given.settimeout(5)
        with Inet6Socket.adopt(given, pairs=True) as taken:
            assert given.fileno() == -1
            assert taken.gettimeout() == 5
            assert taken.getsockname() == ("::", 0)


# --- keywords ---


@pytest.mark.parametrize("kind", [TCPServer, UDPServer])
@pytest.mark.parametrize("wanted", [True, False])
def test_options_may_be_keywords(kind, wanted):
    """They set the attribute of this server, before it is bound."""
    with kind(V4, print, allow_reuse_address=wanted, allow_reuse_port=wanted) as server:
        for name in [socket.SO_REUSEADDR, socket.SO_REUSEPORT]:
            assert bool(server.socket.getsockopt(socket.SOL_SOCKET, name)) is wanted
        assert server.allow_reuse_address is server.allow_reuse_port is wanted
    assert kind.allow_reuse_port is False


def test_the_queue_may_be_a_keyword():
    """It is what listen is called with; None leaves the class's."""
    with TCPServer(V4, print, request_queue_size=7) as server:
        assert server.request_queue_size == 7
    with TCPServer(V4, print, request_queue_size=None, allow_reuse_address=None) as server:
        assert server.request_queue_size == 128
        assert server.allow_reuse_address is TCPServer.allow_reuse_address


def test_an_unknown_keyword_is_refused():
    """By name."""
    with pytest.raises(TypeError, match="reuse_port"):
        TCPServer(V4, print, reuse_port=True)


def test_two_servers_share_a_port_that_both_want_to_share():
    """The keyword is for both."""
    with TCPServer(V4, print, allow_reuse_port=True) as first:
        TCPServer(first.server_address, print, allow_reuse_port=True).server_close()
        with pytest.raises(OSError, match="another socket holds it"):
            TCPServer(first.server_address, print)


def test_a_datagrams_sender_is_a_pair_where_pairs_are_asked_for():
    """As everywhere with such a socket."""
    with (
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as given,
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as client,
    ):
        with Inet6Socket.adopt(given, pairs=True) as taken:
            taken.settimeout(20)
            taken.bind(("::1", 0))
            client.bind(("::1", 0))
            client.sendto(b"hello", taken.getsockname())
            assert taken.recvfrom(100) == (b"hello", client.getsockname()[:2])
