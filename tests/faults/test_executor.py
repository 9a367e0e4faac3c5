"""A process of the pool that answers the messages is killed."""

import os
import signal
import time
from collections.abc import Callable

import pytest
from _harness import Program, ask, collect, crowd, level, ms

CROWD = 50


@pytest.mark.fault("a worker of the executor is killed")
def test_worker(seen: Callable[..., None]) -> None:
    """Each client whose message was with the pool sees the end, and the next one is served."""
    with Program("executor") as program:
        worker = int(ask(program.port, b"pid\n"))
        with crowd(program.port, CROWD) as clients:
            for client in clients:
                client.sendall(b"first\nsleep\n")
            for client in clients:
                assert client.recv(100) == b"FIRST\n"
            program.wait_for(lambda report: report["flying"] == CROWD)
            began = time.monotonic()
            os.kill(worker, signal.SIGKILL)
            assert collect(clients) == [b""] * CROWD
            ended = time.monotonic() - began
        began = time.monotonic()
        assert ask(program.port) == b"HELLO\n"
        served = time.monotonic() - began
        stats = program.wait_for(lambda report: not report["stats"]["active"])["stats"]
        records = level(program.records(), "WARNING", "ERROR")
    seen(
        "MultiplexingMixIn, two processes",
        f"{stats['failed']} of {CROWD} clients see the end within {ms(ended)}, {len(records)}"
        f" record; the next one is served after {ms(served)}, by a new pool",
    )
    assert len(records) == 1
    assert f"{CROWD} messages are lost" in records[0]
    assert stats["failed"] == CROWD
