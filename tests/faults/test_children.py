"""A program that has children of its own beside those of ForkingMixIn."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from _harness import PATIENCE, Program, ask, level, ms, stdlib

REAPERS = {
    "own": "each is waited for",
    "all": "the handler of SIGCHLD collects all",
    "system": "SIGCHLD is ignored",
}


@pytest.mark.fault("300 children of the program's own")
@pytest.mark.parametrize("reaper", REAPERS)
@pytest.mark.parametrize("server", ["ForkingMixIn", "drop-in ForkingMixIn"])
def test_storm(seen: Callable[..., None], server: str, reaper: str) -> None:
    """The mix-in takes none of them, leaves no zombie, and survives the loss of its own."""
    ours = weather(server, reaper)
    theirs = weather(stdlib(server), reaper)
    words = "{served} of 100 served"
    if reaper == "own":
        words += ", {stolen} of 300 children taken"
    words += "; all collected {collected} later"
    seen(f"{server}, {REAPERS[reaper]}", words.format(**ours), words.format(**theirs))
    assert ours["served"] == 100
    if reaper == "own":
        assert ours["stolen"] == 0
        assert ours["heard"] > 0
    assert ours["errors"] == []


def weather(server: str, reaper: str) -> dict[str, Any]:
    """Serve 100 clients while the program's own children end."""
    with Program(server, trouble="storm", reaper=reaper) as program:
        program.trouble()
        served = sum(ask(program.port) == b"HELLO\n" for _ in range(100))
        storm = program.answer()
        collected = ms(until_collected(program))
        program.settle()
        errors = level(program.records(), "WARNING", "ERROR")
        return {**storm, "served": served, "collected": collected, "errors": errors}


@pytest.mark.fault("a child ends while nothing else happens")
@pytest.mark.parametrize("server", ["ForkingMixIn", "drop-in ForkingMixIn"])
def test_zombie(seen: Callable[..., None], server: str) -> None:
    """It is collected at once."""
    ours, theirs = [], []
    for name, times in ((server, ours), (stdlib(server), theirs)):
        with Program(name) as program:
            for _ in range(5):
                assert ask(program.port) == b"HELLO\n"
                times.append(until_collected(program))
    seen(server, f"a zombie for {ms(max(ours))} at most", f"for {ms(max(theirs))}")
    assert max(ours) < 1


def until_collected(program: Program) -> float:
    """Wait until *program* has no child any more; how long that took, in seconds."""
    began = time.monotonic()
    while program.children():
        assert time.monotonic() < began + PATIENCE
        time.sleep(0.001)
    return time.monotonic() - began
