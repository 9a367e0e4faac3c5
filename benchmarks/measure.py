"""One sample: a server under one kind of load, for as long as a round lasts."""

import contextlib
import os
import random
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cells import Cell
from benchmarks.processes import (
    ROOT,
    Cores,
    Server,
    ServerError,
    busy_seconds,
    cpu_seconds,
    memory_kib,
    own_seconds,
    pinned,
    read_line,
)
from benchmarks.tools import Sample, read_dnsperf, read_loadgen, read_redis, read_wrk

WARMUP = 0.2  # seconds before our own generator begins to count
DISTURBED = 0.1  # share of a core used by other processes, above which a sample is doubtful
TRIES = 3
PATIENCE = 60  # seconds beyond the duration that a generator may take

READERS: dict[str, Callable[[str], Sample]] = {
    "loadgen": read_loadgen,
    "wrk": read_wrk,
    "redis-benchmark": read_redis,
    "dnsperf": read_dnsperf,
}


@dataclass(frozen=True)
class Bench:
    """What all samples have in common."""

    loadgen: Path
    seconds: float
    cores: Cores
    queries: Path
    """A file of queries for dnsperf; see :func:`query_file`."""

    def command(self, cell: Cell, port: int | str, rate: float = 10_000) -> list[str]:
        """The command that puts the load of *cell* on *port*.

        redis-benchmark wants a number of requests instead of a duration: it is
        reckoned from *rate*, the requests a second to expect.
        """
        whole = str(max(1, round(self.seconds)))
        match cell.tool:
            case "wrk":
                end = [*cell.options, f"-d{whole}s", f"http://127.0.0.1:{port}/"]
            case "redis-benchmark":
                count = max(1000, round(rate * self.seconds / 3))  # of each of three commands
                end = [*cell.options, "-p", str(port), "-n", str(count)]
            case "dnsperf":
                end = [*cell.options, "-p", str(port), "-l", whole, "-d", str(self.queries)]
            case _:
                duration = ["-t", f"{self.seconds:g}", "-w", f"{WARMUP:g}"]
                end = [*cell.options, *duration, "-p", str(port)]
                return pinned([str(self.loadgen), *end], self.cores.generator)
        return pinned([cell.tool, *end], self.cores.generator)

    def warm_up(self, cell: Cell, server: Server) -> None:
        """Put the load on *server* once without looking.

        It makes the server import what it imports late, and brings its allocator
        to rest: before, asyncio pays for the pages of each of its large buffers.
        """
        with contextlib.suppress(ServerError, subprocess.TimeoutExpired):
            self._run(cell, server)

    def load(self, cell: Cell, server: Server) -> Sample:
        """Put the load on *server*, again when other processes disturbed it too much.

        Of several tries the least disturbed is the sample.
        """
        tries: list[Sample] = []
        while len(tries) < TRIES:
            tries.append(self._load_once(cell, server))
            if tries[-1].get("others", 0) <= DISTURBED:
                break
        sample = min(tries, key=lambda each: each.get("others", 0))
        sample["disturbed"] = int(sample.get("others", 0) > DISTURBED)
        return sample

    def _load_once(self, cell: Cell, server: Server) -> Sample:
        """Put the load on *server*; the sample has the processor times besides."""
        begun = time.monotonic()
        everybody, before, own = busy_seconds(), cpu_seconds(server.pid), own_seconds()
        try:
            sample = self._run(cell, server)
        except subprocess.TimeoutExpired:
            return {"failed": f"{cell.tool} didn't end"}
        used = cpu_seconds(server.pid) - before
        others = busy_seconds() - everybody - used - (own_seconds() - own)
        sample["others"] = round(max(0, others) / (time.monotonic() - begun), 3)
        if requests := sample.get("requests_with_warmup"):
            sample["cpu_us"] = round(used / requests * 1e6, 2)
        sample["cpu_seconds"] = round(used, 3)
        return sample

    def idle(self, cell: Cell, server: Server) -> Sample:
        """The memory that each of many idle connections takes."""
        before = memory_kib(server.pid)
        process = subprocess.Popen(
            self.command(cell, server.port), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        with process:
            try:
                assert process.stdout is not None
                answer = read_line(process.stdout, PATIENCE)
                if not answer:
                    return {"failed": "the connections weren't opened in time"}
                sample = read_loadgen(answer)
                sample["kib"] = round((memory_kib(server.pid) - before) / cell.connections, 3)
                return sample
            finally:
                process.kill()

    def stop(self, server: Server, source: random.Random) -> Sample:
        """How long the loop takes to end; asked at some moment of a polling interval."""
        time.sleep(0.1 + source.random() / 2)
        return {"ms": server.stop()}

    def _run(self, cell: Cell, server: Server) -> Sample:
        expected = 10_000.0
        if cell.tool == "redis-benchmark":
            # A short run says how many requests fill the time.
            probe = self._output(self.command(cell, server.port, rate=0))
            expected = read_redis(probe).get("rate", expected)
        return READERS[cell.tool](self._output(self.command(cell, server.port, expected)))

    def _output(self, command: list[str]) -> str:
        done = subprocess.run(
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=self.seconds + PATIENCE,
            check=False,
        )
        return done.stdout


@contextlib.contextmanager
def query_file() -> Iterator[Path]:
    """A file of queries for dnsperf, until the span ends."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "queries"
        path.write_text("".join(f"name{i}.example.test A\n" for i in range(1000)))
        yield path


def descriptors() -> int:
    """How many descriptors a process may have, after asking for as many as there are."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most if most != resource.RLIM_INFINITY else os.sysconf("SC_OPEN_MAX")
