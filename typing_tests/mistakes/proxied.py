"""Mistakes with the PROXY protocol."""

from netserve.core import DatagramRequest, InetAddress
from netserve.transports import (
    ProxyHeader,
    ProxyProtocolMixIn,
    TCPServer,
    TrustedProxy,
    UDPServer,
)

HERE = ("127.0.0.1", 0)


# E proxied-datagrams: open_request
class Datagrams(ProxyProtocolMixIn, UDPServer):
    pass


class Proxied(ProxyProtocolMixIn, TCPServer):
    trusted_proxies = ("10.0.0.0/8",)


def number(server: Proxied, request: DatagramRequest) -> None:
    # E proxied-header-of-datagram: proxy_header
    server.proxy_header(request)


# E proxied-trusted-number: IPv4Network
# E proxied-trusted-number (pyrefly): TrustedProxy
trusted: list[TrustedProxy] = [10]

# E proxied-version: 3
ProxyHeader(3)

# E proxied-family-name: ProxyFamily
ProxyHeader(2, family="TCP4")


def client(header: ProxyHeader) -> InetAddress:
    # E proxied-source-unchecked: return; tuple[str, int]
    return header.source
