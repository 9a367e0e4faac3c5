"""How requests end, and the counts of them."""

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

from netserve.core._state import State


class Outcome(enum.Enum):
    """How one accepted request came to its end; its value is the exit status of a child."""

    COMPLETED = 0
    """The handler returned."""

    FAILED = 1
    """The handler, or a hook, raised an exception; or the child that ran it died."""

    DISCONNECTED = 2
    """The peer went away while the handler ran."""

    TIMED_OUT = 3
    """A deadline passed."""

    REFUSED = 4
    """No handler saw it: over a limit, or denied by ``verify_request``."""

    DRAINED = 5
    """It came to its end by itself while the server was draining."""

    FORCED = 6
    """It was still in progress when the grace of ``stop`` was over."""

    if not TYPE_CHECKING:
        # Enum's own is written in Python, and called for each request.
        __hash__ = object.__hash__


@dataclass(frozen=True)
class Stats:
    """What a server has done so far, at one instant.

    Each accepted request is counted once: ``accepted == active + completed +
    failed + disconnected + timed_out + refused + drained + forced``.
    """

    state: State
    """The state of the server."""

    since: float
    """When the server came to that state, in seconds since the epoch."""

    accepted: int
    """Requests that were taken, those refused afterwards included."""

    active: int
    """Requests that are in progress."""

    completed: int
    """Requests whose handler returned."""

    failed: int
    """Requests whose handler, or a hook, raised an exception."""

    disconnected: int
    """Requests whose peer went away while the handler ran."""

    timed_out: int
    """Requests that a deadline ended."""

    refused: int
    """Requests that no handler saw: over a limit, or denied by ``verify_request``."""

    drained: int
    """Requests that came to their end by themselves while the server was draining."""

    forced: int
    """Requests that were still in progress when the grace of ``stop`` was over."""

    exhausted: int
    """How often accepting was paused because the system had run out of something."""

    bytes_received: int
    """Bytes that came in, summed over the ended requests of which it is known."""

    bytes_sent: int
    """Bytes that went out, summed over the ended requests of which it is known."""
