"""The sockets that systemd has opened for this process: socket activation.

The protocol is that of :manpage:`sd_listen_fds(3)`: the sockets are the descriptors
from 3 on, ``LISTEN_FDS`` says how many, ``LISTEN_FDNAMES`` how they are named, and
``LISTEN_PID`` for which process they are. The variables are read once and removed,
so that no child takes them for its own; what they say is kept here, and each
socket is handed out once.
"""

import os
import socket as _socket
import threading
from collections.abc import Callable, MutableMapping
from typing import Final, NamedTuple

from netserve.core import NetserveError
from netserve.transports._inherited import describe, open_descriptor

_FIRST: Final = 3  # SD_LISTEN_FDS_START
_VARIABLES: Final = ("LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_FDS", "LISTEN_FDNAMES")


class ActivationError(NetserveError, RuntimeError):
    """There is no such socket from systemd for this process; the message says what it lacks.

    A program that can also open its own socket catches it.
    """


class Passed(NamedTuple):
    """A descriptor that was passed, and its name; empty if it has none."""

    descriptor: int
    name: str


def read_environment(environment: MutableMapping[str, str], pid: int) -> list[Passed]:
    """What *environment* says was passed to process *pid*; its variables are removed.

    Raises :class:`ActivationError` when nothing was, or what it says is nonsense.
    """
    values = {name: environment.pop(name, None) for name in _VARIABLES}
    count, names = values["LISTEN_FDS"], values["LISTEN_FDNAMES"]
    if count is None or values["LISTEN_PID"] is None:
        msg = (
            "systemd has passed no socket to this process (LISTEN_PID or LISTEN_FDS isn't set):"
            " start it by a socket unit, or with systemd-socket-activate"
        )
        raise ActivationError(msg)
    if values["LISTEN_PID"] != str(pid):
        msg = (
            f"systemd has passed its sockets to process {values['LISTEN_PID']}, and this is {pid}:"
            " start the program itself, without a shell or another program between"
        )
        raise ActivationError(msg)
    if not (count.isascii() and count.isdecimal()) or int(count) < 1:
        msg = f"LISTEN_FDS must be the number of sockets, one or more, not {count!r}"
        raise ActivationError(msg)
    labels = names.split(":") if names else [""] * int(count)
    if len(labels) != int(count):
        msg = f"LISTEN_FDNAMES has {len(labels)} names for {count} sockets"
        raise ActivationError(msg)
    return [Passed(_FIRST + place, label) for place, label in enumerate(labels)]


class PassedSockets:
    """The sockets that were passed to this process and not taken yet."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left: list[tuple[_socket.socket, str]] | None = None

    def take(
        self, name: str | None, misfit: Callable[[_socket.socket], str | None]
    ) -> _socket.socket:
        """Take out the socket of that *name*, if *misfit* finds nothing wrong with it.

        Of several with the name, the first that fits. Without a name, the only one
        that fits. Raises :class:`ActivationError` when there is none of that name,
        and :class:`ValueError` when none fits, or several without a name do.
        """
        with self._lock:
            self._left = self._read()
            named = [entry for entry in self._left if name is None or entry[1] == name]
            if not named:
                msg = f"systemd has passed no socket{_called(name)} that is left: {self._list()}"
                raise ActivationError(msg)
            fitting = [entry for entry in named if misfit(entry[0]) is None]
            if not fitting:
                msg = (
                    f"the socket{_called(name)} doesn't fit: {misfit(named[0][0])}; {self._list()}"
                )
                raise ValueError(msg)
            if name is None and len(fitting) > 1:
                msg = f"several sockets fit, and need a name: {self._list()}"
                raise ValueError(msg)
            self._left.remove(fitting[0])
            return fitting[0][0]

    def take_all(self) -> list[_socket.socket]:
        """Take out all that are left. Raises :class:`ActivationError` when none was passed."""
        with self._lock:
            taken = [each for each, _ in self._read()]
            self._left = []
        return taken

    def _read(self) -> list[tuple[_socket.socket, str]]:
        if self._left is None:
            passed = read_environment(os.environ, os.getpid())
            return [(open_descriptor(each.descriptor), each.name) for each in passed]
        return self._left

    def _list(self) -> str:
        listed = [f"{describe(each)}{_called(name)}" for each, name in self._left or ()]
        return f"there is {', and '.join(listed) or 'none'}"


def _called(name: str | None) -> str:
    return f" named {name!r}" if name else ""


passed_sockets: Final = PassedSockets()
"""Those of this process."""


def sockets_from_systemd() -> list[_socket.socket]:
    """All sockets that systemd has passed to this process and no server has taken.

    They are the caller's from now on, for instance for
    :meth:`~SocketServer.from_socket` of the class that fits each. As for
    :meth:`~SocketServer.from_systemd`, the environment variables are removed. Raises
    :class:`ActivationError` when systemd has passed none.
    """
    return passed_sockets.take_all()
