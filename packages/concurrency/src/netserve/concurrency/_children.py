"""The engine behind the forking mix-in: a set of child processes.

It waits for its own children by name, never for just any, so that a program's
other children stay that program's. To wait for whichever of its own ends
first, it polls a descriptor for each (:manpage:`pidfd_open(2)`); where the
system has none, it looks again after a pause.

Several threads may collect the same child, and a signal handler within any of
them. Each looks without waiting, in its turn, so that whoever gets the status is
also the one that tells it.
"""

import contextlib
import os
import selectors
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import Final

_PAUSE: Final = 0.01  # seconds


class Children(set[int]):
    """The process ids of the children that haven't been collected."""

    def __init__(self) -> None:
        super().__init__()
        self._watchers: dict[int, Callable[[int | None], None]] = {}
        self._inherited: object = None
        self._turn = threading.RLock()
        self._collecting: set[int] = set()

    def fork(
        self, work: Callable[[], int], ended: Callable[[int | None], None] | None = None
    ) -> int:
        """Fork a child that runs *work* and exits with what it returns, or 1 if it raises.

        Returns the child's process id. *ended* is for :meth:`tell`; given here,
        it is called however soon another thread or a signal handler collects
        the child. Raises :class:`OSError` when the system can't fork.
        """
        # What waits in a buffer would be written by both processes.
        _flush_streams()
        pid = os.fork()
        if pid:
            if ended is not None:
                self.tell(pid, ended)
            self.add(pid)
            return pid
        status = 1
        # Whatever is raised here, the child must not run on into the parent's code.
        try:
            # These are the parent's; the child has none yet. What they hold is kept, since
            # to free it would copy all the memory that it lies in.
            self.clear()
            self._inherited = self._watchers, self._turn
            self._watchers = {}
            self._turn = threading.RLock()
            self._collecting = set()
            status = work()
        finally:
            try:
                _flush_streams()
            finally:
                os._exit(status)

    def tell(self, pid: int, ended: Callable[[int | None], None]) -> None:
        """Call *ended* once the child *pid* has been collected.

        It gets the exit status, the negative number of the signal that killed
        the child, or None when another part of the program was faster.
        """
        self._watchers[pid] = ended

    def kill(self) -> None:
        """Kill all children, and collect them."""
        for pid in list(self):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.collect(blocking=True)

    def collect(self, *, blocking: bool = False) -> None:
        """Collect the children that have ended; if *blocking*, wait until all have."""
        for pid in list(self):
            self.collect_one(pid, blocking=blocking)

    def collect_one(self, pid: int, *, blocking: bool = False) -> None:
        """Collect the child *pid* if it has ended; if *blocking*, wait until it has.

        Harmless when it has been collected.
        """
        while self._runs(pid) and blocking:
            wait_for_any([pid])

    def _runs(self, pid: int) -> bool:
        """Whether the child *pid* runs on; if not, it is collected, and told of."""
        with self._turn:
            if pid in self._collecting:
                # A signal handler in the middle of this: what it has interrupted goes on.
                return False
            self._collecting.add(pid)
            try:
                ended, code = _look(pid)
                if not ended:
                    return True
                self.discard(pid)
                tell = self._watchers.pop(pid, None)
            finally:
                self._collecting.discard(pid)
        if tell is not None:
            tell(code)
        return False

    def wait_until_fewer(self, limit: int) -> None:
        """Wait until fewer than *limit* children are left, and collect the others."""
        while len(self) >= max(limit, 1):
            wait_for_any(self)
            self.collect()


def _look(pid: int) -> tuple[bool, int | None]:
    """Whether the child *pid* has ended, and its exit code unless somebody else took that."""
    try:
        ended, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        # Another part of the program was faster.
        return True, None
    return ended == pid, os.waitstatus_to_exitcode(status)


def wait_for_any(pids: Iterable[int]) -> None:
    """Wait until one of *pids* may have ended; returns early where that can't be told."""
    with contextlib.ExitStack() as descriptors, selectors.DefaultSelector() as selector:
        try:
            for pid in pids:
                descriptor = os.pidfd_open(pid)
                descriptors.callback(os.close, descriptor)
                selector.register(descriptor, selectors.EVENT_READ)
        except (AttributeError, OSError):
            time.sleep(_PAUSE)
        else:
            selector.select()


def _flush_streams() -> None:
    for stream in (sys.stdout, sys.stderr):
        # Without contextlib, since it is run in each child: see ``_forking``.
        try:  # noqa: SIM105
            stream.flush()
        except (AttributeError, ValueError, OSError):
            # A stream may be missing (None), closed, or broken.
            pass
