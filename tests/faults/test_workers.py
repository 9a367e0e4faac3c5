"""Servers of several processes, some of which are killed, or die by themselves."""

import contextlib
import itertools
import os
import re
import signal
import time
from collections.abc import Callable

import pytest
from _harness import PATIENCE, Program, ask, connect, level, ms
from test_stopping import CROWD, interrupt

KINDS = ["PreforkMixIn+ThreadingMixIn", "PreforkMixIn+ThreadPoolMixIn"]


def serving(program: Program) -> list[int]:
    """The ids of the workers that serve, as the records tell."""
    messages = [record["message"] for record in program.records()]
    began = {int(pid) for pid in re.findall(r"worker (\d+) serves", str(messages))}
    ended = {int(pid) for pid in re.findall(r"worker (\d+) (?:has )?ended", str(messages))}
    return sorted(began - ended)


def workers(program: Program, number: int = 2) -> list[int]:
    """The ids of the workers that serve, when there are *number* of them."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if len(pids := serving(program)) == number:
            return pids
        time.sleep(0.002)
    raise AssertionError(f"there are never {number} workers: {program.records()}")


def until_gone(program: Program) -> float:
    """Wait until no process is left of *program*; how long that took, in seconds."""
    began = time.monotonic()
    while program.group():
        assert time.monotonic() < began + PATIENCE
        time.sleep(0.001)
    return time.monotonic() - began


@pytest.mark.fault("workers are killed, again and again")
@pytest.mark.parametrize("server", KINDS)
def test_killed_workers(seen: Callable[..., None], server: str) -> None:
    """Each is replaced, and the connection of the other one goes on."""
    times, kept = [], 0
    with Program(server, attributes={"processes": 2}, run=True) as program:
        for _ in range(5):
            first, second = workers(program)
            with connect(program.port) as one, connect(program.port) as other:
                for client in (one, other):
                    client.sendall(b"hello\n")
                    assert client.recv(100) == b"HELLO\n"
                os.kill(first, signal.SIGKILL)
                began = time.monotonic()
                while first in workers(program):
                    time.sleep(0.001)
                times.append(time.monotonic() - began)
                assert ask(program.port) == b"HELLO\n"
                for client in (one, other):
                    with contextlib.suppress(OSError):
                        client.sendall(b"again\n")
                        kept += client.recv(100) == b"AGAIN\n"
            assert second in workers(program)
        stats = program.wait_for(lambda report: not report["stats"]["active"])["stats"]
        records = level(program.records(), "ERROR")
    seen(
        server,
        f"5 of 5 replaced, after {ms(min(times))} to {ms(max(times))};"
        f" {kept} of 10 connections kept, {stats['failed']} counted as failed;"
        f" {len(records)} error records",
    )
    # One that its client has ended may not have been ended by the server yet.
    assert 10 - kept <= stats["failed"] <= 10
    assert len(records) == 5


@pytest.mark.fault("workers that die at their start")
@pytest.mark.parametrize("server", ["PreforkMixIn"])
def test_no_storm(seen: Callable[..., None], server: str) -> None:
    """They are few, in longer and longer intervals, until the server gives up."""
    with Program(server, bases=["Stillborn"], attributes={"processes": 2}) as program:
        began = time.monotonic()
        status = program.exit_status()
        elapsed = time.monotonic() - began
        records = level(program.records(), "ERROR")
        assert "WorkerError" in program.errors()
    deaths = sum("before it served" in message for message in records)
    seen(server, f"{deaths} starts in {ms(elapsed)}, then it gave up with status {status}")
    assert 10 <= deaths <= 15
    assert status == 1


@pytest.mark.fault("the server's own process is killed")
@pytest.mark.parametrize("handler", ["upper", "asleep"])
@pytest.mark.parametrize("server", ["PreforkMixIn", *KINDS])
def test_orphans(seen: Callable[..., None], server: str, handler: str) -> None:
    """The workers end by themselves, within the grace and a second."""
    attributes = {"processes": 2, "grace": 1}
    with Program(server, handler=handler, attributes=attributes, run=True) as program:
        workers(program)
        with connect(program.port) as client:
            client.sendall(b"hello\n")
            program.wait_for(lambda report: report["stats"]["active"] == 1)
            program.process.kill()
            program.process.wait()
            elapsed = until_gone(program)
    busy = "a handler that sleeps" if handler == "asleep" else "an idle connection"
    seen(f"{server}, {busy}", f"no process is left after {ms(elapsed)}, with a grace of 1 s")
    assert elapsed < PATIENCE / 2


@pytest.mark.fault("SIGTERM for several processes in the middle of 200 requests")
@pytest.mark.parametrize("server", KINDS)
def test_sigterm(seen: Callable[..., None], server: str) -> None:
    """Whoever was connected and had sent the request gets the whole reply."""
    attributes = {"processes": 2, "pause": 0.02, "request_queue_size": 256, "grace": 20}
    whole, before, status, elapsed = interrupt(server, attributes)
    seen(
        server,
        f"{whole} of {CROWD} whole replies, {before} of them before the signal;"
        f" ended {ms(elapsed)} after it with status {status}",
    )
    assert (whole, status) == (CROWD, 0)


@pytest.mark.fault("all workers are replaced, again and again")
@pytest.mark.parametrize("server", KINDS)
def test_rolling(seen: Callable[..., None], server: str) -> None:
    """Clients come all the time, and none is refused or gets no reply."""
    served = 0
    with Program(server, attributes={"processes": 2}, run=True) as program:
        for _ in range(5):
            before = set(workers(program))
            os.kill(program.pid, signal.SIGHUP)
            for count in itertools.count(1):
                assert ask(program.port) == b"HELLO\n"
                served += 1
                if count % 10 == 0 and not before & set(serving(program)):
                    break
        stats = program.wait_for(lambda report: not report["stats"]["active"])["stats"]
    seen(server, f"10 workers replaced, {served} of {served} clients served")
    assert stats["accepted"] == served
