"""Socket options that programs set by hand, with their units, in one frozen object.

:func:`plan` decides from a :class:`SocketOptions`, without I/O, what is to be set
on a server's own socket and what on each connection, and refuses what the
platform or the kind of socket doesn't have.

An option of a connection is set on each accepted socket, not on the listening one
in the hope that it is inherited: that differs between systems, and an inherited
listening socket may be shared with other processes. The sizes of the buffers are
the exception, because TCP agrees on its window before a connection is accepted
(:manpage:`tcp(7)`, *Socket options*).
"""

import errno
import math
import socket as _socket
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any, Final, NamedTuple, TypeAlias

Setting: TypeAlias = tuple[int, int, int]
"""The arguments of ``setsockopt``: level, option, value."""


@dataclass(frozen=True, kw_only=True)
class SocketOptions:
    """The options of a server's sockets; None, the default of each, leaves the system's.

    TCP's and the keepalive are for TCP servers, the sizes of the buffers for all.
    """

    no_delay: bool | None = None
    """Whether small pieces are sent at once, instead of collected (``TCP_NODELAY``)."""

    keepalive: bool | None = None
    """Whether the system probes a silent peer (``SO_KEEPALIVE``).

    It is on too when one of the next three is set.
    """

    keepalive_idle: int | None = None
    """After how many seconds of silence the probes begin (``TCP_KEEPIDLE``)."""

    keepalive_interval: int | None = None
    """How many seconds lie between the probes (``TCP_KEEPINTVL``)."""

    keepalive_count: int | None = None
    """After how many unanswered probes the connection is given up (``TCP_KEEPCNT``)."""

    user_timeout: float | None = None
    """How many seconds sent data may be unacknowledged (``TCP_USER_TIMEOUT``).

    Then the connection is given up (:rfc:`5482`). Counted in milliseconds.
    """

    defer_accept: int | None = None
    """Accept a connection when its first data are there (``TCP_DEFER_ACCEPT``).

    Or after about so many seconds without.
    """

    fast_open: int | None = None
    """How many connections may wait whose data came with their start (``TCP_FASTOPEN``).

    See :rfc:`7413`.
    """

    receive_buffer: int | None = None
    """The size of the receive buffer, in bytes (``SO_RCVBUF``); Linux doubles it."""

    send_buffer: int | None = None
    """The size of the send buffer, in bytes (``SO_SNDBUF``); Linux doubles it."""


class Plan(NamedTuple):
    """What is to be set on the sockets of a server."""

    own: tuple[tuple[str, Setting], ...] = ()
    """On the server's own socket, before it listens; each with the field that asks for it."""

    connection: tuple[tuple[str, Setting], ...] = ()
    """On each accepted socket, likewise."""

    def apply(self, own: _socket.socket) -> None:
        """Set what is for the server's own socket, and try what is for its connections.

        Raises :class:`OSError`, which names the option, for a value that the
        system refuses.
        """
        set_all(own, self.own)
        if self.connection:
            with _socket.socket(own.family, own.type) as scratch:
                set_all(scratch, self.connection)


class _Option(NamedTuple):
    level: int
    names: tuple[str, ...]  # the first that the platform has counts
    listening: bool = False
    unit: int = 1


_TCP: Final = _socket.IPPROTO_TCP
_OPTIONS: Final = {
    "no_delay": _Option(_TCP, ("TCP_NODELAY",)),
    "keepalive": _Option(_socket.SOL_SOCKET, ("SO_KEEPALIVE",)),
    "keepalive_idle": _Option(_TCP, ("TCP_KEEPIDLE", "TCP_KEEPALIVE")),
    "keepalive_interval": _Option(_TCP, ("TCP_KEEPINTVL",)),
    "keepalive_count": _Option(_TCP, ("TCP_KEEPCNT",)),
    "user_timeout": _Option(_TCP, ("TCP_USER_TIMEOUT",), unit=1000),
    "defer_accept": _Option(_TCP, ("TCP_DEFER_ACCEPT",), listening=True),
    "fast_open": _Option(_TCP, ("TCP_FASTOPEN",), listening=True),
    "receive_buffer": _Option(_socket.SOL_SOCKET, ("SO_RCVBUF",), listening=True),
    "send_buffer": _Option(_socket.SOL_SOCKET, ("SO_SNDBUF",), listening=True),
}
_FOR_ALL: Final = frozenset({"receive_buffer", "send_buffer"})
_NEED_KEEPALIVE: Final = frozenset({"keepalive_idle", "keepalive_interval", "keepalive_count"})


def plan(options: SocketOptions, family: int, socket_type: int) -> Plan:
    """What to set for *options* on a server whose sockets are of *family* and *socket_type*.

    Raises :class:`ValueError` for an option that such sockets don't have, or a
    value that isn't finite, and :class:`OSError` with ``ENOPROTOOPT`` for one that
    this platform doesn't have.
    """
    wanted: dict[str, Any] = {
        field.name: value
        for field in fields(options)
        if (value := getattr(options, field.name)) is not None
    }
    if _NEED_KEEPALIVE & wanted.keys():
        wanted = {"keepalive": True, **wanted}
    internet = family in {_socket.AF_INET, _socket.AF_INET6}
    streams = socket_type == _socket.SOCK_STREAM
    own: list[tuple[str, Setting]] = []
    connection: list[tuple[str, Setting]] = []
    for name, value in wanted.items():
        if name not in _FOR_ALL and not (internet and streams):
            msg = f"socket_options: {name} is for connections of TCP, which this server has none of"
            raise ValueError(msg)
        entry = name, _setting(name, value)
        # A connection of the Unix domain has buffers of its own from its start.
        if _OPTIONS[name].listening and (internet or not streams):
            own.append(entry)
        else:
            connection.append(entry)
    return Plan(tuple(own), tuple(connection))


def _setting(name: str, value: float) -> Setting:
    option = _OPTIONS[name]
    numbers = [getattr(_socket, known) for known in option.names if hasattr(_socket, known)]
    if not numbers:
        msg = f"socket_options: this platform has no {name} ({option.names[0]}); leave it None"
        raise OSError(errno.ENOPROTOOPT, msg)
    if not math.isfinite(value):
        msg = f"socket_options: {name} must be a finite number, not {value!r}"
        raise ValueError(msg)
    return option.level, numbers[0], round(value * option.unit)


def set_all(socket: _socket.socket, settings: Iterable[tuple[str, Setting]]) -> None:
    """Set *settings* on *socket*; raises :class:`OSError`, which names the option."""
    for name, (level, option, value) in settings:
        try:
            socket.setsockopt(level, option, value)
        except (OSError, OverflowError, TypeError) as error:
            number: int | None = errno.EINVAL
            reason: str | None = "out of range"
            if isinstance(error, OSError):
                number, reason = error.errno or number, error.strerror or reason
            msg = f"socket_options: the system refuses {name}, as {value} ({reason})"
            raise OSError(number, msg) from error
