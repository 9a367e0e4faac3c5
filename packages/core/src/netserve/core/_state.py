"""The life of a server: its states, and the moves between them.

:data:`TRANSITIONS` is the whole truth: for each state, the states that may come
next. A server's ``repr`` shows where it stands.
"""

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final


class State(enum.Enum):
    """Where a server stands in its life."""

    CREATED = "created"
    """Constructed; its socket isn't bound yet."""

    BOUND = "bound"
    """Bound to its address; a stream server listens once it is activated."""

    SERVING = "serving"
    """A thread is in ``serve_forever``, and takes requests."""

    DRAINING = "draining"
    """``stop`` was called; requests in progress are coming to their end."""

    STOPPED = "stopped"
    """``serve_forever`` has returned; it may be called again."""

    CLOSED = "closed"
    """``server_close`` has been called; the socket is gone."""

    def __str__(self) -> str:
        return self.value


TRANSITIONS: Final[Mapping[State, frozenset[State]]] = MappingProxyType(
    {
        # A socket of one's own, bound elsewhere, is served without BOUND.
        State.CREATED: frozenset({State.BOUND, State.SERVING, State.CLOSED}),
        # A new socket may be put in place of the first one, and bound.
        State.BOUND: frozenset({State.BOUND, State.SERVING, State.CLOSED}),
        State.SERVING: frozenset({State.DRAINING, State.STOPPED, State.CLOSED}),
        State.DRAINING: frozenset({State.STOPPED, State.CLOSED}),
        State.STOPPED: frozenset({State.SERVING, State.BOUND, State.CLOSED}),
        # Also in place of a closed one.
        State.CLOSED: frozenset({State.BOUND, State.CLOSED}),
    }
)
"""For each state, the states that may follow it."""


def may_follow(current: State, following: State) -> bool:
    """Whether a server in state *current* may move to *following*."""
    return following in TRANSITIONS[current]
