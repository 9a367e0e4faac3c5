"""Tests of netserve.concurrency._threads."""

import gc
import signal
import threading
import weakref

import pytest

from netserve.concurrency import RequestThread, ThreadGroup

PATIENCE = 20


class Gate:
    """Work for a thread that says when it runs, and ends when it may."""

    def __init__(self):
        self.running = threading.Event()
        self.may_end = threading.Event()

    def __call__(self):
        """Run until it may end."""
        self.running.set()
        self.may_end.wait(PATIENCE)


@pytest.fixture
def gate():
    """A gate that is open at the latest when the test has ended."""
    gate = Gate()
    yield gate
    gate.may_end.set()


def started(group, work, *, daemon=False):
    """A thread that runs *work*, started in *group*."""
    thread = RequestThread(work, (), daemon=daemon)
    group.start(thread)
    return thread


def test_a_thread_calls_its_target_with_arguments():
    """The target is called with the given arguments, in a thread of the given kind."""
    calls = []

    def work(*arguments):
        calls.append((*arguments, threading.current_thread()))

    thread = RequestThread(work, (1, 2), daemon=True)
    assert thread.daemon
    ThreadGroup().start(thread)
    thread.join(PATIENCE)
    assert calls == [(1, 2, thread)]
    assert not RequestThread(print, (), daemon=False).daemon


def test_a_group_counts_the_threads_that_run(gate):
    """len and repr tell how many threads haven't ended."""
    group = ThreadGroup()
    assert repr(group) == "<ThreadGroup of 0>"
    thread = started(group, gate)
    other = started(group, gate)
    assert len(group) == 2
    assert repr(group) == "<ThreadGroup of 2>"
    gate.may_end.set()
    for each in (thread, other):
        each.join(PATIENCE)
    assert len(group) == 0


def test_a_group_does_not_grow():
    """Threads that have ended are forgotten when the next one starts."""
    group = ThreadGroup()
    for _ in range(20):
        started(group, lambda: None).join(PATIENCE)
        assert len(group._running) == 1
        assert len(group._ended) == 1


def test_an_ended_thread_is_forgotten_past_one_that_runs(gate):
    """A thread that runs long doesn't keep those that ended after it."""
    group = ThreadGroup()
    long = started(group, gate)
    for _ in range(3):
        started(group, lambda: None).join(PATIENCE)
    assert len(group) == 1
    gate.may_end.set()
    long.join(PATIENCE)


def test_a_thread_in_its_last_instructions_is_still_held(gate):
    """A thread that has noted its end but lives is waited for, and forgotten once it is through."""

    class Lingering(RequestThread):
        def run(self):
            self.ended.append(self)
            gate()

    group = ThreadGroup()
    thread = Lingering(print, (), daemon=False)
    group.start(thread)
    assert gate.running.wait(PATIENCE)
    assert len(group) == 1
    assert len(group) == 1
    gate.may_end.set()
    thread.join(PATIENCE)
    assert len(group) == 0
    assert not group._ended


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("error", [ValueError, SystemExit])
def test_a_thread_whose_target_raises_has_ended_too(error):
    """Whatever the target raises, the group forgets the thread."""

    def fail():
        raise error

    group = ThreadGroup()
    started(group, fail).join(PATIENCE)
    assert len(group) == 0


def test_join_waits_for_every_thread(gate):
    """join returns after the last thread's end."""
    group = ThreadGroup()
    ended = []

    def work():
        gate()
        ended.append(True)

    for _ in range(3):
        started(group, work)
    threading.Timer(0.01, gate.may_end.set).start()
    group.join()
    assert ended == [True] * 3
    for thread in set(threading.enumerate()) - {threading.main_thread()}:
        thread.join(PATIENCE)


def test_join_does_not_wait_for_daemons(gate):
    """A daemon runs in the group's start, and isn't held."""
    group = ThreadGroup()
    thread = started(group, gate, daemon=True)
    assert gate.running.wait(PATIENCE)
    assert len(group) == 0
    group.join()
    assert thread.is_alive()
    gate.may_end.set()
    thread.join(PATIENCE)
    # It notes its end, and is forgotten like the others.
    assert len(group) == 0
    assert not group._ended


def test_a_thread_may_join_its_own_group():
    """A handler that closes its server waits for the others, not for itself."""
    group = ThreadGroup()
    thread = started(group, lambda: group.join())
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_a_thread_that_cannot_start_is_not_held(monkeypatch):
    """When the system has no thread left, the error goes on, and the group stays as it was."""

    class Starved(RequestThread):
        def start(self):
            raise RuntimeError("can't start new thread")

    group = ThreadGroup()
    with pytest.raises(RuntimeError, match="can't start"):
        group.start(Starved(print, (), daemon=False))
    assert len(group) == 0
    group.join()


def test_threads_that_are_forgotten_are_not_waited_for(gate):
    """Those that run at that moment; later ones are."""
    group = ThreadGroup()
    stuck = started(group, gate)
    assert gate.running.wait(PATIENCE)
    group.forget()
    assert len(group) == 0
    group.join()
    assert stuck.is_alive()
    other = Gate()
    later = started(group, other)
    assert len(group) == 1
    gate.may_end.set()
    stuck.join(PATIENCE)
    # Its end, noted now, is no other's.
    assert len(group) == 1
    other.may_end.set()
    group.join()
    assert not later.is_alive()


def test_nobody_sees_a_thread_before_the_group_holds_it():
    """A thread that ends at once, seen by another thread's len, is forgotten all the same."""
    group = ThreadGroup()
    lengths = []

    class Quick(RequestThread):
        def start(self):
            super().start()
            self.join(PATIENCE)
            looking = threading.Thread(target=lambda: lengths.append(len(group)))
            looking.start()
            # It can't look yet: the group is busy until this start is through.
            looking.join(0.02)
            assert lengths == []
            self.looking = looking

    thread = Quick(print, ("",), daemon=False)
    group.start(thread)
    thread.looking.join(PATIENCE)
    assert lengths == [0]
    assert not group._running


def test_a_signal_handler_may_join_while_its_thread_starts_one():
    """A signal that arrives while the group starts a thread finds no deadlock."""
    group = ThreadGroup()
    before = signal.signal(signal.SIGINT, lambda *_: group.join())
    try:
        with group._lock:
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_thread_of_no_group_is_freed_at_once():
    """A thread that nobody waits for leaves nothing for the garbage collector."""
    gc.disable()
    try:
        thread = RequestThread(int, (), daemon=False)
        thread.start()
        thread.join(PATIENCE)
        freed = weakref.ref(thread)
        del thread
        assert freed() is None
    finally:
        gc.enable()


def test_ended_threads_are_no_garbage_for_the_collector():
    """A thread that has ended goes when its group does, without a collection."""
    thread = RequestThread(lambda: None, (), daemon=False)
    group = ThreadGroup()
    group.start(thread)
    group.join()
    gone = weakref.ref(thread)
    del thread, group
    assert gone() is None
