"""Version 1 of the PROXY protocol: one line of text (section 2.1 of its specification).

Nothing tells its length beforehand. :func:`missing` says how many bytes it still
needs at the least, so that whoever reads no more than these never reads beyond
its end; a typical line takes seven such reads.
"""

import re
import socket as _socket
from typing import Final

from netserve.transports._proxy_header import (
    ProxyCommand,
    ProxyEndpoint,
    ProxyFamily,
    ProxyHeader,
    ProxyProtocolError,
    ProxyTransport,
)

SIGNATURE: Final = b"PROXY "

SHORTEST: Final = len(b"PROXY UNKNOWN\r\n")

LONGEST: Final = 107
"""The worst case in section 2.1, the end of the line included."""

_END: Final = b"\r\n"
_UNKNOWN: Final = b"PROXY UNKNOWN"
_FIELDS: Final = 6
_FAMILIES: Final = {b"TCP4": ProxyFamily.INET, b"TCP6": ProxyFamily.INET6}
_NAMES: Final = {ProxyFamily.INET: "TCP4", ProxyFamily.INET6: "TCP6"}

# A space and the shortest address of the family; a space and the shortest port.
_LEAST_ADDRESS: Final = {b"TCP4": len(b" 0.0.0.0"), b"TCP6": len(b" ::")}
_LEAST_PORT: Final = len(b" 0")

# No leading zeros anywhere, which others may take for octal numbers.
_PORT: Final = rb"(0|[1-9][0-9]{0,4})"
_LINE: Final = re.compile(
    rb"PROXY (TCP[46]) ([0-9A-Fa-f.:]+) ([0-9A-Fa-f.:]+) %b %b\r\n" % ((_PORT,) * 2)
)
_OCTET: Final = r"(0|[1-9][0-9]{0,2})"
_DOTTED: Final = re.compile(rf"{_OCTET}(\.{_OCTET}){{3}}")


def missing(line: bytes) -> int:
    """How many bytes *line* lacks at the least; 0 when it has come to its end.

    *line* has :data:`SHORTEST` bytes or more. Raises
    :class:`ProxyProtocolError` when it can't become a header any more.
    """
    if line.endswith(_END):
        return 0
    end = line.find(b"\n")
    if end >= 0:
        raise ProxyProtocolError(f"the line {line[: end + 1]!r} isn't a header: {_FORM}")
    if len(line) >= LONGEST:
        raise ProxyProtocolError(f"the line is longer than {LONGEST} bytes: {line!r}")
    if line.endswith(b"\r"):
        return 1
    fields = line.split(b" ")
    least = len(_END)
    if fields[1] in _LEAST_ADDRESS and len(fields) <= _FIELDS:
        lacking = _FIELDS - len(fields)
        ports = min(lacking, 2)
        least += ports * _LEAST_PORT + (lacking - ports) * _LEAST_ADDRESS[fields[1]]
    return min(least, LONGEST - len(line))


def parse(line: bytes) -> ProxyHeader:
    """What *line* says, its end included.

    Of ``UNKNOWN``, the rest of the line is ignored. Raises
    :class:`ProxyProtocolError`.
    """
    if line[: len(_UNKNOWN) + 1].rstrip(b" \r") == _UNKNOWN:
        return ProxyHeader(1)
    match = _LINE.fullmatch(line)
    if match is None:
        raise ProxyProtocolError(f"the line {line!r} isn't a header: {_FORM}")
    name, source, destination, source_port, destination_port = match.groups()
    family = _FAMILIES[name]
    return ProxyHeader(
        1,
        ProxyCommand.PROXY,
        family,
        ProxyTransport.STREAM,
        (_host(source, family), _port(source_port)),
        (_host(destination, family), _port(destination_port)),
    )


def encode(header: ProxyHeader) -> bytes:
    """The line for *header*.

    Raises :class:`ValueError` for what a line can't say.
    """
    plain = ProxyHeader(
        1, ProxyCommand.PROXY, header.family, header.transport, header.source, header.destination
    )
    if header != plain:
        msg = "version 1 can say nothing but a client's addresses: choose version 2"
        raise ValueError(msg)
    if header == ProxyHeader(1):
        return _UNKNOWN + _END
    if header.family not in _NAMES or header.transport is not ProxyTransport.STREAM:
        msg = (
            f"version 1 has TCP over IPv4 and IPv6, not {header.transport} over"
            f" {header.family}: choose version 2"
        )
        raise ValueError(msg)
    source, source_port = internet(header.source, header.family)
    destination, destination_port = internet(header.destination, header.family)
    texts = [host_text(packed, header.family) for packed in (source, destination)]
    name = _NAMES[header.family]
    return f"PROXY {name} {' '.join(texts)} {source_port} {destination_port}\r\n".encode()


def internet(endpoint: ProxyEndpoint, family: ProxyFamily) -> tuple[bytes, int]:
    """The packed host and the port of *endpoint*, an address of *family*.

    Raises :class:`ValueError` when it isn't one.
    """
    if isinstance(endpoint, tuple):
        host, port = endpoint
        try:
            packed = _socket.inet_pton(_SYSTEM[family], host)
        except (OSError, ValueError):
            packed = b""
        if packed and 0 <= port <= _LAST_PORT:
            return packed, port
    msg = f"{endpoint!r} isn't a numeric host of {family} and a port"
    raise ValueError(msg)


def host_text(packed: bytes, family: ProxyFamily) -> str:
    """The text of the *packed* host, in its canonical form."""
    return _socket.inet_ntop(_SYSTEM[family], packed)


def _host(text: bytes, family: ProxyFamily) -> str:
    host = text.decode()
    try:
        if family is ProxyFamily.INET and not _DOTTED.fullmatch(host):
            raise OSError
        return host_text(_socket.inet_pton(_SYSTEM[family], host), family)
    except OSError:
        raise ProxyProtocolError(f"{host!r} isn't an address of {_NAMES[family]}") from None


def _port(text: bytes) -> int:
    port = int(text)
    if port > _LAST_PORT:
        raise ProxyProtocolError(f"{port} isn't a port: the last is {_LAST_PORT}")
    return port


_LAST_PORT: Final = 65535
_SYSTEM: Final = {ProxyFamily.INET: _socket.AF_INET, ProxyFamily.INET6: _socket.AF_INET6}
_FORM: Final = "it has PROXY, TCP4 or TCP6, two addresses and two ports, or PROXY UNKNOWN"
