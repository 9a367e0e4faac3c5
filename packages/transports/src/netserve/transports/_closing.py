"""The end of a connection: that the reply arrives whole, and what went over the wire.

A socket that is closed while input lies unread in it resets the connection, and
with that destroys what its peer hasn't read yet (:rfc:`2525`, section 2.17). So
after the last byte has been sent and the writing side shut, what still comes in
is read and thrown away, until the peer has closed too: the *lingering close* of
web servers. It is limited in time and in bytes, and is skipped where nothing is
unread and everything has been delivered.
"""

import contextlib
import importlib
import select
import socket as _socket
import struct
import sys
import time
from typing import Any, Final

_CHUNK: Final = 65536
_DONT_WAIT: Final = getattr(_socket, "MSG_DONTWAIT", 0)
_UNIX: Final = getattr(_socket, "AF_UNIX", None)
_STEP: Final = 0.02  # seconds between looks at what hasn't been delivered

# Linux tells what a socket holds unsent or unacknowledged (SIOCOUTQ in tcp(7)
# and unix(7)), and unread (SIOCINQ); other systems have other calls or none.
_SIOCINQ: Final = 0x541B
_SIOCOUTQ: Final = 0x5411
_TCP_INFO_SIZE: Final = 216
# tcpi_state, _bytes_received, _notsent_bytes, _bytes_sent and _bytes_retrans.
_TRAFFIC: Final = struct.Struct("=B127xQ8xI52xQQ")
_UNTRACKED: Final = (0, 0)

# The states of a connection (tcpi_state) in which the end of the input has come,
# which counts as a byte received; and in which the end of the output hasn't been
# acknowledged, which counts as a byte that is yet to be sent, if any is. A reset
# can't be told from the end of the input here.
_INPUT_ENDED: Final = frozenset({6, 7, 8, 9, 11})
_OUTPUT_ENDING: Final = frozenset({4, 9, 11})

_TELLS: Final = sys.platform == "linux"

# Not where it is used: an import needs a descriptor, and none may be left by then.
_fcntl: Final[Any] = importlib.import_module("fcntl") if _TELLS else None


def linger(connection: _socket.socket, timeout: float, limit: int, *, patient: bool = True) -> None:
    """Throw away what still comes in on *connection*, whose writing side is shut.

    Returns when the peer has closed; when nothing has been left unread and all
    that was sent is delivered; after *timeout* seconds; or after *limit* bytes.
    Whatever error the connection has ends it. Unless it is *patient*, it returns
    at once when nothing is unread, whether all is delivered or not.
    """
    if not has_unread_input(connection) and not (patient and _undelivered(connection)):
        return
    _dont_wait(connection)
    until = time.monotonic() + timeout
    surplus = 0
    while surplus < limit:
        try:
            # The plain method, below TLS and deadlines.
            data = _socket.socket.recv(connection, _CHUNK, _DONT_WAIT)
        except BlockingIOError:
            left = until - time.monotonic()
            if left <= 0 or (not surplus and not _undelivered(connection)):
                return
            _await_input(connection, left if surplus else min(left, _STEP))
        else:
            if not data:
                return
            surplus += len(data)


def undelivered_bytes(connection: _socket.socket) -> int:
    """How many bytes were sent on *connection* and aren't acknowledged; 0 where it isn't known."""
    return _held(connection, _SIOCOUTQ) if _TELLS else 0


def discard(connection: _socket.socket) -> None:
    """Throw away what has come in on *connection* so far; waits for nothing."""
    with contextlib.suppress(OSError):
        _dont_wait(connection)
        while _socket.socket.recv(connection, _CHUNK, _DONT_WAIT):
            pass


def traffic(connection: _socket.socket) -> tuple[int, int]:
    """How many bytes *connection* has received and sent; zeros where it isn't known.

    Linux tells it of TCP (``TCP_INFO`` in :manpage:`tcp(7)`).
    """
    info = _tcp_info(connection)
    if not info:
        return _UNTRACKED
    state, received, unsent, sent, again = _TRAFFIC.unpack(info)
    received -= state in _INPUT_ENDED and received > 0
    unsent -= state in _OUTPUT_ENDING and unsent > 0
    return received, sent - again + unsent


def input_ended_by_peer(connection: _socket.socket) -> bool:
    """Whether the peer ended the input of *connection*, which has come to its end.

    Otherwise it was shut on this side, by another process that has a copy of the
    socket. True where it isn't known.
    """
    state = _tcp_info(connection)[:1]
    return not state or state[0] in _INPUT_ENDED


def _tcp_info(connection: _socket.socket) -> bytes:
    """What Linux tells of a TCP connection (``TCP_INFO``); empty where it tells less."""
    if not _TELLS:
        return b""
    try:
        # Any other family has no such option, and raises.
        info = connection.getsockopt(_socket.IPPROTO_TCP, _socket.TCP_INFO, _TCP_INFO_SIZE)
    except OSError:
        return b""
    return info if len(info) == _TCP_INFO_SIZE else b""


def peer_is_gone(connection: _socket.socket) -> bool:
    """Whether *connection* has come to its end in both directions, or is closed here."""
    descriptor = connection.fileno()
    if descriptor < 0 or not hasattr(select, "poll"):
        return True
    poll = select.poll()
    poll.register(descriptor, 0)
    return bool(poll.poll(0))


def _dont_wait(connection: _socket.socket) -> None:
    # Python waits for as long as a timeout says before it looks at MSG_DONTWAIT. A
    # socket without one is left as it is, because others may hold copies of it.
    if not _DONT_WAIT or _socket.socket.gettimeout(connection) is not None:
        _socket.socket.settimeout(connection, 0)


def _await_input(connection: _socket.socket, timeout: float) -> None:
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(connection, select.POLLIN)
        poll.poll(timeout * 1000)
    else:
        select.select([connection], [], [], timeout)


def has_unread_input(connection: _socket.socket) -> bool:
    """Whether input lies unread in *connection*; true, to be careful, where it isn't known."""
    return not _TELLS or _held(connection, _SIOCINQ) > 0


def _undelivered(connection: _socket.socket) -> bool:
    """Whether the peer lacks a part of what was sent; true where it isn't known."""
    # What was sent to a Unix domain socket is on the other side already.
    if connection.family == _UNIX:
        return False
    # The end of the output counts as one byte, and needn't be acknowledged.
    return not _TELLS or _held(connection, _SIOCOUTQ) > 1


def _held(connection: _socket.socket, what: int) -> int:
    """How many bytes *connection* holds of *what*."""
    try:
        held: bytes = _fcntl.ioctl(connection, what, b"\0\0\0\0")
    except OSError:
        return 0
    return int.from_bytes(held, sys.byteorder)
