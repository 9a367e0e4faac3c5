"""Tests of netserve.concurrency._worker_table: the memory that processes share."""

import os

import pytest

if not hasattr(os, "fork"):
    pytest.skip("the platform can't fork", allow_module_level=True)

from netserve.concurrency._worker_table import (
    Order,
    SummedLedger,
    WorkerLedger,
    WorkerTable,
    is_ahead,
)
from netserve.core import Outcome


class Request:
    """Something to serve."""


@pytest.fixture
def table():
    """A table of three slots."""
    table = WorkerTable(3)
    yield table
    table.close()


def test_a_slot_is_taken_until_it_is_given_back(table):
    """There are as many as the table has, and no more."""
    assert [table.take() for _ in range(4)] == [0, 1, 2, None]
    assert repr(table) == "<WorkerTable: 3 of 3 in use>"
    table.give_back(1, forced=False)
    assert table.take() == 1


def test_another_process_sees_what_is_written(table):
    """Counts, load and orders, in either direction."""
    table.take()
    table[0].order = (Order.MAKE_WAY, 12.5)
    pid = os.fork()
    if not pid:
        ledger = WorkerLedger(table[0])
        ledger.accepts = table[0].order == (Order.MAKE_WAY, 12.5)
        ledger.begin(Request(), None)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert table.total()[0] == 1
    assert table[0].load == 1


def test_a_new_worker_finds_nothing_of_the_one_before(table):
    """Neither orders nor counts."""
    table[table.take()].order = (Order.DRAIN, 1)
    ledger = WorkerLedger(table[0])
    ledger.accepts = True
    ledger.publish()
    table.give_back(0, forced=False)
    assert table[0].load is None
    assert table.take() == 0
    assert table[0].order == (Order.NONE, 0)
    assert not any(table[0].read())


def test_the_sum_keeps_the_counts_of_those_that_have_ended(table):
    """What such a one had in progress has failed, unless it was killed on purpose."""
    for forced in (False, True):
        table.take()
        ledger = WorkerLedger(table[0])
        ledger.end(ledger.begin(Request(), None))
        ledger.add_bytes(3, 4)
        ledger.exhausted += 1
        left = ledger.begin(Request(), None)
        assert table.give_back(0, forced=forced) == 1
        del left
    summed = SummedLedger()
    summed.tables.append(table)
    counts = summed.counts()
    assert {name: count for name, count in counts.items() if count} == {
        "accepted": 4,
        "completed": 2,
        "failed": 1,
        "forced": 1,
        "exhausted": 2,
        "bytes_received": 6,
        "bytes_sent": 8,
    }
    assert summed.ends()[Outcome.FORCED] == 1


def test_the_sum_outlives_the_table():
    """A closed server still tells what it has done."""
    table = WorkerTable(1)
    summed = SummedLedger()
    summed.tables.append(table)
    table.take()
    WorkerLedger(table[0]).begin(Request(), None)
    table.close()
    assert summed.counts()["accepted"] == 1


def test_what_the_servers_own_process_handles_is_in_the_sum(table):
    """It may call handle_request itself."""
    summed = SummedLedger()
    summed.tables.append(table)
    table.take()
    WorkerLedger(table[0]).begin(Request(), None)
    own = summed.begin(Request(), None)
    assert summed.counts()["active"] == 2
    assert summed.active == 1
    summed.end(own)
    assert summed.ends()[Outcome.COMPLETED] == 1


def test_a_slot_that_is_never_finished_is_read_nevertheless(table):
    """Its writer may have been killed while it wrote."""
    table.take()
    slot = table[0]
    slot.write((1,) * (len(Outcome) + 4))
    # The version of what is being written.
    slot._memory[slot._counts] += 1
    assert slot.read() == (1,) * (len(Outcome) + 4)


def test_a_child_of_a_worker_counts_nothing(table):
    """Its parent does, when it has collected it."""
    table.take()
    ledger = WorkerLedger(table[0])
    kept, _ = (ledger.begin(Request(), None) for _ in range(2))
    ledger.after_fork(kept)
    assert ledger.entries() == [kept]
    ledger.end(kept)
    assert table[0].read()[0] == 2
    assert not any(table[0].read()[1:])


def test_the_lightest_worker_is_one_that_accepts(table):
    """One that is leaving may have nothing to do, and won't take anything."""
    assert table.lightest() == 0
    for slot, (active, accepts) in enumerate(((5, True), (0, False), (3, True))):
        table.take()
        ledger = WorkerLedger(table[slot])
        ledger.accepts = accepts
        kept = [ledger.begin(Request(), None) for _ in range(active)]
        ledger.publish()
        del kept
    assert table.lightest() == 3


@pytest.mark.parametrize(
    ("active", "lightest", "ahead"),
    [(0, 0, False), (4, 0, False), (5, 0, True), (104, 90, False), (120, 90, True), (3, 9, False)],
)
def test_a_worker_is_ahead_by_a_few_and_an_eighth(active, lightest, ahead):
    """Otherwise they would wait for one another all the time."""
    assert is_ahead(active, lightest) is ahead
