"""What a service listens on: addresses, and sockets that it is given.

An inherited socket says itself what it is, so that its transport is known before a
server is made of it.
"""

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from netserve.cli._errors import Refusal
from netserve.cli._plan import Transport
from netserve.cli._settings import Settings
from netserve.transports import ActivationError, parse_address, sockets_from_systemd


@dataclass(frozen=True)
class Listener:
    """One thing to listen on."""

    transport: Transport
    address: Any = None
    """The address, in the form of the transport's server; None with a descriptor."""

    given: socket.socket | None = None
    """The bound socket, if there is one already."""


def listeners(settings: Settings) -> Iterator[Listener]:
    """All that *settings* name; those that are given are opened.

    Raises :class:`Refusal` for what isn't an address of its transport, or no socket.
    """
    for text in settings.tcp:
        yield Listener(Transport.TCP, _internet("--tcp", text))
    for text in settings.udp:
        yield Listener(Transport.UDP, _internet("--udp", text))
    for text in settings.unix:
        yield Listener(Transport.UNIX, _path("--unix", text))
    for text in settings.unix_datagram:
        yield Listener(Transport.UNIX_DATAGRAM, _path("--unix-datagram", text))
    for fd in settings.fd:
        yield _given(_opened(fd), f"--fd {fd}")
    if settings.systemd:
        try:
            passed = sockets_from_systemd()
        except (ActivationError, OSError) as error:
            msg = f"--systemd: {error}"
            raise Refusal(msg) from error
        for each in passed:
            yield _given(each, "--systemd")


def internet_address(option: str, text: str) -> tuple[str, int]:
    """*text* as host and port; raises :class:`Refusal`, naming *option*, when it is none."""
    return _internet(option, text)


def _opened(fd: int) -> socket.socket:
    try:
        return socket.socket(fileno=fd)
    except OSError as error:
        msg = f"--fd {fd} is no socket that this process has inherited ({error.strerror})"
        raise Refusal(msg) from error


def _given(listener: socket.socket, where: str) -> Listener:
    """The transport of a socket that was given; raises :class:`Refusal` if it is none of ours."""
    streams = listener.type == socket.SOCK_STREAM
    if listener.family in {socket.AF_INET, socket.AF_INET6}:
        return Listener(Transport.TCP if streams else Transport.UDP, given=listener)
    if listener.family == getattr(socket, "AF_UNIX", None):
        return Listener(Transport.UNIX if streams else Transport.UNIX_DATAGRAM, given=listener)
    msg = f"{where} is a socket of a family that no server here has: {listener.family!r}"
    raise Refusal(msg)


def _internet(option: str, text: str) -> tuple[str, int]:
    address = _parsed(option, text)
    if not isinstance(address, tuple):
        msg = f"{option} {text}: that is a path; give HOST:PORT, or use --unix"
        raise Refusal(msg)
    return address


def _path(option: str, text: str) -> Any:
    # What has no slash would be taken for a host.
    return _parsed(option, text if text.startswith("unix:") else f"unix:{text}")


def _parsed(option: str, text: str) -> Any:
    try:
        return parse_address(text)
    except ValueError as error:
        msg = f"{option} {error}"
        raise Refusal(msg) from error
