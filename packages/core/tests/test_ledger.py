"""Tests of netserve.core._ledger."""

import math
import threading
import time

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from netserve.core import Ledger, Outcome

PATIENCE = 20  # seconds until a test gives up; none waits so long unless it fails

ENDED_BY_ITSELF = {Outcome.COMPLETED, Outcome.DISCONNECTED}
OUTCOMES = st.sampled_from(Outcome)
PEERS = ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"]
PEER_OF = {"2001:db8::2": "2001:db8::1"}  # the same network


@pytest.fixture
def ledger():
    """An empty ledger."""
    return Ledger()


def test_a_new_ledger_is_all_zeros(ledger):
    """Every count of Stats is there, and nothing has happened."""
    assert set(ledger.counts().values()) == {0}
    assert ledger.active == 0
    assert ledger.entries() == []
    assert set(ledger.ends()) == set(Outcome)
    assert repr(ledger) == "<Ledger of 0 in progress>"


def test_an_entry_tells_what_it_is(ledger):
    """Entries are numbered from 1, and know request, address, and when they began."""
    before = time.monotonic()
    ledger.begin(object(), "first")
    request = object()
    entry = ledger.begin(request, ("client", 1))
    assert (entry.number, entry.request, entry.handle) == (2, request, request)
    assert entry.address == ("client", 1)
    assert before <= entry.since <= time.monotonic()
    assert 0 <= entry.duration <= time.monotonic() - before
    assert (entry.outcome, entry.peer, entry.thread) == (None, None, None)
    assert (entry.held, entry.forced) == (False, False)
    assert repr(entry) == "<Entry 2 from ('client', 1)>"
    assert repr(ledger) == "<Ledger of 2 in progress>"


def test_a_request_is_found_by_identity(ledger):
    """A datagram that equals another is another."""
    one, other = [b"same"], [b"same"]
    entry = ledger.begin(one, "client")
    assert ledger.find(one) is entry
    assert ledger.find(other) is None
    ledger.end(entry)
    assert ledger.find(one) is None


def test_ending_twice_counts_once(ledger):
    """Whoever comes second is told that there was nothing to end."""
    entry = ledger.begin(object(), "client")
    assert ledger.end(entry, Outcome.FAILED) is True
    assert ledger.end(entry) is False
    assert ledger.counts()["failed"] == 1
    assert ledger.counts()["completed"] == 0
    assert entry.outcome is Outcome.FAILED


def test_an_ended_entry_does_not_end_its_requests_next_one(ledger):
    """The same object may be a request again; the old entry leaves the new one alone."""
    request = object()
    first = ledger.begin(request, "client")
    ledger.end(first)
    second = ledger.begin(request, "client")
    assert ledger.end(first) is False
    assert ledger.find(request) is second


@pytest.mark.parametrize("own", [None, *Outcome])
@pytest.mark.parametrize("given", Outcome)
@pytest.mark.parametrize("draining", [False, True])
@pytest.mark.parametrize("forced", [False, True])
def test_the_verdict(ledger, own, given, draining, forced):
    """Forced beats all; else the entry's own outcome counts, and a drain turns what ended well."""
    ledger.draining = draining
    entry = ledger.begin(object(), "client")
    entry.forced, entry.outcome = forced, own
    ledger.end(entry, given)
    expected = own or given
    if draining and expected in ENDED_BY_ITSELF:
        expected = Outcome.DRAINED
    if forced:
        expected = Outcome.FORCED
    assert entry.outcome is expected
    assert ledger.ends() == {**dict.fromkeys(Outcome, 0), expected: 1}


def test_force_marks_each_once(ledger):
    """Those that were forced before aren't returned again."""
    first = ledger.begin(object(), "client")
    assert ledger.force() == [first]
    second = ledger.begin(object(), "client")
    assert ledger.force() == [second]
    assert ledger.force() == []
    assert first.forced
    assert second.forced


def test_the_oldest_entry_comes_first(ledger):
    """Entries are listed in the order of their beginning."""
    entries = [ledger.begin(object(), "client") for _ in range(5)]
    ledger.end(entries.pop(2))
    assert ledger.entries() == entries


def test_a_thread_is_asked_for_its_requests(ledger):
    """run_by gives what a thread runs."""
    mine, other, _ = (ledger.begin(object(), "client") for _ in range(3))
    mine.thread, other.thread = 7, 8
    assert [ledger.run_by(thread) for thread in (7, 8, 9)] == [[mine], [other], []]
    ledger.end(mine)
    assert ledger.run_by(7) == []


def test_the_bytes_of_a_request_count_when_it_ends(ledger):
    """Once, however often it is ended."""
    entry = ledger.begin(object(), "client")
    assert (entry.traffic, entry.ended) == ((0, 0), False)
    entry.traffic = 3, 5
    assert ledger.counts()["bytes_received"] == 0
    assert ledger.end(entry)
    assert entry.ended
    assert not ledger.end(entry)
    counts = ledger.counts()
    assert (counts["bytes_received"], counts["bytes_sent"]) == (3, 5)


def test_bytes_are_summed(ledger):
    """What is told adds up, each way by itself."""
    ledger.add_bytes(3, 5)
    ledger.add_bytes(10, 20)
    assert ledger.counts()["bytes_received"] == 13
    assert ledger.counts()["bytes_sent"] == 25


def test_peers_that_cannot_be_told_apart_are_not_counted(ledger):
    """A Unix client's requests are zero of its peer, however many there are."""
    entries = [ledger.begin(object(), "/run/client") for _ in range(3)]
    assert [ledger.count_peer(entry) for entry in entries] == [0, 0, 0]
    for entry in entries:
        assert ledger.end(entry)


def test_a_peer_that_has_left_takes_no_memory(ledger):
    """Nothing is kept of a million passing peers."""
    for number in range(100):
        entry = ledger.begin(object(), (f"192.0.2.{number}", 1))
        ledger.count_peer(entry)
        ledger.end(entry)
    assert not ledger._peers


def test_a_loop_is_woken_after_each_end(ledger):
    """It sees the table without the entry; an end that was none wakes nobody."""
    woken = []
    ledger.wake = lambda: woken.append(ledger.active)
    first, second = (ledger.begin(object(), "client") for _ in range(2))
    ledger.end(first)
    ledger.end(first)
    ledger.end(second)
    assert woken == [1, 0]


# --- waiting ---


def test_what_holds_already_is_not_waited_for(ledger):
    """The condition is asked before the time, which may have passed."""
    assert ledger.wait_for(lambda: True, lambda: -math.inf) is True


def test_a_wait_ends_in_its_time(ledger):
    """When the time has come and the condition hasn't, the answer is no."""
    assert ledger.wait_for(lambda: False, lambda: 0) is False
    until = time.monotonic() + 0.02
    assert ledger.wait_for(lambda: False, lambda: until) is False
    assert time.monotonic() >= until


@pytest.mark.parametrize("how", ["end", "notify"])
def test_a_wait_without_a_limit_ends_with_the_condition(ledger, how):
    """Each end and each notify lets those who wait look again."""
    entry = ledger.begin(object(), "client")
    asked = threading.Event()
    done = []
    answers = []

    def condition():
        asked.set()
        return bool(done) or not ledger.active

    waiter = threading.Thread(
        target=lambda: answers.append(ledger.wait_for(condition, lambda: math.inf))
    )
    waiter.start()
    assert asked.wait(PATIENCE)
    if how == "end":
        ledger.end(entry)
    else:
        done.append(True)
        ledger.notify()
    waiter.join(PATIENCE)
    assert answers == [True]


def test_the_time_may_be_brought_nearer(ledger):
    """After a notify the limit is asked for anew."""
    limits = [math.inf, 0]
    asked = threading.Event()

    def until():
        asked.set()
        return limits[0]

    answers = []
    waiter = threading.Thread(target=lambda: answers.append(ledger.wait_for(lambda: False, until)))
    waiter.start()
    assert asked.wait(PATIENCE)
    del limits[0]
    ledger.notify()
    waiter.join(PATIENCE)
    assert answers == [False]


def test_a_condition_that_raises_leaves_nothing_behind(ledger):
    """The error passes through, and later waits work."""
    with pytest.raises(ZeroDivisionError):
        ledger.wait_for(lambda: 1 / 0, lambda: math.inf)
    assert ledger._waiting == 0
    assert ledger.wait_for(lambda: True, lambda: math.inf)


# --- in a child process ---


def test_a_child_keeps_one_entry(ledger):
    """The others are handed out to be closed; locks that somebody held are replaced."""
    entries = [ledger.begin(object(), "client") for _ in range(3)]
    kept = entries[1]
    kept.held = True
    ledger.wake = pytest.fail
    holding, release = threading.Event(), threading.Event()

    def hold():
        with ledger._lock:
            holding.set()
            assert release.wait(PATIENCE)

    holder = threading.Thread(target=hold)
    holder.start()
    assert holding.wait(PATIENCE)
    try:
        ledger.after_fork(kept)
        assert ledger.entries() == [kept]
        assert not kept.held
        assert ledger.end(kept)
        assert ledger.active == 0
        assert ledger.wait_for(lambda: True, lambda: math.inf)
        ledger.notify()
    finally:
        release.set()
        holder.join(PATIENCE)


# --- the invariants ---


class Life(RuleBasedStateMachine):
    """Any sequence of what a server may do to its ledger."""

    live = Bundle("live")
    ended = Bundle("ended")

    def __init__(self):
        super().__init__()
        self.ledger = Ledger()
        self.accepted = 0
        self.ends = dict.fromkeys(Outcome, 0)
        self.live_entries = []
        self.held = {}

    @rule(target=live, peer=st.sampled_from(PEERS))
    def begin(self, peer):
        """Take a request."""
        self.accepted += 1
        entry = self.ledger.begin(object(), (peer, self.accepted))
        assert entry.number == self.accepted
        self.live_entries.append(entry)
        return entry

    @rule(entry=live)
    def count(self, entry):
        """Count the peer of a request, once."""
        if entry.peer is None:
            peer = PEER_OF.get(entry.address[0], entry.address[0])
            assert self.ledger.count_peer(entry) == self.held.get(peer, 0)
            self.held[peer] = self.held.get(peer, 0) + 1

    @rule(entry=live, outcome=OUTCOMES)
    def judge(self, entry, outcome):
        """Decide on the outcome before the end."""
        entry.outcome = outcome

    @rule(target=ended, entry=consumes(live), outcome=OUTCOMES)
    def end(self, entry, outcome):
        """End a request."""
        expected = entry.outcome or outcome
        if self.ledger.draining and expected in ENDED_BY_ITSELF:
            expected = Outcome.DRAINED
        if entry.forced:
            expected = Outcome.FORCED
        assert self.ledger.end(entry, outcome) is True
        assert entry.outcome is expected
        self.ends[expected] += 1
        self.live_entries.remove(entry)
        if entry.peer is not None:
            self.held[PEER_OF.get(entry.address[0], entry.address[0])] -= 1
        return entry

    @rule(entry=ended, outcome=OUTCOMES)
    def end_again(self, entry, outcome):
        """End one that has ended."""
        assert self.ledger.end(entry, outcome) is False

    @rule()
    def force(self):
        """Come to the end of a grace."""
        newly = [entry for entry in self.live_entries if not entry.forced]
        assert self.ledger.force() == newly

    @rule(draining=st.booleans())
    def drain(self, draining):
        """Begin or end a drain."""
        self.ledger.draining = draining

    @invariant()
    def the_counts_agree(self):
        """Accepted is active and all the ends, and each is what happened."""
        counts = self.ledger.counts()
        ends = {outcome: counts[outcome.name.lower()] for outcome in Outcome}
        assert counts["accepted"] == counts["active"] + sum(ends.values())
        assert counts["accepted"] == self.accepted
        assert ends == self.ends == self.ledger.ends()
        assert counts["active"] == self.ledger.active
        assert self.ledger.entries() == self.live_entries
        for entry in self.live_entries:
            assert self.ledger.find(entry.request) is entry


TestLife = Life.TestCase


def test_the_counts_agree_at_every_instant_whoever_looks(ledger):
    """While threads begin and end requests, no snapshot is out of balance."""

    def work():
        outcomes = list(Outcome)
        for number in range(400):
            entry = ledger.begin(object(), ("192.0.2.1", number))
            ledger.count_peer(entry)
            ledger.end(entry, outcomes[number % len(outcomes)])

    def check():
        counts = ledger.counts()
        ends = sum(counts[outcome.name.lower()] for outcome in Outcome)
        assert counts["accepted"] == counts["active"] + ends
        assert 0 <= counts["active"] <= 4
        return counts

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    while any(worker.is_alive() for worker in workers):
        check()
    for worker in workers:
        worker.join(PATIENCE)
    assert check()["accepted"] == 1600
    assert ledger.active == 0
    assert not ledger._peers


class Place:
    """Where another process tells an address, in this one."""

    told = None
    counted = 0

    def tell(self, address):
        """Note it."""
        self.told = address

    def read(self):
        """What was told."""
        return self.told

    def count(self):
        """How many there are besides."""
        self.counted += 1
        return 7


def test_another_process_may_tell_an_address():
    """Through its place, and whoever looks at the requests gets to see it."""
    ledger = Ledger()
    entry = ledger.begin(object(), ("192.0.2.1", 1))
    entry.place = Place()
    assert ledger.entries()[0].address == ("192.0.2.1", 1)
    entry.learn_address(("192.0.2.2", 2))
    assert entry.place.told == ("192.0.2.2", 2)
    entry.place.tell(("192.0.2.3", 3))
    assert ledger.entries()[0].address == ("192.0.2.3", 3)
    ledger.end(entry)


def test_the_peers_of_other_processes_are_counted_by_their_places():
    """Not by this process's table."""
    ledger = Ledger()
    entry = ledger.begin(object(), ("192.0.2.1", 1))
    entry.place = Place()
    assert ledger.count_peer(entry) == 7
    assert entry.place.counted == 1
    assert entry.peer is None
    entry.address = "/path"
    assert ledger.count_peer(entry) == 0
    entry.read_address()
    assert entry.address == "/path"
    ledger.end(entry)


def test_an_address_that_is_learnt_here_is_told_to_nobody():
    """The ledger's own process needs no place."""
    ledger = Ledger()
    entry = ledger.begin(object(), ("192.0.2.1", 1))
    entry.learn_address(("192.0.2.2", 2))
    entry.read_address()
    assert entry.address == ("192.0.2.2", 2)
    ledger.end(entry)


# --- batches ---


def test_a_batch_is_as_many_requests_as_it_counts():
    """In progress, accepted and ended."""
    ledger = Ledger()
    batch = ledger.begin(["one", "two", "three"], "peer", 3)
    assert (ledger.active, ledger.counts()["active"], ledger.counts()["accepted"]) == (3, 3, 3)
    assert ledger.begin("next", "peer").number == 4
    assert ledger.end(batch)
    assert (ledger.active, ledger.counts()["completed"]) == (1, 3)


def test_a_request_that_is_split_off_is_in_progress_by_itself():
    """It ends with its own outcome, and the batch with the rest, whichever is first."""
    ledger = Ledger()
    batch = ledger.begin(["one", "two"], "peer", 2)
    alone = ledger.split(batch, "two", "other")
    assert ledger.find("two") is alone
    assert (alone.address, alone.since) == ("other", batch.since)
    assert ledger.active == 2
    last = ledger.split(batch, "one", "peer")
    assert ledger.active == 2
    ledger.end(batch)
    assert (ledger.active, ledger.counts()["active"]) == (2, 2)
    ledger.end(alone, Outcome.FAILED)
    ledger.end(last)
    counts = ledger.counts()
    assert (ledger.active, counts["failed"], counts["completed"]) == (0, 1, 1)


def test_a_batch_is_forced_with_all_that_is_left_of_it():
    """And so is what is split off afterwards."""
    ledger = Ledger()
    batch = ledger.begin(["one", "two"], "peer", 2)
    assert ledger.force() == [batch]
    ledger.end(ledger.split(batch, "two", "peer"))
    ledger.end(batch)
    assert ledger.counts()["forced"] == 2
