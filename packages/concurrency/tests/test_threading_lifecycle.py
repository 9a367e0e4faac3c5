"""Tests of netserve.concurrency._threading: stopping, draining, and a system without room."""

import itertools
import logging
import queue
import socket
import threading
import time

import pytest

from netserve.concurrency import RequestThread, ThreadingMixIn
from netserve.core import BaseServer

PATIENCE = 20


class Listener(BaseServer):
    """A server of connections."""

    request_queue_size = 10

    def __init__(self, handler):
        self.socket = socket.create_server(("127.0.0.1", 0))
        super().__init__(self.socket.getsockname(), handler)

    def fileno(self):
        """The end on which connections arrive."""
        return self.socket.fileno()

    def get_request(self):
        """Accept a connection."""
        return self.socket.accept()

    def close_request(self, request):
        """Close it."""
        request.close()
        self.request_closed(request)

    def end_input(self, request):
        """End one direction."""
        request.shutdown(socket.SHUT_RD)

    def abort_request(self, request):
        """End both directions."""
        request.shutdown(socket.SHUT_RDWR)

    def server_close(self):
        """Close the listener."""
        super().server_close()
        self.socket.close()


class Server(ThreadingMixIn, Listener):
    """A threading server."""


class Handler:
    """Answers in upper case what comes, until the end; tells what it has answered."""

    def __init__(self):
        self.answered = queue.Queue()

    def __call__(self, request, client_address, server):
        """Answer."""
        while data := request.recv(100):
            request.sendall(data.upper())
            self.answered.put(data)


class Stuck:
    """A handler that heeds nothing, until the test lets it end."""

    def __init__(self):
        self.running = queue.Queue()
        self.may_end = threading.Event()

    def __call__(self, request, client_address, server):
        """Wait for the test's word."""
        self.running.put(threading.current_thread())
        self.may_end.wait(PATIENCE)


@pytest.fixture
def stuck():
    """A handler that is let go at the latest when the test has ended."""
    stuck = Stuck()
    yield stuck
    stuck.may_end.set()


@pytest.mark.parametrize("daemon", [True, False])
def test_a_drain_ends_the_input_of_every_thread(serve, connect, daemon):
    """Handlers that are blocked in reading see the end; the backlog is served too."""
    handler = Handler()
    with Server(handler) as server:
        server.daemon_threads = daemon
        serve(server)
        clients = [connect(server) for _ in range(5)]
        for client in clients:
            client.sendall(b"words")
            handler.answered.get(timeout=PATIENCE)
        late = connect(server)
        late.sendall(b"late")
        result = server.stop(PATIENCE)
        assert (result.drained, result.forced) == (6, 0)
        assert result.elapsed < PATIENCE / 2
        for client in clients:
            assert client.recv(100) == b"WORDS"
            assert client.recv(100) == b""
        assert late.recv(100) == b"LATE"
        stats = server.stats()
        assert (stats.accepted, stats.drained, stats.active) == (6, 6, 0)


def test_a_drain_waits_for_a_handler_that_works(serve, connect, stuck):
    """Within the grace nobody is cut off."""
    with Server(stuck) as server:
        serve(server)
        connect(server)
        stuck.running.get(timeout=PATIENCE)
        results = []
        stopping = threading.Thread(target=lambda: results.append(server.stop(PATIENCE)))
        stopping.start()
        server.requests_in_progress.wait_for(
            lambda: server.requests_in_progress.draining, lambda: time.monotonic() + PATIENCE
        )
        assert results == []
        stuck.may_end.set()
        stopping.join(PATIENCE)
        assert [(result.drained, result.forced) for result in results] == [(1, 0)]


def test_at_the_end_of_the_grace_a_thread_is_cut_off(serve, connect):
    """One that is blocked in writing fails, and unwinds."""
    threads = queue.Queue()

    def talkative(request, client_address, server):
        threads.put(threading.current_thread())
        request.sendall(bytes(50_000_000))

    with Server(talkative) as server:
        server.is_connected = lambda request: False
        serve(server)
        connect(server)
        thread = threads.get(timeout=PATIENCE)
        result = server.stop(0.1)
        assert (result.drained, result.forced) == (0, 1)
        thread.join(PATIENCE)
        assert not thread.is_alive()
        assert server.stats().forced == 1


@pytest.mark.parametrize("daemon", [True, False])
def test_a_thread_that_heeds_nothing_is_abandoned(serve, connect, stuck, caplog, daemon):
    """It is counted as forced, once; neither the drain nor server_close waits for it."""
    with Server(stuck) as server:
        server.daemon_threads = daemon
        serving = serve(server)
        connect(server)
        thread = stuck.running.get(timeout=PATIENCE)
        result = server.stop(0)
        assert (result.drained, result.forced) == (0, 1)
        assert result.elapsed < 5
        serving.join(PATIENCE)
        assert not serving.is_alive()
        assert thread.is_alive()
        server.server_close()
        assert thread.is_alive()
        assert len(server.request_threads) == 0
        stuck.may_end.set()
        thread.join(PATIENCE)
        stats = server.stats()
        assert (stats.accepted, stats.active, stats.forced, stats.completed) == (1, 0, 1, 0)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_abandoning_is_passed_on():
    """A server's own hook, and another mix-in's, are called too."""
    calls = []
    own = type("Own", (Listener,), {"abandon_requests": lambda self: calls.append(self)})
    with type("Mixed", (ThreadingMixIn, own), {})(print) as server:
        server.abandon_requests()
        assert calls == [server]


def test_a_handler_may_stop_its_server(serve, connect):
    """It doesn't wait for its own request, which drains like the others."""
    results = queue.Queue()

    def handle(request, client_address, server):
        if request.recv(100) == b"stop":
            results.put(server.stop(PATIENCE))
        else:
            request.recv(1)
        request.sendall(b"bye")

    with Server(handle) as server:
        thread = serve(server)
        idle = connect(server)
        idle.sendall(b"idle")
        client = connect(server)
        client.sendall(b"stop")
        result = results.get(timeout=PATIENCE)
        assert result.elapsed < PATIENCE / 2
        assert client.recv(100) == b"bye"
        assert idle.recv(100) == b"bye"
        thread.join(PATIENCE)
        assert not thread.is_alive()
        assert (server.stats().drained, server.stats().forced) == (2, 0)


def test_no_more_threads_run_than_connections_are_admitted(serve, connect, stuck):
    """With max_connections, the others wait in the backlog, and are served in their turn."""
    full = threading.Event()

    class Watched(Server):
        max_connections = 3

        def may_accept(self):
            may = super().may_accept()
            if not may:
                full.set()
            return may

    with Watched(stuck) as server:
        thread = serve(server)
        for _ in range(8):
            connect(server)
        for _ in range(3):
            stuck.running.get(timeout=PATIENCE)
        assert full.wait(PATIENCE)
        assert len(server.request_threads) == 3
        assert server.stats().accepted == 3
        stuck.may_end.set()
        for _ in range(5):
            stuck.running.get(timeout=PATIENCE)
        server.stop(PATIENCE)
        thread.join(PATIENCE)
        assert server.stats().accepted == 8


@pytest.mark.parametrize("block", [True, False])
def test_a_request_whose_thread_cannot_start_is_kept_and_served_later(
    serve, connect, monkeypatch, caplog, block
):
    """Twice the system has no thread; then the same request is served, and nothing was lost."""
    tries = []
    own = RequestThread.start

    def start(thread):
        tries.append(time.monotonic())
        if len(tries) < 3:
            raise RuntimeError("can't start new thread")
        own(thread)

    monkeypatch.setattr(RequestThread, "start", start)
    handler = Handler()
    with caplog.at_level(logging.INFO, "netserve.server"), Server(handler) as server:
        server.block_on_close = block
        serving = serve(server)
        client = connect(server)
        client.sendall(b"words")
        client.shutdown(socket.SHUT_WR)
        assert client.recv(100) == b"WORDS"
        assert client.recv(100) == b""
        server.stop(PATIENCE)
        serving.join(PATIENCE)
        stats = server.stats()
        assert (stats.accepted, stats.failed, stats.exhausted) == (1, 0, 1)
    assert len(tries) == 3
    # Fewer than twenty a second.
    assert min(later - before for before, later in itertools.pairwise(tries)) > 0.05
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_while_threads_cannot_start_the_loop_heeds_a_stop(serve, connect, monkeypatch, caplog):
    """The request that was kept is given up, and told so; its client sees the end."""
    tried = threading.Event()

    def start(thread):
        tried.set()
        raise RuntimeError("can't start new thread")

    with Server(print) as server:
        serving = serve(server)
        monkeypatch.setattr(RequestThread, "start", start)
        client = connect(server)
        assert tried.wait(PATIENCE)
        server.shutdown()
        serving.join(PATIENCE)
        assert client.recv(1) == b""
        stats = server.stats()
        assert (stats.accepted, stats.failed, stats.active) == (1, 1, 0)
    assert [record.levelname for record in caplog.records] == ["WARNING", "ERROR"]
