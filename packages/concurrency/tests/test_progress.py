"""Tests of netserve.concurrency._progress."""

import sys
import threading
import time

import pytest

from netserve.concurrency._progress import Progress

PATIENCE = 20

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")


@pytest.fixture
def thread():
    """A function that has another thread do something, and returns that thread's progress."""
    progresses, threads = [], []

    def begin(work):
        made = threading.Event()

        def run():
            progresses.append(Progress())
            made.set()
            work()

        threads.append(threading.Thread(target=run))
        threads[-1].start()
        assert made.wait(PATIENCE)
        return progresses[-1]

    yield begin
    for each in threads:
        each.join(PATIENCE)


def wait_until(condition):
    """Wait until *condition* holds."""
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.001)


def test_a_thread_that_blocks_waits_for_nothing_of_the_processor(thread):
    """It sleeps, and its clock stands still."""
    ends = threading.Event()
    progress = thread(ends.wait)
    wait_until(lambda: progress._state() == "S")
    progress.ran()
    assert progress.ran() == 0
    assert not progress.waits_for_processor(0.0, 0.005)
    ends.set()


def test_a_thread_that_computes_has_the_processor(thread):
    """Its clock goes on."""
    ends = []

    def compute():
        while not ends:
            pass

    progress = thread(compute)
    progress.ran()
    total = 0.0

    def enough():
        nonlocal total
        total += progress.ran()
        return total > 0.01

    wait_until(enough)
    assert not progress.waits_for_processor(0.003, 0.005)
    ends.append(True)


def test_a_thread_that_could_run_and_does_not_waits_for_the_processor(monkeypatch):
    """Its state says that it could."""
    progress = Progress()
    # The thread that looks at itself runs.
    assert progress._state() == "R"
    assert progress.waits_for_processor(0.001, 0.005)
    monkeypatch.setattr(progress, "_state", lambda: "S")
    assert not progress.waits_for_processor(0.001, 0.005)


def test_where_the_system_tells_nothing_nobody_waits(monkeypatch):
    """A thread that doesn't get on is then taken to block."""
    monkeypatch.setattr(threading, "get_native_id", lambda: 0)
    progress = Progress()
    assert progress.ran() == 0
    assert not progress.waits_for_processor(0.0, 0.005)
