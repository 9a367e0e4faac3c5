"""Tests of netserve.transports._mmsg, on real sockets."""

import contextlib
import ctypes
import errno
import socket
import sys

import pytest

from netserve.transports import _mmsg
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
    mmsg = Mmsg(socket.AF_INET, 100, told=False)
    sent = [b"one", b"", b"x" * 100]
    for data in sent:
        client.sendto(data, server.getsockname())
    received = mmsg.receive(server.fileno(), MOST)
    assert received == [(data, client.getsockname(), [], False) for data in sent]
    assert mmsg.receive(server.fileno(), MOST) == []


def test_no_more_is_received_than_asked_for(pair):
    """The rest waits."""
    server, client = pair
    mmsg = Mmsg(socket.AF_INET, 100, told=False)
    for number in range(5):
        client.sendto(b"%d" % number, server.getsockname())
    received = [mmsg.receive(server.fileno(), 3), mmsg.receive(server.fileno(), 1000)]
    assert [[data for data, *_ in some] for some in received] == [[b"0", b"1", b"2"], [b"3", b"4"]]


def test_a_longer_datagram_is_marked(pair):
    """The next one is whole again."""
    server, client = pair
    mmsg = Mmsg(socket.AF_INET, 3, told=False)
    for data in [b"abcd", b"abc"]:
        client.sendto(data, server.getsockname())
    assert [(data, cut) for data, *_, cut in mmsg.receive(server.fileno(), MOST)] == [
        (b"abc", True),
        (b"abc", False),
    ]


def test_addresses_of_ipv6_are_as_python_has_them():
    """Host, port, flow information, scope."""
    try:
        with datagrams(socket.AF_INET6, *[LOCAL[socket.AF_INET6]] * 2) as (server, client):
            mmsg = Mmsg(socket.AF_INET6, 100, told=False)
            client.sendto(b"data", server.getsockname())
            ((_, address, _, _),) = mmsg.receive(server.fileno(), MOST)
            assert address == client.getsockname()
            assert mmsg.send(server.fileno(), [(b"answer", address, [])]) == 1
            assert client.recvfrom(100) == (b"answer", server.getsockname())
    except OSError as error:
        if error.errno != errno.EADDRNOTAVAIL:
            raise
        pytest.skip("needs IPv6")


def test_addresses_of_unix_sockets_are_as_python_has_them(short_folder):
    """A path, an abstract name, or none."""
    paths = [str(short_folder / name) for name in ("server", "client")]
    mmsg = Mmsg(socket.AF_UNIX, 100, told=False)
    with (
        datagrams(socket.AF_UNIX, *paths, b"\0netserve-test-mmsg") as (server, client, abstract),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as unnamed,
    ):
        for each in (client, abstract, unnamed):
            each.sendto(b"data", paths[0])
        received = mmsg.receive(server.fileno(), MOST)
        assert [address for _, address, _, _ in received] == [
            paths[1],
            abstract.getsockname(),
            None,
        ]
        answers = [(b"answer", address, []) for address in (paths[1], None)]
        assert mmsg.send(server.fileno(), answers) == 1
        assert client.recv(100) == b"answer"


def test_what_the_system_tells_is_as_python_has_it(pair):
    """Where each has come to, and an answer leaves from there."""
    client = pair[1]
    with socket.socket(type=socket.SOCK_DGRAM) as server:
        server.bind(("", 0))
        server.setsockopt(socket.IPPROTO_IP, 8, 1)  # IP_PKTINFO
        port = server.getsockname()[1]
        client.sendto(b"one", ("127.0.0.2", port))
        expected = server.recvmsg(100, 100)[1]
        mmsg = Mmsg(socket.AF_INET, 100, told=True)
        for _ in range(2):
            client.sendto(b"one", ("127.0.0.2", port))
            ((_, address, told, _),) = mmsg.receive(server.fileno(), MOST)
            assert told == expected
        assert mmsg.send(server.fileno(), [(b"a", address, told), (b"b", address, [])]) == 2
        assert client.recvfrom(100) == (b"a", ("127.0.0.2", port))
        assert client.recvfrom(100)[0] == b"b"
        # What was told with the first is told no more.
        assert mmsg.send(server.fileno(), [(b"c", address, [])]) == 1
        assert client.recvfrom(100) == (b"c", ("127.0.0.1", port))


def test_sending_ends_at_the_first_answer_that_cannot_be_sent(pair):
    """One too long for the memory, or to an address of which nothing has come."""
    server, client = pair
    mmsg = Mmsg(socket.AF_INET, 10, told=False)
    client.sendto(b"data", server.getsockname())
    mmsg.receive(server.fileno(), MOST)
    known = client.getsockname()
    good = (b"good", known, [])
    assert mmsg.send(server.fileno(), [good, (b"x" * 11, known, []), good]) == 1
    assert mmsg.send(server.fileno(), [good, (b"x", ("192.0.2.1", 9), []), good]) == 1
    assert mmsg.send(server.fileno(), [(b"x" * 11, known, [])]) == 0
    assert [client.recv(100) for _ in range(2)] == [b"good", b"good"]


def test_an_error_of_the_system_is_raised_or_sends_nothing():
    """A receiving descriptor that is none is an OSError; sending has failed at the first."""
    mmsg = Mmsg(socket.AF_INET, 10, told=False)
    with pytest.raises(OSError, match="Bad file descriptor") as raised:
        mmsg.receive(-1, MOST)
    assert raised.value.errno == errno.EBADF
    mmsg._learn(b"\2\0\0\1\x7f\0\0\1" + bytes(8))
    assert mmsg.send(-1, [(b"x", ("127.0.0.1", 1), [])]) == 0


def test_addresses_are_not_kept_without_limit(pair, monkeypatch):
    """After so many, all are learnt anew."""
    server, client = pair
    monkeypatch.setattr(_mmsg, "_KNOWN", 1)
    mmsg = Mmsg(socket.AF_INET, 10, told=False)
    with datagrams(socket.AF_INET, LOCAL[socket.AF_INET]) as (other,):
        for each in (client, other, client):
            each.sendto(b"data", server.getsockname())
        received = mmsg.receive(server.fileno(), MOST)
        expected = [each.getsockname() for each in (client, other, client)]
    assert [address for _, address, _, _ in received] == expected
    assert mmsg.send(server.fileno(), [(b"x", expected[1], [])]) == 0
    assert mmsg.send(server.fileno(), [(b"x", expected[0], [])]) == 1


@pytest.mark.parametrize(
    ("family", "size"), [(getattr(socket, "AF_PACKET", -2), 100), (socket.AF_INET, 0)]
)
def test_what_is_not_known_here_is_not_implemented(family, size):
    """The server receives one datagram after the other instead."""
    with pytest.raises(NotImplementedError):
        Mmsg(family, size, told=False)


def test_a_system_without_the_calls_has_no_functions(monkeypatch):
    """Another system than Linux isn't even asked."""
    assert _mmsg._function("no_such_function", ctypes.c_int) is None
    monkeypatch.setattr(sys, "platform", "darwin")
    assert _mmsg._function("recvmmsg") is None
