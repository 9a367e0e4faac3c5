"""A socket of IPv6 that speaks of addresses as programs do.

Where it takes or gives an address, that is the plain one: an IPv4 client of a
dual-stack socket has its IPv4 address, which can also be answered. ``_addresses``
has the translation.
"""

import socket as _socket
from typing import TYPE_CHECKING, Any

from typing_extensions import Self

from netserve.transports._addresses import for_system, reported

if TYPE_CHECKING:
    from typing_extensions import Buffer


class Inet6Socket(_socket.socket):
    """A socket of IPv6 whose addresses are pairs, if *pairs* is set, and never mapped ones."""

    pairs: bool = False
    """Whether an address has host and port alone; otherwise it has all four parts."""

    @classmethod
    def make(cls, socket_type: int, *, pairs: bool) -> Self:
        """A new socket."""
        self = cls(_socket.AF_INET6, socket_type)
        self.pairs = pairs
        return self

    @classmethod
    def adopt(cls, given: _socket.socket, *, pairs: bool) -> Self:
        """Take over the descriptor of *given*, which is left closed."""
        timeout = given.gettimeout()
        self = cls(given.family, given.type, given.proto, given.detach())
        self.settimeout(timeout)
        self.pairs = pairs
        return self

    def bind(self, address: Any, /) -> None:
        """Bind to *address*, whose host may have a zone."""
        super().bind(for_system(address, mapping=False))

    def getsockname(self) -> Any:
        """The address that the socket is bound to."""
        return reported(super().getsockname(), pairs=self.pairs)

    def accept(self) -> tuple[_socket.socket, Any]:
        """Accept a connection; returns its socket, a plain one, and the client's address."""
        connection, address = super().accept()
        return connection, reported(address, pairs=self.pairs)

    def recvfrom(self, bufsize: int, flags: int = 0, /) -> tuple[bytes, Any]:
        """Receive a datagram; returns it and its sender's address."""
        data, address = super().recvfrom(bufsize, flags)
        return data, reported(address, pairs=self.pairs)

    def recvmsg(
        self, bufsize: int, ancbufsize: int = 0, flags: int = 0, /
    ) -> tuple[bytes, list[tuple[int, int, bytes]], int, Any]:
        """Receive a datagram with what comes beside it."""
        data, beside, seen, address = super().recvmsg(bufsize, ancbufsize, flags)
        return data, beside, seen, reported(address, pairs=self.pairs)

    def sendto(self, data: "Buffer", flags_or_address: Any, address: Any = None, /) -> int:
        """Send *data* as a datagram to an address, before which flags may stand."""
        flags = flags_or_address
        if address is None:
            flags, address = 0, flags_or_address
        return super().sendto(data, flags, for_system(address))

    def sendmsg(
        self, buffers: Any, ancdata: Any = (), flags: int = 0, address: Any = None, /
    ) -> int:
        """Send a datagram with what goes beside it."""
        return super().sendmsg(buffers, ancdata, flags, for_system(address))
