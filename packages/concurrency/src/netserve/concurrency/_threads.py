"""The engine behind the threading mix-in: a group of threads to wait for.

A thread notes its own end, so that forgetting those that have ended costs
nothing for each one that still runs, and the group never holds more than the
running ones and those that ended since the last start.
"""

import threading
from collections import deque
from collections.abc import Callable


class RequestThread(threading.Thread):
    """A thread that tells its group when it has ended.

    *target* is called with *args*; *daemon* is as for
    :class:`threading.Thread`.
    """

    def __init__(
        self, target: Callable[..., object], args: tuple[object, ...], *, daemon: bool
    ) -> None:
        super().__init__(target=target, args=args, daemon=daemon)
        self.ended: deque[threading.Thread] = deque()

    def run(self) -> None:
        """Call the target, then note the end, whatever the target raised."""
        try:
            super().run()
        finally:
            # The list holds the thread now; the other way as well would be a
            # cycle, which stays until the garbage is collected.
            ended = self.ended
            del self.ended
            ended.append(self)


class ThreadGroup:
    """Threads that were started together and can be waited for together."""

    def __init__(self) -> None:
        # Reentrant, for a signal handler that closes the server.
        self._lock = threading.RLock()
        self._running: set[threading.Thread] = set()
        self._ended: deque[threading.Thread] = deque()

    def __len__(self) -> int:
        """How many threads haven't ended."""
        with self._lock:
            self._forget_ended()
            return len(self._running)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self)}>"

    def start(self, thread: RequestThread) -> None:
        """Start *thread*, and wait for it in :meth:`join` unless it is a daemon.

        Raises :class:`RuntimeError` when the system can't start a thread; the
        group then doesn't hold it.
        """
        # Nobody may see the thread's end before the group holds it.
        with self._lock:
            self._forget_ended()
            thread.ended = self._ended
            thread.start()
            if not thread.daemon:
                self._running.add(thread)

    def forget(self) -> None:
        """Wait for none of the threads that run now any more."""
        with self._lock:
            self._running.clear()

    def join(self) -> None:
        """Wait until all threads have ended, except the calling one."""
        with self._lock:
            others = self._running - {threading.current_thread()}
        for thread in others:
            thread.join()

    def _forget_ended(self) -> None:
        while self._ended:
            thread = self._ended.popleft()
            if thread.is_alive():
                # In its last instructions; it is waited for until it is through.
                self._ended.appendleft(thread)
                break
            self._running.discard(thread)
