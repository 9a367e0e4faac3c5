"""Tests of netserve.concurrency._children.

A child of these tests ends by reading from a pipe of which the test holds the
other end, so that the test decides when.
"""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

if not hasattr(os, "fork"):
    pytest.skip("the platform can't fork", allow_module_level=True)

from netserve.concurrency import Children, _children

PATIENCE = 20


class Gate:
    """Work for children that ends when the test lets go of the pipe."""

    def __init__(self):
        self.reading, self.writing = os.pipe()

    def __call__(self):
        """Wait for the test's word."""
        os.close(self.writing)
        os.read(self.reading, 1)
        return 0

    def release(self, count=1):
        """Let *count* children end."""
        os.write(self.writing, b"x" * count)

    def close(self):
        """Let the other ones end as well."""
        os.close(self.reading)
        os.close(self.writing)


@pytest.fixture
def gate():
    """A gate that is open at the latest when the test has ended."""
    gate = Gate()
    yield gate
    gate.close()


@pytest.fixture
def children(gate):
    """An empty group, whose last children are collected after the test."""
    children = Children()
    yield children
    gate.release(100)
    children.collect(blocking=True)


@pytest.fixture
def stranger():
    """A child process that isn't a Children's, already ended and not collected."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    yield process
    # Had somebody else collected it, its status would read as 0 nevertheless.
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    process.wait()


def wait_for_end(pid):
    """Wait until the child has ended, without collecting it."""
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def status_of(pid):
    """The exit status of a child, which is thereby collected."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def fail():
    """Work that raises."""
    raise SystemExit(3)


def interrupt():
    """Work that is interrupted."""
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("work", "status"),
    [(lambda: 0, 0), (lambda: 1, 1), (lambda: 77, 77), (fail, 1), (interrupt, 1)],
)
def test_a_child_runs_the_work_and_exits(work, status):
    """The status is what the work returned, or 1 when it raised; fork returns the child's id."""
    children = Children()
    pid = children.fork(work)
    assert children == {pid}
    assert pid != os.getpid()
    assert status_of(pid) == status


def test_a_child_has_no_children(children):
    """What the parent counts isn't the child's to collect."""
    children.tell(children.fork(lambda: 0), print)
    children.fork(lambda: len(children) + len(children._watchers))
    assert len(children) == 2
    assert [status_of(pid) for pid in sorted(children)] == [0, 0]


def test_a_child_ends_although_its_streams_are_broken(children, monkeypatch):
    """Whatever flushing raises, the child never runs on into the parent's code."""
    parent = os.getpid()

    class Broken:
        def flush(self):
            if os.getpid() != parent:
                raise RuntimeError

    monkeypatch.setattr(sys, "stdout", Broken())
    children.fork(lambda: 0)
    (pid,) = children
    assert status_of(pid) == 0


@pytest.mark.parametrize("stream", [None, "closed", "pipe"])
def test_streams_that_cannot_be_flushed_are_passed_over(children, monkeypatch, stream):
    """A missing, a closed and a broken stream are no errors."""

    class Unusable:
        def flush(self):
            raise {"closed": ValueError, "pipe": BrokenPipeError}[stream]

    monkeypatch.setattr(sys, "stdout", stream and Unusable())
    children.fork(lambda: 0)
    (pid,) = children
    assert status_of(pid) == 0


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_what_waits_in_a_buffer_is_written_once(stream):
    """The streams are flushed before the fork, and in the child before it ends."""
    program = f"""if True:
        import os, sys
        from netserve.concurrency import Children
        stream = open(os.dup(sys.{stream}.fileno()), "w")
        sys.{stream} = stream
        stream.write("parent ")
        children = Children()
        children.fork(lambda: stream.write("child "))
        children.collect(blocking=True)
        stream.write("end")
        stream.close()
        sys.{stream} = None
    """
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, timeout=60
    )
    assert getattr(result, stream) == b"parent child end"


def test_a_fork_that_fails_adds_nobody(children, monkeypatch):
    """When the system can't fork, the error goes on."""

    def refuse():
        raise BlockingIOError

    monkeypatch.setattr(os, "fork", refuse)
    with pytest.raises(BlockingIOError):
        children.fork(lambda: 0)
    assert children == set()


def test_collect_takes_those_that_have_ended(children, gate):
    """Without blocking, the others stay."""
    children.fork(gate)
    (running,) = children
    children.fork(lambda: 0)
    (ended,) = children - {running}
    wait_for_end(ended)
    children.collect()
    assert children == {running}


@pytest.mark.parametrize("first", ["running", "ended"])
def test_collect_passes_over_each_that_runs(children, gate, first):
    """Every child is looked at, whatever the state of those before it."""
    if first == "running":
        children.fork(gate)
    children.fork(lambda: 0)
    children.fork(lambda: 0)
    if first == "ended":
        children.fork(gate)
    pids = sorted(children)
    running = pids.pop(0 if first == "running" else -1)
    for pid in pids:
        wait_for_end(pid)
    children.collect()
    assert children == {running}


@pytest.mark.parametrize(
    ("work", "code"),
    [
        (lambda: 0, 0),
        (lambda: 5, 5),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), -signal.SIGKILL),
    ],
)
def test_the_end_of_a_child_is_told_once(children, work, code):
    """What tell was given gets the exit status, or the negative number of the signal."""
    codes = []
    children.tell(children.fork(work), codes.append)
    children.collect(blocking=True)
    children.collect()
    assert codes == [code]
    assert not children._watchers


def test_what_is_given_with_the_work_is_told_of_the_end(children):
    """However soon the child is collected."""
    codes = []
    children.fork(lambda: 5, codes.append)
    children.collect(blocking=True)
    assert codes == [5]


def test_a_child_is_told_of_no_end(children):
    """What was given with the work is for the parent."""
    codes = []
    pid = children.fork(lambda: len(children._watchers), codes.append)
    assert list(children._watchers) == [pid]
    children.collect(blocking=True)
    assert codes == [0]


def test_the_end_is_told_of_a_child_that_is_forgotten_already(children):
    """Whoever is told of an end may look: the child isn't among the others any more."""
    seen = []
    pid = children.fork(lambda: 0)
    children.tell(pid, lambda _: seen.append(pid in children))
    children.collect(blocking=True)
    assert seen == [False]


def test_a_status_that_somebody_else_took_is_told_as_none(children):
    """When another part of the program has waited for the child, its status isn't known."""
    codes = []
    pid = children.fork(lambda: 7)
    children.tell(pid, codes.append)
    os.waitpid(pid, 0)
    children.collect()
    assert codes == [None]


@pytest.mark.parametrize("who", ["another thread", "a signal handler"])
def test_the_status_is_told_by_whoever_gets_it(children, monkeypatch, who):
    """Whoever else collects the same child at that moment doesn't tell that it has none."""
    codes = []
    pid = children.fork(lambda: 7, codes.append)
    wait_for_end(pid)
    waitpid = os.waitpid

    def waitpid_and_be_disturbed(pid, options):
        result = waitpid(pid, options)
        monkeypatch.setattr(os, "waitpid", waitpid)
        if who == "a signal handler":
            children.collect(blocking=True)
        else:
            other.start()
            # It waits for its turn; without one it would be through by then.
            other.join(0.2)
        return result

    other = threading.Thread(target=children.collect, kwargs={"blocking": True})
    monkeypatch.setattr(os, "waitpid", waitpid_and_be_disturbed)
    children.collect(blocking=True)
    if who == "another thread":
        other.join()
    assert codes == [7]


def test_kill_ends_all_children_and_collects_them(children, gate):
    """Children that would run on are killed, those that have ended aren't missed by it."""
    codes = {}
    running = [children.fork(gate) for _ in range(2)]
    ended = children.fork(lambda: 3)
    wait_for_end(ended)
    for pid in (*running, ended):
        children.tell(pid, lambda code, pid=pid: codes.update({pid: code}))
    children.kill()
    assert children == set()
    assert codes == {**dict.fromkeys(running, -signal.SIGKILL), ended: 3}


def test_kill_passes_over_a_child_that_somebody_else_collected(children, gate):
    """A process that isn't there can't be killed, which is no error."""
    gone = children.fork(lambda: 0)
    os.waitpid(gone, 0)
    children.fork(gate)
    children.kill()
    assert children == set()


def test_collect_blocking_waits_for_all(children, gate):
    """With blocking, it returns when nobody is left."""
    pids = []
    for _ in range(3):
        children.fork(gate)
        pids += children - set(pids)
    gate.release(3)
    children.collect(blocking=True)
    assert children == set()
    for pid in pids:
        with pytest.raises(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def test_a_child_that_somebody_else_collected_is_forgotten(children):
    """Another part of the program may have waited for any child."""
    children.fork(lambda: 0)
    (pid,) = children
    os.waitpid(-1, 0)
    assert children == {pid}
    children.collect()
    assert children == set()


@pytest.mark.parametrize("blocking", [True, False])
def test_the_programs_other_children_are_left_alone(children, stranger, blocking):
    """Only its own are collected; another ended child stays for its own parent code."""
    children.fork(lambda: 0)
    (pid,) = children
    wait_for_end(pid)
    children.collect(blocking=blocking)
    children.wait_until_fewer(1)
    assert children == set()
    # The fixture looks that the stranger is still there to be waited for.


@pytest.mark.parametrize(("limit", "left"), [(2, 1), (1, 0), (0, 0), (-1, 0)])
def test_wait_until_fewer_waits_for_as_many_as_needed(children, gate, monkeypatch, limit, left):
    """It returns when fewer than the limit are left, and treats none as one."""
    waits = []

    def release_then_wait(pids):
        waits.append(len(pids))
        gate.release()
        wait(pids)

    wait = _children.wait_for_any
    monkeypatch.setattr(_children, "wait_for_any", release_then_wait)
    for _ in range(2):
        children.fork(gate)
    children.wait_until_fewer(limit)
    assert len(children) == left
    # One that is about to end may be looked at twice where the system can't tell.
    assert sorted(set(waits), reverse=True) == list(range(2, left, -1))


def test_wait_until_fewer_returns_at_once_below_the_limit(children, gate, monkeypatch):
    """With fewer children than the limit nothing is waited for."""
    children.fork(gate)
    with monkeypatch.context() as patches:
        patches.setattr(_children, "wait_for_any", pytest.fail)
        children.wait_until_fewer(2)
    assert len(children) == 1


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="the system can't tell")
def test_waiting_for_any_returns_when_one_ends(children, gate):
    """Of several children, the one that ends first ends the wait; nobody is collected."""
    children.fork(gate)
    (running,) = children
    children.fork(lambda: 0)
    (ended,) = children - {running}
    _children.wait_for_any(children)
    assert os.waitid(os.P_PID, ended, os.WEXITED | os.WNOWAIT | os.WNOHANG).si_pid == ended
    assert len(children) == 2


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="the system can't tell")
def test_waiting_for_any_does_not_poll(children, monkeypatch):
    """Where the system can tell, nobody looks again and again."""
    monkeypatch.setattr(time, "sleep", pytest.fail)
    children.fork(lambda: 0)
    _children.wait_for_any(children)


@pytest.mark.parametrize("trouble", ["absent", "refused"])
def test_waiting_for_any_pauses_where_the_system_cannot_tell(children, monkeypatch, trouble):
    """Without pidfd_open, or when it is refused, it returns early after a short pause."""
    pauses = []

    def refuse(pid):
        raise OSError

    if trouble == "absent":
        monkeypatch.delattr(os, "pidfd_open", raising=False)
    else:
        monkeypatch.setattr(os, "pidfd_open", refuse, raising=False)
    monkeypatch.setattr(time, "sleep", pauses.append)
    children.fork(lambda: 0)
    _children.wait_for_any(children)
    assert pauses == [0.01]
    children.wait_until_fewer(1)
    assert children == set()


def test_collect_one_takes_that_child_alone(children, gate):
    """Another that has ended stays; one that runs, and one that was collected, are passed over."""
    running = children.fork(gate)
    ended, other = children.fork(lambda: 0), children.fork(lambda: 7)
    told = []
    children.tell(ended, told.append)
    wait_for_end(ended)
    wait_for_end(other)
    for pid in (running, ended, ended):
        children.collect_one(pid)
    assert children == {running, other}
    assert told == [0]
    gate.release()
    children.collect_one(running, blocking=True)
    assert children == {other}
