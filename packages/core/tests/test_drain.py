"""Tests of netserve.core._drain: the deadline of a drain, and the sum of it."""

import dataclasses
import time

import pytest

from netserve.core import Outcome, StopResult
from netserve.core._drain import Drain

NONE = dict.fromkeys(Outcome, 0)


@pytest.fixture
def clock(monkeypatch):
    """The monotonic clock, as a list of one number that the test moves."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_the_grace_runs_from_the_beginning(clock):
    """What remains shrinks with time, and is negative when the grace is over."""
    drain = Drain(5, NONE)
    assert (drain.began, drain.deadline, drain.remaining()) == (1000, 1005, 5)
    clock[0] += 2
    assert drain.remaining() == 3
    clock[0] += 4
    assert drain.remaining() == -1


def test_the_shortest_grace_counts(clock):
    """Another call may bring the deadline nearer, and never puts it off."""
    drain = Drain(5, NONE)
    clock[0] += 2
    drain.shorten(100)
    assert drain.deadline == 1005
    drain.shorten(1)
    assert drain.deadline == 1003
    drain.shorten(0)
    assert drain.remaining() == 0


def test_the_repr_shows_what_is_left(clock):
    """A drain that is looked at in a debugger tells its time."""
    assert repr(Drain(2.5, NONE)) == "<Drain with 2.500 s left>"


def test_the_result_counts_what_ended_since_the_beginning(clock):
    """Every end but FORCED and REFUSED came by itself; what ended before doesn't count."""
    before = {outcome: 10 * number for number, outcome in enumerate(Outcome, 1)}
    drain = Drain(5, before)
    clock[0] += 2
    after = {outcome: count + 2**number for number, (outcome, count) in enumerate(before.items())}
    gained = {outcome: after[outcome] - before[outcome] for outcome in Outcome}
    result = drain.result(after)
    assert result.forced == gained[Outcome.FORCED]
    assert result.drained == (
        sum(gained.values()) - gained[Outcome.FORCED] - gained[Outcome.REFUSED]
    )
    assert result.elapsed == 2


def test_asking_for_the_result_changes_nothing(clock):
    """Two callers of stop get the same counts from one drain, and the ledger keeps its own."""
    drain = Drain(5, NONE)
    ends = {**NONE, Outcome.DRAINED: 2, Outcome.FORCED: 1, Outcome.REFUSED: 4}
    assert drain.result(ends) == drain.result(ends) == StopResult(2, 1, 0)
    assert ends[Outcome.REFUSED] == 4


def test_a_result_cannot_be_changed():
    """It is a frozen snapshot."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        StopResult(1, 2, 3.0).forced = 0
