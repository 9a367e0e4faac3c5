"""The multiplexing mix-in with executors, for tests that drive every mix-in."""

import contextlib
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor

from netserve.concurrency import MultiplexingMixIn


class ExecutingMixIn(MultiplexingMixIn):
    """Has two threads of its own answer the messages, of one connection too."""

    max_in_flight_per_connection = 2

    def make_executor(self) -> Executor:
        """Make the threads."""
        return ThreadPoolExecutor(2)


class ProcessesMixIn(MultiplexingMixIn):
    """Has two other processes answer the messages: those of :func:`two_processes`."""

    max_in_flight_per_connection = 2


@contextlib.contextmanager
def two_processes() -> Iterator[None]:
    """A span in which they run, all the time, because starting them takes long."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        # One is started for each, as none is free when they come.
        for future in [pool.submit(int), pool.submit(int)]:
            future.result()
        ProcessesMixIn.executor = pool
        try:
            yield
        finally:
            ProcessesMixIn.executor = None
