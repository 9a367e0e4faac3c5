"""The engine behind the forking mix-in: a set of child processes.

It waits for its own children by name, never for just any, so that a program's
other children stay that program's. To wait for whichever of its own ends
first, it polls a descriptor for each (:manpage:`pidfd_open(2)`); where the
system has none, it looks again after a pause.
"""

import contextlib
import os
import selectors
import sys
import time
from collections.abc import Callable, Iterable
from typing import Final

_PAUSE: Final = 0.01  # seconds


class Children(set[int]):
    """The process ids of the children that haven't been collected."""

    def fork(self, work: Callable[[], bool]) -> None:
        """Fork a child that runs *work* and exits: with 0 if it returned true, else 1.

        Raises :class:`OSError` when the system can't fork.
        """
        # What waits in a buffer would be written by both processes.
        _flush_streams()
        pid = os.fork()
        if pid:
            self.add(pid)
            return
        status = 1
        # Whatever is raised here, the child must not run on into the parent's code.
        try:
            # These are the parent's; the child has none yet.
            self.clear()
            if work():
                status = 0
        finally:
            try:
                _flush_streams()
            finally:
                os._exit(status)

    def collect(self, *, blocking: bool = False) -> None:
        """Collect the children that have ended; if *blocking*, wait until all have."""
        for pid in self.copy():
            # Another part of the program may have been faster.
            with contextlib.suppress(ChildProcessError):
                ended, _ = os.waitpid(pid, 0 if blocking else os.WNOHANG)
                if not ended:
                    continue
            self.discard(pid)

    def wait_until_fewer(self, limit: int) -> None:
        """Wait until fewer than *limit* children are left, and collect the others."""
        while len(self) >= max(limit, 1):
            wait_for_any(self)
            self.collect()


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
        # A stream may be missing (None), closed, or broken.
        with contextlib.suppress(AttributeError, ValueError, OSError):
            stream.flush()
