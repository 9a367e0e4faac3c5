"""Version 2 of the PROXY protocol: the binary header (section 2.2 of its specification).

16 bytes tell the length of the rest: addresses, whose size the family gives, then
vectors of type, length and value. Of ``LOCAL``, all of the rest is discarded, as
section 2.2 wants; of a family or transport that is unspecified, it is vectors if
it looks like these, and discarded otherwise.
"""

import struct
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar

from netserve.transports._proxy_header import (
    ProxyClientFlags,
    ProxyCommand,
    ProxyEndpoint,
    ProxyFamily,
    ProxyHeader,
    ProxyProtocolError,
    ProxySSL,
    ProxyTLV,
    ProxyTransport,
)
from netserve.transports._proxy_line import host_text, internet

SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"

_FIXED: Final = struct.Struct("!12sBBH")
_VECTOR: Final = struct.Struct("!BH")
_SSL: Final = struct.Struct("!BI")
_CHECKSUM: Final = struct.Struct("!I")

_VERSION: Final = 2

# How the addresses of a family are laid out: the source comes before the destination,
# and the hosts before the ports.
_LAYOUTS: Final = {
    ProxyFamily.INET: struct.Struct("!4s4sHH"),
    ProxyFamily.INET6: struct.Struct("!16s16sHH"),
    ProxyFamily.UNIX: struct.Struct("!108s108s"),
}
_PATH_SIZE: Final = 108

# PP2_TYPE_ALPN and so on.
_ALPN: Final = 0x01
_AUTHORITY: Final = 0x02
_CRC32C: Final = 0x03
_NOOP: Final = 0x04
_UNIQUE_ID: Final = 0x05
_SSL_TYPE: Final = 0x20
_NETNS: Final = 0x30

# PP2_SUBTYPE_SSL_VERSION and so on, and the fields of ProxySSL.
_SSL_TEXTS: Final = {
    0x21: "version",
    0x22: "common_name",
    0x23: "cipher",
    0x24: "signature_algorithm",
    0x25: "key_algorithm",
}

_LONGEST_ID: Final = 128
_LONGEST: Final = 0xFFFF

_T = TypeVar("_T")


def missing(data: bytes, limit: int) -> int:
    """How many bytes *data* lacks, as far as can be told; 0 when it is a whole header.

    Raises :class:`ProxyProtocolError` for another version, and for a header of
    more than *limit* bytes.
    """
    if len(data) < _FIXED.size:
        return _FIXED.size - len(data)
    _, version, _, length = _FIXED.unpack_from(data)
    if version >> 4 != _VERSION:
        raise ProxyProtocolError(f"the binary header's version is {version >> 4}, not {_VERSION}")
    size = _FIXED.size + length
    if size > limit:
        raise ProxyProtocolError(f"the header has {size} bytes, and may have {limit}")
    return int(size - len(data))


def parse(data: bytes) -> ProxyHeader:
    """What the header *data* says.

    Raises :class:`ProxyProtocolError`.
    """
    _, command_byte, protocol, _ = _FIXED.unpack_from(data)
    command = _member(ProxyCommand, command_byte & 15, "a command")
    if command is ProxyCommand.LOCAL:
        return ProxyHeader(_VERSION, command)
    family = _member(ProxyFamily, protocol >> 4, "an address family")
    transport = _member(ProxyTransport, protocol & 15, "a transport")
    if family is ProxyFamily.UNSPEC or transport is ProxyTransport.UNSPEC:
        known: dict[str, Any] = {}
        start = _FIXED.size
        if not _looks_like_vectors(data[start:]):
            return ProxyHeader(_VERSION, command, family, transport)
    else:
        layout = _LAYOUTS[family]
        start = _FIXED.size + layout.size
        if len(data) < start:
            raise ProxyProtocolError(
                f"the header's length leaves {len(data) - _FIXED.size} bytes for the addresses of"
                f" {family}, which have {layout.size}"
            )
        source, destination = _endpoints(family, layout.unpack_from(data, _FIXED.size))
        known = {"source": source, "destination": destination}
    return ProxyHeader(_VERSION, command, family, transport, **known, **_meanings(data, start))


def encode(header: ProxyHeader) -> bytes:
    """The header in its binary form.

    Raises :class:`ValueError` for what it can't say.
    """
    told = header.family is not ProxyFamily.UNSPEC and header.transport is not ProxyTransport.UNSPEC
    if not told and (header.source, header.destination) != (None, None):
        msg = f"addresses need a family and a transport, not {header.family}, {header.transport}"
        raise ValueError(msg)
    if header.command is ProxyCommand.LOCAL and header != ProxyHeader(_VERSION, header.command):
        msg = "a header of the command LOCAL has no other fields: receivers discard them"
        raise ValueError(msg)
    addresses = _encode_endpoints(header) if told else b""
    rest = addresses + b"".join(_vectors(header))
    if len(rest) > _LONGEST:
        msg = f"the header has {len(rest)} bytes after the first {_FIXED.size}, beyond {_LONGEST}"
        raise ValueError(msg)
    protocol = header.family.value << 4 | header.transport.value
    data = _FIXED.pack(SIGNATURE, _VERSION << 4 | header.command.value, protocol, len(rest)) + rest
    if header.checksummed:
        # It comes last.
        data = data[: -_CHECKSUM.size] + _CHECKSUM.pack(crc32c(data))
    return data


def crc32c(data: bytes) -> int:
    """The CRC32c checksum of *data*, as in :rfc:`4960`, Appendix B."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def _crc_of_byte(crc: int) -> int:
    for _ in range(8):
        # The polynomial of Castagnoli, its bits reversed.
        crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc


_TABLE: Final = tuple(map(_crc_of_byte, range(256)))


def _member(kind: Callable[[int], _T], value: int, what: str) -> _T:
    try:
        return kind(value)
    except ValueError:
        raise ProxyProtocolError(f"{value} isn't {what} of version {_VERSION}") from None


def _endpoints(family: ProxyFamily, parts: tuple[Any, ...]) -> tuple[ProxyEndpoint, ProxyEndpoint]:
    if family is ProxyFamily.UNIX:
        return _path(parts[0]), _path(parts[1])
    source, destination = (host_text(packed, family) for packed in parts[:2])
    return (source, parts[2]), (destination, parts[3])


def _encode_endpoints(header: ProxyHeader) -> bytes:
    layout = _LAYOUTS[header.family]
    if header.family is ProxyFamily.UNIX:
        return layout.pack(_padded_path(header.source), _padded_path(header.destination))
    source, source_port = internet(header.source, header.family)
    destination, destination_port = internet(header.destination, header.family)
    return layout.pack(source, destination, source_port, destination_port)


def _path(padded: bytes) -> str | bytes:
    """The address of a Unix domain socket, in the form in which the system reports them."""
    if padded.startswith(b"\0"):
        # An abstract name begins with a zero byte, and no name is all zeros.
        return padded.rstrip(b"\0") or ""
    return padded.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _padded_path(path: ProxyEndpoint) -> bytes:
    name = path.encode("utf-8", "surrogateescape") if isinstance(path, str) else path
    if isinstance(name, bytes):
        padded = name.ljust(_PATH_SIZE, b"\0")
        if len(padded) == _PATH_SIZE and _path(padded) == path:
            return padded
    msg = f"{path!r} isn't a path, or an abstract name in bytes, of at most {_PATH_SIZE} bytes"
    raise ValueError(msg)


def _looks_like_vectors(data: bytes) -> bool:
    try:
        for _ in _split(data):
            pass
    except ProxyProtocolError:
        return False
    return True


def _split(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """The vectors in *data*: type, where the value begins, and value."""
    start = 0
    while start < len(data):
        if len(data) - start < _VECTOR.size:
            raise ProxyProtocolError(f"{len(data) - start} bytes are too few for a vector (TLV)")
        kind, length = _VECTOR.unpack_from(data, start)
        start += _VECTOR.size
        value = data[start : start + length]
        if len(value) < length:
            raise ProxyProtocolError(
                f"the vector (TLV) of type {kind:#04x} has {length} bytes, beyond the header's end"
            )
        yield kind, start, value
        start += length


def _meanings(data: bytes, start: int) -> dict[str, Any]:
    """What the vectors of the header *data*, which begin at *start*, mean as its fields."""
    known: dict[str, Any] = {}
    others: list[ProxyTLV] = []
    for kind, where, value in _split(data[start:]):
        if kind == _NOOP:
            continue
        if kind not in _MEANINGS:
            others.append(ProxyTLV(kind, value))
            continue
        name, meaning = _MEANINGS[kind]
        if kind == _CRC32C:
            _check(data, start + where, value)
        _note(known, name, kind, meaning(value))
    return {**known, "others": tuple(others)}


def _note(known: dict[str, Any], name: str, kind: int, meaning: object) -> None:
    """Note *meaning* among what is *known*; there can be only one."""
    if name in known:
        raise ProxyProtocolError(f"there are two vectors (TLV) of type {kind:#04x}")
    known[name] = meaning


def _check(data: bytes, where: int, value: bytes) -> None:
    """Compare the checksum *value*, which the header *data* has at *where* (section 2.2.3)."""
    end = where + len(value)
    found = data[:where] + bytes(len(value)) + data[end:]
    if value != _CHECKSUM.pack(crc32c(found)):
        raise ProxyProtocolError("the checksum (CRC32C) isn't that of the header")


def _true(_value: bytes) -> bool:
    return True


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise ProxyProtocolError(f"{value!r} isn't text in UTF-8") from None


def _unique_id(value: bytes) -> bytes:
    if len(value) > _LONGEST_ID:
        raise ProxyProtocolError(
            f"the unique id has {len(value)} bytes, and may have {_LONGEST_ID}"
        )
    return value


def _ssl(value: bytes) -> ProxySSL:
    if len(value) < _SSL.size:
        raise ProxyProtocolError(f"{len(value)} bytes are too few for what is known of TLS")
    client, verify = _SSL.unpack_from(value)
    texts: dict[str, Any] = {}
    others: list[ProxyTLV] = []
    for kind, _, part in _split(value[_SSL.size :]):
        if kind in _SSL_TEXTS:
            _note(texts, _SSL_TEXTS[kind], kind, _text(part))
        else:
            others.append(ProxyTLV(kind, part))
    return ProxySSL(ProxyClientFlags(client), verify, **texts, others=tuple(others))


_MEANINGS: Final[dict[int, tuple[str, Callable[[bytes], object]]]] = {
    _ALPN: ("alpn", bytes),
    _AUTHORITY: ("authority", _text),
    _CRC32C: ("checksummed", _true),
    _UNIQUE_ID: ("unique_id", _unique_id),
    _SSL_TYPE: ("ssl", _ssl),
    _NETNS: ("netns", _text),
}


def _vectors(header: ProxyHeader) -> Iterator[bytes]:
    """The vectors of *header*; the checksum, still zero, comes last."""
    if header.alpn is not None:
        yield _vector(_ALPN, header.alpn)
    if header.authority is not None:
        yield _vector(_AUTHORITY, header.authority.encode())
    if header.unique_id is not None:
        yield _vector(_UNIQUE_ID, header.unique_id, _LONGEST_ID)
    if header.ssl is not None:
        yield _vector(_SSL_TYPE, _encode_ssl(header.ssl))
    if header.netns is not None:
        yield _vector(_NETNS, header.netns.encode())
    for other in header.others:
        if other.type in _MEANINGS or other.type == _NOOP:
            msg = f"the type {other.type:#04x} has a meaning, and can't be one of the others"
            raise ValueError(msg)
        yield _vector(other.type, other.value)
    if header.checksummed:
        yield _vector(_CRC32C, bytes(_CHECKSUM.size))


def _encode_ssl(ssl: ProxySSL) -> bytes:
    if not (0 <= ssl.client <= 0xFF and 0 <= ssl.verify <= 0xFFFFFFFF):
        msg = f"client {ssl.client!r} has more than 8 bits, or verify {ssl.verify} more than 32"
        raise ValueError(msg)
    parts = [_SSL.pack(ssl.client, ssl.verify)]
    for kind, name in _SSL_TEXTS.items():
        text: str | None = getattr(ssl, name)
        if text is not None:
            parts.append(_vector(kind, text.encode()))
    for other in ssl.others:
        if other.type in _SSL_TEXTS:
            msg = f"the type {other.type:#04x} has a meaning, and can't be one of the others"
            raise ValueError(msg)
        parts.append(_vector(other.type, other.value))
    return b"".join(parts)


def _vector(kind: int, value: bytes, limit: int = _LONGEST) -> bytes:
    if not 0 <= kind <= 0xFF or len(value) > limit:
        msg = (
            f"a vector (TLV) has a type from 0 to 255 and at most {limit} bytes,"
            f" not type {kind} and {len(value)} bytes"
        )
        raise ValueError(msg)
    return _VECTOR.pack(kind, len(value)) + value
