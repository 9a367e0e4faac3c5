"""Addresses, options and sockets of servers: keywords, what is taken over, who connects."""

import os
import socket
from pathlib import Path

from typing_extensions import assert_type

from netserve import servers, socketserver
from netserve.core import InetAddress, StreamRequest, UnixAddress, sd_notify
from netserve.handlers import StreamRequestHandler
from netserve.transports import (
    ActivationError,
    ParsedAddress,
    PeerCredentials,
    SocketOptions,
    StreamServer,
    TCPServer,
    UDPServer,
    UnixDatagramServer,
    UnixServer,
    UnixStreamServer,
    UnnamedPeer,
    parse_address,
    peer_credentials,
)

OPTIONS = SocketOptions(no_delay=True, keepalive_idle=60, user_timeout=2.5, send_buffer=1 << 20)


class OnTCP(StreamRequestHandler[InetAddress, TCPServer]):
    """Pairs, whatever the family is."""

    def handle(self) -> None:
        host, port = self.client_address
        assert_type(host, str)
        assert_type(port, int)


class OnUnix(StreamRequestHandler[UnixAddress, UnixStreamServer]):
    """Who has connected."""

    def handle(self) -> None:
        credentials = peer_credentials(self.request)
        assert_type(credentials, PeerCredentials)
        assert_type(credentials.uid, int)
        if isinstance(self.client_address, UnnamedPeer):
            self.client_address.upper()


def on_datagram(request: tuple[bytes, socket.socket], address: object, server: object) -> None:
    """Handle a datagram from anywhere."""


def keywords() -> None:
    with TCPServer(
        ("::", 0),
        OnTCP,
        request_queue_size=10,
        allow_reuse_address=True,
        allow_reuse_port=None,
        dual_stack=True,
        socket_options=OPTIONS,
    ) as server:
        assert_type(server, TCPServer)
        assert_type(server.server_address, tuple[str, int])
        assert_type(server.socket_options, SocketOptions)
        assert_type(server.dual_stack, bool | None)
    UDPServer(("::1", 0), on_datagram, allow_reuse_port=True, dual_stack=False)
    StreamServer[InetAddress](("127.0.0.1", 0), OnAny, request_queue_size=5)
    UnixStreamServer(Path("/run/s"), OnUnix, socket_mode=0o660, socket_owner="www", socket_group=33)
    UnixDatagramServer("/run/s", on_datagram, True, socket_mode=0o600, socket_options=OPTIONS)
    servers.ThreadingTCPServer(("", 0), OnTCP, dual_stack=True)
    servers.ThreadPoolUnixStreamServer("/run/s", OnUnix, socket_mode=0o666)
    socketserver.TCPServer(("127.0.0.1", 0), StreamRequestHandler, request_queue_size=10)


class OnAny(StreamRequestHandler[InetAddress, StreamServer[InetAddress]]):
    """On the generic class."""


def taken_over(given: socket.socket) -> None:
    assert_type(TCPServer.from_socket(given, OnTCP), TCPServer)
    assert_type(UDPServer.from_fd(3, on_datagram), UDPServer)
    assert_type(UnixStreamServer.from_systemd(OnUnix), UnixStreamServer)
    try:
        assert_type(TCPServer.from_systemd(OnTCP, "web"), TCPServer)
    except ActivationError:
        sd_notify("STATUS=on a port of its own")
    assert_type(sd_notify("READY=1"), bool)


class Private(UnixStreamServer):
    """Options of a class, and its clients."""

    socket_mode = 0o600
    socket_owner = os.getuid()
    socket_options = OPTIONS

    def verify_request(self, request: StreamRequest, client_address: UnixAddress) -> bool:
        return peer_credentials(request).uid == os.getuid()


def modes(server: UnixServer[StreamRequest]) -> None:
    assert_type(server.socket_mode, int | None)
    assert_type(server.socket_owner, str | int | None)


def parsed() -> None:
    address = parse_address("127.0.0.1:80")
    assert_type(address, ParsedAddress)
    if isinstance(address, tuple):
        TCPServer(address, OnTCP)
    else:
        UnixStreamServer(address, OnUnix)
