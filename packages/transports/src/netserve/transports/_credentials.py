"""Who is at the other end of a Unix domain socket."""

import errno
import socket as _socket
import struct
import sys
from typing import Final, NamedTuple

_UCRED: Final = struct.Struct("3i")  # struct ucred in unix(7): pid, uid, gid
_UNSIGNED: Final = 0xFFFFFFFF
_TELLS: Final = sys.platform == "linux"


class PeerCredentials(NamedTuple):
    """The process at the other end, as it was when it connected."""

    pid: int
    """Its process id; 0 if that lies in a namespace which this process doesn't see."""

    uid: int
    """The id of its effective user."""

    gid: int
    """The id of its effective group."""


def peer_credentials(request: _socket.socket) -> PeerCredentials:
    """Who has connected on *request*, a connection of a Unix domain socket.

    The system vouches for it (``SO_PEERCRED`` in :manpage:`unix(7)`): for use in
    ``verify_request``, and in a handler with its ``request``. The process may
    have ended since, and another may have its number.

    Raises :class:`ValueError` for a socket of another family, and
    :class:`OSError` with ``EOPNOTSUPP`` where the system doesn't tell: elsewhere
    than on Linux.
    """
    if request.family != getattr(_socket, "AF_UNIX", None):
        family = _socket.AddressFamily(request.family).name
        msg = f"only a Unix domain socket has a peer with credentials, not one of {family}"
        raise ValueError(msg)
    if not _TELLS:
        msg = "this system doesn't tell the credentials of a peer as Linux does (SO_PEERCRED)"
        raise OSError(errno.EOPNOTSUPP, msg)
    data = request.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, _UCRED.size)
    pid, uid, gid = _UCRED.unpack(data)
    return PeerCredentials(pid, uid & _UNSIGNED, gid & _UNSIGNED)
