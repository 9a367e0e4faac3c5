"""Which peers are proxies that are believed: a decision, apart from any I/O."""

import ipaddress
import socket as _socket
from collections.abc import Iterable
from typing import Any, Final, TypeAlias

IPNetwork: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
IPAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

TrustedProxy: TypeAlias = str | IPNetwork | IPAddress
"""A proxy that is trusted, or a network of such.

An address or a network of :mod:`ipaddress`, or the text of one, such as
``"10.0.0.0/8"``; or ``"unix:"``, for whoever may connect to a Unix domain socket.
"""

_UNIX: Final = "unix:"
_UNIX_FAMILY: Final = getattr(_socket, "AF_UNIX", None)


class TrustedProxies:
    """Tells whether a peer is one of *proxies*.

    Raises :class:`ValueError` for one that is no network, and :class:`TypeError`
    for a string in place of a sequence.
    """

    def __init__(self, proxies: Iterable[TrustedProxy]) -> None:
        if isinstance(proxies, str):
            msg = f"trusted_proxies must be a sequence, such as ({proxies!r},), not a string"
            raise TypeError(msg)
        given = list(proxies)
        self._unix = _UNIX in given
        self._networks = [_network(proxy) for proxy in given if proxy != _UNIX]

    def suits(self, family: int) -> bool:
        """Whether any peer at all on a socket of *family* is trusted."""
        return self._unix if family == _UNIX_FAMILY else bool(self._networks)

    def include(self, family: int, address: object) -> bool:
        """Whether the peer with *address*, on a socket of *family*, is trusted.

        An IPv4 address that is mapped into IPv6 is the former.
        """
        if family == _UNIX_FAMILY:
            return self._unix
        known: Any = address
        try:
            host = unmapped(ipaddress.ip_address(known[0]))
        except (ValueError, TypeError, LookupError):
            # A get_request of the program's own may give any address.
            return False
        return any(host in network for network in self._networks)


def unmapped(host: IPAddress) -> IPAddress:
    """*host*, or the IPv4 address that is mapped into it (:rfc:`4291`, section 2.5.5.2)."""
    mapped = host.ipv4_mapped if isinstance(host, ipaddress.IPv6Address) else None
    return mapped or host


def _network(proxy: TrustedProxy) -> IPNetwork:
    try:
        return ipaddress.ip_network(proxy)
    except ValueError as error:
        msg = (
            f"trusted_proxies has {proxy!r} ({error}): give addresses and networks,"
            f" such as '10.0.0.0/8', or '{_UNIX}' for the peers on a Unix domain socket"
        )
        raise ValueError(msg) from None
