"""Tests of netserve.concurrency._supervisor, with a forker that only notes what it is told."""

import errno
import logging
import os
import signal
import socket
import time

import pytest

if not hasattr(os, "fork"):
    pytest.skip("the platform can't fork", allow_module_level=True)

from netserve.concurrency._nursery import ENDED, FORKED, LEFT, READY, UNBORN, News
from netserve.concurrency._staffing import Staffing
from netserve.concurrency._supervisor import Supervisor
from netserve.concurrency._worker_table import Order, WorkerLedger, WorkerTable


class Forker:
    """Notes its orders; what is put into *reports* is the next news."""

    def __init__(self):
        self.lost = False
        self.orders = []
        self.reports = []
        self.closed = False
        self._pair = socket.socketpair()

    def descriptors(self):
        """Two that are never ready."""
        return self._pair[0].fileno(), self._pair[1].fileno()

    def start(self, slot):
        """Note it."""
        self.orders.append(("start", slot))

    def signal(self, slot, number):
        """Note it."""
        self.orders.append((signal.Signals(number).name, slot))

    def news(self):
        """What is there."""
        news, self.reports = self.reports, []
        return [News(*each) for each in news]

    def close(self):
        """Note it."""
        self.closed = True
        for each in self._pair:
            each.close()

    def take(self):
        """The orders since the last call."""
        orders, self.orders = self.orders, []
        return orders


class Scene:
    """A supervisor, and what it works with."""

    def __init__(self, size=2, slots=4, grace=100.0):
        self.forker = Forker()
        self.table = WorkerTable(slots)
        self.supervisor = Supervisor(
            self.forker, self.table, Staffing(size, 2), lambda: "the server", grace
        )

    def hear(self, *reports):
        """Have it hear *reports*; returns its orders."""
        self.forker.reports += reports
        self.supervisor.step()
        return self.forker.take()

    def staff(self):
        """Have both workers serve."""
        self.supervisor.staff()
        self.hear()
        self.hear((FORKED, 0, 100), (FORKED, 1, 101), (READY, 0, 100), (READY, 1, 101))


@pytest.fixture
def scene():
    """A supervisor of two workers."""
    scene = Scene()
    yield scene
    scene.forker.lost = True
    scene.supervisor.close()
    assert scene.forker.closed


def test_nobody_is_started_before_the_server_serves(scene):
    """And then all at once."""
    assert scene.hear() == []
    assert not scene.supervisor.hopeless
    scene.supervisor.staff()
    assert scene.hear() == [("start", 0), ("start", 1)]
    assert scene.supervisor.pids == []
    scene.hear((READY, 1, 101), (FORKED, 1, 101))
    assert scene.supervisor.pids == [101]
    assert (scene.supervisor.ready, scene.supervisor.size) == (1, 2)
    assert repr(scene.supervisor) == "<Supervisor: 1 of 2 workers ready>"


def test_one_that_dies_is_replaced_and_its_end_is_a_record(scene, caplog):
    """With the signal's name, if it has one, and the number of requests."""
    scene.staff()
    kept = WorkerLedger(scene.table[0]).begin(object(), None)
    assert scene.hear((ENDED, 0, -signal.SIGKILL)) == []
    del kept
    assert [record.getMessage() for record in caplog.records] == [
        "the server: worker 100 ended untold, by SIGKILL, with 1 requests"
    ]
    assert scene.supervisor.step() <= 0.1
    assert scene.supervisor.wait(
        lambda: ("start", 0) in scene.forker.orders, lambda: time.monotonic() + 20
    )


def test_the_record_of_an_end_tells_how_bad_it_is(scene, caplog):
    """It ended well, it was told to, or neither."""
    caplog.set_level(logging.DEBUG)
    scene.staff()
    caplog.clear()
    scene.hear((ENDED, 0, 0))
    scene.hear((ENDED, 1, -40))
    scene.supervisor.wait(lambda: len(scene.forker.orders) == 2, lambda: time.monotonic() + 20)
    scene.hear((FORKED, 0, 102), (FORKED, 1, 103))
    scene.supervisor.drain(time.monotonic() + 100)
    scene.hear((ENDED, 0, 0), (ENDED, 1, 9))
    assert [(record.levelname, record.getMessage()[12:]) for record in caplog.records] == [
        ("INFO", "worker 100 ended untold, with status 0, with 0 requests"),
        ("ERROR", "worker 101 ended untold, by signal 40, with 0 requests"),
        ("DEBUG", "worker 102 has ended"),
        ("WARNING", "worker 103 ended with status 9, with 0 requests"),
    ]


def test_one_that_cant_be_forked_is_a_failed_start(scene, caplog):
    """The system's reason is in the record; after some tries there is no hope."""
    scene.supervisor.staff()
    until = time.monotonic() + 20
    orders = scene.hear()
    while not scene.supervisor.hopeless:
        assert time.monotonic() < until
        orders = scene.hear(*((UNBORN, slot, errno.EAGAIN) for _, slot in orders))
    assert os.strerror(errno.EAGAIN) in caplog.text


def test_all_are_told_to_shut_down_once(scene):
    """Nobody is started any more; who has left its loop serves no longer, but is there."""
    scene.staff()
    for _ in range(2):
        scene.supervisor.shut_down()
    assert scene.hear() == [("SIGTERM", 0), ("SIGTERM", 1)]
    assert scene.table[0].order[0] is Order.SHUT_DOWN
    assert scene.supervisor.serving
    scene.hear((LEFT, 0, 0), (LEFT, 1, 0))
    assert not scene.supervisor.serving
    assert scene.supervisor.alive
    assert scene.hear((ENDED, 0, 0), (ENDED, 1, 0)) == []
    assert not scene.supervisor.alive


def test_those_that_outlive_their_grace_are_killed(scene):
    """And what they had in progress was forced."""
    scene.staff()
    left = WorkerLedger(scene.table[1]).begin(object(), None)
    scene.supervisor.drain(time.monotonic() + 100)
    assert scene.hear() == [("SIGTERM", 0), ("SIGTERM", 1)]
    assert 99 < scene.supervisor.step() < 101
    # Told again, with less time.
    scene.supervisor.drain(time.monotonic() - 1)
    assert scene.hear((ENDED, 0, 0)) == [("SIGTERM", 0), ("SIGTERM", 1), ("SIGKILL", 1)]
    scene.hear((ENDED, 1, -9))
    assert scene.table.total()[-4] == 1
    del left


def test_all_can_be_killed_at_once(scene):
    """By whoever won't wait."""
    scene.staff()
    scene.supervisor.kill()
    assert scene.forker.take() == [("SIGKILL", 0), ("SIGKILL", 1)]


def test_a_replaced_one_is_told_to_make_way_when_its_successor_serves(scene):
    """At first it only leaves new clients to others; then it drains, for the server's grace."""
    scene.staff()
    scene.supervisor.replace_all()
    assert scene.hear() == [("start", 2)]
    assert scene.hear((READY, 2, 102), (FORKED, 2, 102)) == [("SIGTERM", 0), ("start", 3)]
    assert scene.table[0].order[0] is Order.YIELD
    assert scene.supervisor.wait(
        lambda: scene.table[0].order[0] is Order.MAKE_WAY, lambda: time.monotonic() + 20
    )
    assert 99 < scene.table[0].order[1] - time.monotonic() < 101
    assert scene.forker.take() == [("SIGTERM", 0)]
    assert scene.hear((READY, 3, 103), (FORKED, 3, 103)) == [("SIGTERM", 1)]
    assert scene.supervisor.pids == [102, 103]
    # The first one accepts nothing, and is left to its drain; the second might still.
    scene.supervisor.shut_down()
    assert scene.forker.take() == [("SIGTERM", 1), ("SIGTERM", 2), ("SIGTERM", 3)]
    scene.hear(*((LEFT, slot, 0) for slot in (1, 2, 3)))
    assert not scene.supervisor.serving
    assert scene.supervisor.alive


def test_successors_wait_while_too_many_are_leaving(scene):
    """The table has room for so many, and no more."""
    scene.staff()
    scene.supervisor.replace_all()
    scene.hear()
    scene.hear((READY, 2, 102), (FORKED, 2, 102))
    scene.hear((READY, 3, 103), (FORKED, 3, 103))
    scene.supervisor.replace_all()
    assert scene.hear() == []
    assert scene.supervisor.ready == 2
    assert ("start", 0) in scene.hear((ENDED, 0, 0))


def test_a_wait_ends_when_its_time_is_over_or_the_forker_is_gone(scene):
    """Whether or not its condition holds then."""
    scene.staff()
    assert not scene.supervisor.wait(lambda: False, lambda: 0)
    assert not scene.supervisor.lost
    scene.forker.lost = True
    assert scene.supervisor.lost
    assert scene.supervisor.wait(lambda: False, lambda: float("inf"))


def test_a_closed_supervisor_has_nothing_to_do():
    """And may be closed again; the descriptors are gone then."""
    scene = Scene()
    for _ in range(2):
        scene.supervisor.close()
    assert scene.supervisor.step() == float("inf")
