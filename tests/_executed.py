"""The multiplexing mix-in with an executor of its own, for tests that drive every mix-in."""

from concurrent.futures import Executor, ThreadPoolExecutor

from netserve.concurrency import MultiplexingMixIn


class ExecutingMixIn(MultiplexingMixIn):
    """Has two threads answer the messages, of one connection too."""

    max_in_flight_per_connection = 2

    def make_executor(self) -> Executor:
        """Make the threads."""
        return ThreadPoolExecutor(2)
