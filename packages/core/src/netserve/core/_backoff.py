"""What to do when the system has run out of something: pause, then try again.

``accept`` that fails for want of a descriptor leaves the connection where it is,
so that the listening socket stays ready, and a loop that went on would only
spin. It pauses instead, twice as long each time, until there is room again.
"""

import errno
from typing import Final

_FIRST: Final = 0.1  # seconds
_LONGEST: Final = 1.0  # seconds

_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

# What accept(2) raises when it is the listening socket that is broken: also
# nothing that a second try at once would mend.
_BROKEN: Final = frozenset({errno.EBADF, errno.ENOTSOCK, errno.EINVAL, errno.EOPNOTSUPP})


def calls_for_a_pause(error: OSError) -> bool:
    """Whether *error*, raised by ``accept``, is about this system rather than a peer.

    See :manpage:`accept(2)`: descriptors or memory have run out, or the
    listening socket is none.
    """
    return error.errno in _EXHAUSTED or error.errno in _BROKEN


class Backoff:
    """How long to pause after each failure in a row."""

    def __init__(self) -> None:
        self._next = _FIRST

    @property
    def failing(self) -> bool:
        """Whether the last try failed."""
        return self._next > _FIRST

    def failed(self) -> float:
        """Note a failure; returns how long to pause, in seconds."""
        pause, self._next = self._next, min(self._next * 2, 2 * _LONGEST)
        return min(pause, _LONGEST)

    def succeeded(self) -> None:
        """Note a success: the next failure is the first of its row."""
        self._next = _FIRST
