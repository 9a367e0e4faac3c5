"""What has to happen on a connection before its handler may begin, such as a handshake.

Theory of operation. A server says with ``open_request`` what that is: a generator
that does what can be done at once, and yields a :class:`Wait` whenever it would
have to wait for the peer. It never blocks, so that whoever runs requests can run
it: a thread waits in :func:`finish_opening`; a loop that has many connections
waits for all of them at once. It runs where the request runs, not where requests
are taken, so that a mute peer holds up nobody but itself.

A mix-in adds a step of its own by delegating with ``yield from`` to what its
``super()`` returns, unless that is None.
"""

import select
import time
from collections.abc import Generator
from contextlib import closing
from typing import Final, NamedTuple, TypeAlias

from netserve.core._deadlines import Deadline
from netserve.core._errors import DeadlineError
from netserve.core._types import AddressT


class Wait(NamedTuple):
    """What an opening waits for, and until when."""

    writing: bool
    """Whether for room to send; otherwise for input."""

    until: float
    """When the wait must end, on the monotonic clock, in seconds; infinite for never."""

    deadline: Deadline
    """Which deadline passes then."""

    limit: float
    """That deadline's limit, in seconds."""


Opening: TypeAlias = Generator[Wait, None, AddressT]
"""The steps before a handler may begin; returns the address that the handler is to see."""


def finish_opening(opening: Opening[AddressT], descriptor: int) -> AddressT:
    """Run *opening* to its end, and block meanwhile; returns the client's address.

    *descriptor* is the connection's. Raises what the opening does, and
    :class:`~netserve.core.DeadlineError` when a wait of it took too long. The
    opening is closed in any case.
    """
    with closing(opening):
        try:
            while True:
                wait = next(opening)
                if not _await(descriptor, wait):
                    raise DeadlineError(wait.deadline, wait.limit)
        except StopIteration as end:
            address: AddressT = end.value
            return address


def _await(descriptor: int, wait: Wait) -> bool:
    """Wait as *wait* says; false when its time is over."""
    left = wait.until - time.monotonic()
    if left <= 0:
        return False
    # The system takes no wait that is much longer, and an opening may be asked early.
    timeout = min(left, _LONGEST)
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(descriptor, select.POLLOUT if wait.writing else select.POLLIN)
        # Rounded up, so that it isn't asked again for less than a millisecond.
        ready = bool(poll.poll(int(timeout * 1000) + 1))
    else:
        watched = [descriptor]
        writing = watched if wait.writing else []
        ready = any(select.select([] if wait.writing else watched, writing, watched, timeout))
    return ready or left > timeout


_LONGEST: Final = 86400.0  # seconds
