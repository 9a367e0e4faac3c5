"""Tests of netserve.concurrency._staffing: decisions about workers, without any process."""

import os

import pytest

if not hasattr(os, "fork"):
    pytest.skip("the platform can't fork", allow_module_level=True)

from netserve.concurrency._staffing import Staffing, Stage


def staffed(size=2, attempts=3):
    """Staffing with *size* workers that serve, in the slots from 0, since the time 0."""
    staffing = Staffing(size, attempts)
    for slot in range(size):
        staffing.started(slot, 0)
        staffing.is_ready(slot)
    return staffing


def test_all_are_started_at_once():
    """As many as are wanted, and no more while they start."""
    staffing = Staffing(3, 5)
    assert staffing.size == 3
    assert staffing.starts(0) == 3
    for slot in range(3):
        staffing.started(slot, 0)
    assert staffing.starts(0) == 0
    assert staffing.ready == 0
    staffing.is_ready(1)
    assert staffing.ready == 1
    assert repr(staffing) == "<Staffing: 1 of 3 ready>"


def test_one_that_has_served_for_long_is_replaced_at_once():
    """Its end is no reason to wait."""
    staffing = staffed()
    assert staffing.ended(0, 10).stage is Stage.READY
    assert staffing.starts(10) == 1
    assert staffing.pause(10) is None


def test_starts_wait_longer_after_each_failure():
    """A tenth of a second, twice as long, and so on to five."""
    staffing, now, pauses = Staffing(1, 99), 0.0, []
    for slot in range(9):
        assert staffing.starts(now) == 1
        staffing.started(slot, now)
        staffing.ended(slot, now)
        assert staffing.starts(now) == 0
        pauses.append(staffing.pause(now))
        now += pauses[-1]
    assert pauses == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5, 5])


def test_those_that_fail_together_are_one_failure():
    """With eight processes, one bad start isn't eight."""
    staffing = Staffing(8, 3)
    for slot in range(8):
        staffing.started(slot, 0)
    for slot in range(8):
        staffing.ended(slot, 0.01)
    assert staffing.pause(0.01) == pytest.approx(0.1)
    assert not staffing.hopeless


def test_a_failure_long_after_the_last_is_the_first_of_its_row():
    """What failed yesterday says nothing of today."""
    staffing = Staffing(1, 99)
    for slot, now in enumerate((0, 1, 100)):
        staffing.started(slot, now)
        staffing.ended(slot, now)
    assert staffing.pause(100) == pytest.approx(0.1)


def test_there_is_no_hope_after_so_many_failed_starts():
    """As long as none serves."""
    staffing = Staffing(1, 3)
    for slot in range(3):
        assert not staffing.hopeless
        staffing.started(slot, slot)
        assert not staffing.hopeless
        staffing.ended(slot, slot)
    assert staffing.hopeless


def test_who_begins_again_has_hope_again():
    """And needn't wait."""
    staffing = Staffing(1, 1)
    staffing.started(0, 0)
    staffing.ended(0, 0)
    assert staffing.hopeless
    staffing.begin()
    assert not staffing.hopeless
    assert staffing.starts(0) == 1


def test_there_is_hope_while_another_serves():
    """It may be the last one, but it serves."""
    staffing = staffed(size=2, attempts=1)
    staffing.ended(0, 10)
    staffing.started(2, 10)
    staffing.ended(2, 10)
    assert not staffing.hopeless


def test_one_that_serves_gives_hope_again():
    """Its successors have all their tries."""
    staffing = Staffing(1, 2)
    staffing.started(0, 0)
    staffing.ended(0, 0)
    staffing.started(1, 1)
    staffing.is_ready(1)
    staffing.ended(1, 1.5)
    staffing.started(2, 2)
    staffing.ended(2, 2)
    assert not staffing.hopeless


def test_those_that_die_soon_but_serve_are_never_hopeless():
    """Their ends slow down the starts, and no more: somebody was served."""
    staffing = Staffing(1, 1)
    for slot in range(5):
        staffing.started(slot, slot * 10)
        staffing.is_ready(slot)
        staffing.ended(slot, slot * 10 + 0.5)
    assert not staffing.hopeless
    assert staffing.pause(40.5) > 1


def test_workers_are_replaced_one_by_one():
    """One of the new is started; when it serves, one of the old leaves; and so on."""
    staffing = staffed(2)
    assert staffing.leavers() == []
    staffing.replace_all()
    for new, old in ((2, 0), (3, 1)):
        assert staffing.starts(10) == 1
        staffing.started(new, 10)
        assert staffing.starts(10) == 0
        assert staffing.leavers() == []
        staffing.is_ready(new)
        (leaver,) = staffing.leavers()
        assert leaver.slot == old
        staffing.leaves(leaver, 20)
        assert staffing.leavers() == []
    assert staffing.starts(10) == 0
    assert sorted(staffing.workers) == [0, 1, 2, 3]
    assert staffing.ready == 2


def test_an_old_one_that_dies_meanwhile_is_replaced_by_a_new_one():
    """And the one that is being started doesn't delay that."""
    staffing = staffed(2)
    staffing.replace_all()
    staffing.started(2, 10)
    staffing.ended(0, 10)
    # With the new one there are as many as are wanted.
    assert staffing.starts(10) == 0
    staffing.is_ready(2)
    assert staffing.leavers() == []
    assert staffing.starts(10) == 1
    staffing.started(3, 10)
    staffing.is_ready(3)
    assert [worker.slot for worker in staffing.leavers()] == [1]


def test_replacing_again_replaces_those_that_are_starting_too():
    """They were forked before whatever has changed since."""
    staffing = staffed(1)
    staffing.replace_all()
    staffing.started(1, 10)
    staffing.replace_all()
    assert staffing.starts(10) == 0 or [worker.slot for worker in staffing.leavers()] == [0]
    for worker in staffing.leavers():
        staffing.leaves(worker)
    assert staffing.starts(10) == 1
    staffing.started(2, 10)
    staffing.is_ready(2)
    assert [worker.slot for worker in staffing.leavers()] == [1]


def test_one_that_leaves_is_no_failure_and_counts_no_more():
    """However soon it ends, and although it serves until then."""
    staffing = staffed(1)
    worker = staffing.workers[0]
    staffing.leaves(worker, 5)
    staffing.is_ready(0)
    assert worker.stage is Stage.LEAVING
    assert staffing.ready == 0
    assert staffing.starts(0.1) == 1
    assert staffing.ended(0, 0.1) is worker
    assert staffing.pause(0.1) is None


def test_the_earliest_time_to_be_killed_counts():
    """A second order can shorten the grace, not prolong it."""
    staffing = staffed(1)
    worker = staffing.workers[0]
    for until in (20, 10, 30):
        staffing.leaves(worker, until)
    assert worker.kill_at == 10
