"""Servers under load for minutes, and ten thousand connections; run by ``nox -s soak``.

``NETSERVE_SOAK`` is how many seconds each server is under load (default 90).
"""

import contextlib
import json
import os
import random
import resource
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PATIENCE = 60
SECONDS = float(os.environ.get("NETSERVE_SOAK", "90"))
ROUNDS = 9
WARM = 3  # rounds after which everything should have its size
CLIENTS = 24
MAY_GROW = 1.04, 1500  # by a factor, and KiB: what the allocator of memory wavers by
CONNECTIONS = 10_000


class Server:
    """The process that serves."""

    def __init__(self, kind: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("_server.py"), kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.address: Any = tuple(self._answer())

    def ask(self, words: str) -> Any:
        """What it answers to *words*."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{words}\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def settled(self) -> Any:
        """Its measures, once it has no connection any more."""
        end = time.monotonic() + PATIENCE
        while (measures := self.ask("measure"))["active"]:
            assert time.monotonic() < end, measures
            time.sleep(0.05)
        return measures


@contextlib.contextmanager
def running(kind: str) -> Iterator[Server]:
    """The server of that name."""
    server = Server(kind)
    try:
        yield server
    finally:
        server.process.kill()
        with server.process:
            pass


def talk(address: Any, chance: random.Random) -> None:
    """One connection as there are many: some block, break off, fail, or don't read."""
    with socket.create_connection(address, timeout=PATIENCE) as client:
        end = chance.random()
        for _ in range(chance.randrange(1, 20)):
            lines = [chance.choice([b"hello", b"x" * 2000]) for _ in range(chance.randrange(1, 9))]
            if chance.random() < 0.03:
                lines.append(b"nap")
            data = b"\n".join(lines) + b"\n"
            client.sendall(data)
            received = b""
            while len(received) < len(data):
                received += client.recv(65536)
            assert received == data.upper()
        if end < 0.1:
            client.sendall(b"half")
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif end < 0.2:
            client.sendall(b"one\nfail\ntwo\n")
            assert client.recv(100) == b"ONE\n"
        elif end < 0.3:
            client.sendall(b"x" * 2000 + b"\n")
        elif end < 0.4:
            client.sendall(b"last\n")
            client.shutdown(socket.SHUT_WR)
            assert client.recv(100) == b"LAST\n"


def load(address: Any, seconds: float, seed: int) -> None:
    """Clients that come and go for so many *seconds*."""
    failures: list[BaseException] = []
    end = time.monotonic() + seconds

    def come_and_go(number: int) -> None:
        chance = random.Random(seed * 1000 + number)
        try:
            while time.monotonic() < end:
                talk(address, chance)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=come_and_go, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


@pytest.mark.timeout(SECONDS * 3 + 120)
@pytest.mark.parametrize("kind", ["Multiplexing", "ThreadPool"])
def test_nothing_grows(kind: str) -> None:
    """Memory, threads and descriptors are the same after many connections as after some."""
    with running(kind) as server:
        idle = server.ask("measure")
        measures = []
        for number in range(ROUNDS):
            load(server.address, SECONDS / ROUNDS, number)
            measures.append(server.settled())
        told = "\n".join(map(str, measures))
        factor, more = MAY_GROW
        assert measures[-1]["memory"] <= measures[WARM]["memory"] * factor + more, told
        assert {each["descriptors"] for each in measures} <= {
            idle["descriptors"] + extra for extra in (0, 1)
        }, told
        # The workers, and the monitor.
        assert max(each["threads"] for each in measures) <= idle["threads"] + 9, told
        assert server.ask("stop")["forced"] == 0
    print(told)


@pytest.mark.timeout(300)
def test_ten_thousand_connections() -> None:
    """All are answered, and a drain at the end loses none: what has come is answered."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    number = min(CONNECTIONS, hard - 200)
    if number < CONNECTIONS:
        pytest.skip(f"{CONNECTIONS} need more descriptors than the hard limit of {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        with running("Multiplexing") as server, contextlib.ExitStack() as ends:
            before = server.ask("measure")
            clients = [
                ends.enter_context(socket.create_connection(server.address, timeout=PATIENCE))
                for _ in range(number)
            ]
            for client in clients:
                client.sendall(b"hello\n")
            for client in clients:
                assert client.recv(100) == b"HELLO\n"
            held = server.ask("measure")
            assert held["active"] == number
            assert held["threads"] <= before["threads"] + 9
            print((held["memory"] - before["memory"]) / number, "KiB each")
            for client in clients[::2]:
                client.sendall(b"last\nhalf")
            result = server.ask("stop")
            assert (result["drained"], result["forced"]) == (number, 0)
            for place, client in enumerate(clients):
                received = b"".join(iter(lambda client=client: client.recv(100), b""))
                assert received == (b"" if place % 2 else b"LAST\n")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
