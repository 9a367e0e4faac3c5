"""A real cluster of Dask's that answers messages: what clients see when a worker is killed."""

import importlib.util
import os
import signal
from collections.abc import Iterator

import pytest

from tests._executor_program import Program, workers_at_work
from tests._multiplexing import Client, until

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("distributed") is None or not hasattr(os, "fork"),
        reason="needs distributed, and POSIX",
    ),
    pytest.mark.timeout(300),
]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """The server, and its cluster."""
    program = Program("Dask", tmp_path_factory.mktemp("dask"))
    try:
        yield program
        last = program.stop()
        # The tests may run in several processes, each with a server of its own.
        assert f"failed={len(program.records())}" in last
        assert "active=0" in last
    finally:
        program.end()


def test_workers_answer_in_order(served: Program) -> None:
    """Several processes do the work, and the answers come as the messages did."""
    with Client(served.address) as client:
        client.send(b"pid\nhello\nnothing\nworld\n")
        assert client.line() != b"%d" % served.process.pid
        assert [client.line(), client.line()] == [b"HELLO", b"WORLD"]


def test_a_worker_is_killed(served: Program) -> None:
    """Dask has another one do the work again, and the client sees the reply."""
    records = served.records()
    with Client(served.address) as client, Client(served.address) as other:
        folder = served.folder / "killed"
        folder.mkdir()
        client.send(b"first\nwait %s\nlast\n" % os.fsencode(folder))
        assert client.line() == b"FIRST"
        os.kill(workers_at_work(folder, 1)[0], signal.SIGKILL)
        # Somebody is at it again, and others are served meanwhile.
        workers_at_work(folder, 2)
        assert other.ask(b"hello") == b"HELLO"
        (folder / "go").touch()
        assert [client.line(), client.line()] == [b"WENT", b"LAST"]
    assert served.records() == records


def test_an_error_of_the_work(served: Program) -> None:
    """It is reported as the handler's, and ends its connection."""
    with Client(served.address) as client:
        client.send(b"one\nfail\nthree\n")
        assert client.rest() == b"ONE\n"
    until(served.records)
    assert len(served.records()) == 1
    assert "in process_message" in served.errors.read_text()
    assert "RuntimeError: of the work" in served.errors.read_text()
