"""The processes of a measurement: where they run, what they use, and that they end.

Linux alone tells this: the figures are read from ``/proc``.
"""

import contextlib
import os
import selectors
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from typing_extensions import Self

ROOT = Path(__file__).parent.parent
TICK = os.sysconf("SC_CLK_TCK")


class ServerError(Exception):
    """A server that didn't start, or didn't stop."""


@dataclass(frozen=True)
class Cores:
    """Where the server and what puts load on it run: lists of cores, as ``taskset`` has them."""

    server: str | None
    generator: str | None

    @classmethod
    def named(cls, name: str, cores: list[int]) -> Self:
        """Choose among *cores* for ``two``, ``one`` or ``free``.

        ``two`` gives each side a core of its own, ``one`` the same to both. With
        ``free`` the generator has a core, and the server may use all of them.
        Raises :class:`ValueError` when that can't be had.
        """
        if shutil.which("taskset") is None:
            msg = "taskset is missing: install the package util-linux"
            raise ValueError(msg)
        if name != "one" and len(cores) < 2:
            msg = f"--cores {name} needs two cores, and this process has one: use --cores one"
            raise ValueError(msg)
        server = {"two": f"{cores[0]}", "one": f"{cores[-1]}", "free": None}[name]
        return cls(server, str(cores[-1]))


def pinned(command: list[str], cores: str | None) -> list[str]:
    """Return *command*, bound to *cores* unless that is None."""
    return command if cores is None else ["taskset", "-c", cores, *command]


def server_command(program: str, variant: str, service: str) -> list[str]:
    """The command of a server program of this folder, to be run from the repository's root."""
    return [sys.executable, "-m", f"benchmarks.{program}", variant, service]


class Server:
    """A server program that runs until the span of the context ends.

    Raises :class:`ServerError` when it doesn't listen within ten seconds.
    """

    def __init__(self, command: list[str]) -> None:
        self._command = " ".join(command[-3:])
        # What a handler logs is no part of the comparison; why a program doesn't
        # start is seen by running its command by hand.
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            self.port = int(self._read("PORT", 10))
        except BaseException:
            self.end()
            raise

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def stop(self) -> float:
        """Ask for the loop's end; returns the milliseconds that it took, as the server says."""
        os.kill(self.pid, signal.SIGUSR1)
        return float(self._read("STOPPED", 10))

    def end(self) -> None:
        """End the process and what it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def _read(self, word: str, patience: float) -> str:
        """Read the line that begins with *word*, and return what follows."""
        output = self._process.stdout
        line = read_line(output, patience).split() if output is not None else []
        if len(line) != 2 or line[0] != word:
            msg = f"the server didn't say {word}: {self._command}"
            raise ServerError(msg)
        return line[1]


def read_line(file: IO[bytes], patience: float) -> str:
    """Read a line from a pipe; what there is of it, when it isn't whole in *patience* seconds."""
    line = b""
    until = time.monotonic() + patience
    with selectors.DefaultSelector() as selector:
        selector.register(file, selectors.EVENT_READ)
        while not line.endswith(b"\n") and selector.select(max(0, until - time.monotonic())):
            # One byte at a time, past the file's buffer, which select doesn't see.
            byte = os.read(file.fileno(), 1)
            if not byte:
                break
            line += byte
    return line.decode()


def tree(pid: int) -> Iterator[int]:
    """The process *pid*, its children, and theirs."""
    yield pid
    for folder in Path(f"/proc/{pid}/task").glob("*"):
        # A thread may have ended meanwhile, and so may a child.
        with contextlib.suppress(OSError):
            for child in (folder / "children").read_text().split():
                yield from tree(int(child))


def cpu_seconds(pid: int) -> float:
    """The processor time of *pid*, of its children, and of those that it has collected."""
    total = 0
    for each in tree(pid):
        with contextlib.suppress(OSError):
            # The name, in parentheses, may hold anything; utime is the 14th field.
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
            total += sum(map(int, fields[11:15]))
    return total / TICK


def busy_seconds() -> float:
    """The processor time of all processes of the machine, and of its neighbours (steal).

    Without that of interrupts, which belongs to no process.
    """
    user, nice, system, _, _, _, _, steal, *_ = map(
        int, Path("/proc/stat").read_text().partition("\n")[0].split()[1:]
    )
    return (user + nice + system + steal) / TICK


def own_seconds() -> float:
    """The processor time of this process, and of the children that it has collected."""
    times = os.times()
    return sum(times[:4])


def memory_kib(pid: int) -> int:
    """The memory of *pid* and its children, each shared page counted in parts (Pss)."""
    total = 0
    for each in tree(pid):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{each}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
    return total
