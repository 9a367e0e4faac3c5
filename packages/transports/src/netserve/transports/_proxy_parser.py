"""The PROXY protocol without I/O: bytes to a header, and a header to bytes.

Section 2 of the specification tells the versions apart by how they begin.
"""

from typing import Final

from netserve.transports import _proxy_binary, _proxy_line
from netserve.transports._proxy_header import ProxyHeader, ProxyProtocolError


class ProxyParser:
    """Makes a header of either version from its bytes, however they are cut.

    *max_size* is how many bytes a header of version 2 may have (default 4096); of
    version 1 it has at most 107.
    """

    header: ProxyHeader | None = None
    """The header, once it is complete."""

    wanted: int = _proxy_line.SHORTEST
    """How many bytes to read next, at most: all of them belong to the header; 0 when complete."""

    def __init__(self, max_size: int = 4096) -> None:
        self._max_size = max_size
        self._data = b""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} has {len(self._data)} bytes, wants {self.wanted}>"

    @property
    def received(self) -> bytes:
        """The bytes so far."""
        return self._data

    def feed(self, data: bytes) -> ProxyHeader | None:
        """Take *data*, at most :attr:`wanted` bytes; returns the header when it is complete.

        Raises :class:`ProxyProtocolError`, and no other error for whatever bytes,
        as soon as they can't become a header; :class:`ValueError` for more bytes
        than wanted.
        """
        if len(data) > self.wanted:
            msg = f"{self!r} can't take {len(data)} bytes: those beyond are not the header's"
            raise ValueError(msg)
        self._data += data
        is_line = _is_line(self._data)
        if len(self._data) < _proxy_line.SHORTEST:
            self.wanted = _proxy_line.SHORTEST - len(self._data)
        elif is_line:
            self.wanted = _proxy_line.missing(self._data)
            if not self.wanted:
                self.header = _proxy_line.parse(self._data)
        else:
            self.wanted = _proxy_binary.missing(self._data, self._max_size)
            if not self.wanted:
                self.header = _proxy_binary.parse(self._data)
        return self.header


def encode_proxy_header(header: ProxyHeader) -> bytes:
    """The bytes of *header*, in its version; a :class:`ProxyParser` makes an equal one of them.

    Raises :class:`ValueError` for what the version can't say: in version 1, all
    but the addresses of TCP; in either, addresses that aren't of the family.
    """
    if header.version == 1:
        return _proxy_line.encode(header)
    return _proxy_binary.encode(header)


def _is_line(data: bytes) -> bool:
    """Whether *data* begins as version 1 does, and not as version 2, as far as it goes."""
    for signature in _SIGNATURES:
        if data[: len(signature)] == signature[: len(data)]:
            return signature is _proxy_line.SIGNATURE
    raise ProxyProtocolError(f"{data!r} isn't how a header of the PROXY protocol begins")


_SIGNATURES: Final = (_proxy_line.SIGNATURE, _proxy_binary.SIGNATURE)
