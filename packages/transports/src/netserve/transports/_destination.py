"""The address that a datagram came to, so that its answer leaves from there.

Theory of operation. A socket that is bound to all addresses of a host answers from
whichever of them the route to the client suggests; a client that has asked another
one drops such an answer. So the system is asked to tell with each datagram where it
came to (``IP_PKTINFO`` in :manpage:`ip(7)`, ``IPV6_RECVPKTINFO`` in :rfc:`3542`,
section 6), and for each of those addresses there is a :class:`LocalSocket`: a
duplicate of the server's socket that sends from that address alone. It is what a
request has beside its datagram, so that handlers answer as ever.

A host has few addresses, so that these sockets are kept. Where it has very many,
the oldest is let go, and closed when the last handler that has it lets go too.
"""

import os
import socket as _socket
import struct
import sys
from typing import Any, Final, TypeAlias

from netserve.transports._addresses import for_system, reported
from netserve.transports._inet6_socket import Inet6Socket

Ancillary: TypeAlias = list[tuple[int, int, bytes]]
"""What :meth:`socket.socket.recvmsg` gives beside the data, and ``sendmsg`` takes."""

_ALL: Final = frozenset({"0.0.0.0", "::"})  # told apart, not bound

# Not every Python has the name, of which the number is Linux's; -1 is no option.
_IP_PKTINFO: Final[int] = getattr(_socket, "IP_PKTINFO", 8 if sys.platform == "linux" else -1)
_IPV6_RECVPKTINFO: Final[int] = getattr(_socket, "IPV6_RECVPKTINFO", -1)
_IPV6_PKTINFO: Final[int] = getattr(_socket, "IPV6_PKTINFO", -1)

_IP: Final = struct.Struct("=I4s4s")  # interface, address to answer from, address in the header
_IPV6: Final = struct.Struct("=16sI")  # address, interface

ANCILLARY_SIZE: Final = 128
"""Bytes for what the system tells of one datagram, with room to spare."""

_KEPT: Final = 64


class LocalSocket(_socket.socket):
    """A duplicate of *original* that sends from the address that *ancillary* names.

    *name* is that address, which :meth:`getsockname` tells. Addresses are in the form
    that *original* has them in.
    """

    __slots__ = ("_name", "_translates", "ancillary")

    def __init__(self, original: _socket.socket, ancillary: Ancillary, name: Any) -> None:
        # Not its dup(), which makes an object of its class.
        descriptor = os.dup(original.fileno())
        super().__init__(original.family, original.type, original.proto, descriptor)
        self.settimeout(original.gettimeout())
        self.ancillary = ancillary
        self._translates = isinstance(original, Inet6Socket)
        self._name = in_form_of(original, name)

    def __del__(self) -> None:
        self.close()

    def getsockname(self) -> Any:
        """The address that it sends from."""
        return self._name

    def sendto(self, data: Any, *rest: Any) -> int:
        """Send *data*; as :meth:`socket.socket.sendto` takes it: flags, if any, and address."""
        *flags, address = rest
        if self._translates:
            address = for_system(address)
        return self.sendmsg([data], self.ancillary, flags[0] if flags else 0, address)


def in_form_of(own: _socket.socket, address: Any) -> Any:
    """*address*, as the system has it, as the socket *own* tells it."""
    return reported(address, pairs=own.pairs) if isinstance(own, Inet6Socket) else address


class Destinations:
    """The sockets to answer on, by where a datagram has come to, for the *server*'s socket."""

    def __init__(self, server: _socket.socket) -> None:
        self._server = server
        self._sockets: dict[bytes, LocalSocket] = {}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._server!r}>"

    def close(self) -> None:
        """Close the sockets."""
        while self._sockets:
            self._sockets.popitem()[1].close()

    def find(self, told: Ancillary) -> _socket.socket:
        """The socket to answer on a datagram of which the system has *told* this.

        It is the server's own when nothing was told, and for a group's address,
        which nobody may send from.
        """
        for level, kind, data in told:
            known = self._sockets.get(data)
            if known is not None:
                return known
            if level == _socket.IPPROTO_IP and kind == _IP_PKTINFO:
                return self._add(data, *self._from_ip(data))
            if level == _socket.IPPROTO_IPV6 and kind == _IPV6_PKTINFO and data[0] != _GROUP:
                return self._add(data, *self._from_ipv6(data))
        return self._server

    def _add(self, data: bytes, ancillary: Ancillary, name: object) -> _socket.socket:
        try:
            made = LocalSocket(self._server, ancillary, name)
        except OSError:
            # There is no descriptor left: most hosts have one way out.
            return self._server
        if len(self._sockets) >= _KEPT:
            del self._sockets[next(iter(self._sockets))]
        self._sockets[data] = made
        return made

    def _from_ip(self, data: bytes) -> tuple[Ancillary, object]:
        _, local, _ = _IP.unpack(data)
        host = _socket.inet_ntoa(local)
        port = self._server.getsockname()[1]
        mapped = self._server.family == _socket.AF_INET6
        name = (f"::ffff:{host}", port, 0, 0) if mapped else (host, port)
        return [(_socket.IPPROTO_IP, _IP_PKTINFO, _IP.pack(0, local, bytes(4)))], name

    def _from_ipv6(self, data: bytes) -> tuple[Ancillary, object]:
        local, interface = _IPV6.unpack(data)
        # The others are the whole host's, on whichever interface.
        scope = interface if local[:2] == _LINK_LOCAL else 0
        host = _socket.inet_ntop(_socket.AF_INET6, local)
        name = (host, self._server.getsockname()[1], 0, scope)
        return [(_socket.IPPROTO_IPV6, _IPV6_PKTINFO, _IPV6.pack(local, scope))], name


_GROUP: Final = 0xFF  # RFC 4291, section 2.7
_LINK_LOCAL: Final = b"\xfe\x80"  # section 2.5.6


def destinations(server: _socket.socket) -> Destinations | None:
    """Have the system tell where the datagrams come to, and see to the answers.

    Returns None, and does nothing, when *server* is bound to one address, and so
    answers from it; and where the system can't tell.
    """
    name = server.getsockname()
    if not isinstance(name, tuple) or name[0] not in _ALL:
        return None
    options = [(_socket.IPPROTO_IP, _IP_PKTINFO)]
    if server.family == _socket.AF_INET6:
        # The first is for datagrams of IPv4, if the socket takes them.
        options.append((_socket.IPPROTO_IPV6, _IPV6_RECVPKTINFO))
    told = [_ask(server, level, option) for level, option in options]
    return Destinations(server) if any(told) else None


def _ask(server: _socket.socket, level: int, option: int) -> bool:
    try:
        server.setsockopt(level, option, 1)
    except OSError:
        return False
    return True
