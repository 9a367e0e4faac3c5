"""Real servers to be driven through their lives, here or in a process of their own.

``test_lifecycle_machine`` makes them. ``Local`` has the server in this process
and makes each call in a thread of its own. ``Remote`` has it in a process with
one thread, where servers may fork: this file, run as a program. There the calls
that may come at any time are made by a signal handler, between two instructions
of whatever the main thread does.
"""

import contextlib
import dataclasses
import faulthandler
import gc
import importlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from typing_extensions import Self

from netserve import core, handlers

BOUND = float(os.environ.get("NETSERVE_BOUND", "20"))
"""What takes longer is a deadlock, in seconds. More than any grace below."""

GRACE = 10.0
"""The grace that is never used up, in seconds."""

ENDS = [outcome.name.lower() for outcome in core.Outcome]


class HandlerError(Exception):
    """The handler's bug."""


def answer(word: bytes, server: Any) -> bytes:
    """What the handlers answer to *word*, after what it tells them to do with *server*, if any."""
    if word == b"raise":
        raise HandlerError
    if server is not None:
        obey(word, server)
    return word.upper()


def obey(word: bytes, server: Any) -> None:
    """Do what *word* tells to do with *server*, if it does."""
    if word == b"stop":
        server.stop(GRACE)
    if word == b"shutdown":
        server.shutdown()


class Lines(handlers.StreamRequestHandler):
    """Answers each line of a connection."""

    def handle(self) -> None:
        """Answer until the input ends; half a line gets no answer."""
        while (line := self.rfile.readline()).endswith(b"\n"):
            self.wfile.write(answer(line[:-1], self.server) + b"\n")


class Datagrams(handlers.DatagramRequestHandler):
    """Answers each datagram."""

    def handle(self) -> None:
        """Answer."""
        self.wfile.write(answer(self.packet, self.server))


class AsyncLines(handlers.AsyncStreamRequestHandler):
    """Answers each line of a connection, in a coroutine."""

    async def handle(self) -> None:
        """Answer until the input ends; half a line gets no answer."""
        while (line := await self.rfile.readline()).endswith(b"\n"):
            await self.wfile.write(answer(line[:-1], self.server) + b"\n")


class AsyncDatagrams(handlers.AsyncDatagramRequestHandler):
    """Answers each datagram, in a coroutine."""

    async def handle(self) -> None:
        """Answer."""
        self.wfile.write(answer(self.packet, self.server))


class Messages(handlers.MessageRequestHandler):
    """Answers each line of a connection, or each datagram, elsewhere if there is an executor."""

    @staticmethod
    def process_message(message: bytes) -> bytes:
        """Answer; what concerns the server is left for later."""
        return answer(message, None)

    def handle_answer(self, message: bytes, reply: bytes | None) -> bytes | None:
        """Do what the message tells of the server."""
        obey(message, self.server)
        return reply


class Traced:
    """Notes each state that a server comes to, and doesn't wait for what isn't there."""

    timeout = 0.01  # of handle_request

    def __init__(self, *arguments: Any) -> None:
        self.trace: list[Any] = [(None, core.State.CREATED)]
        self.changed = threading.Condition()
        super().__init__(*arguments)

    @property
    def _ns_since(self) -> float:
        """When it came to its state, which is told after that; nothing is called in between."""
        return self.since

    @_ns_since.setter
    def _ns_since(self, value: float) -> None:
        with self.changed:
            self.since = value
            self.trace.append((self.trace[-1][1], self._ns_state))
            self.told = None
            self.changed.notify_all()

    def may_accept(self) -> bool:
        """Tell that the loop runs; the state says so a moment before."""
        if self.trace[-1][1] is core.State.SERVING and self.trace[-1] != self.told:
            self.told = self.trace[-1]
            self.tell_serving()
        return bool(super().may_accept())

    def tell_serving(self) -> None:
        """Called when a loop runs; for a program to replace."""

    def strange_moves(self) -> list[str]:
        """The moves between states that the table doesn't have."""
        if len(self.trace) == 1:
            return ["none was seen"]
        return [
            f"{before} to {after}"
            for before, after in self.trace[1:]
            # The constructor tells of the first; a signal's handler tells of its own first.
            if not (before is after or core.may_follow(before, after))
        ]


def make(bases: list[str], folder: str, options: dict[str, Any]) -> Any:
    """A bound server of the mixed classes, each ``module:name``."""
    found = []
    for name in bases:
        module, _, attribute = name.partition(":")
        found.append(getattr(importlib.import_module(module), attribute))
    mixed: Any = type("Driven", (Traced, *found), dict(options))
    handler: Any = Datagrams if is_datagram(bases) else Lines
    if getattr(mixed, "runs_coroutines", False):
        handler = AsyncDatagrams if is_datagram(bases) else AsyncLines
    elif getattr(mixed, "drives_messages", False):
        handler = Messages
    address = f"{folder}/server" if is_unix(bases) else ("127.0.0.1", 0)
    return mixed(address, handler)


def is_datagram(bases: list[str]) -> bool:
    """Whether the last of *bases* serves datagrams."""
    return "UDP" in bases[-1] or "Datagram" in bases[-1]


def is_unix(bases: list[str]) -> bool:
    """Whether the last of *bases* serves on a path."""
    return "Unix" in bases[-1]


def counts(server: Any) -> dict[str, Any]:
    """The server's statistics, which must agree at this instant."""
    stats = dataclasses.asdict(server.stats())
    assert stats["accepted"] == stats["active"] + sum(stats[end] for end in ENDS), stats
    assert min(stats[name] for name in ("accepted", "active", *ENDS)) >= 0, stats
    stats["state"] = str(stats["state"])
    return stats


def held() -> dict[str, set[str]]:
    """What this process holds, and must let go of."""
    # A thread that has ended for Python may not have for the system.
    tasks = {name.name for name in Path("/proc/self/task").iterdir()}
    descriptors = set()
    for entry in Path("/proc/self/fd").iterdir():
        # The one through which the folder is read is gone.
        with contextlib.suppress(OSError):
            descriptors.add(f"{entry.name}: {entry.readlink()}")
    return {"threads": tasks, "children": set(children()), "descriptors": descriptors}


def children() -> Iterator[str]:
    """The children of this process, the dead ones included."""
    for path in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):
            yield from path.read_text().split()


def left_behind(before: dict[str, set[str]]) -> dict[str, list[str]]:
    """What is held that wasn't *before*; what is about to go has the time to."""
    gc.collect()
    until = time.monotonic() + 2
    while True:
        left = {kind: sorted(now - before[kind]) for kind, now in held().items()}
        if not any(left.values()) or time.monotonic() > until:
            return {kind: found for kind, found in left.items() if found}
        time.sleep(0.001)


def remains(server: Any) -> dict[str, Any]:
    """What a closed server must not have any more."""
    found = {
        "entries": [repr(entry) for entry in server.requests_in_progress.entries()],
        "strange moves": server.strange_moves(),
        "descriptor": server.fileno() if server.fileno() >= 0 else None,
        "children": sorted(getattr(server, "active_children", None) or ()),
    }
    return {name: value for name, value in found.items() if value}


class Errors(logging.Handler):
    """Counts the records of a handler's bugs, and keeps those of anything else gone wrong."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.faults = 0
        self.others: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Sort *record*."""
        if record.exc_info and record.exc_info[0] is HandlerError:
            self.faults += 1
        elif "the next ones wait" not in record.getMessage():
            self.others.append(f"{record.getMessage()} {record.exc_info}")

    def __enter__(self) -> Self:
        log = logging.getLogger("netserve.server")
        log.addHandler(self)
        log.propagate = False
        return self

    def __exit__(self, *_: object) -> None:
        log = logging.getLogger("netserve.server")
        log.removeHandler(self)
        log.propagate = True


class Call:
    """A call that is made in a thread of its own, and must return."""

    def __init__(self, name: str, function: Callable[..., Any], *arguments: Any) -> None:
        self.name = name
        self.done = threading.Event()
        self.failure: BaseException | None = None
        self.value: Any = None

        def work() -> None:
            try:
                self.value = function(*arguments)
            except BaseException as error:
                self.failure = error
            finally:
                self.done.set()

        self.thread = threading.Thread(target=work, name=f"call of {name}", daemon=True)
        self.thread.start()

    def is_done(self) -> bool:
        """Whether it has returned."""
        return self.done.is_set()

    def finish(self, bound: float = BOUND) -> Any:
        """What it returned; raises what it raised, and AssertionError if it doesn't return."""
        if not self.done.wait(bound):
            raise AssertionError(f"{self.name} doesn't return\n{stacks()}")
        self.thread.join()
        if self.failure is not None:
            raise self.failure
        return self.value


def stacks() -> str:
    """Where all threads stand."""
    with tempfile.TemporaryFile("w+") as file:
        faulthandler.dump_traceback(file, all_threads=True)
        file.seek(0)
        return file.read()


class Local:
    """A server in this process, which threads call."""

    def __init__(self, bases: list[str], folder: str, options: dict[str, Any]) -> None:
        self._before = held()
        self._ends = contextlib.ExitStack()
        self._errors = self._ends.enter_context(Errors())
        self.server = make(bases, folder, options)
        self.address = self.server.server_address
        self._samples: list[str] = []
        self._threads: list[threading.Thread] = []
        self._sampled = threading.Event()
        self._sampler = Call("sampling", self._sample)

    def _sample(self) -> None:
        while not self._sampled.wait(0.002):
            counts(self.server)

    def call(self, name: str, *arguments: Any) -> Call:
        """Call the server's method *name* in a thread."""
        call = Call(name, getattr(self.server, name), *arguments)
        self._threads.append(call.thread)
        return call

    def enter_background(self) -> "Background":
        """Serve in the background, from now on."""
        background = Background(self.server)
        self._threads.append(background.thread)
        return background

    def stats(self) -> dict[str, Any]:
        """The statistics."""
        return counts(self.server)

    def await_serving(self, loop: Call) -> None:
        """Return when the loop runs."""
        until = time.monotonic() + BOUND
        with self.server.changed:
            while not (self.server.state is core.State.SERVING or loop.is_done()):
                assert time.monotonic() < until, stacks()
                # Its last change comes before its end, of which nobody tells.
                self.server.changed.wait(0.01)

    def end(self) -> tuple[dict[str, Any], int, list[str]]:
        """End the closed server: what was left behind, the faults, the other errors."""
        self._sampled.set()
        self._sampler.finish()
        self._ends.close()
        left = remains(self.server) | left_behind(self._before)
        return left, self._errors.faults, self._errors.others

    def kill(self) -> None:
        """End it after a failure, as far as possible."""
        self._sampled.set()

        def end() -> None:
            self.server.shutdown()
            self.server.server_close()

        self._threads.append(Call("the end", end).thread)
        self.server.socket.close()
        # A life that is only given up ends well, and what it tells of that isn't for the
        # next one to find; one that has failed may never end.
        until = time.monotonic() + 2
        for thread in self._threads:
            thread.join(max(until - time.monotonic(), 0))
        self._ends.close()


class Background:
    """The ``with`` statement around a server that is served in the background."""

    def __init__(self, server: Any) -> None:
        self._span = server.background(GRACE)
        self._running = Call("background", self._span.__enter__).finish()
        self.thread = self._running.thread

    def is_done(self) -> bool:
        """Whether the loop has ended."""
        return not self.thread.is_alive()

    def finish(self, bound: float = BOUND) -> None:
        """Return when the loop has ended."""
        self.thread.join(bound)
        assert self.is_done(), f"the loop in the background doesn't end\n{stacks()}"

    def leave(self) -> Any:
        """End the statement; returns what came of the drain."""
        Call("the end of background", self._span.__exit__, None, None, None).finish()
        return self._running.result


class Process:
    """The process of this file as a program."""

    def __init__(self, folder: Path) -> None:
        self.jobs, jobs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.orders, orders = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.log = folder / "stderr"
        # For mix-ins of the tests' own.
        places = [str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, places))}
        with jobs, orders, self.log.open("wb") as stderr:
            descriptors = (jobs.fileno(), orders.fileno())
            self.process = subprocess.Popen(
                [sys.executable, "-W", "error", __file__, *map(str, descriptors)],
                pass_fds=descriptors,
                stderr=stderr,
                cwd=folder,
                env=environment,
            )
        self.orders.settimeout(BOUND)
        self._answers: dict[int, Any] = {}
        self._number = 0
        self.serves = False
        self._is_ready = False
        self._is_ready = self.answer(0, BOUND) == "ready"

    def ask(self, name: str, *arguments: Any, job: bool = False) -> int:
        """Have the main thread, or else the signal handler, do it; returns the answer's number."""
        self._number += 1
        message = json.dumps([self._number, name, *arguments]).encode()
        (self.jobs if job else self.orders).sendall(message)
        if not job:
            self.process.send_signal(signal.SIGUSR1)
        return self._number

    def has(self, number: int) -> bool:
        """Whether the answer of this number has come."""
        self.orders.settimeout(0)
        with contextlib.suppress(BlockingIOError):
            while number not in self._answers:
                self._receive()
        self.orders.settimeout(BOUND)
        return number in self._answers

    def answer(self, number: int, bound: float) -> Any:
        """The answer of this number, which must come in *bound* seconds."""
        until = time.monotonic() + bound
        while number not in self._answers:
            self.await_news(until - time.monotonic())
        value, failure = self._answers.pop(number)
        if failure == "StateError":
            raise core.StateError(failure, core.State.CLOSED, failure)
        assert failure is None, failure
        return value

    def await_news(self, bound: float = BOUND) -> None:
        """Receive an answer, or that a loop runs, which must come in *bound* seconds."""
        until = time.monotonic() + bound
        while True:
            self.orders.settimeout(0.03)
            try:
                self._receive()
            except TimeoutError:
                if time.monotonic() > until:
                    self.process.send_signal(signal.SIGABRT)  # faulthandler's
                    self.process.wait()
                    raise AssertionError(f"nothing comes\n{self.log.read_text()}") from None
                # One that came just before a system call has not ended that.
                if self._is_ready:
                    self.process.send_signal(signal.SIGUSR1)
            else:
                return

    def _receive(self) -> None:
        packet = self.orders.recv(65536)
        assert packet, f"the process has ended\n{self.log.read_text()}"
        number, value, failure = json.loads(packet)
        if number is None:
            self.serves = True
        else:
            self._answers[number] = (value, failure)

    def end(self) -> str:
        """End the process; returns what it printed on standard error."""
        self.jobs.close()
        try:
            self.process.wait(BOUND)
        finally:
            self.process.kill()
            self.process.wait()
            self.orders.close()
        return self.log.read_text()


class RemoteCall:
    """A call that is made in the other process, and must return."""

    def __init__(self, process: Process, name: str, *arguments: Any, job: bool = False) -> None:
        self._process = process
        self._number = process.ask(name, *arguments, job=job)

    def is_done(self) -> bool:
        """Whether it has returned."""
        return self._process.has(self._number)

    def finish(self, bound: float = BOUND) -> Any:
        """What it returned; raises AssertionError if it doesn't return."""
        return self._process.answer(self._number, bound)


class Remote:
    """A server in another process, which its signal handler calls."""

    def __init__(
        self, process: Process, bases: list[str], folder: str, options: dict[str, Any]
    ) -> None:
        self._process = process
        self.address: Any = process.answer(
            process.ask("make", bases, folder, options, job=True), 20
        )
        if isinstance(self.address, list):
            self.address = tuple(self.address)

    def call(self, name: str, *arguments: Any) -> RemoteCall:
        """Call the server's method *name*: what serves in the main thread."""
        job = name in {"serve_forever", "handle_request"}
        self._process.serves &= not job
        return RemoteCall(self._process, name, *arguments, job=job)

    def stats(self) -> dict[str, Any]:
        """The statistics."""
        result: dict[str, Any] = self.call("stats").finish()
        return result

    def await_serving(self, loop: RemoteCall) -> None:
        """Return when the loop runs."""
        while not loop.is_done() and not self._process.serves:
            self._process.await_news()

    def end(self) -> tuple[dict[str, Any], int, list[str]]:
        """End the closed server: what was left behind, the faults, the other errors."""
        result: tuple[dict[str, Any], int, list[str]] = tuple(
            RemoteCall(self._process, "end", job=True).finish()
        )
        return result

    def kill(self) -> None:
        """End it after a failure."""
        self._process.process.kill()
        self._process.process.wait()


class Program:
    """What runs in the other process."""

    def __init__(self, jobs: socket.socket, orders: socket.socket) -> None:
        self._jobs = jobs
        self._orders = orders
        self._server: Any = None
        self._ends = contextlib.ExitStack()
        self._whole = contextlib.ExitStack()

    def run(self) -> None:
        """Do the jobs, one after the other."""
        signal.signal(signal.SIGUSR1, self._obey)
        self._orders.sendall(b'[0, "ready", null]')
        with self._jobs, self._orders, self._whole:
            while job := self._jobs.recv(65536):
                self._do(*json.loads(job))

    def _obey(self, _number: int, _frame: object) -> None:
        """Do what was ordered; runs between two instructions of the main thread."""
        with contextlib.suppress(BlockingIOError):
            while order := self._orders.recv(65536, socket.MSG_DONTWAIT):
                self._do(*json.loads(order))

    def _do(self, number: int, name: str, *arguments: Any) -> None:
        value = failure = None
        try:
            if name in {"make", "end", "stats"}:
                value = getattr(self, f"_{name}")(*arguments)
            else:
                getattr(self._server, name)(*arguments)
        except core.StateError:
            failure = "StateError"
        except BaseException as error:
            failure = repr(error)
        self._orders.sendall(json.dumps([number, value, failure]).encode())

    def _tell_serving(self) -> None:
        self._orders.sendall(b"[null, true, null]")

    def _make(self, bases: list[str], folder: str, options: dict[str, Any]) -> Any:
        if any("Processes" in name for name in bases):
            self._start_processes()
        self._before = held()
        self._errors = self._ends.enter_context(Errors())
        self._server = make(bases, folder, options)
        self._server.tell_serving = self._tell_serving
        if hasattr(self._server, "prefork"):
            # Threads may come before the first loop: those of handle_request.
            self._server.prefork()
        return self._server.server_address

    def _start_processes(self) -> None:
        from tests import _executed

        if _executed.ProcessesMixIn.executor is None:
            self._whole.enter_context(_executed.two_processes())

    def _stats(self) -> dict[str, Any]:
        return counts(self._server)

    def _end(self) -> list[Any]:
        self._ends.close()
        left = remains(self._server) | left_behind(self._before)
        self._server = None
        return [left, self._errors.faults, self._errors.others]


if __name__ == "__main__":
    faulthandler.enable()
    Program(*(socket.socket(fileno=int(number)) for number in sys.argv[1:])).run()
