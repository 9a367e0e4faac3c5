"""The system has run out of something: of descriptors, threads or processes."""

import socket
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any

import pytest
from _harness import KINDS, PATIENCE, Program, ask, connect, level, ms, read_to_end, stdlib

SPAN = 3.0  # seconds


@pytest.mark.fault("descriptors run out")
@pytest.mark.parametrize("server", [*KINDS, "drop-in ThreadingMixIn"])
def test_descriptors(seen: Callable[..., None], server: str) -> None:
    """The loop pauses instead of spinning, says so once, and goes on by itself."""
    with ExitStack() as stack:
        program = stack.enter_context(Program(server, trouble="no_descriptors"))
        tries, share, recovery = starve(program, SPAN)
        report = program.report()
        warnings = level(program.records(), "WARNING", "ERROR")
        beside = stack.enter_context(Program(stdlib(server), trouble="no_descriptors"))
        theirs, their_share, _ = starve(beside, 1.0)
    seen(
        server,
        f"{tries:.1f} accepts/s, CPU {share:.0%}, {len(warnings)} warning;"
        f" the client is served {ms(recovery)} after there is room",
        f"{theirs:,.0f} accepts/s, CPU {their_share:.0%}",
    )
    assert tries < 20
    assert share < 0.2
    assert len(warnings) == 1
    assert report["stats"]["exhausted"] == 1
    assert report["stats"]["failed"] == 0
    assert recovery < 3


def starve(program: Program, span: float) -> tuple[float, float, float]:
    """Let a client come while there is no descriptor for it.

    Returns accepts in a second, the share of one CPU, and how long after the
    end of the trouble the client was served, in seconds.
    """
    assert ask(program.port) == b"HELLO\n"
    program.settle()
    # The standard library doesn't tell when it has closed that client's descriptor.
    time.sleep(0.2)
    program.trouble()
    calls, cpu, began = program.report()["calls"], program.cpu(), time.monotonic()
    with connect(program.port) as client:
        client.sendall(b"kept\n")
        time.sleep(span)
        elapsed = time.monotonic() - began
        tries = (program.report()["calls"] - calls) / elapsed
        share = (program.cpu() - cpu) / elapsed
        program.trouble()
        began = time.monotonic()
        assert client.recv(100) == b"KEPT\n"
        return tries, share, time.monotonic() - began


@pytest.mark.fault("a few descriptors are left")
@pytest.mark.parametrize("server", KINDS)
def test_few_descriptors(seen: Callable[..., None], server: str) -> None:
    """What was accepted with the last descriptor isn't dropped for want of the next one."""
    served = []
    for spare in range(1, 4):
        with Program(server, trouble="no_descriptors", spare=spare) as program:
            assert ask(program.port) == b"HELLO\n"
            program.settle()
            program.trouble()
            with connect(program.port) as client:
                client.sendall(b"kept\n")
                time.sleep(0.5)
                program.trouble()
                client.settimeout(5)
                served.append(client.recv(100) == b"KEPT\n")
            errors = level(program.records(), "ERROR")
            assert errors == []
    seen(server, f"with 1, 2 and 3 left: {sum(served)} of {len(served)} clients served")
    assert all(served)


@pytest.mark.fault("no thread or process can be started")
@pytest.mark.parametrize("server", ["ThreadingMixIn", "ForkingMixIn", "drop-in ForkingMixIn"])
def test_processes(seen: Callable[..., None], server: str) -> None:
    """The request that was taken is kept, those after it wait, and all are served."""
    try:
        ours = refuse(server)
    except EOFError:
        pytest.skip("this system lets root become nobody else, and sets root no limit")
    theirs = refuse(stdlib(server))
    seen(
        server,
        f"{ours['served']} of 5 served; {ours['tries']:.1f} accepts/s, {ours['warnings']} warning",
        f"{theirs['served']} of 5 served",
    )
    assert ours["served"] == 5
    assert ours["warnings"] == 1
    assert ours["tries"] < 20
    assert ours["stats"]["exhausted"] == 1
    assert ours["stats"]["failed"] == 0


def refuse(server: str) -> dict[str, Any]:
    """Let five clients come while no thread or process can be started."""
    with Program(server, trouble="no_processes") as program, ExitStack() as stack:
        assert ask(program.port) == b"HELLO\n"
        program.settle()
        program.trouble()
        before, began = program.report()["calls"], time.monotonic()
        clients = [stack.enter_context(connect(program.port)) for _ in range(5)]
        for client in clients:
            client.sendall(b"kept\n")
        time.sleep(1)
        tries = (program.report()["calls"] - before) / (time.monotonic() - began)
        program.trouble()
        served = 0
        for client in clients:
            client.settimeout(PATIENCE)
            with suppress(OSError):
                client.shutdown(socket.SHUT_WR)
                served += read_to_end(client) == b"KEPT\n"
        return {
            "served": served,
            "tries": tries,
            "warnings": len(level(program.records(), "WARNING", "ERROR")),
            "stats": program.report()["stats"],
        }
