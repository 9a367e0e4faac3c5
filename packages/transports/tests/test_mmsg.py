"""Tests of netserve.transports._mmsg, on real sockets."""

import contextlib
import ctypes
import errno
import socket
import sys

import pytest

from netserve.core import TruncatedDatagram
from netserve.transports import _mmsg
from netserve.transports._destination import destinations
from netserve.transports._mmsg import MOST, Mmsg

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs recvmmsg")

LOCAL = {socket.AF_INET: ("127.0.0.1", 0), socket.AF_INET6: ("::1", 0)}


@contextlib.contextmanager
def datagrams(family, *names):
    """Bound datagram sockets, one for each of *names*."""
    with contextlib.ExitStack() as stack:
        made = []
        for name in names:
            made.append(stack.enter_context(socket.socket(family, socket.SOCK_DGRAM)))
            made[-1].settimeout(20)
            made[-1].bind(name)
        yield made


@pytest.fixture
def pair():
    """A server's and a client's socket, over IPv4."""
    with datagrams(socket.AF_INET, *[LOCAL[socket.AF_INET]] * 2) as made:
        yield made


def test_what_waits_is_received_in_its_order(pair):
    """As recvfrom would give it, one after the other."""
    server, client = pair
    mmsg = Mmsg(server, 100)
    sent = [b"one", b"", b"x" * 100]
    for data in sent:
        client.sendto(data, server.getsockname())
    received = mmsg.receive(MOST)
    assert received == [((data, server), client.getsockname()) for data in sent]
    assert mmsg.bytes_received == 103
    assert mmsg.receive(MOST) == []


def test_no_more_is_received_than_asked_for(pair):
    """The rest waits."""
    server, client = pair
    mmsg = Mmsg(server, 100)
    for number in range(5):
        client.sendto(b"%d" % number, server.getsockname())
    received = [mmsg.receive(3), mmsg.receive(1000)]
    assert [[data for (data, _), _ in some] for some in received] == [
        [b"0", b"1", b"2"],
        [b"3", b"4"],
    ]


def test_a_longer_datagram_is_marked(pair):
    """The next one is whole again."""
    server, client = pair
    mmsg = Mmsg(server, 3)
    for data in [b"abcd", b"abc"]:
        client.sendto(data, server.getsockname())
    received = [request for request, _ in mmsg.receive(MOST)]
    assert received == [(b"abc", server)] * 2
    assert [isinstance(each, TruncatedDatagram) for each in received] == [True, False]


def test_addresses_of_ipv6_are_as_python_has_them():
    """Host, port, flow information, scope."""
    try:
        with datagrams(socket.AF_INET6, *[LOCAL[socket.AF_INET6]] * 2) as (server, client):
            mmsg = Mmsg(server, 100)
            client.sendto(b"data", server.getsockname())
            ((request, address),) = mmsg.receive(MOST)
            assert address == client.getsockname()
            assert mmsg.send([(request, b"answer", address)]) == 1
            assert client.recvfrom(100) == (b"answer", server.getsockname())
    except OSError as error:
        if error.errno != errno.EADDRNOTAVAIL:
            raise
        pytest.skip("needs IPv6")


def test_addresses_of_unix_sockets_are_as_python_has_them(short_folder):
    """A path, an abstract name, or none."""
    paths = [str(short_folder / name) for name in ("server", "client")]
    with (
        datagrams(socket.AF_UNIX, *paths, b"\0netserve-test-mmsg") as (server, client, abstract),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as unnamed,
    ):
        mmsg = Mmsg(server, 100)
        # The longer name first, of which nothing may be left in the shorter one.
        for each in (client, abstract, unnamed):
            each.sendto(b"data", paths[0])
        received = mmsg.receive(MOST)
        names = [paths[1], abstract.getsockname(), None]
        assert [address for _, address in received] == names
        # They aren't answered together.
        assert mmsg.send([(received[0][0], b"answer", paths[1])]) == 0


def test_answers_leave_from_where_the_datagrams_have_come_to(pair):
    """The requests have the sockets for that, which it knows."""
    client = pair[1]
    with socket.socket(type=socket.SOCK_DGRAM) as server:
        server.bind(("", 0))
        known = destinations(server)
        port = server.getsockname()[1]
        mmsg = Mmsg(server, 100, known)
        for _ in range(2):
            client.sendto(b"one", ("127.0.0.2", port))
            (((data, answers), address),) = mmsg.receive(MOST)
            assert data == b"one"
            assert answers.getsockname() == ("127.0.0.2", port)
        one, other = (b"one", answers), (b"other", server)
        assert mmsg.send([(one, b"a", address), (other, b"b", address)]) == 2
        assert client.recvfrom(100) == (b"a", ("127.0.0.2", port))
        assert client.recvfrom(100) == (b"b", ("127.0.0.1", port))
        # What was told with the first is told no more.
        assert mmsg.send([(other, b"c", address), (one, b"d", address)]) == 2
        assert client.recvfrom(100) == (b"c", ("127.0.0.1", port))
        assert client.recvfrom(100) == (b"d", ("127.0.0.2", port))
        known.close()


def test_what_the_system_tells_is_as_python_has_it(monkeypatch):
    """And isn't kept without limit."""
    monkeypatch.setattr(_mmsg, "_KNOWN", 1)

    found = []

    class Told:
        def find(self, told):
            found.append(told)
            return server

    with datagrams(socket.AF_INET, ("", 0), LOCAL[socket.AF_INET]) as (server, client):
        server.setsockopt(socket.IPPROTO_IP, 8, 1)  # IP_PKTINFO
        mmsg = Mmsg(server, 100, Told())
        expected = []
        for number in (2, 3, 2):
            place = (f"127.0.0.{number}", server.getsockname()[1])
            client.sendto(b"one", place)
            expected.append(server.recvmsg(100, 100)[1])
            client.sendto(b"one", place)
            mmsg.receive(MOST)
        assert found == expected


def test_sending_ends_at_the_first_answer_that_cannot_be_sent(pair):
    """One too long for the memory, or to an address of which nothing has come."""
    server, client = pair
    mmsg = Mmsg(server, 10)
    client.sendto(b"data", server.getsockname())
    mmsg.receive(MOST)
    known = client.getsockname()
    request = (b"data", server)
    good = (request, b"good", known)
    assert mmsg.send([good, (request, b"x" * 11, known), good]) == 1
    assert mmsg.send([good, (request, b"x", ("192.0.2.1", 9)), good]) == 1
    assert mmsg.send([(request, b"x" * 11, known)]) == 0
    assert [client.recv(100) for _ in range(2)] == [b"good", b"good"]


def test_many_answers_of_any_size_are_sent_whole(pair):
    """Each to its own client, in their order."""
    server, client = pair
    server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    mmsg = Mmsg(server, 2000)
    for number in range(MOST):
        client.sendto(b"%d" % number, server.getsockname())
    received = mmsg.receive(MOST)
    assert len(received) == MOST
    answers = [(request, request[0] * 15 * n, a) for n, (request, a) in enumerate(received)]
    assert mmsg.send(answers) == MOST
    assert [client.recv(5000) for _ in answers] == [answer for _, answer, _ in answers]


def test_an_error_of_the_system_is_raised_or_sends_nothing(pair):
    """A socket that is closed is an OSError; sending has failed at the first."""
    server, client = pair
    mmsg = Mmsg(server, 10)
    client.sendto(b"data", server.getsockname())
    ((request, address),) = mmsg.receive(MOST)
    server.close()
    with pytest.raises(OSError, match="Bad file descriptor") as raised:
        mmsg.receive(MOST)
    assert raised.value.errno == errno.EBADF
    assert mmsg.send([(request, b"x", address)]) == 0


def test_addresses_are_not_kept_without_limit(pair, monkeypatch):
    """After so many, all are learnt anew."""
    server, client = pair
    monkeypatch.setattr(_mmsg, "_KNOWN", 1)
    mmsg = Mmsg(server, 10)
    with datagrams(socket.AF_INET, LOCAL[socket.AF_INET]) as (other,):
        for each in (client, other, client):
            each.sendto(b"data", server.getsockname())
        received = mmsg.receive(MOST)
        expected = [each.getsockname() for each in (client, other, client)]
    assert [address for _, address in received] == expected
    assert mmsg.send([(received[1][0], b"x", expected[1])]) == 0
    assert mmsg.send([(received[0][0], b"x", expected[0])]) == 1


@pytest.mark.parametrize(("family", "size"), [("AF_PACKET", 100), ("AF_INET", 0)])
def test_what_is_not_known_here_is_not_implemented(pair, family, size):
    """The server receives one datagram after the other instead."""
    chosen = getattr(socket, family, -2)

    class Strange(socket.socket):
        family = property(lambda _: chosen)

    with Strange(fileno=pair[0].detach()) as server, pytest.raises(NotImplementedError):
        Mmsg(server, size)


def test_a_system_without_the_calls_has_no_functions(monkeypatch):
    """Another system than Linux isn't even asked."""
    assert _mmsg._function("no_such_function", ctypes.c_int) is None
    monkeypatch.setattr(sys, "platform", "darwin")
    assert _mmsg._function("recvmmsg") is None
