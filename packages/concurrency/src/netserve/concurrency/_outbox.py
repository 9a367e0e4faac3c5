"""What the connections of one event loop have written, which leaves in a row.

An answer that leaves by itself finds its client asleep, and the system has to wake
that each time; the next ones in a row find it awake. So a connection whose handler
waits for its client again isn't sent for at once, but with the others of the same
turn of the event loop, at the beginning of the next. When some have gathered, they
are sent for before: then a handler that takes its time holds up no more than these.

Where one connection alone is busy, there is nothing to gain by this, and one more turn
of the event loop costs a system call. So when one was alone, those that come next are
sent for at once, until it is time to look again.
"""

import asyncio
from typing import Final, Protocol

MOST: Final = 16
"""How many connections are sent for in a row, at most."""

STRETCH: Final = 16
"""How often one is sent for at once after it was alone."""


class Sender(Protocol):
    """What has written something."""

    def flush(self) -> None:
        """Send it, as far as that is possible now; it raises nothing."""


class Outbox:
    """The connections in the event loop *loop* that have something to send."""

    __slots__ = ("_crowded", "_stretch", "_waiting", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._waiting: list[Sender] = []
        self._stretch = 0
        self._crowded = False

    def put(self, sender: Sender) -> None:
        """Send for *sender*, which is through for this turn: in a row, or at once."""
        if self._stretch:
            self._stretch -= 1
            sender.flush()
        elif 0 < len(self._waiting) < MOST:
            # The common case, without another call.
            self._waiting.append(sender)
        else:
            self.plan(sender)

    def plan(self, sender: Sender) -> None:
        """Send for *sender*, which may write more, in the next turn."""
        waiting = self._waiting
        if not waiting:
            self.loop.call_soon(self._empty)
        elif len(waiting) == MOST:
            self._crowded = True
            for each in waiting:
                each.flush()
            waiting.clear()
        waiting.append(sender)

    def _empty(self) -> None:
        waiting, self._waiting = self._waiting, []
        if len(waiting) == 1 and not self._crowded:
            self._stretch = STRETCH
        self._crowded = False
        for each in waiting:
            each.flush()
