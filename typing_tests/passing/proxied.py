"""The PROXY protocol: the mix-in on servers, and the codec by itself."""

import ipaddress
from collections.abc import Sequence

from typing_extensions import assert_type

from netserve.concurrency import ForkingMixIn, ThreadingMixIn, ThreadPoolMixIn
from netserve.core import InetAddress, StreamRequest, UnixAddress
from netserve.handlers import StreamRequestHandler
from netserve.transports import (
    ProxyClientFlags,
    ProxyCommand,
    ProxyEndpoint,
    ProxyFamily,
    ProxyHeader,
    ProxyParser,
    ProxyProtocolMixIn,
    ProxySSL,
    ProxyTLV,
    ProxyTransport,
    TCPServer,
    TrustedProxy,
    UnixStreamServer,
    encode_proxy_header,
)

HERE = ("127.0.0.1", 0)


class Proxied(ThreadingMixIn, ProxyProtocolMixIn, TCPServer):
    """With settings."""

    trusted_proxies = ("10.0.0.0/8", ipaddress.ip_network("fd00::/8"))
    proxy_timeout = 3.0
    allow_direct_clients = True
    max_proxy_header = 1000


class Forked(ForkingMixIn, ProxyProtocolMixIn, TCPServer):
    """With a list that is made elsewhere."""

    trusted_proxies: Sequence[TrustedProxy] = [ipaddress.ip_address("10.0.0.1")]


class OnPath(ThreadPoolMixIn, ProxyProtocolMixIn, UnixStreamServer):
    """Behind a proxy on the same machine."""

    trusted_proxies = ("unix:",)


class Handler(StreamRequestHandler[InetAddress, Proxied]):
    """A handler that asks the server about its proxy."""

    def handle(self) -> None:
        assert_type(self.client_address, tuple[str, int])
        header = self.server.proxy_header(self.request)
        assert_type(header, ProxyHeader | None)
        assert_type(self.server.proxy_address(self.request), tuple[str, int] | None)
        if header is not None and header.ssl is not None:
            assert_type(header.ssl, ProxySSL)
            assert_type(header.ssl.common_name, str | None)
            assert_type(header.ssl.verified, bool)


class AnyAddress(StreamRequestHandler[InetAddress | UnixAddress]):
    """A handler for the clients of a proxy that connects to a path."""

    def handle(self) -> None:
        if isinstance(self.client_address, tuple):
            assert_type(self.client_address, tuple[str, int])


class Picky(ProxyProtocolMixIn, TCPServer):
    """The hook has the types of the server."""

    def verify_request(self, request: StreamRequest, client_address: InetAddress) -> bool:
        return client_address[0].startswith("192.0.2.")


def made() -> None:
    Proxied(HERE, Handler)
    Proxied(HERE, AnyAddress)
    Forked(HERE, AnyAddress)
    Picky(HERE, AnyAddress)
    path = OnPath("socket", AnyAddress)
    with path.socket.accept()[0] as request:
        assert_type(path.proxy_address(request), UnixAddress)


def by_itself(data: bytes) -> None:
    parser = ProxyParser(max_size=1000)
    assert_type(parser.wanted, int)
    assert_type(parser.received, bytes)
    header = parser.feed(data)
    assert_type(header, ProxyHeader | None)
    if header is not None:
        assert_type(header.source, ProxyEndpoint)
        assert_type(header.command, ProxyCommand)
        assert_type(header.family, ProxyFamily)
        assert_type(header.transport, ProxyTransport)
        assert_type(header.others, tuple[ProxyTLV, ...])
        assert_type(encode_proxy_header(header), bytes)
    ProxySSL(ProxyClientFlags.SSL | ProxyClientFlags.CERT_CONN, 0, version="TLSv1.3")
