"""Tests of netserve.concurrency._pool, without a server."""

import logging
import queue
import threading
import weakref

import pytest

from netserve.concurrency import WorkerPool
from netserve.core import ExhaustedError

PATIENCE = 20


class Work:
    """Callables that note who calls them, and wait at a gate."""

    def __init__(self):
        self.running = queue.Queue()
        self.gate = threading.Event()

    def __call__(self):
        """Run until the gate opens."""
        self.running.put(threading.current_thread())
        assert self.gate.wait(PATIENCE)

    def wait(self):
        """The thread of the next that runs."""
        return self.running.get(timeout=PATIENCE)


@pytest.fixture
def work():
    """Work whose gate is open at the latest at the end."""
    work = Work()
    yield work
    work.gate.set()


@pytest.fixture
def pool(work):
    """A pool of two."""
    pool = WorkerPool(2, "pool")
    yield pool
    work.gate.set()
    pool.close()


def idle(pool):
    """Wait until every thread of *pool* is free, as it counts them."""
    done = threading.Event()
    while pool._spare < len(pool):
        done.wait(0.001)


def test_a_bound_must_be_positive():
    """Nothing would ever run."""
    with pytest.raises(ValueError, match="max_workers must be 1 or more, not 0"):
        WorkerPool(0, "pool")


def test_threads_start_when_none_is_free(pool, work):
    """And not before, up to the bound; what is more waits."""
    assert len(pool) == 0
    assert repr(pool) == "<WorkerPool of 0, at most 2>"
    pool.submit(work)
    first = work.wait()
    assert (len(pool), pool.waiting) == (1, 0)
    pool.submit(work)
    second = work.wait()
    assert {first.name, second.name} == {"pool-1", "pool-2"}
    pool.submit(work)
    pool.submit(work)
    assert (len(pool), pool.waiting) == (2, 2)
    assert work.running.empty()
    work.gate.set()
    assert {work.wait(), work.wait()} <= {first, second}
    idle(pool)
    assert (len(pool), pool.waiting) == (2, 0)


def test_a_free_thread_is_used_again(pool, work):
    """No second one is started for work that comes when the first is through."""
    work.gate.set()
    threads = set()
    for _ in range(20):
        pool.submit(work)
        threads.add(work.wait())
        idle(pool)
    assert len(threads) == len(pool) == 1


def test_work_is_taken_in_order(work):
    """First come, first served."""
    pool = WorkerPool(1, "pool")
    done = []
    pool.submit(work)
    for number in range(10):
        pool.submit(lambda number=number: done.append(number))
    work.gate.set()
    pool.close()
    assert done == list(range(10))


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, GeneratorExit])
def test_a_thread_survives_what_the_work_raises(pool, work, caplog, error):
    """It is one record."""

    def fail():
        raise error("of the work")

    pool.submit(fail)
    idle(pool)
    work.gate.set()
    pool.submit(work)
    assert work.wait().is_alive()
    idle(pool)
    assert len(pool) == 1
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "of the work" in caplog.text


def test_a_thread_survives_system_exit(pool, work, caplog):
    """Which is no error."""

    def leave():
        raise SystemExit

    pool.submit(leave)
    idle(pool)
    pool.submit(work)
    work.wait()
    assert len(pool) == 1
    assert not caplog.records


def test_a_free_thread_holds_nothing_of_its_last_work(pool):
    """What the work refers to may be large."""

    class Load:
        def __call__(self):
            pass

    load = Load()
    gone = weakref.ref(load)
    pool.submit(load)
    del load
    idle(pool)
    assert gone() is None


def test_closing_finishes_what_waits(pool, work):
    """And ends the threads; then no more is taken."""
    for _ in range(5):
        pool.submit(work)
    threads = {work.wait(), work.wait()}
    closer = threading.Thread(target=pool.close)
    closer.start()
    while not pool._closed:
        closer.join(0.001)
    with pytest.raises(RuntimeError, match="the pool is closed"):
        pool.submit(work)
    assert closer.is_alive()
    work.gate.set()
    closer.join(PATIENCE)
    assert not closer.is_alive()
    assert work.running.qsize() == 3
    assert not any(thread.is_alive() for thread in threads)
    pool.close()


def test_closing_without_waiting(pool, work):
    """It returns at once; the threads end by themselves."""
    pool.submit(work)
    thread = work.wait()
    pool.close(wait=False)
    assert thread.is_alive()
    work.gate.set()
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_a_worker_may_close_the_pool(work):
    """It doesn't wait for itself."""
    pool = WorkerPool(2, "pool")
    closed = threading.Event()

    def close():
        pool.close()
        closed.set()

    pool.submit(close)
    assert closed.wait(PATIENCE)
    pool.close()


def test_forgetting(work):
    """Nobody waits for the threads any more."""
    pool = WorkerPool(2, "pool")
    pool.submit(work)
    thread = work.wait()
    pool.forget()
    assert len(pool) == 0
    pool.close()
    assert thread.is_alive()
    with pytest.raises(RuntimeError):
        pool.submit(work)
    work.gate.set()
    thread.join(PATIENCE)


@pytest.mark.parametrize("daemon", [True, False])
def test_daemons(work, daemon):
    """The threads are what was asked for."""
    pool = WorkerPool(1, "pool", daemon=daemon)
    pool.submit(work)
    assert work.wait().daemon is daemon
    work.gate.set()
    pool.close()


def test_no_thread_can_be_started(pool, work, monkeypatch):
    """Without any it is an error, and nothing is taken; others come to it otherwise."""
    start = threading.Thread.start

    def fail(thread):
        msg = "can't start new thread"
        raise RuntimeError(msg)

    monkeypatch.setattr(threading.Thread, "start", fail)
    with pytest.raises(ExhaustedError, match="can't start new thread"):
        pool.submit(work)
    assert (len(pool), pool.waiting) == (0, 0)
    monkeypatch.setattr(threading.Thread, "start", start)
    pool.submit(work)
    first = work.wait()
    monkeypatch.setattr(threading.Thread, "start", fail)
    pool.submit(work)
    assert (len(pool), pool.waiting) == (1, 1)
    monkeypatch.setattr(threading.Thread, "start", start)
    work.gate.set()
    assert work.wait() is first


@pytest.mark.parametrize("how", ["close", "close and wait", "forget"])
def test_a_signal_closes_the_pool_in_a_submit(work, monkeypatch, how):
    """What is submitted is done, and the threads end; nobody waits for whoever holds the lock."""
    pool = WorkerPool(2, "pool")
    pool.submit(work)
    work.wait()
    start = pool._start
    threads = []

    def start_interrupted():
        """Start, then let the first thread want the lock, then run a signal's handler."""
        start()
        threads.extend(pool._threads)
        work.gate.set()
        if how == "forget":
            pool.forget()
        else:
            pool.close(wait=how != "close")

    monkeypatch.setattr(pool, "_start", start_interrupted)
    done = threading.Event()
    pool.submit(done.set)
    assert len(threads) == 2
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert done.is_set()
    with pytest.raises(RuntimeError, match="closed"):
        pool.submit(work)
