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
import socket
import threading
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
