"""Servers of several processes: replacing, killing, orphaning them, and summing what they do.

The server is ``_preforking.py``, in a process of its own, where no warning is let pass.
"""

import contextlib
import json
import os
import re
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import Self

pytestmark = [
    pytest.mark.skipif(
        not (hasattr(os, "fork") and Path("/proc/self/task").exists()),
        reason="needs fork and /proc",
    ),
    pytest.mark.timeout(120),
]

# To fork beside threads is a warning from 3.12 on, which Python drops where it is an error.
STRICT = ("-W", "error", "-W", "always:This process")
PATIENCE = 60

PREFORK = "netserve.concurrency:PreforkMixIn"
MULTIPLEXING = "netserve.concurrency:MultiplexingMixIn"
THREADS = "netserve.concurrency:ThreadingMixIn"
POOL = "netserve.concurrency:ThreadPoolMixIn"
FORKING = "netserve.concurrency:ForkingMixIn"
TCP = "netserve.transports:TCPServer"


class Server:
    """The process of a server, and its workers."""

    def __init__(
        self,
        folder: Path,
        mixins: list[str],
        handler: str = "Upper",
        start: str = "",
        **attributes: object,
    ) -> None:
        order = {
            "bases": [PREFORK, *mixins, TCP],
            "handler": handler,
            "attributes": attributes,
            "start": start,
            "folder": str(folder),
            "address": None,
        }
        self._errors = folder / "errors"
        with self._errors.open("wb") as errors:
            program = Path(__file__).with_name("_preforking.py")
            self.process = subprocess.Popen(
                [sys.executable, *STRICT, str(program), json.dumps(order)],
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
        self.address = tuple(self.answer()["address"])

    def answer(self) -> dict[str, Any]:
        """The next line that the server prints."""
        output = self.process.stdout
        assert output is not None
        line = b""
        with selectors.DefaultSelector() as selector:
            selector.register(output, selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                assert selector.select(PATIENCE), f"no answer; it wrote {self.errors()}"
                part = os.read(output.fileno(), 1)
                assert part, f"it has ended; it wrote {self.errors()}"
                line += part
        return dict(json.loads(line))

    def report(self) -> dict[str, Any]:
        """Its statistics, and its workers."""
        self.send(signal.SIGUSR1)
        return self.answer()

    def wait_for(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait until *condition* holds of the report, and return that."""
        until = time.monotonic() + PATIENCE
        while not condition(report := self.report()):
            assert time.monotonic() < until, f"in vain: {report}; it wrote {self.errors()}"
            time.sleep(0.01)
        return report

    def workers(self, number: int = 2) -> list[int]:
        """The process ids of the workers, when there are *number* of them."""
        return list(self.wait_for(lambda report: len(report["pids"]) == number)["pids"])

    def others(self, before: list[int]) -> list[int]:
        """The process ids of the two workers, when both have replaced those of *before*."""
        report = self.wait_for(
            lambda report: len(report["pids"]) == 2 and not {*report["pids"]} & {*before}
        )
        return list(report["pids"])

    def send(self, number: int) -> None:
        """Send a signal to the server's own process."""
        self.process.send_signal(number)

    def errors(self) -> str:
        """What it wrote on its standard error stream."""
        return self._errors.read_text()

    def group(self) -> list[int]:
        """All processes of the server that there are, zombies included while it lives itself."""
        found = []
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                state, _, group, *_ = path.read_text().rpartition(")")[2].split()
                # Those that it leaves behind the system collects, in its own time.
                counts = state != "Z" or self.process.returncode is None
                if int(group) == self.process.pid and counts:
                    found.append(int(path.parent.name))
        return found

    def wait_until_gone(self) -> None:
        """Wait until no process of the server is left."""
        until = time.monotonic() + PATIENCE
        while left := self.group():
            assert time.monotonic() < until, f"left behind: {left}"
            time.sleep(0.01)

    def end(self) -> dict[str, Any]:
        """Have it drain; returns its last report, when no process is left."""
        self.send(signal.SIGTERM)
        report = self.answer()
        assert self.process.wait(PATIENCE) == 0, self.errors()
        self.wait_until_gone()
        return report

    def close(self) -> None:
        """End everything."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """A function that starts a server, which ends with the test."""
    with contextlib.ExitStack() as ends:

        def start(*arguments: Any, **keywords: Any) -> Server:
            server = Server(tmp_path, *arguments, **keywords)
            ends.callback(server.close)
            return server

        yield start


def connect(server: Server) -> socket.socket:
    """A connection to *server*."""
    return socket.create_connection(server.address, timeout=PATIENCE)


def talk(client: socket.socket, word: bytes = b"hello") -> int:
    """Say *word*, and return the process that answers; 0 when the end comes instead."""
    client.sendall(word + b"\n")
    answer = b""
    while not answer.endswith(b"\n"):
        part = client.recv(100)
        if not part:
            return 0
        answer += part
    said, process = answer.split()
    assert said == word.upper()
    return int(process)


def ask(server: Server, word: bytes = b"hello") -> int:
    """Say *word* on a connection of its own, and return the process that answers."""
    with connect(server) as client:
        process = talk(client, word)
        assert process
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""
    return process


def client_of(server: Server, process: int) -> socket.socket:
    """A connection that the worker *process* has."""
    others = []
    try:
        while True:
            client = connect(server)
            if talk(client) == process:
                return client
            others.append(client)
    finally:
        for other in others:
            other.close()


class Load:
    """Clients that ask one thing each, one after the other, in threads, until stopped."""

    def __init__(self, server: Server, number: int = 4) -> None:
        self._server = server
        self._ends = threading.Event()
        self.counts = [0] * number
        self.failures: list[BaseException] = []
        self._threads = [threading.Thread(target=self._run, args=(each,)) for each in range(number)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int) -> None:
        while not self._ends.is_set():
            try:
                ask(self._server)
            except (OSError, AssertionError) as error:
                self.failures.append(error)
            self.counts[number] += 1

    @property
    def total(self) -> int:
        """How many were asked."""
        return sum(self.counts)

    def goes_on(self, count: int = 20) -> None:
        """Wait until *count* more were asked."""
        until = time.monotonic() + PATIENCE
        reached = self.total + count
        while self.total < reached:
            assert time.monotonic() < until
            time.sleep(0.005)


@pytest.mark.parametrize("mixins", [[], [THREADS], [POOL], [FORKING], [MULTIPLEXING]], ids="-".join)
def test_all_workers_are_replaced_under_load_and_no_request_fails(
    serve: Callable[..., Server], mixins: list[str]
) -> None:
    """Twice, by SIGHUP; and the sums agree with what was asked."""
    server = serve(mixins)
    before = server.workers()
    with Load(server) as load:
        for _ in range(2):
            load.goes_on()
            server.send(signal.SIGHUP)
            before = server.others(before)
        load.goes_on()
    assert not load.failures
    stats = server.end()["stats"]
    assert stats["accepted"] == load.total
    assert stats["completed"] + stats["drained"] == load.total
    assert server.errors() == ""


def test_a_killed_worker_is_replaced_and_only_its_own_connections_end(
    serve: Callable[..., Server],
) -> None:
    """The other worker's go on, the loss is one record, and is counted."""
    server = serve([MULTIPLEXING])
    first, second = server.workers()
    with client_of(server, first) as lost, client_of(server, second) as kept:
        accepted = server.report()["stats"]["accepted"]
        os.kill(first, signal.SIGKILL)
        assert lost.recv(1) == b""
        pids = server.wait_for(lambda report: len(set(report["pids"]) - {first}) == 2)["pids"]
        assert talk(kept) == second
    report = server.wait_for(lambda report: report["stats"]["active"] == 0)
    assert report["stats"]["accepted"] == accepted
    assert report["stats"]["failed"] == 1
    assert second in pids
    server.end()
    assert re.findall(r"worker (\d+) ended untold, by SIGKILL, with 1 req", server.errors()) == [
        str(first)
    ]


@pytest.fixture
def manager(short_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The socket on which systemd is told of the server's state."""
    path = str(short_folder / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.settimeout(PATIENCE)
        listening.bind(path)
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        yield listening


def is_told_nothing(manager: socket.socket) -> bool:
    """Whether nothing has been told that wasn't received."""
    manager.setblocking(False)
    try:
        manager.recv(100)
    except BlockingIOError:
        return True
    finally:
        manager.settimeout(PATIENCE)
    return False


def wait_for_starting(folder: Path, number: int = 2) -> None:
    """Wait until *number* workers have begun to start."""
    until = time.monotonic() + PATIENCE
    while len([*folder.glob("waits-*")]) < number:
        assert time.monotonic() < until
        time.sleep(0.005)


@pytest.mark.parametrize("mixins", [[], [MULTIPLEXING]], ids="-".join)
def test_systemd_is_told_of_readiness_when_the_first_worker_serves(
    serve: Callable[..., Server], manager: socket.socket, tmp_path: Path, mixins: list[str]
) -> None:
    """Once, and not again when the workers are replaced; until then, a client has to wait."""
    server = serve(mixins, start="wait_until_told")
    wait_for_starting(tmp_path)
    with connect(server) as early:
        early.sendall(b"hello\n")
        assert is_told_nothing(manager)
        (tmp_path / "go").touch()
        assert manager.recv(100) == b"READY=1"
        assert server.report()["pids"]
        assert early.recv(100).startswith(b"HELLO ")
    before = server.workers()
    server.send(signal.SIGHUP)
    server.others(before)
    assert is_told_nothing(manager)
    server.end()
    assert manager.recv(100) == b"STOPPING=1"
    assert is_told_nothing(manager)


def test_systemd_isnt_told_of_readiness_that_never_comes(
    serve: Callable[..., Server], manager: socket.socket
) -> None:
    """The program fails, which is what it is to know."""
    server = serve([], start="die", failed_starts=2)
    assert server.process.wait(PATIENCE) != 0
    assert is_told_nothing(manager)


def test_systemd_isnt_told_of_readiness_after_the_end_has_begun(
    serve: Callable[..., Server], manager: socket.socket, tmp_path: Path
) -> None:
    """Although a worker is ready a moment later."""
    server = serve([], start="wait_until_told")
    wait_for_starting(tmp_path)
    server.send(signal.SIGTERM)
    assert manager.recv(100) == b"STOPPING=1"
    (tmp_path / "go").touch()
    server.answer()
    assert server.process.wait(PATIENCE) == 0, server.errors()
    assert is_told_nothing(manager)


def test_workers_that_die_at_their_start_make_no_storm(serve: Callable[..., Server]) -> None:
    """A few tries are made, each after a longer pause; then it gives up, and says so."""
    server = serve([], start="die", failed_starts=3)
    assert server.process.wait(PATIENCE) == 1
    # Two at a time, and one more if the first of a pair ends before the other begins.
    assert 3 <= server.errors().count("dies\n") <= 8
    assert "WorkerError: <Server serving" in server.errors()
    assert "before it served, with status 7" in server.errors()
    server.wait_until_gone()


def test_a_replacement_that_dies_at_its_start_leaves_the_old_worker_serving(
    serve: Callable[..., Server], tmp_path: Path
) -> None:
    """It goes on trying, and replaces them when that succeeds."""
    server = serve([], start="die_while_told", failed_starts=1)
    before = server.workers()
    (tmp_path / "die").touch()
    server.send(signal.SIGHUP)
    until = time.monotonic() + PATIENCE
    while server.errors().count("dies\n") < 2:
        assert time.monotonic() < until
        assert ask(server) in before
    assert server.report()["pids"] == before
    (tmp_path / "die").unlink()
    server.others(before)
    assert ask(server) not in before
    server.end()


@pytest.mark.parametrize("mixins", [[], [THREADS], [FORKING], [MULTIPLEXING]], ids=str)
def test_workers_end_with_the_process_that_made_the_server(
    serve: Callable[..., Server], mixins: list[str]
) -> None:
    """It is killed; they drain, and nobody is left."""
    server = serve(mixins)
    server.workers()
    with connect(server) as client:
        assert talk(client)
        server.process.kill()
        server.process.wait()
        assert client.recv(1) == b""
    server.wait_until_gone()


def test_a_handler_that_heeds_nothing_doesnt_keep_a_worker_without_its_maker(
    serve: Callable[..., Server],
) -> None:
    """It is killed soon after the grace, although nobody is left to do that."""
    server = serve([], handler="Sleepy", grace=0.2)
    pids = server.workers()
    with connect(server) as client:
        assert int(client.recv(100)) in pids
        os.kill(server.process.pid, signal.SIGKILL)
        server.process.wait()
        server.wait_until_gone()


def test_a_server_whose_forking_process_is_killed_ends(serve: Callable[..., Server]) -> None:
    """It can't replace workers any more, says so, and leaves none behind."""
    server = serve([MULTIPLEXING])
    pids = server.workers()
    own = set(server.group()) - {*pids, server.process.pid}
    assert len(own) == 1
    os.kill(own.pop(), signal.SIGKILL)
    assert server.process.wait(PATIENCE) == 1
    assert "the process that forks its workers was killed" in server.errors()
    server.wait_until_gone()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_for_all_processes_is_heard_once(
    serve: Callable[..., Server], number: signal.Signals
) -> None:
    """As from a terminal, or a service manager: what is in progress is brought to its end."""
    server = serve([THREADS], handler="Lines")
    before = server.workers()
    with connect(server) as client:
        process = talk(client)
        client.sendall(b"last\n")
        os.killpg(server.process.pid, number)
        with client.makefile("rb") as answers:
            assert answers.read() == b"LAST %d\n" % process
    if number == signal.SIGHUP:
        server.others(before)
        server.send(signal.SIGTERM)
    stats = server.answer()["stats"]
    assert server.process.wait(PATIENCE) == 0
    server.wait_until_gone()
    assert (stats["accepted"], stats["drained"]) == (1, 1)
    assert server.errors() == ""


def test_a_second_signal_ends_the_grace(serve: Callable[..., Server]) -> None:
    """The workers too are told, and the one that goes on even so is killed."""
    server = serve([], handler="Sleepy", grace=600)
    pids = server.workers()
    with connect(server) as client:
        assert int(client.recv(100)) in pids
        server.send(signal.SIGTERM)
        # The other one has nothing to wait for.
        server.wait_for(lambda report: "draining" in report["shown"])
        server.send(signal.SIGTERM)
        stats = server.answer()["stats"]
    assert server.process.wait(PATIENCE) == 0
    server.wait_until_gone()
    assert stats["forced"] == 1


def test_a_handler_that_stops_its_server_has_its_worker_replaced(
    serve: Callable[..., Server],
) -> None:
    """The server goes on."""
    server = serve([MULTIPLEXING])
    before = server.workers()
    stopped = ask(server, b"stop")
    assert stopped in before
    after = server.wait_for(lambda report: len(set(report["pids"]) - {stopped}) == 2)["pids"]
    assert len(set(after) & set(before)) == 1
    server.end()
    assert server.errors() == ""


def test_the_sums_agree_with_the_clients(serve: Callable[..., Server]) -> None:
    """Requests and bytes, at any time and at the end."""
    server = serve([MULTIPLEXING], processes=3)
    server.workers(3)
    clients = [connect(server) for _ in range(30)]
    processes = [talk(client) for client in clients]
    assert server.wait_for(lambda report: report["stats"]["active"] == 30)["shown"].endswith(
        ", 3 workers>"
    )
    # How many each has is a matter of who wakes first; but nobody has none.
    assert set(processes) == set(server.report()["pids"])
    for client in clients:
        client.close()
    stats = server.wait_for(lambda report: report["stats"]["active"] == 0)["stats"]
    assert stats["completed"] == stats["accepted"] == 30
    assert stats["bytes_received"] == 30 * len(b"hello\n")
    assert server.end()["stats"]["accepted"] == 30
