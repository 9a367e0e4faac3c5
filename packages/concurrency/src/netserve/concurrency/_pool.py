"""The engine behind the pooled mix-ins: a bounded number of threads that take work.

A thread is started when work comes and none is free, up to the bound, and stays
until the pool is closed. Fewer runnable threads are faster in Python, so none is
started while one is free: that is counted exactly, as the difference of free
threads and waiting work, which is negative when work waits.

A signal's handler may close the pool between two steps of a ``submit``, whose thread
holds the lock: the threads would wait for that, and the handler for the threads; and
the work would come behind the last word to them. So the ``submit`` closes it then, when
it is through.
"""

import threading
from collections.abc import Callable
from queue import SimpleQueue

from netserve.core import ExhaustedError, log

Work = Callable[[], object]


class WorkerPool:
    """At most *max_workers* threads, named after *name*, which run what is submitted.

    Raises :class:`ValueError` when *max_workers* isn't positive.
    """

    def __init__(self, max_workers: int, name: str, *, daemon: bool = False) -> None:
        if max_workers < 1:
            msg = f"max_workers must be 1 or more, not {max_workers!r}"
            raise ValueError(msg)
        self.max_workers = max_workers
        self._name = name
        self._daemon = daemon
        self._lock = threading.RLock()
        self._work: SimpleQueue[Work | None] = SimpleQueue()
        self._threads: set[threading.Thread] = set()
        self._spare = 0
        self._submitting: set[int] = set()
        self._closes_later: bool | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self)}, at most {self.max_workers}>"

    def __len__(self) -> int:
        """How many threads there are."""
        return len(self._threads)

    @property
    def waiting(self) -> int:
        """How much of the work waits for a thread."""
        return max(-self._spare, 0)

    def submit(self, work: Work) -> None:
        """Have *work* called by one of the threads.

        What it raises is logged, and ends no thread. Raises
        :class:`~netserve.core.ExhaustedError` when there is no thread at all and
        the system can't start one, and :class:`RuntimeError` once the pool is
        closed.
        """
        here = threading.get_ident()
        self._submitting.add(here)
        try:
            with self._lock:
                if self._closed:
                    msg = "the pool is closed and takes no more work"
                    raise RuntimeError(msg)
                if self._spare <= 0 and len(self._threads) < self.max_workers:
                    self._start()
                self._spare -= 1
                self._work.put(work)
        finally:
            self._submitting.discard(here)
            if self._closes_later is not None:
                self.close(wait=self._closes_later)

    def close(self, *, wait: bool = True) -> None:
        """Take no more work, finish what waits, and end the threads; may be called twice.

        With *wait* (the default) it returns when they have ended, except the
        calling one. In a signal's handler that has interrupted a :meth:`submit`, it
        returns at once, and that does all this.
        """
        if threading.get_ident() in self._submitting:
            self._closes_later = wait
            return
        with self._lock:
            if not self._closed:
                self._closed = True
                for _ in self._threads:
                    self._work.put(None)
            others = self._threads - {threading.current_thread()}
        if wait:
            for thread in others:
                thread.join()

    def forget(self) -> None:
        """Wait for none of the threads any more; they end when their work has."""
        self.close(wait=False)
        with self._lock:
            if self._closed:
                self._threads.clear()

    def _start(self) -> None:
        thread = threading.Thread(
            target=self._run, name=f"{self._name}-{len(self._threads) + 1}", daemon=self._daemon
        )
        try:
            thread.start()
        except RuntimeError as error:
            if not self._threads:
                raise ExhaustedError(str(error)) from error
            # The others will come to it.
            return
        self._threads.add(thread)
        self._spare += 1

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            try:
                work()
            except SystemExit:
                pass
            except BaseException:
                log.exception("%r: the work raised, and the thread goes on", self)
            # What it refers to must not live until the next work comes.
            del work
            with self._lock:
                self._spare += 1
