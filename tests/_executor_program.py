"""Servers with real executors, in a process of their own, and what tests need to drive them.

A process of its own, because a pool and a cluster have helper processes that
outlive them. It is this file as a program; the argument is a name of ``SERVERS``,
or ``Dask``.
"""

import contextlib
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from pathlib import Path
from typing import Any

from netserve.concurrency import MultiplexingMixIn
from netserve.transports import TCPServer, UDPServer
from tests._executing import Heavy
from tests._multiplexing import HOME, PATIENCE, until


def make_pool() -> Executor:
    """Two workers, which are forked from a process without threads."""
    return ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("forkserver"))


class Server(MultiplexingMixIn, TCPServer):
    """Serves TCP with a pool of its own."""

    max_in_flight_per_connection = 4

    def make_executor(self) -> Executor:
        """Two workers."""
        return make_pool()


class Given(MultiplexingMixIn, TCPServer):
    """Serves TCP with an executor that it is given."""

    max_in_flight_per_connection = 4


class Datagrams(MultiplexingMixIn, UDPServer):
    """Serves UDP with a pool of its own."""

    def make_executor(self) -> Executor:
        """Two workers."""
        return make_pool()


class Program:
    """A process that serves, and its records."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.folder = folder
        self.errors = folder / "stderr"
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "error", "-m", "tests._executor_program", kind],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                cwd=Path(__file__).parent.parent,
                start_new_session=True,
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.errors.read_text()
        self.address = ("127.0.0.1", int(line))

    def records(self) -> list[str]:
        """The records so far, each one's first line."""
        return [line for line in self.errors.read_text().splitlines() if line.startswith("RECORD ")]

    def in_flight(self) -> int:
        """How many messages the executor has."""
        self.process.send_signal(signal.SIGUSR1)
        assert self.process.stdout is not None
        return int(self.process.stdout.readline())

    def stop(self) -> str:
        """End it in its own way; returns its last line, the statistics."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.stdout is not None
        last = self.process.stdout.readline()
        assert self.process.wait(PATIENCE) == 0, self.errors.read_text()
        return last

    def end(self) -> None:
        """Kill what is left of it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


def workers_at_work(folder: Path, count: int) -> list[int]:
    """The processes of so many workers, each of which has told that it is at work."""

    def at_work() -> list[int]:
        return [int(path.name.rpartition("-")[2]) for path in folder.glob("at-work-*")]

    until(lambda: len(at_work()) == count)
    return at_work()


SERVERS = {"Server": Server, "Given": Given, "Datagrams": Datagrams, "Dask": Given}


@contextlib.contextmanager
def executor(kind: str) -> Iterator[Executor | None]:
    """The executor that a server of this *kind* is given."""
    if kind == "Given":
        with make_pool() as pool:
            yield pool
    elif kind == "Dask":
        from distributed import Client, LocalCluster

        # It tells of the worker that is killed.
        logging.getLogger("distributed").setLevel(logging.CRITICAL)
        # Nothing leaves this machine, there is no dashboard, and no port is taken already.
        cluster = LocalCluster(
            n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None,
            scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
        )  # fmt: skip
        with cluster, Client(cluster) as client:
            yield client.get_executor()
    else:
        yield None


def main(kind: str) -> None:
    """Serve until SIGTERM."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("RECORD %(message)s"))
    # What the engine has to say of a worker that was killed is no matter of these tests.
    logging.getLogger("netserve").addHandler(handler)
    with executor(kind) as given, SERVERS[kind](HOME, Heavy) as server:
        server.executor = given

        def tell_flying(*_: object) -> None:
            loop: Any = server.current_loop
            print(len(loop._dispatch.flying), flush=True)

        signal.signal(signal.SIGUSR1, tell_flying)
        print(server.server_address[1], flush=True)
        server.run(PATIENCE)
        print(server.stats(), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
