"""What a service tells systemd of its state: :manpage:`sd_notify(3)`.

One datagram of assignments to the socket that ``NOTIFY_SOCKET`` names, a path or,
after an ``@``, an abstract name. Where there is none, nothing is to be told.
"""

import os
import socket as _socket
from typing import Final

from netserve.core._logs import log

_VARIABLE: Final = "NOTIFY_SOCKET"


def sd_notify(state: str) -> bool:
    """Tell systemd *state*, as ``READY=1`` or ``STATUS=warming up``; says whether it was sent.

    Several assignments stand on a line each. Without ``NOTIFY_SOCKET`` in the
    environment nothing is sent. It never blocks, and what goes wrong is a warning
    in the log: a service goes on without. ``run`` tells ``READY=1`` and
    ``STOPPING=1`` by itself.
    """
    address = os.environ.get(_VARIABLE, "")
    if not address:
        return False
    try:
        if not address.startswith(("/", "@")):
            msg = "it is neither a path nor an abstract name"
            raise OSError(msg)
        name = f"\0{address[1:]}" if address.startswith("@") else address
        with _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendto(state.encode(), name)
    except (OSError, AttributeError) as error:
        log.warning("can't tell %r to %s=%s (%s)", state, _VARIABLE, address, error)
        return False
    return True
