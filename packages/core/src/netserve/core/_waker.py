"""A way to end a wait in a selector from anywhere.

The reading end of a socket pair is registered beside the listening socket; a
byte written to the other end makes the selector return. A socket pair rather
than a pipe, because Windows can't select on a pipe.

``wake`` is called from other threads and from signal handlers, and may meet
``close`` half-way. A reentrant lock keeps it from writing to a descriptor
number that was closed and given to somebody else, and lets a signal handler in
that interrupts the holder of the lock in its own thread.
"""

import contextlib
import signal
import socket
import threading
from collections.abc import Generator
from types import TracebackType

from typing_extensions import Self


class Waker:
    """A descriptor that becomes readable when :meth:`wake` is called.

    The descriptors are held from construction until :meth:`close`.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)

    def fileno(self) -> int:
        """The descriptor to wait on for reading; -1 once closed."""
        return self._reader.fileno()

    def wake(self) -> None:
        """Make the descriptor readable; never blocks, and is harmless once closed."""
        with self._lock:
            # Full means that a wake-up is waiting already; closed, that nobody waits.
            with contextlib.suppress(OSError):
                self._writer.send(b"\0")

    def drain(self) -> None:
        """Take back every wake-up so far, so that the descriptor can be waited on anew."""
        with contextlib.suppress(BlockingIOError):
            while self._reader.recv(4096):
                pass

    @contextlib.contextmanager
    def woken_by_signals(self) -> Generator[bool]:
        """A span in which every signal that Python handles makes the descriptor readable.

        A signal that comes just before a wait begins, or to another thread,
        doesn't end the wait by itself, and its handler runs only afterwards.
        Enters with whether a wait can be relied on to end: false when somebody
        else has taken :func:`signal.set_wakeup_fd`, which a process has once.
        In a thread other than the main one it is true, as no handler runs there.
        """
        try:
            previous = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        except ValueError:
            yield True
            return
        if previous >= 0:
            signal.set_wakeup_fd(previous)
            yield False
            return
        try:
            yield True
        finally:
            signal.set_wakeup_fd(-1)

    def forget_signals(self) -> None:
        """Undo :meth:`woken_by_signals` in a child process, which inherits it."""
        previous = signal.set_wakeup_fd(-1)
        if previous not in {-1, self._writer.fileno()}:
            signal.set_wakeup_fd(previous)

    def close(self) -> None:
        """Release the descriptors; may be called twice."""
        with self._lock:
            self._reader.close()
            self._writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
