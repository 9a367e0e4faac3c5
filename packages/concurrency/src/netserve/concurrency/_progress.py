"""Whether a thread that doesn't get on is to blame, or only waits for a processor.

A thread that blocks sleeps; one that computes uses up time of a processor. On a busy
machine one may do neither for long: it is ready to run, and another program runs. Linux
tells the three apart (:manpage:`proc(5)`, the state in ``stat``; and the thread's own
clock). Elsewhere nobody is taken to wait.
"""

import threading
import time
from pathlib import Path
from typing import Final

_RUNNABLE: Final = "R"


class Progress:
    """How the thread that makes it gets on, for another thread that looks at times."""

    def __init__(self) -> None:
        self._stat = Path(f"/proc/self/task/{threading.get_native_id()}/stat")
        self._clock: int | None = None
        if hasattr(time, "pthread_getcpuclockid") and self._state():
            self._clock = time.pthread_getcpuclockid(threading.get_ident())
        self._last = 0.0

    def ran(self) -> float:
        """For how long it has had a processor since the last call, in seconds."""
        if self._clock is None:
            return 0.0
        now = time.clock_gettime(self._clock)
        ran, self._last = now - self._last, now
        return ran

    def waits_for_processor(self, ran: float, passed: float) -> bool:
        """Whether it *ran* for little of the *passed* seconds, although it could."""
        return self._clock is not None and ran < passed / 2 and self._state() == _RUNNABLE

    def _state(self) -> str:
        """The letter for its state; nothing where the system doesn't tell."""
        try:
            # The name before it may have any character, and stands in parentheses.
            return self._stat.read_text().rpartition(")")[2].split()[0]
        except (OSError, IndexError):
            return ""
