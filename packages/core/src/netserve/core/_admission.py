"""Whether to take a request: a decision, apart from the I/O that carries it out.

Before one is taken, only the number of those in progress is known; the answer is
to accept it, to leave it waiting in the system's backlog, or to take it and
refuse it. Once it is taken its peer is known, and the answer can only be to
accept or to refuse: to leave one peer's connection waiting would keep everyone
behind it waiting too.
"""

import enum
import socket
from typing import Literal, TypeAlias, cast

Overload: TypeAlias = Literal["wait", "refuse"]
"""What happens to a request over ``max_connections``."""


class Admission(enum.Enum):
    """What is to be done with the next request."""

    ACCEPT = "accept"
    WAIT = "wait"
    REFUSE = "refuse"


def admit(active: int, limit: int | None, overload: Overload) -> Admission:
    """What to do with one more request beside *active* ones, *limit* being the most.

    A *limit* of None is no limit; *overload* says what happens beyond it.
    """
    if limit is None or active < limit:
        return Admission.ACCEPT
    return Admission.WAIT if overload == "wait" else Admission.REFUSE


def admit_peer(held: int, limit: int | None) -> Admission:
    """What to do with one more request of a peer that has *held* in progress."""
    return Admission.ACCEPT if limit is None or held < limit else Admission.REFUSE


def peer_key(address: object) -> bytes | None:
    """What the requests from *address* are counted under for a limit on each peer.

    For IPv4 it is the address; for IPv6 the first 64 bits, because whoever has
    one address of such a network has them all (:rfc:`6177`); for an IPv4
    address mapped into IPv6 the former. For anything else, a Unix domain
    address for instance, it is None: such peers can't be told apart, and have
    no limit.
    """
    if not isinstance(address, tuple) or not address:
        return None
    host = cast("tuple[object, ...]", address)[0]
    if not isinstance(host, str):
        return None
    try:
        if ":" not in host:
            return socket.inet_pton(socket.AF_INET, host)
        packed = socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
    except (OSError, ValueError):
        # Not numeric; or what can't even be passed on, such as a null character.
        return None
    return packed[12:] if packed.startswith(_MAPPED) else packed[:8]


_MAPPED = bytes(10) + b"\xff\xff"
