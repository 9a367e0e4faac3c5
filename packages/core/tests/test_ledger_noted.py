"""Tests of requests that are noted in a ledger, and get their entry when somebody looks."""

import threading

import pytest

from netserve.core._ledger import Ledger
from netserve.core._outcome import Outcome

PATIENCE = 20


@pytest.fixture
def ledger():
    """A ledger in which a request of five bytes is noted."""
    ledger = Ledger()
    ledger.note("request", "address", 5)
    return ledger


def test_it_is_counted_while_it_runs_and_afterwards(ledger):
    """Without an entry."""
    assert ledger.active == 1
    ledger.end_noted("request")
    assert ledger.active == 0
    counts = ledger.counts()
    assert (counts["accepted"], counts["completed"], counts["active"]) == (1, 1, 0)
    assert counts["bytes_received"] == 5


@pytest.mark.parametrize("look", ["find", "entries", "force", "counts", "begin"])
def test_whoever_looks_finds_it(ledger, look):
    """With an entry like any other's, of the time at which it was noted."""
    noted = ledger._noted[3]
    arguments = {"find": ["request"], "begin": ["next", "address"]}.get(look, [])
    getattr(ledger, look)(*arguments)
    entry = ledger.find("request")
    assert (entry.number, entry.request, entry.address) == (1, "request", "address")
    assert entry.since == noted
    assert ledger.counts()["bytes_received"] == 5
    ledger.end_noted("request")
    assert ledger.find("request") is None
    ended = ledger.ends()
    assert ended[Outcome.FORCED if look == "force" else Outcome.COMPLETED] == 1


def test_one_that_was_ended_meanwhile_stays_so(ledger):
    """By whoever has its entry, and knows better."""
    entry = ledger.find("request")
    ledger.end(entry, Outcome.FAILED)
    ledger.end_noted("request")
    assert ledger.ends()[Outcome.FAILED] == 1
    assert ledger.ends()[Outcome.COMPLETED] == 0


def test_it_counts_as_drained_in_a_drain(ledger):
    """Though nobody has looked."""
    ledger.draining = True
    ledger.end_noted("request")
    assert ledger.ends()[Outcome.DRAINED] == 1


def test_whoever_waits_hears_of_its_end(ledger):
    """Also when it is the end of one that was noted after the wait began."""
    waits = threading.Event()

    def over():
        waits.set()
        return ledger.ends()[Outcome.COMPLETED] == 2

    heard = []
    waiter = threading.Thread(
        target=lambda: heard.append(ledger.wait_for(over, lambda: float("inf")))
    )
    waiter.start()
    assert waits.wait(PATIENCE)
    ledger.end_noted("request")
    ledger.note("next", "address", 0)
    ledger.end_noted("next")
    waiter.join(PATIENCE)
    assert heard == [True]


def test_the_next_one_has_a_number_of_its_own(ledger):
    """Requests are numbered in the order in which they were taken."""
    following = ledger.begin("next", "address")
    found = ledger.find("request")
    assert (found.number, following.number) == (1, 2)
