"""Stopping in the middle of the work, at once, again and again; and sleeping until then."""

import os
import signal
import socketserver
import statistics
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack

import pytest
from _harness import KINDS, Program, collect, connect, crowd, level, ms, stdlib

from netserve.concurrency import AsyncioMixIn, ForkingMixIn, ThreadingMixIn
from netserve.handlers import StreamRequestHandler
from netserve.transports import TCPServer

CROWD = 200
CLASSES: dict[str, list[type]] = {
    "TCPServer": [TCPServer],
    "ThreadingMixIn": [ThreadingMixIn, TCPServer],
    "ForkingMixIn": [ForkingMixIn, TCPServer],
    "AsyncioMixIn": [AsyncioMixIn, TCPServer],
}
# A handler works for none to nine of these, in seconds.
PAUSES = {"TCPServer": 0.001, "ThreadingMixIn": 0.05, "ForkingMixIn": 0.02, "AsyncioMixIn": 0.05}


@pytest.mark.fault("SIGTERM in the middle of 200 requests")
@pytest.mark.parametrize(
    ("server", "limit"), [*((kind, None) for kind in KINDS), ("ThreadingMixIn", 20)]
)
def test_sigterm(seen: Callable[..., None], server: str, limit: int | None) -> None:
    """Whoever was connected and had sent the request gets the whole reply."""
    attributes = {"pause": PAUSES[server], "request_queue_size": 256, "grace": 20}
    if limit:
        attributes["max_connections"] = limit
    whole, before, status, elapsed = interrupt(server, attributes)
    theirs, _, their_status, _ = interrupt(stdlib(server), attributes)
    seen(
        server + (f", max_connections={limit}" if limit else ""),
        f"{whole} of {CROWD} whole replies, {before} of them before the signal;"
        f" ended {ms(elapsed)} after it with status {status}",
        f"{theirs} of {CROWD}, status {their_status}",
    )
    assert whole == CROWD
    assert before < CROWD
    assert status == 0


def interrupt(server: str, attributes: dict[str, object]) -> tuple[int, int, int, float]:
    """Send SIGTERM when some of the crowd have been served.

    Returns the number of whole replies, how many had come before the signal,
    the exit status, and how long after the signal the program ended, in seconds.
    """
    with Program(server, handler="slow", attributes=attributes, run=True) as program:
        with crowd(program.port, CROWD) as clients:
            for number, client in enumerate(clients):
                client.sendall(b"%d\n" % number)
            told: list[float] = []
            ended = 0

            def one_more(count: int) -> None:
                nonlocal ended
                if count == 20:
                    os.kill(program.pid, signal.SIGTERM)
                    told.append(time.monotonic())
                    ended = count

            replies = collect(clients, ended=one_more)
            status = program.exit_status()
            elapsed = time.monotonic() - told[0]
        whole = sum(reply == b"%d\n" % number * 5000 for number, reply in enumerate(replies))
        return whole, ended, status, elapsed


@pytest.mark.fault("a second SIGTERM")
@pytest.mark.parametrize("handler", ["endless", "asleep"])
@pytest.mark.parametrize("server", KINDS)
def test_second_sigterm(seen: Callable[..., None], server: str, handler: str) -> None:
    """It ends the grace; where a handler heeds nothing and is no process, a third one is needed."""
    with Program(server, handler=handler, attributes={"grace": 60}, run=True) as program:
        with connect(program.port) as client:
            client.sendall(b"\n")
            program.wait_for(lambda report: report["stats"]["active"] == 1)
            os.kill(program.pid, signal.SIGTERM)
            time.sleep(1)
            patient = program.process.poll() is None
            os.kill(program.pid, signal.SIGTERM)
            began = time.monotonic()
            try:
                status, signals = program.exit_status(5), 2
                elapsed = time.monotonic() - began
            except subprocess.TimeoutExpired:
                began = time.monotonic()
                os.kill(program.pid, signal.SIGTERM)
                status, signals = program.exit_status(5), 3
                elapsed = time.monotonic() - began
    seen(
        f"{server}, a handler that {'writes without end' if handler == 'endless' else 'sleeps'}",
        f"ended {ms(elapsed)} after signal {signals} with status {status}",
    )
    assert patient
    if handler == "endless" or server == "ForkingMixIn":
        assert (signals, status) == (2, 0)
    else:
        assert (signals, status) == (3, -signal.SIGTERM)


@pytest.mark.fault("server_close during accept")
@pytest.mark.parametrize("server", KINDS)
def test_close_during_accept(seen: Callable[..., None], server: str) -> None:
    """Another thread closes the server while clients come: nothing is raised, nothing left."""
    rounds = 200
    with Program(server, handler="once", rounds=rounds) as program:
        result = program.answer(60)
        records = level(program.records(), "WARNING", "ERROR")
        errors = program.errors()
    with Program(stdlib(server), handler="once", rounds=1) as beside:
        theirs = beside.answer(60)
    seen(
        server,
        f"{rounds} rounds, {result['served']:,} clients served; {result['raised']} exceptions,"
        f" {result['stuck']} threads stuck, {result['descriptors']} descriptors left,"
        f" {len(records)} warnings or errors",
        f"1 round: {theirs['raised']} exceptions, {theirs['stuck']} threads stuck",
    )
    assert result["served"] > rounds / 2
    assert (result["raised"], result["stuck"], result["descriptors"]) == (0, 0, 0)
    assert result["active"] == 0
    if server == "AsyncioMixIn":
        # Its connections end with the loop, and a warning tells of them.
        records = [record for record in records if "when the loop ended" not in record]
    assert records == []
    assert errors == ""


@pytest.mark.fault("idle wake-ups")
def test_idle_wake_ups(seen: Callable[..., None]) -> None:
    """A server without requests sleeps; all sleep side by side, a few seconds long."""
    span = 3.0
    kinds = [*KINDS, *(f"drop-in {kind}" for kind in KINDS if kind != "AsyncioMixIn")]
    names = dict.fromkeys([*kinds, *map(stdlib, kinds)])
    with ExitStack() as stack:
        programs = {name: stack.enter_context(Program(name)) for name in names}
        time.sleep(0.5)
        before = {name: switches(program) for name, program in programs.items()}
        time.sleep(span)
        woken = {name: switches(program) - before[name] for name, program in programs.items()}
    for name in programs:
        if not name.startswith("stdlib"):
            seen(
                name,
                f"{woken[name]} context switches in {span:.0f} s",
                f"{woken[stdlib(name)]} context switches",
            )
    assert all(count < 3 for name, count in woken.items() if not name.startswith("stdlib"))


def switches(program: Program) -> int:
    """The voluntary context switches of *program*'s main thread, which serves."""
    return program.status("voluntary_ctxt_switches")


@pytest.mark.fault("stop latency")
@pytest.mark.parametrize("kind", KINDS)
def test_stop_latency(seen: Callable[..., None], kind: str) -> None:
    """How long it takes to stop an idle server, in turn with the standard library's."""
    ours = type("Server", tuple(CLASSES[kind]), {})
    names = [each.__name__ for each in CLASSES[kind]]
    theirs = type(
        "Server",
        tuple(getattr(socketserver, name) for name in names if hasattr(socketserver, name)),
        {},
    )
    ways = {"shutdown()": ours, "stop()": ours, "stdlib": theirs}
    taken: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(20):
        for way, server_class in ways.items():
            server = server_class(("127.0.0.1", 0), print)
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            # Not all at the same point of a polling loop's interval, for one that polls.
            time.sleep(number * 0.025 if way == "stdlib" else 0.02)
            began = time.monotonic()
            if way == "stop()":
                server.stop()
            else:
                server.shutdown()
            thread.join()
            taken[way].append(time.monotonic() - began)
            server.server_close()
    middle = {way: statistics.median(times) for way, times in taken.items()}
    worst = {way: max(times) for way, times in taken.items()}
    seen(
        kind,
        "; ".join(
            f"{way}: median {ms(middle[way])}, worst {ms(worst[way])}"
            for way in ("shutdown()", "stop()")
        ),
        f"shutdown(): median {ms(middle['stdlib'])}, worst {ms(worst['stdlib'])}",
    )
    assert middle["shutdown()"] < 0.05
    assert middle["stop()"] < 0.05


@pytest.mark.fault("stop beside idle clients")
def test_stop_beside_idle_clients(seen: Callable[..., None]) -> None:
    """Handlers that wait for input see its end at once; the standard library waits for clients."""

    class Server(ThreadingMixIn, TCPServer):
        """A thread for each of them."""

    class Lines(StreamRequestHandler):
        """Reads, and replies at the end."""

        def handle(self) -> None:
            """Reply when there is no more."""
            self.rfile.readline()
            self.wfile.write(b"goodbye")

    with ExitStack() as stack:
        with Server(("127.0.0.1", 0), Lines).background() as running:
            clients = [stack.enter_context(connect(running.address[1])) for _ in range(100)]
            while running.server.stats().active < len(clients):
                time.sleep(0.01)
            result = running.stop(5)
        replies = sum(reply == b"goodbye" for reply in collect(clients))
    seen(
        "ThreadingMixIn",
        f"100 idle clients: stopped after {ms(result.elapsed)}, {result.drained} drained,"
        f" {result.forced} forced; {replies} got a reply",
    )
    assert (result.drained, result.forced, replies) == (100, 0, 100)
    assert result.elapsed < 2
