"""A real pool of processes that answers messages, and what clients see when a worker is killed."""

import contextlib
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests._executor_program import Program, workers_at_work
from tests._multiplexing import PATIENCE, Client, until

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs forkserver"),
    pytest.mark.timeout(180),
]


@pytest.fixture
def program() -> Iterator[Callable[[str], Program]]:
    """A function that starts a program."""
    with contextlib.ExitStack() as ends:

        def start(kind: str) -> Program:
            folder = Path(ends.enter_context(tempfile.TemporaryDirectory(prefix="ns-")))
            started = Program(kind, folder)
            ends.callback(started.end)
            return started

        yield start


def test_workers_answer_in_order(program: Callable[[str], Program]) -> None:
    """Other processes do the work, two at a time; a drain waits for it; nothing is warned of."""
    served = program("Server")
    with Client(served.address) as client:
        pids = {client.ask(b"pid") for _ in range(4)}
        assert b"%d" % served.process.pid not in pids
        # The first is done last.
        client.send(b"wait %s\nquick\n" % os.fsencode(served.folder))
        workers_at_work(served.folder, 1)
        ended: list[str] = []
        stopping = threading.Thread(target=lambda: ended.append(served.stop()))
        stopping.start()
        (served.folder / "go").touch()
        assert client.rest() == b"WENT\nQUICK\n"
        stopping.join()
    assert "drained=1" in ended[0]
    assert served.errors.read_text() == ""


def test_a_worker_is_killed(program: Callable[[str], Program]) -> None:
    """Those whose messages it had see a clear end, in one record; everybody else is served."""
    served = program("Server")
    with contextlib.ExitStack() as ends:
        clients = [ends.enter_context(Client(served.address)) for _ in range(4)]
        idle = clients.pop()
        for client in clients:
            client.send(b"first\n")
            assert client.line() == b"FIRST"
        for client in clients:
            client.send(b"wait %s\n" % os.fsencode(served.folder))
        until(lambda: served.in_flight() == 3)
        os.kill(workers_at_work(served.folder, 2)[0], signal.SIGKILL)
        assert [client.rest() for client in clients] == [b""] * 3
        (record,) = served.records()
        assert "the executor is broken (A process in the process pool was terminated" in record
        assert "3 messages are lost" in record
        assert "a new one takes its place" in record
        assert idle.ask(b"hello") == b"HELLO"
        with Client(served.address) as late:
            assert late.ask(b"hello") == b"HELLO"
    assert "failed=3" in served.stop()
    assert len(served.records()) == 1


def test_a_worker_of_a_given_pool_is_killed(program: Callable[[str], Program]) -> None:
    """The server goes on, and each message that comes fails with a record."""
    served = program("Given")
    with Client(served.address) as client:
        assert client.ask(b"hello") == b"HELLO"
        client.send(b"die\n")
        assert client.rest() == b""
    (record,) = served.records()
    assert "1 messages are lost" in record
    assert "it isn't the server's to replace" in record
    with Client(served.address) as client:
        client.send(b"hello\n")
        assert client.rest() == b""
    until(lambda: len(served.records()) == 2)
    assert "BrokenProcessPool" in served.errors.read_text()
    assert "failed=2" in served.stop()


def test_a_worker_of_datagrams_is_killed(program: Callable[[str], Program]) -> None:
    """The datagram is lost, with one record; the next one is answered."""
    served = program("Datagrams")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(PATIENCE)
        client.connect(served.address)
        client.send(b"die")
        until(served.records)
        client.send(b"hello")
        assert client.recv(100) == b"HELLO"
    assert "failed=1" in served.stop()
    assert len(served.records()) == 1


def test_an_error_of_the_work_has_the_workers_traceback(
    program: Callable[[str], Program],
) -> None:
    """One record, and the end of the connection."""
    served = program("Server")
    with Client(served.address) as client:
        client.send(b"one\nfail\nthree\n")
        assert client.rest() == b"ONE\n"
    served.stop()
    (record,) = served.records()
    assert "an error while processing a request" in record
    errors = served.errors.read_text()
    assert "in process_message\n    raise RuntimeError(msg)\nRuntimeError: of the work" in errors
