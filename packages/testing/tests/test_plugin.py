"""Tests of netserve.testing._plugin and _serve: real runs of pytest."""

import pytest

pytest_plugins = ["pytester"]

HEAD = """
import os, socketserver, threading, time

class Upper(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(line.upper())

class Datagram(socketserver.DatagramRequestHandler):
    def handle(self):
        self.wfile.write(self.packet.upper())

class Faulty(socketserver.StreamRequestHandler):
    def handle(self):
        raise ZeroDivisionError("of the handler")

class Threads(socketserver.ThreadingMixIn, socketserver.TCPServer):
    pass

class Forks(socketserver.ForkingMixIn, socketserver.TCPServer):
    pass
"""


def run(pytester, text, *arguments):
    """Run a module of tests in a process of its own."""
    # A root of its own, wherever the folder lies.
    pytester.makeini("[pytest]")
    pytester.makepyfile(HEAD + text)
    return pytester.runpytest_subprocess("-p", "no:cacheprovider", *arguments)


def test_servers_are_served_and_ended(pytester):
    """The standard library's, of each kind, and one that is ready-made."""
    result = run(
        pytester,
        """
import pytest

@pytest.mark.parametrize("kind", [
    Threads, Forks, socketserver.TCPServer, socketserver.ThreadingUnixStreamServer,
])
def test_stream(serve, kind):
    client = serve(kind, Upper).connect()
    client.send(b"hello\\nwor")
    assert client.read_line() == b"HELLO\\n"
    client.end()
    assert client.read_all() == b"WOR"

@pytest.mark.parametrize("kind", [socketserver.UDPServer, socketserver.UnixDatagramServer])
def test_datagram(serve, kind):
    client = serve(kind, Datagram).datagram_client()
    client.send(b"hello")
    assert client.receive() == b"HELLO"

def test_instance(serve):
    server = Threads(("127.0.0.1", 0), Upper)
    service = serve(server)
    assert service.server is server
    assert service.port == server.server_address[1]
    service.connect().send(b"nobody reads the answer\\n")

def test_wanted(serve):
    service = serve(Threads, Faulty)
    assert service.connect().read_all() == b""
    (error,) = service.take_failures()
    assert isinstance(error, ZeroDivisionError)

def test_wanted_in_a_child(serve):
    service = serve(Forks, Faulty)
    assert service.connect().read_all() == b""
    (error,) = service.take_failures()
    assert "of the handler" in str(error)

def test_left_on_purpose(serve):
    serve.checks_leaks = False
    global kept
    kept = open("/dev/null")

def test_ended_at_last():
    kept.close()
""",
    )
    result.assert_outcomes(passed=11)


def test_a_failing_handler_fails_its_test(pytester):
    """With its traceback, from a thread and from a child process alike."""
    result = run(
        pytester,
        """
def test_thread(serve):
    serve(Threads, Faulty).connect().read_all()

def test_child(serve):
    serve(Forks, Faulty).connect().read_all()
""",
    )
    result.assert_outcomes(passed=2, errors=2)
    result.stdout.fnmatch_lines(
        [
            '*raise ZeroDivisionError("of the handler")',
            "*HandlerFailedError: a handler raised ZeroDivisionError: of the handler",
            "*HandlerFailedError: in a child process:",
            '*raise ZeroDivisionError("of the handler")',
        ]
    )


def test_what_is_left_behind_fails_its_test(pytester):
    """A thread and a descriptor; and a handler that never ends, with where it is."""
    result = run(
        pytester,
        """
begun, release = threading.Event(), threading.Event()

def wait_long():
    begun.set()
    release.wait(6)

class Stubborn(socketserver.StreamRequestHandler):
    def handle(self):
        wait_long()

def test_leak(serve):
    serve(Threads, Upper)
    global kept
    kept = open("/dev/null")
    threading.Thread(target=wait_long, name="forgotten", daemon=True).start()
    begun.wait(20)
    begun.clear()

def test_stubborn(serve):
    serve(Threads, Stubborn, grace=0.5).connect()
    begun.wait(20)

def test_leak_of_a_test_that_has_failed_already(serve):
    global other
    other = open("/dev/null")
    assert False
""",
        "-W", "ignore",
    )  # fmt: skip
    result.assert_outcomes(passed=2, errors=2, failed=1)
    result.stdout.fnmatch_lines(
        [
            "*LeftBehindError: left behind: threads: forgotten (*descriptors: *: /dev/null",
            "*LeftBehindError: <*Threads object *> hasn't ended 0.5 s after the test",
            "*in wait_long",
        ]
    )


@pytest.mark.parametrize("option", ["--fixtures", "-h"])
def test_the_plugin_is_found(pytester, option):
    """Installed, it needs no configuration; -h loads it as well."""
    result = run(pytester, "", option)
    assert result.ret in {0, 5}
    if option == "--fixtures":
        result.stdout.fnmatch_lines(["serve*", "*Serve servers for the time of a test*"])
