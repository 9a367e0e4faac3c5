"""A drain: its deadline, and what came of it.

Theory of operation. ``stop`` sets the deadline, ends the input of every request
in progress, and tells the loop, which from then on takes no more than what
waited in the backlog at that moment. Handlers that were idle come to their end
at once, the busy ones in their time. At the deadline what is left is shut in both
directions and given a moment to unwind; what goes on even so is abandoned: it is
counted as forced, and nobody waits for it any more.

The loop carries this out, because nobody else may touch its selector. Where a
handler runs in the loop's own thread and keeps it, whoever called ``stop`` does
the forcing instead. Forcing twice is harmless.
"""

import time
from dataclasses import dataclass
from typing import Final

from netserve.core._ledger import Entry
from netserve.core._outcome import Outcome

UNWIND: Final = 0.5
"""How long a forced handler has to come to its end before it is abandoned, in seconds."""


@dataclass(frozen=True)
class StopResult:
    """What came of a call of ``stop``."""

    drained: int
    """How many requests came to their end by themselves."""

    forced: int
    """How many were shut when the grace was over, or left running after that."""

    elapsed: float
    """How long it took, in seconds."""


class Drain:
    """One drain, from the call of ``stop`` to the return of the loop.

    *grace* is in seconds; *ends* are the ledger's counts at its beginning.
    """

    def __init__(self, grace: float, ends: dict[Outcome, int]) -> None:
        self.began = time.monotonic()
        self.deadline = self.began + grace
        self.backlog_taken = False
        self.full = False
        """Whether the backlog waits for a request in progress to come to its end."""
        self.carried_out = False
        self.handlers: set[Entry] = set()
        self._before = ends

    def __repr__(self) -> str:
        return f"<{type(self).__name__} with {self.remaining():.3f} s left>"

    def remaining(self) -> float:
        """How much of the grace is left, in seconds; zero or less when none is."""
        return self.deadline - time.monotonic()

    def shorten(self, grace: float) -> None:
        """Let the grace end in *grace* seconds, unless it ends before."""
        self.deadline = min(self.deadline, time.monotonic() + grace)

    def result(self, ends: dict[Outcome, int]) -> StopResult:
        """What came of it, *ends* being the ledger's counts now."""
        ended = {outcome: ends[outcome] - before for outcome, before in self._before.items()}
        forced = ended.pop(Outcome.FORCED)
        del ended[Outcome.REFUSED]
        return StopResult(sum(ended.values()), forced, time.monotonic() - self.began)
