"""Servers on sockets that somebody else has made: given, left by a parent, or by systemd."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys

import pytest

from netserve import transports
from netserve.core import State
from netserve.transports import (
    ActivationError,
    SocketOptions,
    StreamServer,
    TCPServer,
    UDPServer,
    sockets_from_systemd,
)
from netserve.transports._inherited import misfit
from netserve.transports._systemd import Passed, PassedSockets, read_environment

PATIENCE = 20

unix = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="there are no Unix sockets")
posix = pytest.mark.skipif(os.name != "posix", reason="descriptors are inherited on POSIX")

SHOUT = """
def shout(request, client_address, server):
    request.sendall(request.recv(100).upper())
"""


def shout(request, client_address, server):
    """Answer in upper case on a stream."""
    request.sendall(request.recv(100).upper())


def ask(address, family=socket.AF_INET):
    """What a client gets that says hello."""
    with socket.socket(family) as client:
        client.settimeout(PATIENCE)
        client.connect(address)
        client.sendall(b"hello")
        return client.recv(100)


# --- a socket of the program's own ---


@pytest.mark.parametrize("backlog", [None, 9])
def test_a_bound_socket_is_served(backlog, monkeypatch):
    """It is made to listen if it doesn't yet, and bound in no case."""
    queues = []
    listen = socket.socket.listen
    monkeypatch.setattr(
        socket.socket, "listen", lambda self, *size: (queues.append(size), listen(self, *size))
    )

    class Server(TCPServer):
        def server_bind(self):
            pytest.fail("bound anew")

    given = socket.socket()
    given.bind(("127.0.0.1", 0))
    address = given.getsockname()
    if backlog is not None:
        given.listen(backlog)
    with Server.from_socket(given, shout) as server:
        assert server.socket is given
        assert server.server_address == address
        assert server.state is State.BOUND
        assert queues == ([(9,)] if backlog else [(128,)])
        client = socket.create_connection(address)
        with client:
            client.sendall(b"hello")
            server.handle_request()
            assert client.recv(100) == b"HELLO"
    assert given.fileno() == -1


def test_a_socket_of_ipv6_fits_too():
    """Its clients have pairs as addresses, as those of a server that made its own."""
    with contextlib.closing(socket.create_server(("::1", 0), family=socket.AF_INET6)) as given:
        port = given.getsockname()[1]
        with TCPServer.from_socket(given, shout) as server:
            assert server.address_family == socket.AF_INET6
            assert server.server_address == ("::1", port)
            with socket.create_connection(server.server_address) as client:
                request, address = server.get_request()
                request.close()
                assert address == client.getsockname()[:2]


def test_a_dual_stack_that_was_made_elsewhere_has_plain_addresses():
    """As systemd makes one for a port alone."""
    given = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    with TCPServer.from_socket(given, shout) as server:
        with socket.create_connection(("127.0.0.1", server.server_address[1])) as client:
            request, address = server.get_request()
            request.close()
            assert address == client.getsockname()


def test_a_socket_of_the_programs_own_class_is_kept():
    """As one for TLS is."""

    class Own(socket.socket):
        pass

    given = Own(socket.AF_INET6)
    given.bind(("::1", 0))
    with TCPServer.from_socket(given, shout) as server:
        assert server.socket is given


def test_datagrams_are_served_too():
    """There is nothing to listen for."""
    given = socket.socket(type=socket.SOCK_DGRAM)
    given.bind(("127.0.0.1", 0))
    seen = []
    with UDPServer.from_socket(given, lambda request, *_: seen.append(request[0])) as server:
        with socket.socket(type=socket.SOCK_DGRAM) as client:
            client.sendto(b"hello", server.server_address)
        server.handle_request()
    assert seen == [b"hello"]


@unix
@pytest.mark.parametrize("kind", ["UnixStreamServer", "UnixDatagramServer"])
def test_the_path_of_a_given_socket_stays(short_folder, kind):
    """Whoever made it removes it."""
    server_class = getattr(transports, kind)
    path = short_folder / "s"
    given = socket.socket(socket.AF_UNIX, server_class.socket_type)
    given.bind(str(path))
    with server_class.from_socket(given, print) as server:
        assert server.server_address == str(path)
    assert path.is_socket()


def test_the_options_of_the_class_are_set():
    """On the socket, and on its connections."""

    class Quick(TCPServer):
        socket_options = SocketOptions(no_delay=True, receive_buffer=50_000)

    with Quick.from_socket(socket.create_server(("127.0.0.1", 0)), print) as server:
        assert server.socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) in {50_000, 100_000}
        with socket.create_connection(server.server_address):
            request, _ = server.get_request()
            with request:
                assert request.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.fixture
def given():
    """A place for the socket that a test gives."""
    with contextlib.ExitStack() as stack:
        yield stack.enter_context


def unbound(keep):
    """A socket that has no address."""
    return keep(socket.socket())


def connected(keep):
    """The client's end of a connection."""
    listener = keep(socket.create_server(("127.0.0.1", 0)))
    return keep(socket.create_connection(listener.getsockname()))


def datagrams(keep):
    """A bound socket of another type."""
    bound = keep(socket.socket(type=socket.SOCK_DGRAM))
    bound.bind(("127.0.0.1", 0))
    return bound


def stream6(keep):
    """A listening socket of IPv6."""
    return keep(socket.create_server(("::1", 0), family=socket.AF_INET6))


def end_of_pair(keep):
    """A socket of another family."""
    here, there = socket.socketpair()
    keep(there)
    return keep(here)


class Only4(TCPServer):
    """A class that states its family."""

    address_family = socket.AF_INET


@pytest.mark.parametrize(
    ("kind", "make", "words"),
    [
        (TCPServer, unbound, "it takes one that is bound to an address"),
        (TCPServer, connected, "it listens, and this is a connection; .*Accept=no"),
        (TCPServer, datagrams, "SOCK_DGRAM of AF_INET at .* SOCK_STREAM of AF_INET or AF_INET6"),
        (UDPServer, stream6, "AF_INET6 at .*: it takes a socket of SOCK_DGRAM of AF_INET or"),
        (Only4, stream6, "Only4 can't serve .*: it takes a socket of SOCK_STREAM of AF_INET$"),
        (StreamServer, stream6, "it takes a socket of SOCK_STREAM of AF_INET$"),
        (TCPServer, end_of_pair, "can't serve a socket of SOCK_STREAM of AF_UNIX"),
    ],
)
def test_a_socket_that_does_not_fit_stays_its_owners(given, kind, make, words):
    """The message says what it is, and what would be right."""
    wrong = make(given)
    with pytest.raises(ValueError, match=words):
        kind.from_socket(wrong, print)
    assert wrong.fileno() >= 0


def test_a_socket_of_a_kind_that_has_no_name_is_described():
    """By its numbers."""

    class Strange:
        family = 12345
        type = 99

    assert misfit(Strange(), {54321}, 77) == "it takes a socket of type 77 of family 54321"


def test_a_server_that_cannot_be_made_of_it_closes_what_it_has_made(given):
    """The socket is still the caller's."""

    class Broken(TCPServer):
        def _ns_adopt(self, listener):
            raise RuntimeError("broken")

    listener = given(socket.create_server(("127.0.0.1", 0)))
    with pytest.raises(RuntimeError, match="broken"):
        Broken.from_socket(listener, print)
    assert listener.fileno() >= 0


def test_where_the_system_does_not_tell_it_listens_anew(monkeypatch):
    """Which does no harm."""
    monkeypatch.delattr(socket, "SO_ACCEPTCONN")
    with TCPServer.from_socket(socket.create_server(("127.0.0.1", 0)), shout).background() as it:
        assert ask(it.address) == b"HELLO"


# --- a descriptor ---


@posix
def test_a_descriptor_is_served():
    """Programs that the server starts don't inherit it, and it blocks as usual."""
    made = socket.create_server(("127.0.0.1", 0))
    made.setblocking(False)
    descriptor = made.detach()
    os.set_inheritable(descriptor, True)
    with TCPServer.from_fd(descriptor, shout) as server:
        assert server.fileno() == descriptor
        assert not os.get_inheritable(descriptor)
        assert server.socket.gettimeout() is None
        assert os.get_blocking(descriptor)


@posix
def test_a_descriptor_that_is_no_socket_is_refused():
    """It stays open."""
    reading, writing = os.pipe()
    try:
        with pytest.raises(OSError, match=f"descriptor {reading} isn't a socket"):
            TCPServer.from_fd(reading, print)
        os.fstat(reading)
    finally:
        os.close(reading)
        os.close(writing)
    with pytest.raises(OSError, match="isn't a socket"):
        TCPServer.from_fd(reading, print)


@posix
def test_a_descriptor_that_does_not_fit_stays_its_owners(given):
    """Whoever has opened it closes it."""
    wrong = datagrams(given)
    with pytest.raises(ValueError, match="SOCK_DGRAM"):
        TCPServer.from_fd(wrong.fileno(), print)
    wrong.getsockname()


@posix
def test_a_parent_leaves_its_socket_to_another_program():
    """A real one, which serves on it and then leaves it open for the next."""
    program = SHOUT + (
        "import sys\n"
        "from netserve.transports import TCPServer\n"
        "with TCPServer.from_fd(int(sys.argv[1]), shout) as server:\n"
        "    server.handle_request()\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for _ in range(2):
            with subprocess.Popen(
                [sys.executable, "-W", "error", "-c", program, str(listener.fileno())],
                pass_fds=[listener.fileno()],
            ) as child:
                assert ask(listener.getsockname()) == b"HELLO"
                assert child.wait(PATIENCE) == 0


# --- systemd ---


def environment(**changes):
    """What systemd sets for process 7, with *changes*; None is absent."""
    given = {"LISTEN_PID": "7", "LISTEN_FDS": "2", "LISTEN_FDNAMES": "web:admin", **changes}
    return {"HOME": "/", **{name: value for name, value in given.items() if value is not None}}


@pytest.mark.parametrize(
    ("names", "passed"),
    [
        ("web:admin", [Passed(3, "web"), Passed(4, "admin")]),
        (":", [Passed(3, ""), Passed(4, "")]),
        (None, [Passed(3, ""), Passed(4, "")]),
        ("", [Passed(3, ""), Passed(4, "")]),
    ],
)
def test_the_environment_says_what_was_passed(names, passed):
    """And is cleared of it."""
    given = environment(LISTEN_FDNAMES=names, LISTEN_PIDFDID="9")
    assert read_environment(given, 7) == passed
    assert given == {"HOME": "/"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"LISTEN_FDS": None}, "has passed no socket to this process"),
        ({"LISTEN_PID": None}, "has passed no socket to this process"),
        ({"LISTEN_PID": "8"}, "passed its sockets to process 8, and this is 7: start the program"),
        ({"LISTEN_PID": "x"}, "to process x"),
        ({"LISTEN_FDS": "0"}, "LISTEN_FDS must be the number of sockets, one or more, not '0'"),
        ({"LISTEN_FDS": "two"}, "not 'two'"),
        ({"LISTEN_FDS": "-1"}, "not '-1'"),
        ({"LISTEN_FDS": "٣"}, "LISTEN_FDS must be"),
        ({"LISTEN_FDS": "3"}, "LISTEN_FDNAMES has 2 names for 3 sockets"),
    ],
)
def test_an_environment_that_does_not_fit_is_explained(changes, words):
    """And is cleared too: it is nothing for children either."""
    given = environment(**changes)
    with pytest.raises(ActivationError, match=words):
        read_environment(given, 7)
    assert given == {"HOME": "/"}


@pytest.fixture
def passed():
    """The sockets that were passed: two for the web, and one of datagrams without a name."""
    with contextlib.ExitStack() as stack:
        sockets = PassedSockets()
        sockets._left = [
            (stack.enter_context(socket.create_server(("127.0.0.1", 0))), "web"),
            (stream6(stack.enter_context), "web"),
            (datagrams(stack.enter_context), ""),
        ]
        yield sockets


def test_each_socket_is_handed_out_once(passed):
    """Those of one name one after the other."""
    first, second, third = (each for each, _ in passed._left)
    assert passed.take("web", TCPServer._ns_misfit) is first
    assert passed.take("web", TCPServer._ns_misfit) is second
    with pytest.raises(ActivationError, match=r"no socket named 'web' that is left: there is a so"):
        passed.take("web", TCPServer._ns_misfit)
    assert passed.take(None, UDPServer._ns_misfit) is third
    with pytest.raises(ActivationError, match=r"no socket that is left: there is none"):
        passed.take(None, UDPServer._ns_misfit)


def test_without_a_name_one_must_fit(passed):
    """The one of datagrams is no TCP server's; of two it can't be known which is meant."""
    with pytest.raises(ValueError, match=r"several sockets fit, and need a name: there is .*'web'"):
        passed.take(None, TCPServer._ns_misfit)
    assert passed.take(None, Only4._ns_misfit).family == socket.AF_INET


def test_a_socket_of_that_name_which_does_not_fit_is_described(passed):
    """And stays for who it does fit."""
    with pytest.raises(
        ValueError, match="the socket named 'web' doesn't fit: it takes a socket of"
    ):
        passed.take("web", UDPServer._ns_misfit)
    assert len(passed._left) == 3


def test_a_server_that_cannot_be_made_closes_the_socket(passed, monkeypatch):
    """It is nobody else's."""
    monkeypatch.setattr("netserve.transports._socket_server.passed_sockets", passed)

    class Refused(TCPServer):
        def server_activate(self):
            raise RuntimeError("refused")

    first = passed._left[0][0]
    with pytest.raises(RuntimeError, match="refused"):
        Refused.from_systemd(print, "web")
    assert first.fileno() == -1


@posix
def test_what_was_passed_is_read_at_the_first_call(monkeypatch):
    """The environment is clear then, and children don't inherit the descriptors."""
    made = socket.create_server(("127.0.0.1", 0)).detach()
    os.set_inheritable(made, True)
    monkeypatch.setattr("netserve.transports._systemd._FIRST", made)
    monkeypatch.setattr("netserve.transports._socket_server.passed_sockets", PassedSockets())
    for name, value in [("PID", str(os.getpid())), ("FDS", "1"), ("FDNAMES", "web")]:
        monkeypatch.setenv(f"LISTEN_{name}", value)
    with TCPServer.from_systemd(shout) as server:
        assert server.fileno() == made
        assert not os.get_inheritable(made)
        assert "LISTEN_FDS" not in os.environ
        with pytest.raises(ActivationError, match="there is none"):
            TCPServer.from_systemd(shout)


@posix
def test_all_that_was_passed_is_handed_out_together(monkeypatch):
    """Once; what a server has taken before isn't among them."""
    made = socket.create_server(("127.0.0.1", 0)).detach()
    sockets = PassedSockets()
    monkeypatch.setattr("netserve.transports._systemd._FIRST", made)
    monkeypatch.setattr("netserve.transports._systemd.passed_sockets", sockets)
    for name, value in [("PID", str(os.getpid())), ("FDS", "1"), ("FDNAMES", "web")]:
        monkeypatch.setenv(f"LISTEN_{name}", value)
    (passed,) = sockets_from_systemd()
    with passed:
        assert passed.fileno() == made
        assert sockets_from_systemd() == []
        assert "LISTEN_FDS" not in os.environ


def test_what_a_server_has_taken_is_not_handed_out_again(passed):
    """The others are."""
    kept = passed.take("web", lambda given: None)
    left = passed.take_all()
    assert len(left) == 2
    assert kept not in left


ACTIVATED = (
    SHOUT
    + """
import os, socket, sys
from netserve import transports

def answer(request, client_address, server):
    data, ours = request
    ours.sendto(data.upper(), client_address)

if sys.argv[1:] == ["datagram"]:
    server = transports.UDPServer.from_systemd(answer)
else:
    server = transports.TCPServer.from_systemd(shout, "web")
    with transports.UnixStreamServer.from_systemd(shout, "control") as control:
        control.handle_request()
assert not [name for name in os.environ if name.startswith("LISTEN_")]
assert not os.get_inheritable(server.fileno())
with server:
    server.handle_request()
print("served", flush=True)
"""
)

activates = pytest.mark.skipif(
    shutil.which("systemd-socket-activate") is None, reason="needs systemd-socket-activate"
)


@contextlib.contextmanager
def activated(*options, arguments=()):
    """The program, started by systemd-socket-activate when something comes."""
    with subprocess.Popen(
        [
            "systemd-socket-activate",
            *options,
            "-E",
            f"PYTHONPATH={os.pathsep.join(sys.path)}",
            sys.executable,
            *["-W", "error", "-c", ACTIVATED, *arguments],
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            # It says on which address it listens, before it waits.
            for _ in range(sum(option.startswith("--listen") for option in options)):
                assert "Listening on" in process.stderr.readline()
            yield process
            assert process.stdout.readline() == "served\n", process.stderr.read()
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()


@activates
@unix
def test_systemd_activates_a_server_of_two_sockets(short_folder):
    """Told apart by their names; the path stays, which is systemd's."""
    path = short_folder / "control"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with activated(f"--listen=127.0.0.1:{port}", f"--listen={path}", "--fdname=web:control"):
        assert ask(str(path), socket.AF_UNIX) == b"HELLO"
        assert ask(("127.0.0.1", port)) == b"HELLO"
    assert path.is_socket()


@activates
def test_systemd_activates_a_server_of_datagrams():
    """The only one needs no name."""
    with socket.socket(type=socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with activated("--datagram", f"--listen=127.0.0.1:{port}", arguments=["datagram"]):
        with socket.socket(type=socket.SOCK_DGRAM) as client:
            client.settimeout(PATIENCE)
            client.sendto(b"hello", ("127.0.0.1", port))
            assert client.recv(100) == b"HELLO"


def test_without_systemd_it_says_so(monkeypatch):
    """With an error of its own, so that a program can open its own socket."""
    monkeypatch.setattr("netserve.transports._socket_server.passed_sockets", PassedSockets())
    for name in ["LISTEN_PID", "LISTEN_FDS"]:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ActivationError, match="start it by a socket unit"):
        TCPServer.from_systemd(print)
