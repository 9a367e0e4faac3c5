"""Tests of netserve.concurrency._forking, on a server that needs no network.

The main thread serves, and no other thread runs: to fork beside another thread
is a warning from Python 3.12 on.
"""

import logging
import os
import socket
import socketserver
import subprocess
import sys

import pytest

if not hasattr(os, "fork"):
    pytest.skip("the platform can't fork", allow_module_level=True)

from netserve.concurrency import ForkingMixIn
from netserve.core import BaseServer, ExhaustedError, MixInOrderError

PATIENCE = 20


class Inbox(BaseServer):
    """Takes each byte string that is put into it for a request of "client".

    What children tell comes back through a socket pair.
    """

    def __init__(self, handler):
        super().__init__("inbox", handler)
        self.reader, self.writer = socket.socketpair(type=socket.SOCK_DGRAM)
        self.hears, self.tells = socket.socketpair(type=socket.SOCK_DGRAM)
        self.hears.settimeout(PATIENCE)
        # Not the pair of the requests, of which a waiting child could take the next.
        self.goes_on, self.releases = socket.socketpair(type=socket.SOCK_DGRAM)
        # A child outlives a test that is killed, but not for long.
        self.goes_on.settimeout(PATIENCE)
        self.here = os.getpid()
        self.closed = []

    def tell(self, words):
        """Tell the test something, from whichever process."""
        self.tells.send(words.encode())

    def hear(self):
        """The next thing that was told."""
        return self.hears.recv(100).decode()

    def fileno(self):
        """The end on which requests arrive."""
        return self.reader.fileno()

    def get_request(self):
        """Take a request out."""
        return self.reader.recv(100), "client"

    def shutdown_request(self, request):
        """Tell that the request was ended, and where."""
        self.tell(f"shutdown {request.decode()} {'here' if os.getpid() == self.here else 'child'}")

    def close_request(self, request):
        """Note that this process let go of the request."""
        self.closed.append(request)

    def server_close(self):
        """Close all ends."""
        super().server_close()
        for each in (self.reader, self.writer, self.hears, self.tells, self.goes_on, self.releases):
            each.close()


class Server(ForkingMixIn, Inbox):
    """A forking server."""


def handler(request, client_address, server):
    """Tell of the request, and do what it says."""
    if request == b"raise":
        raise ValueError("handler")
    if request == b"wait":
        # Until the test lets one go on.
        server.goes_on.recv(100)
    server.tell(f"handled {request.decode()} {'here' if os.getpid() == server.here else 'child'}")


@pytest.fixture
def server():
    """A forking server, closed after the test."""
    with Server(handler) as server:
        yield server


def handle(server, *requests):
    """Let *server* take *requests*."""
    for request in requests:
        server.writer.send(request)
        server.handle_request()


def ended(pid):
    """Wait until a child has ended, without collecting it."""
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def test_a_request_is_handled_and_shut_down_in_a_child(server):
    """The child runs the handler and ends the request; the parent lets go of its own hold."""
    handle(server, b"1")
    assert [server.hear(), server.hear()] == ["handled 1 child", "shutdown 1 child"]
    assert server.closed == [b"1"]


def test_requests_are_handled_at_the_same_time(server):
    """The loop goes on while a child works."""
    handle(server, b"wait", b"1")
    assert [server.hear(), server.hear()] == ["handled 1 child", "shutdown 1 child"]
    assert len(server.active_children) == 2
    server.releases.send(b"go on")
    assert server.hear() == "handled wait child"


def test_the_documented_defaults():
    """Forty children, five minutes, waiting on close, and no group before the first request."""
    assert ForkingMixIn.max_children == 40
    assert ForkingMixIn.timeout == 300
    assert ForkingMixIn.block_on_close is True
    assert ForkingMixIn.active_children is None


def test_each_server_has_its_own_children(server):
    """The group is made with the first request, and kept."""
    assert server.active_children is None
    handle(server, b"1")
    group = server.active_children
    handle(server, b"2")
    assert server.active_children is group
    assert len(group) == 2
    assert ForkingMixIn.active_children is None


def test_what_a_handler_changes_ends_with_its_process(server):
    """A child's memory is its own."""
    seen = []
    server.RequestHandlerClass = lambda *_: seen.append(True)
    handle(server, b"1")
    server.collect_children(blocking=True)
    assert seen == []


@pytest.mark.parametrize(("request_", "status"), [(b"1", 0), (b"raise", 1)])
def test_the_exit_status_tells_of_the_handler(server, request_, status, monkeypatch):
    """A child exits with 0 when its handler returned, with 1 when it raised."""
    monkeypatch.setattr(logging.getLogger("netserve.server"), "disabled", True)
    handle(server, request_)
    (pid,) = server.active_children
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == status


def test_a_handler_that_raises_is_reported_in_the_child(server):
    """handle_error is called there, before the request is shut down."""
    server.handle_error = lambda request, client_address: server.tell(f"error {request.decode()}")
    handle(server, b"raise", b"1")
    heard = {server.hear() for _ in range(4)}
    assert heard == {"error raise", "shutdown raise child", "handled 1 child", "shutdown 1 child"}


def test_a_fork_that_fails_costs_one_request(server, monkeypatch, caplog):
    """When the system can't fork, the request is ended in the parent, and the next one handled."""

    def refuse():
        monkeypatch.undo()
        raise BlockingIOError("fork")

    monkeypatch.setattr(os, "fork", refuse)
    handle(server, b"1")
    assert server.hear() == "shutdown 1 here"
    error = caplog.records[0].exc_info[1]
    assert isinstance(error, ExhaustedError)
    assert isinstance(error, OSError)
    assert isinstance(error.__cause__, BlockingIOError)
    handle(server, b"2")
    assert server.hear() == "handled 2 child"


# --- collecting ---


def test_collecting_before_the_first_request_does_nothing(server):
    """Without children there is nothing to collect or to wait for."""
    server.collect_children()
    server.collect_children(blocking=True)
    assert server.active_children is None


@pytest.mark.parametrize("hook", ["collect_children", "handle_timeout", "service_actions"])
def test_ended_children_are_collected(server, hook):
    """Each of the hooks collects those that have ended, and leaves those that run."""
    handle(server, b"wait")
    (running,) = server.active_children
    handle(server, b"1")
    (pid,) = server.active_children - {running}
    ended(pid)
    getattr(server, hook)()
    assert server.active_children == {running}
    server.releases.send(b"go on")


def test_collecting_may_wait_for_all(server):
    """With blocking, collect_children returns when no child is left."""
    handle(server, b"1", b"2", b"3")
    server.collect_children(blocking=True)
    assert server.active_children == set()


@pytest.mark.parametrize("hook", ["handle_timeout", "service_actions"])
def test_the_servers_own_hooks_are_called_too(hook):
    """The mix-in passes on what it overrides."""
    calls = []
    own = type("Own", (Inbox,), {hook: lambda self: calls.append(hook)})
    with type("Mixed", (ForkingMixIn, own), {})(handler) as server:
        getattr(server, hook)()
    assert calls == [hook]


def test_waiting_in_vain_collects(server):
    """handle_request that times out collects the children that have ended."""
    handle(server, b"1")
    (pid,) = server.active_children
    ended(pid)
    server.timeout = 0
    server.handle_request()
    assert server.active_children == set()


def test_serving_collects(server):
    """The loop collects ended children in its next wait, not only when it is closed."""
    sizes = []
    own = server.service_actions

    def service_actions():
        for pid in server.active_children or ():
            ended(pid)
        own()
        sizes.append(len(server.active_children))
        if len(sizes) == 5:
            server.shutdown()
        else:
            server.writer.send(b"next")

    server.service_actions = service_actions
    server.writer.send(b"first")
    server.serve_forever()
    # The last one has ended since.
    assert sizes == [1] * 5


@pytest.mark.parametrize("limit", [1, 2])
def test_no_more_than_max_children_run(server, limit):
    """With max_children running, collect_children waits until one has ended."""
    server.max_children = limit
    handle(server, *[b"wait"] * limit)
    assert len(server.active_children) == limit
    # One child, and only one, may go on.
    server.releases.send(b"go on")
    server.collect_children()
    assert len(server.active_children) == limit - 1
    for _ in server.active_children:
        server.releases.send(b"go on")


def test_with_max_children_nothing_more_is_accepted(server):
    """may_accept says no while max_children run; service_actions doesn't wait for one to end."""
    server.max_children = 2
    assert server.may_accept()
    handle(server, b"wait")
    assert server.may_accept()
    handle(server, b"wait")
    assert not server.may_accept()
    server.service_actions()
    assert len(server.active_children) == 2
    server.releases.send(b"go on")
    server.collect_children()
    assert server.may_accept()
    server.releases.send(b"go on")


def test_the_servers_own_limit_counts_too(server):
    """A child more isn't run where the server has no room for a request."""
    server.max_connections = 1
    handle(server, b"wait")
    assert not server.may_accept()
    server.releases.send(b"go on")


def test_on_a_server_of_the_standard_library_collecting_waits():
    """Its loop can't be told to accept nothing, so that service_actions waits for room."""
    reading, writing = os.pipe()

    class Stock(ForkingMixIn, socketserver.TCPServer):
        max_children = 1

    def wait(request, client_address, server):
        os.close(writing)
        os.read(reading, 1)

    with Stock(("127.0.0.1", 0), wait) as server:
        with socket.create_connection(server.server_address, PATIENCE):
            server.handle_request()
            assert len(server.active_children) == 1
            os.write(writing, b"x")
            server.service_actions()
            assert server.active_children == set()
    os.close(reading)
    os.close(writing)


def test_below_max_children_collecting_does_not_wait(server):
    """While there are fewer, the loop goes on."""
    server.max_children = 2
    handle(server, b"wait")
    server.service_actions()
    assert len(server.active_children) == 1
    server.releases.send(b"go on")


def test_serving_keeps_to_max_children():
    """Over a whole run of the loop, never more than max_children are alive, and all are served."""
    sizes = []

    class Bounded(Server):
        max_children = 2

        def process_request(self, request, client_address):
            super().process_request(request, client_address)
            sizes.append(len(self.active_children))
            if len(sizes) == 10:
                self.shutdown()

    with Bounded(handler) as server:
        for number in range(10):
            server.writer.send(b"%d" % number)
        server.serve_forever()
        server.collect_children(blocking=True)
        heard = [server.hear() for _ in range(20)]
    assert max(sizes) <= 2
    assert {words for words in heard if words.startswith("handled")} == {
        f"handled {number} child" for number in range(10)
    }


def test_other_children_of_the_program_are_never_collected(server):
    """A process that the program started itself is still there for its own wait."""
    stranger = subprocess.Popen([sys.executable, "-c", "raise SystemExit(7)"])
    ended(stranger.pid)
    handle(server, b"1")
    server.collect_children(blocking=True)
    server.handle_timeout()
    server.service_actions()
    server.server_close()
    assert stranger.wait() == 7


# --- closing ---


def test_closing_waits_for_the_children(server):
    """server_close closes first, then returns when no child is left: there are no zombies."""
    handle(server, b"wait")
    server.releases.send(b"go on")
    server.server_close()
    assert server.active_children == set()
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_closing_does_not_wait_when_told_not_to():
    """Without block_on_close, server_close collects those that have ended and returns."""
    with Server(handler) as server:
        server.block_on_close = False
        handle(server, b"wait")
        (running,) = server.active_children
        handle(server, b"1")
        (pid,) = server.active_children - {running}
        ended(pid)
        # The child waits on a copy of the end that closing closes.
        writer = server.releases.dup()
        server.server_close()
        assert server.active_children == {running}
        writer.send(b"go on")
        writer.close()
        server.collect_children(blocking=True)


def test_closing_without_a_request_is_quick():
    """A server that never had a request has nobody to wait for."""
    server = Server(handler)
    server.server_close()
    assert server.active_children is None


# --- composition ---


def test_the_standard_librarys_servers_work():
    """In front of a socketserver.TCPServer, the mix-in gives each request a process."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            self.wfile.write(b"%d " % os.getpid() + self.rfile.readline().upper())

    class Stock(ForkingMixIn, socketserver.TCPServer):
        pass

    with Stock(("127.0.0.1", 0), Handler) as server:
        with socket.create_connection(server.server_address, PATIENCE) as client:
            client.sendall(b"hello\n")
            server.handle_request()
            with client.makefile("rb") as answer:
                pid, words = answer.read().split()
    assert words == b"HELLO"
    assert int(pid) != os.getpid()
    assert server.active_children == set()


def test_behind_the_server_it_is_refused():
    """The wrong order would be without effect, and so is an error."""
    with pytest.raises(MixInOrderError, match=r"class Wrong\(ForkingMixIn, Inbox\)"):
        type("Wrong", (Inbox, ForkingMixIn), {})


def test_without_fork_the_mix_in_is_absent():
    """Where the platform can't fork, the package imports, with the other mix-ins."""
    program = """if True:
        import os
        del os.fork
        from netserve import concurrency
        assert not [name for name in dir(concurrency) if name.startswith("Fork")]
        assert sorted(concurrency.__all__) == [
            "AsyncioHooks", "AsyncioMixIn",
            "MultiplexingHooks", "MultiplexingMixIn", "PoolHooks", "RequestThread",
            "ThreadGroup", "ThreadPoolMixIn", "ThreadingHooks", "ThreadingMixIn", "WorkerPool",
        ]
    """
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=60)


def test_every_public_name_is_there():
    """What __all__ promises can be imported, the forking mix-in included."""
    from netserve import concurrency

    assert {"ForkingMixIn", "ForkingHooks", "Children"} < set(concurrency.__all__)
    assert all(hasattr(concurrency, name) for name in concurrency.__all__)
