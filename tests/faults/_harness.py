"""Servers in processes of their own, the clients that plague them, and what /proc tells.

A server is named as in the table: ``TCPServer``, ``ThreadingMixIn``,
``ForkingMixIn`` and ``AsyncioMixIn`` are netserve's, ``drop-in TCPServer`` is of
``netserve.socketserver``, ``stdlib TCPServer`` of Python's ``socketserver``. Several
mix-ins have a plus between them.
"""

import contextlib
import json
import os
import selectors
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from typing_extensions import Self

PROGRAM = Path(__file__).with_name("_program.py")
KINDS = ["TCPServer", "ThreadingMixIn", "ForkingMixIn", "AsyncioMixIn"]
TICK = os.sysconf("SC_CLK_TCK")
PATIENCE = 20.0  # seconds, for what is bound to happen


class Program:
    """A process that serves with *server*; see ``_program.py`` for the *options*.

    It and all its children are killed at the end of the ``with`` statement.
    """

    def __init__(self, server: str, **options: Any) -> None:
        self._ends = contextlib.ExitStack()
        folder = self._ends.enter_context(tempfile.TemporaryDirectory(prefix="faults-"))
        self.folder = Path(folder)
        self._log = self.folder / "log"
        self._errors = self.folder / "stderr"
        self._log.touch()
        given = {"server": server, "folder": folder, **options}
        with self._errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, PROGRAM, json.dumps(given)],
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
        self.pid = self.process.pid
        self._ends.callback(self.end)
        try:
            self.port: int = self.answer()["port"]
        except BaseException:
            self._ends.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._ends.close()

    def end(self) -> None:
        """Kill the process and its children."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def answer(self, timeout: float = PATIENCE) -> dict[str, Any]:
        """The next line that the program prints, which is a JSON object."""
        assert self.process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            line = b""
            while not line.endswith(b"\n"):
                if not selector.select(timeout):
                    raise TimeoutError(f"no answer; it wrote: {self.errors()}")
                part = os.read(self.process.stdout.fileno(), 65536)
                if not part:
                    raise EOFError(f"the program has ended; it wrote: {self.errors()}")
                line += part
        return dict(json.loads(line))

    def report(self) -> dict[str, Any]:
        """How often ``get_request`` was called, and the server's statistics."""
        os.kill(self.pid, signal.SIGUSR1)
        return self.answer()

    def trouble(self) -> None:
        """Begin the trouble that the program was started for, or end it."""
        os.kill(self.pid, signal.SIGUSR2)
        self.answer()

    def wait_for(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait until *condition* holds of the report, and return that."""
        until = time.monotonic() + PATIENCE
        while not condition(report := self.report()):
            assert time.monotonic() < until, f"in vain: {report} {self.records()[-5:]}"
            time.sleep(0.02)
        return report

    def settle(self) -> dict[str, Any]:
        """Wait until no request is in progress, and no child is left."""
        return self.wait_for(
            lambda report: not report["stats"].get("active") and not self.children()
        )

    def exit_status(self, timeout: float = PATIENCE) -> int:
        """How the process ended; waits until it has."""
        return self.process.wait(timeout)

    def records(self) -> list[dict[str, Any]]:
        """What was logged so far, the children's records included."""
        return [json.loads(line) for line in self._log.read_text().splitlines()]

    def errors(self) -> str:
        """What came out of the standard error stream so far."""
        return self._errors.read_text()

    def group(self) -> set[int]:
        """The processes of the program that run: it, its children, and theirs."""
        found = set()
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                state, _, group, *_ = path.read_text().rpartition(")")[2].split()
                # When its parent is gone, the system collects a process in its own time.
                if int(group) == self.pid and state != "Z":
                    found.add(int(path.parent.name))
        return found

    def cpu(self) -> float:
        """The CPU time used so far, in seconds."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def status(self, field: str) -> int:
        """A number of ``/proc/PID/status``; memory is in KiB, switches are the main thread's."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name == field:
                return int(value.split()[0])
        raise KeyError(field)

    def descriptors(self) -> int:
        """How many descriptors the process has open."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def children(self) -> list[str]:
        """The states of the children, one letter each; Z is a zombie."""
        states = []
        for path in Path(f"/proc/{self.pid}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                for child in path.read_text().split():
                    with contextlib.suppress(OSError):
                        stat = Path(f"/proc/{child}/stat").read_text()
                        states.append(stat.rpartition(")")[2].split()[0])
        return states


def level(records: Iterable[dict[str, Any]], *names: str) -> list[str]:
    """The messages of the *records* that have one of the levels *names*."""
    return [record["message"] for record in records if record["level"] in names]


def connect(
    port: int, host: str = "127.0.0.1", timeout: float = PATIENCE, buffer: int = 0
) -> socket.socket:
    """A connection to the server, from the address *host* of this machine.

    *buffer* is how many bytes it may receive unread; by default, as many as the
    system likes.
    """
    client = socket.socket()
    try:
        if buffer:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        client.settimeout(timeout)
        client.bind((host, 0))
        client.connect(("127.0.0.1", port))
    except BaseException:
        client.close()
        raise
    return client


def ask(
    port: int, line: bytes = b"hello\n", timeout: float = PATIENCE, host: str = "127.0.0.1"
) -> bytes:
    """Send *line* and the end of the input; returns what comes back, until its end.

    It is ``b""`` when the server resets the connection or doesn't answer in time.
    """
    with connect(port, host, timeout) as client:
        try:
            client.sendall(line)
            client.shutdown(socket.SHUT_WR)
            return read_to_end(client)
        except OSError:
            return b""


def read_to_end(client: socket.socket) -> bytes:
    """All that *client* receives."""
    parts = []
    while part := client.recv(65536):
        parts.append(part)
    return b"".join(parts)


def reset(client: socket.socket) -> None:
    """Close *client* so that its peer gets a reset."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


@contextlib.contextmanager
def crowd(port: int, number: int, *, block: bool = True) -> Iterator[list[socket.socket]]:
    """*number* connections, closed at the end; if not *block*, they may still be on their way."""
    with contextlib.ExitStack() as stack:
        clients = []
        for _ in range(number):
            client = stack.enter_context(socket.socket())
            client.settimeout(PATIENCE)
            client.setblocking(block)
            with contextlib.suppress(BlockingIOError):
                client.connect(("127.0.0.1", port))
            clients.append(client)
        yield clients


def collect(
    clients: list[socket.socket],
    timeout: float = PATIENCE,
    ended: Callable[[int], None] = lambda count: None,
) -> list[bytes]:
    """What each of *clients* receives until its end, or a reset, or for *timeout* seconds.

    *ended* is called with their number each time that one more has come to its end.
    """
    received = {client: bytearray() for client in clients}
    until = time.monotonic() + timeout
    count = 0
    with selectors.DefaultSelector() as selector:
        for client in clients:
            client.setblocking(False)
            selector.register(client, selectors.EVENT_READ)
        while selector.get_map() and (left := until - time.monotonic()) > 0:
            for key, _ in selector.select(left):
                client = key.fileobj
                assert isinstance(client, socket.socket)
                try:
                    part = client.recv(65536)
                except OSError:
                    part = b""
                received[client] += part
                if not part:
                    selector.unregister(client)
                    count += 1
                    ended(count)
    return [bytes(part) for part in received.values()]


def stdlib(server: str) -> str:
    """The name of the standard library's counterpart of *server*."""
    if server == "AsyncioMixIn":
        # What comes nearest: it has nothing for coroutines.
        return "stdlib ThreadingMixIn"
    return f"stdlib {server.removeprefix('drop-in ')}"


def ms(seconds: float) -> str:
    """*seconds* as milliseconds, in words."""
    return f"{seconds * 1000:.0f} ms" if seconds >= 0.01 else f"{seconds * 1000:.1f} ms"
