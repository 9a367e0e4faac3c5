"""Addresses: what a text means, which family an address is of, and how IPv6 sockets put them.

Theory of operation. A program writes an Internet address as a pair of host and
port, whatever its family; the family follows from the host. A literal says it
itself. A name is resolved here, once, when the server is made; no other name is
ever looked up, and no address turned into a name.

The system has four parts for an IPv6 address, and puts an IPv4 client of a
dual-stack socket as one that is mapped into IPv6 (:rfc:`4291`, section 2.5.5.2).
:func:`reported` and :func:`for_system` translate: the former is what handlers
see, the latter what the system takes.
"""

import contextlib
import re
import socket as _socket
from typing import Any, Final, TypeAlias, cast

from netserve.core import Inet6Address, InetAddress

ParsedAddress: TypeAlias = InetAddress | str | bytes
"""What :func:`parse_address` gives: host and port, a path, or an abstract name."""

_FORMS: Final = (
    "give one as 127.0.0.1:8000, [::1]:8000, localhost:8000, :8000 for all interfaces,"
    " unix:/run/service.sock, /run/service.sock, or @name"
)
_PORT: Final = re.compile(r"[0-9]{1,5}", re.ASCII)
_MAPPED: Final = "::ffff:"


def parse_address(text: str) -> ParsedAddress:
    """The address that *text* stands for, as a person writes it.

    ``127.0.0.1:8000``, ``localhost:8000``, ``[::1]:8000`` and ``:8000`` (all
    interfaces) give a pair of host and port, for an Internet server;
    ``unix:PATH`` and a path that begins with ``/`` or ``.`` give the path;
    ``@name`` and ``unix:@name`` give the bytes of an abstract name, which begin
    with a zero byte (see :manpage:`unix(7)`). Nothing is looked up.

    Raises :class:`ValueError` with the forms that there are.
    """
    path = text.removeprefix("unix:")
    if path != text or text.startswith(("/", ".", "@")):
        if path in {"", "@"}:
            raise _unclear(text, "the path or name is missing")
        if "\0" in path:
            raise _unclear(text, "it contains a null character")
        return b"\0" + path[1:].encode() if path.startswith("@") else path
    host, colon, port = text.rpartition(":")
    if not colon:
        raise _unclear(text, "the port is missing")
    if not _PORT.fullmatch(port) or int(port) > 65535:
        raise _unclear(text, f"{port!r} isn't a port from 0 to 65535")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if not is_inet6(host):
            raise _unclear(text, f"{host!r} isn't an IPv6 address")
    elif ":" in host or "[" in host or "]" in host:
        raise _unclear(text, "an IPv6 address stands in brackets")
    return host, int(port)


def _unclear(text: str, reason: str) -> ValueError:
    return ValueError(f"{text!r} isn't an address ({reason}): {_FORMS}")


def choose_family(
    address: object, socket_type: int, *, dual_stack: bool | None
) -> tuple[int, object]:
    """The family of *address*, and the address to bind a socket of it to.

    The host of a pair decides: a literal of IPv6 means IPv6; a name is
    resolved, and of what it stands for IPv4 comes first; no host at all means
    all interfaces, of IPv6 too if *dual_stack* is set. What isn't a pair counts
    as IPv4, for ``bind`` to refuse.

    Raises :class:`socket.gaierror` for a name that can't be resolved, and
    :class:`ValueError` for a host with a colon that is no IPv6 address.
    """
    host, port = _parts(address)
    if host is None:
        return _socket.AF_INET, address
    if not host:
        return (_socket.AF_INET6, ("::", port)) if dual_stack else (_socket.AF_INET, address)
    if ":" in host:
        if not is_inet6(host):
            msg = f"{host!r} isn't an IPv6 address"
            raise ValueError(msg)
        return _socket.AF_INET6, address
    if host == "<broadcast>" or _is_literal(_socket.AF_INET, host):
        return _socket.AF_INET, address
    # The port may be out of range, which bind says better.
    found = _socket.getaddrinfo(host, None, type=socket_type, flags=_socket.AI_PASSIVE)
    family, *_, numeric = min(found, key=lambda entry: entry[0] != _socket.AF_INET)
    if family == _socket.AF_INET:
        return family, (numeric[0], port)
    host, _, flow, scope = cast("Inet6Address", numeric)
    return family, reported((host, port, flow, scope), pairs=True)


def is_inet6(host: str) -> bool:
    """Whether *host* is a literal of IPv6, with a zone after it or without (:rfc:`4007`)."""
    return _is_literal(_socket.AF_INET6, host.partition("%")[0])


def reported(address: object, *, pairs: bool) -> Any:
    """The address to report for *address*, which the system has given for an IPv6 socket.

    An IPv4 address that is mapped into IPv6 becomes a plain one. With *pairs* it
    is host and port, the scope of a link-local address being the zone of the
    host, as ``fe80::1%2`` (:rfc:`4007`, section 11); otherwise all four parts.
    """
    if not isinstance(address, tuple):
        return address
    parts = cast("tuple[object, ...]", address)
    if len(parts) != 4:
        return parts
    host, port, flow, scope = cast("Inet6Address", parts)
    if host.startswith(_MAPPED) and "." in host:
        host, flow, scope = host.removeprefix(_MAPPED), 0, 0
    if not pairs:
        return host, port, flow, scope
    return f"{host}%{scope}" if scope else host, port


def for_system(address: object, *, mapping: bool = True) -> Any:
    """What an IPv6 socket takes for *address*: the inverse of :func:`reported`.

    A zone becomes the scope; unless *mapping* is false, an IPv4 address is mapped
    into IPv6. Raises :class:`OSError` when there is no interface of the zone's
    name.
    """
    host, port = _parts(address)
    if host is None:
        return address
    if "%" in host:
        host, _, zone = host.partition("%")
        scope = int(zone) if zone.isdecimal() else _socket.if_nametoindex(zone)
        return host, port, 0, scope
    if mapping and _is_literal(_socket.AF_INET, host):
        _, *rest = cast("tuple[object, ...]", address)
        return (_MAPPED + host, *rest)
    return address


def _parts(address: object) -> tuple[str | None, object]:
    """Host and port of an Internet address; None for the host of anything else."""
    if isinstance(address, tuple):
        host, port, *_ = (*cast("tuple[object, ...]", address), None, None)
        if isinstance(host, str):
            return host, port
    return None, None


def _is_literal(family: int, host: str) -> bool:
    with contextlib.suppress(OSError, ValueError):
        _socket.inet_pton(family, host)
        return True
    return False
