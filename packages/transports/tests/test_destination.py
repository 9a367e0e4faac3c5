"""Tests of netserve.transports._destination: which address an answer leaves from."""

import contextlib
import errno
import socket
import sys

import pytest

from netserve.core import Inet6Address
from netserve.transports import DatagramServer, UDPServer, _destination
from netserve.transports._destination import Destinations, destinations

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs IP_PKTINFO")


class UDP6Server(DatagramServer[Inet6Address]):
    """UDP over IPv6, and over IPv4 as the system has it."""

    address_family = socket.AF_INET6


def has_ipv6():
    """Whether this machine has an IPv6 loopback."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        return True
    return False


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="needs IPv6")


def tell(request, client_address, server):
    """Answer with the address that the datagram came to."""
    answers = request[1]
    answers.sendto(answers.getsockname()[0].encode(), client_address)


@pytest.fixture
def server():
    """A server on all addresses of IPv4, closed after the test."""
    with UDPServer(("", 0), tell) as server:
        yield server


@contextlib.contextmanager
def client_of(server, host):
    """A socket that takes datagrams from the server's port on *host* alone."""
    with socket.socket(server.address_family, socket.SOCK_DGRAM) as client:
        client.settimeout(20)
        client.connect((host, server.server_address[1]))
        yield client


def ask(server, host):
    """What the server answers a client that asks it at *host*."""
    with client_of(server, host) as client:
        client.send(b"")
        server.handle_request()
        return client.recv(100).decode()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "127.1.2.3"])
def test_an_answer_leaves_from_the_address_that_was_asked(server, host):
    """A connected client takes no answer from another one."""
    assert ask(server, host) == host


@needs_ipv6
@pytest.mark.parametrize("server_class", [UDPServer, UDP6Server])
@pytest.mark.parametrize(
    ("asked", "told"),
    [("::1", "::1"), ("::ffff:127.0.0.1", "127.0.0.1"), ("::ffff:127.0.0.2", "127.0.0.2")],
)
def test_an_answer_over_ipv6_leaves_from_the_address_that_was_asked(server_class, asked, told):
    """One over IPv4 too, on a socket that takes both; the address is told as it is a client's."""
    with server_class(("::", 0), tell, dual_stack=True) as server:
        assert ask(server, asked) == told


@needs_ipv6
@pytest.mark.parametrize("asked", ["::1", "::ffff:127.0.0.2"])
def test_datagrams_over_ipv6_are_answered_in_batches_too(asked, monkeypatch):
    """With the same addresses, whether they are answered together or not."""
    monkeypatch.setattr("netserve.transports._datagram._TRY_MANY", 0)
    seen = []

    def handle(request, address, server):
        seen.append(address)
        if not server.queue_answer(request, b"answer", address):
            request[1].sendto(b"answer", address)
        if len(seen) in {2, 4}:
            server.shutdown()

    class Collecting(UDPServer):
        def process_batch(self, batch):
            batch.collect()
            super().process_batch(batch)

    for server_class in (UDPServer, Collecting):
        with (
            server_class(("::", 0), handle, dual_stack=True) as server,
            client_of(server, asked) as client,
        ):
            for _ in range(2):
                client.send(b"")
            server.serve_forever()
            assert [client.recv(100) for _ in range(2)] == [b"answer"] * 2
            host, port = client.getsockname()[:2]
            assert seen[-2:] == [(host.removeprefix("::ffff:"), port)] * 2


def test_the_same_socket_serves_all_datagrams_to_an_address(server):
    """It is made once, and closed with the server."""
    seen = []
    server.RequestHandlerClass = lambda request, *_: seen.append(request[1])
    for host in ["127.0.0.1", "127.0.0.1", "127.0.0.2"]:
        with client_of(server, host) as client:
            client.send(b"")
            server.handle_request()
    assert seen[0] is seen[1]
    assert seen[0] is not seen[2]
    assert seen[0].family == socket.AF_INET
    server.server_close()
    assert {each.fileno() for each in seen} == {-1}


def test_a_server_on_one_address_has_one_socket():
    """It answers from there anyway."""
    with UDPServer(("127.0.0.2", 0), tell) as server:
        assert ask(server, "127.0.0.2") == "127.0.0.2"
        assert destinations(server.socket) is None


def test_it_may_be_switched_off():
    """Then the system chooses the address, as it does for CPython's server."""

    class Plain(UDPServer):
        answers_from_destination = False

    with Plain(("", 0), tell) as server:
        with client_of(server, "127.0.0.1") as client:
            client.send(b"")
            request, _ = server.get_request()
        assert request[1] is server.socket


def test_flags_may_be_given(server):
    """As to any socket's ``sendto``."""
    server.RequestHandlerClass = lambda request, address, _: request[1].sendto(
        b"flags", socket.MSG_DONTWAIT, address
    )
    assert ask(server, "127.0.0.2") == "flags"


def test_a_timeout_of_the_server_is_one_of_the_answers(server):
    """The socket behaves as the server's own."""
    server.socket.settimeout(7)
    with client_of(server, "127.0.0.1") as client:
        client.send(b"")
        request, _ = server.get_request()
    assert request[1].gettimeout() == 7


def test_without_a_descriptor_the_server_answers_on_its_own_socket(server, monkeypatch):
    """The datagram isn't lost for it."""

    def exhausted(*_arguments):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(_destination, "LocalSocket", exhausted)
    with client_of(server, "127.0.0.1") as client:
        client.send(b"")
        request, _ = server.get_request()
    assert request[1] is server.socket


def test_the_oldest_socket_is_let_go_when_there_are_many(server, monkeypatch):
    """It is closed when the last handler has let go of it."""
    monkeypatch.setattr(_destination, "_KEPT", 2)
    seen = []
    server.RequestHandlerClass = lambda request, *_: seen.append(request[1])
    for number in range(1, 4):
        with client_of(server, f"127.0.0.{number}") as client:
            client.send(b"")
            server.handle_request()
    assert all(each.fileno() >= 0 for each in seen)
    descriptor = seen[0].fileno()
    del seen[0]
    with pytest.raises(OSError, match="Bad file descriptor"):
        socket.socket(fileno=descriptor)


GROUP = socket.inet_pton(socket.AF_INET6, "ff02::1") + bytes(4)
LINK = socket.inet_pton(socket.AF_INET6, "fe80::1") + (3).to_bytes(4, sys.byteorder)
WIDE = socket.inet_pton(socket.AF_INET6, "2001:db8::1") + (3).to_bytes(4, sys.byteorder)


@needs_ipv6
def test_the_interface_counts_for_addresses_of_a_link_alone():
    """Others are the whole host's; and nobody sends from the address of a group."""
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as own:
        own.bind(("::", 0))
        port = own.getsockname()[1]
        known = Destinations(own)

        def told(data):
            return known.find([(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, data)])

        assert told(LINK).getsockname() == ("fe80::1", port, 0, 3)
        assert told(LINK).ancillary[0][2] == LINK
        assert told(WIDE).getsockname() == ("2001:db8::1", port, 0, 0)
        assert told(WIDE).ancillary[0][2] == WIDE[:16] + bytes(4)
        assert told(GROUP) is own
        assert known.find([]) is own
        assert known.find([(socket.SOL_SOCKET, 1, b"")]) is own
        assert repr(known).startswith("<Destinations of <socket.socket ")
        known.close()


def test_a_system_that_cannot_tell_leaves_the_server_as_it_is(monkeypatch):
    """The answers leave from where the system sends them."""
    monkeypatch.setattr(_destination, "_IP_PKTINFO", -1)
    with UDPServer(("", 0), tell) as server, client_of(server, "127.0.0.1") as client:
        client.send(b"")
        request, _ = server.get_request()
        assert request[1] is server.socket
