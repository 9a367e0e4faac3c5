"""Tests of netserve.concurrency._threading, on a server that needs no network."""

import logging
import queue
import socket
import socketserver
import threading

import pytest

from netserve.concurrency import ThreadingMixIn
from netserve.core import BaseServer, ExhaustedError, MixInOrderError

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


class Server(ThreadingMixIn, Inbox):
    """A threading server."""


class Gate:
    """A handler that notes its requests and threads, and ends when it may."""

    def __init__(self):
        self.running = queue.Queue()
        self.may_end = threading.Event()
        self.ended = []

    def __call__(self, request, client_address, server):
        """Run until it may end."""
        self.running.put((request, threading.current_thread()))
        self.may_end.wait(PATIENCE)
        self.ended.append(request)

    def wait(self):
        """The next request that is handled, and its thread."""
        return self.running.get(timeout=PATIENCE)


@pytest.fixture
def gate():
    """A gate that is open at the latest when the test has ended."""
    gate = Gate()
    yield gate
    gate.may_end.set()


def handle(server, *requests):
    """Let *server* take *requests*."""
    for request in requests:
        server.writer.send(request)
        server.handle_request()


def test_requests_are_handled_at_the_same_time(gate):
    """Each request has a thread of its own, and the loop goes on."""
    with Server(gate) as server:
        handle(server, b"1", b"2")
        (first, one), (second, other) = sorted([gate.wait(), gate.wait()], key=lambda pair: pair[0])
        assert (first, second) == (b"1", b"2")
        assert len({one, other, threading.main_thread()}) == 3
        assert len(server.request_threads) == 2
        gate.may_end.set()


def test_the_request_is_shut_down_in_its_thread(gate):
    """The thread that handled a request ends it as well, and process_request doesn't."""
    with Server(gate) as server:
        handle(server, b"1")
        _, thread = gate.wait()
        assert server.ended.empty()
        gate.may_end.set()
        assert server.ended.get(timeout=PATIENCE) == (b"1", thread)
    assert server.ended.empty()


def test_the_documented_defaults():
    """Threads aren't daemons, and closing waits for them."""
    assert ThreadingMixIn.daemon_threads is False
    assert ThreadingMixIn.block_on_close is True


@pytest.mark.parametrize("daemon", [True, False])
@pytest.mark.parametrize("block", [True, False])
def test_daemon_threads_makes_daemons(gate, daemon, block):
    """daemon_threads is the daemon flag of the request's thread, however closing waits."""
    with Server(gate) as server:
        server.daemon_threads = daemon
        server.block_on_close = block
        handle(server, b"1")
        _, thread = gate.wait()
        assert thread.daemon is daemon
        gate.may_end.set()
        thread.join(PATIENCE)


def test_closing_waits_for_the_threads(gate):
    """server_close closes first, and returns after the last handler."""
    server = Server(gate)
    handle(server, b"1", b"2")
    gate.wait()
    gate.wait()
    closed = []
    opener = threading.Thread(
        target=lambda: (
            # The server is closed before its threads are waited for.
            closed.append(wait_until_closed(server)),
            gate.may_end.set(),
        )
    )
    opener.start()
    server.server_close()
    assert sorted(gate.ended) == [b"1", b"2"]
    opener.join(PATIENCE)
    assert closed == [True]
    assert len(server.request_threads) == 0


def wait_until_closed(server):
    """Whether the server's own descriptors are closed within a test's patience."""
    tick = threading.Event()
    for _ in range(2000):
        if server.reader.fileno() == -1:
            return True
        tick.wait(0.01)
    return False


@pytest.mark.parametrize(("daemon", "block"), [(True, True), (False, False), (True, False)])
def test_closing_does_not_wait_for_daemons_or_when_told_not_to(gate, daemon, block):
    """With daemon_threads, or without block_on_close, server_close returns at once."""
    server = Server(gate)
    server.daemon_threads = daemon
    server.block_on_close = block
    handle(server, b"1")
    _, thread = gate.wait()
    assert len(server.request_threads) == 0
    server.server_close()
    assert gate.ended == []
    gate.may_end.set()
    thread.join(PATIENCE)


def test_closing_without_a_request_is_quick():
    """A server that never had a request has nobody to wait for."""
    server = Server(print)
    server.server_close()
    assert len(server.request_threads) == 0


def test_a_handler_may_close_its_server():
    """server_close in a request's thread waits for the others alone."""
    server = Server(lambda request, client_address, server: server.server_close())
    handle(server, b"1")
    _, thread = server.ended.get(timeout=PATIENCE)
    thread.join(PATIENCE)
    assert server.fileno() == -1


def test_finished_threads_are_forgotten():
    """However many requests there were, no more is held than those that run."""
    with Server(lambda *_: None) as server:
        for _ in range(10):
            handle(server, b"1")
            server.ended.get(timeout=PATIENCE)[1].join(PATIENCE)
        assert len(server.request_threads) == 0
        assert not server.request_threads._running


def test_each_server_has_its_own_group():
    """The group is made at first use, once for a server."""
    with Server(print) as one, Server(print) as other:
        assert one.request_threads is one.request_threads
        assert one.request_threads is not other.request_threads


def test_a_handler_that_raises_is_reported_and_ended(caplog):
    """The error is one record; the request is shut down; the next one is handled."""
    error = ValueError("handler")

    def handler(request, client_address, server):
        if request == b"bad":
            raise error

    with Server(handler) as server:
        handle(server, b"bad", b"good")
        ended = {server.ended.get(timeout=PATIENCE)[0] for _ in range(2)}
    assert ended == {b"bad", b"good"}
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("netserve.server", logging.ERROR)
    assert record.exc_info[1] is error


def test_a_thread_that_cannot_start_costs_one_request(gate, caplog, monkeypatch):
    """When the system has no thread left, the request is ended, and the server goes on."""

    def start(self):
        monkeypatch.undo()
        raise RuntimeError("can't start new thread")

    with Server(gate) as server:
        monkeypatch.setattr(threading.Thread, "start", start)
        handle(server, b"1")
        assert server.ended.get_nowait()[0] == b"1"
        handle(server, b"2")
        assert gate.wait()[0] == b"2"
        gate.may_end.set()
    error = caplog.records[0].exc_info[1]
    assert isinstance(error, ExhaustedError)
    assert isinstance(error, RuntimeError)
    assert "can't start new thread" in str(error)


def test_process_request_thread_may_be_overridden():
    """A subclass's process_request_thread is what the thread runs."""
    calls = queue.Queue()

    class Own(Server):
        def process_request_thread(self, request, client_address):
            calls.put((request, client_address, threading.current_thread()))
            super().process_request_thread(request, client_address)

    with Own(lambda *_: None) as server:
        handle(server, b"1")
        request, client_address, thread = calls.get(timeout=PATIENCE)
        assert (request, client_address) == (b"1", "client")
        assert server.ended.get(timeout=PATIENCE) == (b"1", thread)


def test_serving_and_shutting_down(gate, serve):
    """shutdown doesn't wait for the requests' threads; server_close does."""
    with Server(gate) as server:
        thread = serve(server)
        server.writer.send(b"1")
        gate.wait()
        server.shutdown()
        thread.join(PATIENCE)
        assert gate.ended == []
        gate.may_end.set()
        server.server_close()
        assert gate.ended == [b"1"]


def test_the_standard_librarys_servers_work():
    """In front of a socketserver.TCPServer, the mix-in gives each request a thread."""
    threads = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            threads.append(threading.current_thread())
            self.wfile.write(self.rfile.readline().upper())

    class Stock(ThreadingMixIn, socketserver.TCPServer):
        pass

    with Stock(("127.0.0.1", 0), Handler) as server:
        with socket.create_connection(server.server_address, PATIENCE) as client:
            client.sendall(b"hello\n")
            server.handle_request()
            assert client.recv(100) == b"HELLO\n"
            assert client.recv(100) == b""
    assert threads[0] is not threading.current_thread()


def test_behind_the_server_it_is_refused():
    """The wrong order would be without effect, and so is an error."""
    with pytest.raises(MixInOrderError, match=r"class Wrong\(ThreadingMixIn, Inbox\)"):
        type("Wrong", (Inbox, ThreadingMixIn), {})
