"""Datagrams on the multiplexing mix-in: taken together, answered together, and blocking."""

import contextlib
import socket
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from netserve.handlers import MessageRequestHandler
from netserve.servers import MultiplexingUDPServer
from netserve.transports import _datagram

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs recvmmsg")

PATIENCE = 20


class Server(MultiplexingUDPServer):
    """A server that notes how many answers it sends together."""

    gate: threading.Event
    together: list[int]

    def send_together(self, answers: Any) -> int:
        """Note it."""
        self.together.append(len(answers))
        return super().send_together(answers)


class Words(MessageRequestHandler[Any, Server]):
    """Answers in capitals; a few words make it do something else."""

    def handle_message(self, message: bytes) -> bytes | None:
        """Answer; ``wait`` when the gate is opened, ``now`` at once, ``fail`` never."""
        if message == b"wait":
            assert self.server.gate.wait(PATIENCE)
        if message == b"now":
            self.send(b"at once")
            self.flush()
            assert self.server.gate.wait(PATIENCE)
        if message == b"fail":
            raise ValueError(message)
        return message.upper()


@pytest.fixture
def client() -> Iterator[socket.socket]:
    """A client's socket."""
    with socket.socket(type=socket.SOCK_DGRAM) as client:
        client.settimeout(PATIENCE)
        yield client


@pytest.fixture
def server(client: socket.socket, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server that doesn't serve yet, so that what is sent to it is one batch."""
    monkeypatch.setattr(_datagram, "_TRY_MANY", 0)
    with Server(("127.0.0.1", 0), Words) as server:
        server.gate, server.together = threading.Event(), []
        client.connect(server.server_address)
        yield server


@contextlib.contextmanager
def served(server: Server) -> Iterator[None]:
    """The time for which it serves."""
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield
    finally:
        server.gate.set()
        server.shutdown()
        thread.join(PATIENCE)
        assert not thread.is_alive()


def receive(client: socket.socket, count: int) -> list[bytes]:
    """So many datagrams, sorted."""
    return sorted(client.recv(100) for _ in range(count))


@pytest.mark.parametrize("workers", [0, 32])
def test_answers_are_sent_together(
    server: Server, client: socket.socket, workers: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The one that fails has none, and its record; without a pool too."""
    server.max_workers = workers
    for data in (b"one", b"fail", b"two", b"three"):
        client.send(data)
    with served(server):
        assert receive(client, 3) == [b"ONE", b"THREE", b"TWO"]
    assert server.together == [3]
    (record,) = caplog.records
    assert "an error while processing a request" in record.getMessage()
    stats = server.stats()
    assert (stats.accepted, stats.completed, stats.failed) == (4, 3, 1)


def test_a_handler_that_blocks_holds_up_nobody_else(server: Server, client: socket.socket) -> None:
    """Neither the answers before it, nor the datagrams that were taken with it, nor later ones."""
    for data in (b"before", b"wait", b"after", b"later"):
        client.send(data)
    with served(server):
        assert receive(client, 3) == [b"AFTER", b"BEFORE", b"LATER"]
        # Now the pool is in use, and batches go there.
        for data in (b"more", b"and more"):
            client.send(data)
        assert receive(client, 2) == [b"AND MORE", b"MORE"]
        until = time.monotonic() + PATIENCE
        # The one before it is in the same batch, and they end together.
        assert server.requests_in_progress.wait_for(
            lambda: server.stats().active == 2, lambda: until
        )
        server.gate.set()
        assert client.recv(100) == b"WAIT"
    stats = server.stats()
    assert (stats.accepted, stats.completed, stats.active) == (6, 6, 0)


def test_flush_sends_at_once_what_was_before(server: Server, client: socket.socket) -> None:
    """In the order of the answers, while the handler goes on."""
    server.max_workers = 0
    for data in (b"one", b"now"):
        client.send(data)
    with served(server):
        assert [client.recv(100) for _ in range(2)] == [b"ONE", b"at once"]
        server.gate.set()
        assert client.recv(100) == b"NOW"


def test_a_drain_waits_for_a_batch(server: Server, client: socket.socket) -> None:
    """All that was taken is answered before the loop ends."""
    for data in (b"wait", b"one", b"two"):
        client.send(data)
    with served(server):
        until = time.monotonic() + PATIENCE
        assert server.requests_in_progress.wait_for(
            lambda: server.stats().active == 1 and server.stats().accepted == 3, lambda: until
        )
        results: list[Any] = []
        stopping = threading.Thread(target=lambda: results.append(server.stop(PATIENCE)))
        stopping.start()
        server.gate.set()
        stopping.join(PATIENCE)
        assert receive(client, 3) == [b"ONE", b"TWO", b"WAIT"]
    assert [each.forced for each in results] == [0]
    assert server.stats().active == 0


def test_many_clients_get_their_own_answers(server: Server) -> None:
    """Each, whatever the batches, over IPv4's all addresses too."""
    with contextlib.ExitStack() as stack, served(server):
        clients = [stack.enter_context(socket.socket(type=socket.SOCK_DGRAM)) for _ in range(50)]
        for each in clients:
            each.settimeout(PATIENCE)
            each.connect(server.server_address)
        for turn in range(20):
            for number, each in enumerate(clients):
                each.send(b"client %d turn %d" % (number, turn))
            for number, each in enumerate(clients):
                assert each.recv(100) == b"CLIENT %d TURN %d" % (number, turn)
    stats = server.stats()
    assert (stats.accepted, stats.active, stats.failed) == (1000, 0, 0)
