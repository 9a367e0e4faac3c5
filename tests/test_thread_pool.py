"""Tests of netserve.concurrency._thread_pool, on this project's server and the stdlib's."""

import contextlib
import http.client
import http.server
import queue
import socket
import socketserver
import threading
import time

import pytest

from netserve.concurrency import ThreadPoolMixIn
from netserve.core import BaseServer, ExhaustedError, MixInOrderError, State
from netserve.transports import TCPServer

PATIENCE = 20


class Inbox(BaseServer):
    """Takes each byte string that is put into it for a request of "client"."""

    def __init__(self, handler):
        super().__init__("inbox", handler)
        self.reader, self.writer = socket.socketpair(type=socket.SOCK_DGRAM)
        self.ended = queue.Queue()

    def fileno(self):
        """The end on which requests arrive."""
        return self.reader.fileno()

    def get_request(self):
        """Take a request out."""
        return self.reader.recv(100), "client"

    def shutdown_request(self, request):
        """Note that the request was ended, and by which thread."""
        self.ended.put((request, threading.current_thread()))

    def server_close(self):
        """Close both ends."""
        super().server_close()
        self.reader.close()
        self.writer.close()


class Server(ThreadPoolMixIn, Inbox):
    """A server with a pool of two, for whose threads one more request may wait."""

    max_workers = 2
    max_waiting = 1


class Gate:
    """A handler that notes its requests and threads, and ends when it may."""

    def __init__(self):
        self.running = queue.Queue()
        self.may_end = threading.Semaphore(0)

    def __call__(self, request, client_address, server):
        """Run until it may end."""
        self.running.put((request, threading.current_thread()))
        assert self.may_end.acquire(timeout=PATIENCE)

    def wait(self):
        """The next request that is handled, and its thread."""
        return self.running.get(timeout=PATIENCE)

    def open(self):
        """Let everything pass."""
        self.may_end.release(1000)


@pytest.fixture
def gate():
    """A gate that is open at the latest when the test has ended."""
    gate = Gate()
    yield gate
    gate.open()


def until(condition):
    """Wait until *condition* holds."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_the_documented_defaults():
    """As the documentation has them."""
    assert ThreadPoolMixIn.max_workers == 32
    assert ThreadPoolMixIn.max_waiting == 32
    assert ThreadPoolMixIn.daemon_threads is False
    assert ThreadPoolMixIn.block_on_close is True


def test_the_loop_stops_accepting_when_all_are_busy(gate, serve):
    """What comes then waits in the system's backlog, until a request has ended."""
    server = Server(gate)
    serve(server)
    for number in range(6):
        server.writer.send(b"%d" % number)
    gate.wait()
    gate.wait()
    until(lambda: server.stats().accepted == 3)
    # The loop takes no more: what it would have to take is there already.
    assert server.worker_pool.waiting == 1
    assert not server.may_accept()
    assert server.stats().accepted == 3
    gate.may_end.release()
    gate.wait()
    until(lambda: server.stats().accepted == 4)
    assert len(server.worker_pool) == 2
    gate.open()
    until(lambda: server.stats().completed == 6)
    assert sorted(server.ended.get()[0] for _ in range(6)) == [b"%d" % n for n in range(6)]


def test_the_servers_own_limit_holds_too(gate, serve):
    """Whichever is lower."""
    server = Server(gate)
    server.max_connections = 1
    serve(server)
    server.writer.send(b"1")
    server.writer.send(b"2")
    gate.wait()
    assert not server.may_accept()
    gate.open()
    gate.wait()


def test_requests_are_ended_by_the_pools_threads(gate, serve):
    """Which are named after the class, and used again."""
    server = Server(gate)
    serve(server)
    gate.open()
    threads = set()
    for _ in range(5):
        server.writer.send(b"1")
        threads.add(gate.wait()[1])
        assert server.ended.get(timeout=PATIENCE)[1] in threads
    assert {thread.name for thread in threads} <= {"Server-1", "Server-2"}


def test_a_handler_that_raises_costs_no_thread(serve, caplog):
    """It is a record, and the request is shut down."""

    def fail(request, client_address, server):
        msg = "of the handler"
        raise RuntimeError(msg)

    server = Server(fail)
    serve(server)
    for _ in range(5):
        server.writer.send(b"1")
        server.ended.get(timeout=PATIENCE)
    until(lambda: server.stats().failed == 5)
    assert len(server.worker_pool) <= 2
    assert caplog.text.count("RuntimeError: of the handler") == 5


@pytest.mark.parametrize("daemon", [True, False])
@pytest.mark.parametrize("block", [True, False])
def test_closing_waits_as_it_is_told(gate, daemon, block):
    """For threads that aren't daemons, unless block_on_close is false."""
    server = Server(gate)
    server.daemon_threads = daemon
    server.block_on_close = block
    server.writer.send(b"1")
    server.handle_request()
    _, thread = gate.wait()
    assert thread.daemon is daemon
    closer = threading.Thread(target=server.server_close)
    closer.start()
    if block and not daemon:
        closer.join(0.05)
        assert closer.is_alive()
        gate.open()
    closer.join(PATIENCE)
    assert not closer.is_alive()
    gate.open()
    thread.join(PATIENCE)
    server.server_close()


def test_a_drain_waits_for_the_pool(gate, serve):
    """Also for what still waits for a thread."""
    server = Server(gate)
    serve(server)
    for _ in range(3):
        server.writer.send(b"1")
    gate.wait()
    gate.wait()
    until(lambda: server.stats().accepted == 3)
    opener = threading.Timer(0.05, gate.open)
    opener.start()
    result = server.stop(PATIENCE)
    opener.join()
    assert (result.drained, result.forced) == (3, 0)


def test_an_abandoned_handler_is_not_waited_for(gate, serve):
    """It has a pool of its own then, and the server can serve again."""
    server = Server(gate)
    thread = serve(server)
    server.writer.send(b"1")
    _, stuck = gate.wait()
    assert server.stop(0.01).forced == 1
    thread.join(PATIENCE)
    assert stuck.is_alive()
    serve(server)
    server.writer.send(b"2")
    assert gate.wait()[1] is not stuck
    gate.open()
    stuck.join(PATIENCE)


def test_exhaustion_is_for_the_loop(gate, monkeypatch):
    """A request that no thread can be started for is kept by the loop."""

    def fail(thread):
        msg = "can't start new thread"
        raise RuntimeError(msg)

    monkeypatch.setattr(threading.Thread, "start", fail)
    with Server(gate) as server:
        with pytest.raises(ExhaustedError):
            server.process_request(b"1", "client")
        monkeypatch.undo()


def test_it_must_come_before_the_server():
    """As every mix-in."""
    with pytest.raises(MixInOrderError):
        type("Wrong", (Inbox, ThreadPoolMixIn), {})


# --- a server of connections


class Talk:
    """A handler that answers in capitals until its client leaves."""

    def __call__(self, request, client_address, server):
        """Answer."""
        while data := request.recv(100):
            request.sendall(data.upper())


class Connections(ThreadPoolMixIn, TCPServer):
    """A server with one thread, for which one more connection may wait."""

    max_workers = 1
    max_waiting = 1


def test_the_third_connection_stays_in_the_backlog(serve, connect):
    """One is served, one waits for the thread, and each comes to its turn."""
    server = Connections(("127.0.0.1", 0), Talk())
    serve(server)
    clients = []
    for _ in range(3):
        clients.append(connect(server))
        clients[-1].sendall(b"hello")
    assert clients[0].recv(10) == b"HELLO"
    until(lambda: server.stats().accepted == 2)
    assert server.worker_pool.waiting == 1
    assert not server.may_accept()
    for number, client in enumerate(clients[1:], 2):
        assert server.stats().accepted == number
        clients[number - 2].close()
        assert client.recv(10) == b"HELLO"
        until(lambda number=number: server.stats().accepted == min(number + 1, 3))
    assert len(server.worker_pool) == 1


def test_idle_clients_hold_the_threads_no_longer_than_they_may(serve, connect):
    """After idle_timeout the next one is served."""
    server = Connections(("127.0.0.1", 0), Talk())
    server.idle_timeout = 0.2
    serve(server)
    idle = connect(server)
    idle.sendall(b"hello")
    assert idle.recv(10) == b"HELLO"
    other = connect(server)
    other.sendall(b"hello")
    assert other.recv(10) == b"HELLO"
    assert idle.recv(10) == b""
    until(lambda: server.stats().timed_out >= 1)


def test_a_drain_ends_the_input_of_connections(serve, connect):
    """Those that wait for a thread and those in the backlog are served besides."""
    server = Connections(("127.0.0.1", 0), Talk())
    serve(server)
    clients = []
    for _ in range(3):
        clients.append(connect(server))
        clients[-1].sendall(b"hello")
    assert clients[0].recv(10) == b"HELLO"
    result = server.stop(PATIENCE)
    assert (result.drained, result.forced) == (3, 0)
    for client in clients[1:]:
        assert client.recv(10) == b"HELLO"


# --- the standard library's servers


class Stream(socketserver.BaseRequestHandler):
    """Answers each message until the client leaves."""

    def handle(self):
        """Answer."""
        while data := self.request.recv(100):
            self.request.sendall(data.upper())


class Stdlib(ThreadPoolMixIn, socketserver.TCPServer):
    """A server of the standard library's, with two threads."""

    max_workers = 2
    max_waiting = 1


def test_a_stdlib_server_waits_for_room(gate, serve):
    """Its loop can't be told not to accept; it takes no more than there is room for."""
    server = Stdlib(("127.0.0.1", 0), gate)
    serve(server, 0.01)
    with contextlib.ExitStack() as ends:
        for _ in range(6):
            ends.enter_context(socket.create_connection(server.server_address))
        gate.wait()
        gate.wait()
        until(lambda: not server.pool_room._value and server.worker_pool.waiting == 1)
        assert server.worker_pool.waiting == 1
        gate.open()
        for _ in range(4):
            gate.wait()
        until(lambda: server.pool_room._value == 3)


def test_a_stdlib_servers_handler_that_raises(serve, capsys):
    """It is told as ever, its room is given back, and the next one is served."""

    class Failing(Stream):
        def handle(self):
            super().handle()
            msg = "of the handler"
            raise RuntimeError(msg)

    server = Stdlib(("127.0.0.1", 0), Failing)
    serve(server, 0.01)
    for _ in range(8):
        with socket.create_connection(server.server_address) as client:
            client.sendall(b"hello")
            assert client.recv(10) == b"HELLO"
    until(lambda: server.pool_room._value == 3)
    assert capsys.readouterr().err.count("RuntimeError: of the handler") == 8


def test_exhaustion_gives_the_room_back(serve, connect, monkeypatch, capsys):
    """A stdlib server reports it, and serves again once a thread can be started."""
    server = Stdlib(("127.0.0.1", 0), Stream)
    submit = server.worker_pool.submit

    def fail(work):
        msg = "can't start new thread"
        raise ExhaustedError(msg)

    monkeypatch.setattr(server.worker_pool, "submit", fail)
    serve(server, 0.01)
    # More often than there is room.
    for _ in range(5):
        assert connect(server).recv(10) == b""
    assert server.pool_room._value == 3
    monkeypatch.setattr(server.worker_pool, "submit", submit)
    client = connect(server)
    client.sendall(b"hello")
    assert client.recv(10) == b"HELLO"
    client.close()
    assert capsys.readouterr().err.count("ExhaustedError: can't start new thread") == 5


def test_a_stdlib_loop_waits_in_process_request(gate):
    """Until a request has ended, and no longer."""
    server = Stdlib(("127.0.0.1", 0), lambda *arguments: None)
    server.finish_request = lambda request, address: gate(request, address, server)
    server.shutdown_request = lambda request: None
    for number in range(3):
        server.process_request(number, "client")
    fourth = threading.Thread(target=server.process_request, args=(3, "client"))
    fourth.start()
    gate.wait()
    gate.wait()
    assert fourth.is_alive()
    gate.may_end.release()
    fourth.join(PATIENCE)
    assert not fourth.is_alive()
    gate.open()
    server.server_close()
    assert server.pool_room._value == 3


@pytest.mark.parametrize("block", [True, False])
def test_closing_a_stdlib_server(gate, block):
    """Waits as block_on_close says."""
    server = Stdlib(("127.0.0.1", 0), gate)
    server.block_on_close = block
    with socket.create_connection(server.server_address):
        server.handle_request()
        _, thread = gate.wait()
        if block:
            gate.open()
        server.server_close()
        assert thread.is_alive() is not block
        gate.open()
        thread.join(PATIENCE)


def test_an_http_server(serve):
    """Of the standard library, with persistent connections."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            body = threading.current_thread().name.encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    class HTTPServer(ThreadPoolMixIn, http.server.HTTPServer):
        max_workers = 3

    server = HTTPServer(("127.0.0.1", 0), Handler)
    serve(server, 0.01)
    with contextlib.ExitStack() as ends:
        connections = [
            ends.enter_context(
                contextlib.closing(http.client.HTTPConnection(*server.server_address))
            )
            for _ in range(3)
        ]
        for _ in range(2):
            for connection in connections:
                connection.request("GET", "/")
                assert connection.getresponse().read().startswith(b"HTTPServer-")
    assert len(server.worker_pool) <= 3


def test_closing_twice(gate):
    """Harmless, also when nothing has been served."""
    server = Server(gate)
    server.server_close()
    server.server_close()
    assert server.state is State.CLOSED
