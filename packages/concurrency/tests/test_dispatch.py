"""Tests of netserve.concurrency._dispatch: turns, bounds and order, without an executor."""

from concurrent.futures import CancelledError, Future

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from netserve.concurrency._dispatch import Dispatch, Job, Lane


def begin_all(dispatch):
    """Give all turns there are to messages; returns the messages that were sent."""
    sent = []
    while (lane := dispatch.next()) is not None:
        sent.append(dispatch.begin(lane).message)
    return sent


def test_turns_go_round():
    """A lane with many messages gets one turn after each that another lane has."""
    dispatch = Dispatch(10, 10)
    many, few = Lane("many"), Lane("few")
    dispatch.add(many, [b"1", b"2", b"3"])
    dispatch.add(few, [b"a"])
    assert begin_all(dispatch) == [b"1", b"a", b"2", b"3"]


def test_no_turn_without_room():
    """At the bound nobody gets a turn, until a job has landed."""
    dispatch = Dispatch(1, 1)
    lanes = [Lane(name) for name in "ab"]
    for lane in lanes:
        dispatch.add(lane, [lane.owner.encode()])
    assert begin_all(dispatch) == [b"a"]
    assert not dispatch.has_room
    dispatch.land(lanes[0].jobs[0])
    assert begin_all(dispatch) == [b"b"]


def test_answers_are_taken_in_order():
    """What lands first waits for what was sent first."""
    dispatch = Dispatch(10, 2)
    lane = Lane("lane")
    dispatch.add(lane, [b"1", b"2", b"3"])
    assert begin_all(dispatch) == [b"1", b"2"]
    first, second = lane.jobs
    dispatch.land(second)
    assert dispatch.take(lane) is None
    # It hasn't been answered, and counts for its connection.
    assert begin_all(dispatch) == []
    dispatch.land(first)
    assert dispatch.take(lane) is first
    assert dispatch.take(lane) is second
    assert dispatch.take(lane) is None
    assert begin_all(dispatch) == [b"3"]


def test_a_lane_may_ask_in_order_to_read():
    """Its turn comes when there is room; until then it isn't to read."""
    dispatch = Dispatch(1, 2)
    busy, reader = Lane("busy"), Lane("reader")
    dispatch.add(busy, [b"1"])
    begin_all(dispatch)
    dispatch.ask(reader)
    dispatch.ask(reader)
    assert not dispatch.may_read(reader)
    assert reader.is_busy
    assert dispatch.next() is None
    dispatch.land(busy.jobs[0])
    assert dispatch.next() is reader
    assert dispatch.may_read(reader)
    assert dispatch.next() is None


def test_a_paused_lane_sends_nothing():
    """Neither a turn that it has asked for nor a message that comes changes that."""
    dispatch = Dispatch(10, 10)
    lane = Lane("lane")
    dispatch.add(lane, [b"1"])
    dispatch.set_paused(lane, True)
    dispatch.set_paused(lane, True)
    dispatch.add(lane, [b"2"])
    assert begin_all(dispatch) == []
    dispatch.set_paused(lane, False)
    assert begin_all(dispatch) == [b"1", b"2"]


def test_a_closed_lane_gets_no_turn():
    """Its jobs count until they have landed; it knows its owner no more."""
    dispatch = Dispatch(1, 1)
    lane = Lane("lane")
    dispatch.add(lane, [b"1", b"2"])
    begin_all(dispatch)
    dispatch.land(lane.jobs[0])
    assert dispatch.take(lane) is not None
    assert begin_all(dispatch) == [b"2"]
    job = lane.jobs[0]
    dispatch.ask(lane)
    assert dispatch.close(lane) == [job]
    assert dispatch.close(lane) == []
    assert not hasattr(lane, "owner")
    assert not dispatch.has_room
    assert repr(dispatch) == "<Dispatch of 1, at most 1>"
    dispatch.land(job)
    assert dispatch.next() is None


@pytest.mark.parametrize(
    ("limits", "name"), [((0, 1), "max_in_flight"), ((1, 0), "max_in_flight_per_connection")]
)
def test_bounds_are_positive(limits, name):
    """The error names the attribute."""
    with pytest.raises(ValueError, match=f"{name} must be 1 or more, not 0"):
        Dispatch(*limits)


def test_what_ended_a_worker_does_not_end_the_server():
    """A SystemExit of the work is an error of the work."""
    job = Job(Lane("lane"), b"message")
    job.future = Future()
    job.future.set_exception(SystemExit(3))
    with pytest.raises(RuntimeError, match=r"process_message raised SystemExit\(3\)"):
        job.answer()


def test_a_cancelled_job_has_no_answer():
    """It says so."""
    job = Job(Lane("lane"), b"message")
    job.future = Future()
    job.future.cancel()
    with pytest.raises(CancelledError):
        job.answer()


class Model(RuleBasedStateMachine):
    """Lanes with numbered messages; whatever happens, order and bounds hold."""

    @initialize(limit=st.integers(1, 4), limit_each=st.integers(1, 3))
    def make(self, limit, limit_each):
        """Begin with some bounds."""
        self.limit, self.limit_each = limit, limit_each
        self.dispatch = Dispatch(limit, limit_each)
        self.lanes = [Lane(number) for number in range(3)]
        self.came = [0, 0, 0]
        self.sent = [0, 0, 0]
        self.answered = [0, 0, 0]
        self.wants = [False, False, False]
        self.flying = []

    @rule(which=st.integers(0, 2), count=st.integers(1, 4))
    def come(self, which, count):
        """Messages come, which is read only where it may be."""
        lane = self.lanes[which]
        if not lane.is_closed and self.dispatch.may_read(lane):
            first = self.came[which]
            self.came[which] += count
            self.dispatch.add(lane, [b"%d" % number for number in range(first, first + count)])

    @rule(which=st.integers(0, 2))
    def ask_to_read(self, which):
        """A lane may not read, because there is no room."""
        lane = self.lanes[which]
        if not lane.is_closed and self.dispatch.may_read(lane) and not self.dispatch.has_room:
            self.dispatch.ask(lane)
            self.wants[which] = True

    @rule()
    def send_off(self):
        """Give all turns."""
        while (lane := self.dispatch.next()) is not None:
            which = lane.owner
            if not lane.waiting:
                assert self.wants[which]
                continue
            job = self.dispatch.begin(lane)
            assert job.message == b"%d" % self.sent[which]
            self.sent[which] += 1
            self.flying.append(job)
        self.wants = [lane.has_asked for lane in self.lanes]
        # Nobody who could have had a turn is left without.
        if self.dispatch.has_room:
            for lane in self.open():
                assert not lane.has_asked
                assert not lane.waiting or lane.is_paused or len(lane.jobs) == self.limit_each

    @precondition(lambda self: self.flying)
    @rule(data=st.data())
    def land(self, data):
        """A job lands; what is due is answered."""
        job = self.flying.pop(data.draw(st.integers(0, len(self.flying) - 1)))
        self.dispatch.land(job)
        lane = job.lane
        if lane.is_closed:
            return
        while (job := self.dispatch.take(lane)) is not None:
            assert job.message == b"%d" % self.answered[lane.owner]
            self.answered[lane.owner] += 1

    @rule(which=st.integers(0, 2), paused=st.booleans())
    def pause(self, which, paused):
        """A client takes its answers, or not."""
        lane = self.lanes[which]
        if not lane.is_closed:
            self.dispatch.set_paused(lane, paused)

    @rule(which=st.integers(0, 2))
    def close(self, which):
        """A connection ends."""
        lane = self.lanes[which]
        if not lane.is_closed:
            left = self.dispatch.close(lane)
            assert left == [job for job in self.flying if job.lane is lane]

    def open(self):
        """The lanes of those that are left."""
        return [lane for lane in self.lanes if not lane.is_closed]

    @invariant()
    def bounds_hold(self):
        """No more are under way than may be."""
        if hasattr(self, "dispatch"):
            assert set(self.flying) == self.dispatch.flying
            assert len(self.flying) <= self.limit
            assert all(len(lane.jobs) <= self.limit_each for lane in self.lanes)

    def teardown(self):
        """When nothing is paused and all land, every message of an open lane is answered."""
        if not hasattr(self, "dispatch"):
            return
        for lane in self.open():
            self.dispatch.set_paused(lane, False)
        self.send_off()
        while self.flying:
            job = self.flying.pop()
            self.dispatch.land(job)
            if not job.lane.is_closed:
                while self.dispatch.take(job.lane) is not None:
                    self.answered[job.lane.owner] += 1
            self.send_off()
        for lane in self.open():
            assert self.answered[lane.owner] == self.came[lane.owner]


TestModel = Model.TestCase
TestModel.settings = settings(
    max_examples=100, stateful_step_count=40, deadline=None, database=None, derandomize=True
)
