"""Tests of netserve.testing._service, _clients, _failures and _held."""

import os
import socket
import socketserver
import threading

import pytest

from netserve.core import BaseServer
from netserve.testing import (
    DatagramClient,
    HandlerFailedError,
    LeftBehindError,
    StreamClient,
    leaving_nothing,
    serving,
)
from netserve.testing._clients import reachable
from netserve.testing._held import stacks
from netserve.testing._loopback import LoopbackServer


class Upper(socketserver.StreamRequestHandler):
    """Answers lines in capitals."""

    def handle(self):
        """Answer."""
        for line in self.rfile:
            self.wfile.write(line.upper())


class Threads(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """The standard library's."""


class Faulty(socketserver.BaseRequestHandler):
    """Raises what its client sends."""

    def handle(self):
        """Fail."""
        raise ZeroDivisionError(self.request.recv(100).decode())


def say(service, word):
    """Send *word*; returns the whole answer."""
    with service.connect() as client:
        client.send(word)
        return client.read_all()


@pytest.mark.parametrize("server", [Threads, socketserver.TCPServer, LoopbackServer])
def test_a_client_talks_to_a_server(server):
    """A server of ours and of the standard library, until the end of a statement."""
    with serving(server, Upper) as service:
        assert repr(service).startswith("<Service of <")
        assert service.address == ("127.0.0.1", service.port)
        with service.connect() as client:
            client.send(b"one\ntwo")
            assert client.read(2) == b"ON"
            assert client.read_line() == b"E\n"
            client.end()
            assert client.read_line() == b"TWO"
            assert client.read_line() == client.read_all() == b""
    assert service.server.fileno() == -1


def test_an_address_of_ones_own(short_folder):
    """In place of a free one."""
    path = str(short_folder / "path")
    with serving(socketserver.ThreadingUnixStreamServer, Upper, path) as service:
        assert service.address == path
        with pytest.raises(TypeError, match="has no port: its address is"):
            _ = service.port


def test_a_client_of_the_wrong_kind():
    """Each says what to use."""
    with serving(Threads, Upper) as service:
        with pytest.raises(TypeError, match=r"takes connections: use connect\(\)"):
            service.datagram_client()
    with serving(socketserver.UDPServer, print) as service:
        with pytest.raises(TypeError, match=r"takes datagrams: use datagram_client\(\)"):
            service.connect()


def test_a_server_and_a_handler():
    """A server that is made has one already."""
    with Threads(("127.0.0.1", 0), Upper) as server:
        with pytest.raises(TypeError, match="go with a server class, not with"):
            with serving(server, Upper):
                raise AssertionError


def test_a_client_says_what_it_waited_for():
    """And what has come until then."""
    with serving(Threads, Upper) as service:
        with service.connect(timeout=0.05) as client:
            with pytest.raises(
                TimeoutError, match=r"a line didn't come within 0\.05 s; so far b''"
            ):
                client.read_line()
            with pytest.raises(TimeoutError, match="the end of the connection"):
                client.read_all()
    with serving(socketserver.UDPServer, lambda *_: None) as service:
        with service.datagram_client(timeout=0.05) as other:
            with pytest.raises(TimeoutError, match="no datagram came within"):
                other.receive()


def test_a_client_of_nobody(short_folder):
    """It leaves nothing open."""
    path = str(short_folder / "nobody")
    with pytest.raises(FileNotFoundError):
        StreamClient(socket.AF_UNIX, path)
    with pytest.raises(FileNotFoundError):
        DatagramClient(socket.AF_UNIX, path)


def test_any_address_is_reached_by_the_loopback():
    """A client can't connect to *any address* everywhere."""
    assert reachable(("0.0.0.0", 1)) == ("127.0.0.1", 1)
    assert reachable(("::", 1, 0, 0)) == ("::1", 1, 0, 0)
    assert reachable("/path") == "/path"


def test_all_failures_are_told():
    """The first one is the cause; the others are in the message."""
    with pytest.raises(HandlerFailedError, match=r"first; and 1 more:\n(.|\n)*second") as caught:
        with serving(Threads, Faulty) as service:
            assert [say(service, word) for word in (b"first", b"second")] == [b"", b""]
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_failure_is_told_beside_the_tests_own():
    """What the test itself raises is its context."""
    with pytest.raises(ValueError, match="of the test"):
        with serving(Threads, Upper):
            raise ValueError("of the test")


@pytest.mark.parametrize("kind", ["reset", "close"])
def test_a_client_that_leaves_is_no_failure(kind):
    """The standard library's servers call it one."""
    reading = threading.Event()

    class Writes(socketserver.BaseRequestHandler):
        def handle(self):
            self.request.recv(100)
            reading.wait(20)
            while True:
                self.request.sendall(b"x" * 100_000)

    with serving(Threads, Writes) as service:
        client = service.connect()
        client.send(b"go")
        getattr(client, kind)()
        reading.set()
    assert service.take_failures.__self__ is service


def test_a_connection_that_others_reset_is_a_failure():
    """The handler's own, to a database for one, is not its client's doing."""

    def handler(*_):
        raise ConnectionResetError("of the database")

    with pytest.raises(HandlerFailedError, match="of the database"):
        with serving(Threads, handler) as service:
            assert service.connect().read_all() == b""


def test_the_servers_own_report_is_made_too():
    """A program's handle_error is part of what is tested."""
    told = []

    class Telling(Threads):
        def handle_error(self, request, client_address):
            told.append(client_address)

    with serving(Telling, Faulty) as service:
        with service.connect() as client:
            client.send(b"x")
            client.read_all()
        assert len(service.take_failures()) == 1
    assert len(told) == 1


def test_requests_that_do_not_end_are_told(caplog):
    """A server of ours forces them after the grace, and says how many."""
    release = threading.Event()

    def stubborn(*_):
        release.wait(20)

    with pytest.raises(
        LeftBehindError, match=r"1 requests hadn't ended 0.3 s after(.|\n)*stubborn"
    ):
        with serving(LoopbackServer, stubborn, grace=0.3) as service:
            service.connect()
    release.set()
    for thread in threading.enumerate():
        if thread.name == "LoopbackServer.background":
            thread.join(20)


def test_what_ends_the_loop_is_told():
    """It is raised at the end."""
    broken = threading.Event()

    class Broken(Threads):
        def service_actions(self):
            broken.set()
            raise ZeroDivisionError("of the loop")

    with pytest.raises(ZeroDivisionError, match="of the loop"):
        with serving(Broken, Upper):
            assert broken.wait(20)

    class Ours(LoopbackServer):
        def fileno(self):
            raise ZeroDivisionError("of our loop")

    with pytest.raises(ZeroDivisionError, match="of our loop"):
        with serving(Ours, Upper):
            raise AssertionError


def test_nothing_may_be_left():
    """Unless the test says so."""
    with pytest.raises(LeftBehindError, match=r"left behind: descriptors: .*null"):
        with leaving_nothing():
            descriptor = os.open("/dev/null", os.O_RDONLY)
    os.close(descriptor)
    with leaving_nothing(lambda: False):
        descriptor = os.open("/dev/null", os.O_RDONLY)
    os.close(descriptor)
    with leaving_nothing():
        pass


def test_stacks_of_threads_that_run():
    """One that has ended, or hasn't begun, is nowhere."""
    assert "test_stacks_of_threads" in stacks([threading.current_thread(), threading.Thread()])


def test_it_is_a_server_of_core():
    """So that the check of mix-ins is one of core's servers."""
    assert issubclass(LoopbackServer, BaseServer)
