"""Very many requests: memory, threads and descriptors are what they were."""

import socket
import time
from collections.abc import Callable

import pytest
from _harness import PATIENCE, Program, connect

# The forks of the last are slow; the others end in time too.
COUNTS = {
    "TCPServer": 100_000,
    "UDPServer": 100_000,
    "ThreadingMixIn": 20_000,
    "ForkingMixIn": 2000,
}
MOST_GROWTH = 2048  # KiB


@pytest.mark.timeout(180)
@pytest.mark.fault("very many requests")
@pytest.mark.parametrize("server", COUNTS)
def test_many_requests(seen: Callable[..., None], server: str) -> None:
    """The first tenth warms up; what is there after it is there at the end."""
    count = COUNTS[server]
    visit = datagrams if server == "UDPServer" else connections
    with Program(server, handler="once") as program:
        visit(program.port, count // 10)
        first = program.settle()
        before = (program.status("VmRSS"), program.status("Threads"), program.descriptors())
        began = time.monotonic()
        visit(program.port, count - count // 10)
        elapsed = time.monotonic() - began
        stats = program.settle()["stats"]
        after = (program.status("VmRSS"), program.status("Threads"), program.descriptors())
    seen(
        server,
        f"{count:,} requests; from {before[0] / 1024:.1f} to {after[0] / 1024:.1f} MiB,"
        f" {before[1]} to {after[1]} threads, {before[2]} to {after[2]} descriptors,"
        f" {stats['active']} in the ledger; {(count - count // 10) / elapsed:,.0f} a second",
    )
    assert first["stats"]["completed"] == count // 10
    assert stats["completed"] == stats["accepted"] == count
    assert after[0] - before[0] < MOST_GROWTH
    assert after[1:] == before[1:]


def connections(port: int, count: int) -> None:
    """Connect, ask, read to the end and close, *count* times."""
    for _ in range(count):
        with connect(port) as client:
            client.sendall(b"x")
            assert client.recv(10) == b"x"
            assert client.recv(10) == b""


def datagrams(port: int, count: int) -> None:
    """Ask and wait for the answer, *count* times, 20 of them at a time."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(PATIENCE)
        client.connect(("127.0.0.1", port))
        for _ in range(count // 20):
            for _ in range(20):
                client.send(b"x")
            for _ in range(20):
                assert client.recv(10) == b"x"
