"""Each server class: its address, its requests, its socket, and itself as a context."""

import socket
from pathlib import Path

from typing_extensions import assert_type

from netserve.core import (
    BaseServer,
    DatagramRequest,
    Inet6Address,
    InetAddress,
    State,
    StreamRequest,
    UnixAddress,
)
from netserve.transports import (
    DatagramServer,
    SocketServer,
    StreamServer,
    TCPServer,
    UDPServer,
    UnixDatagramServer,
    UnixStreamServer,
)


def on_stream(request: socket.socket, client_address: object, server: object) -> None:
    """Handle a connection from anywhere."""


def on_datagram(request: tuple[bytes, socket.socket], address: object, server: object) -> None:
    """Handle a datagram from anywhere."""


class TCP6Server(StreamServer[Inet6Address]):
    """A family that has no class of its own."""

    address_family = socket.AF_INET6


class UDP6Server(DatagramServer[Inet6Address]):
    """The same, of datagrams."""

    address_family = socket.AF_INET6


def tcp() -> None:
    with TCPServer(("127.0.0.1", 0), on_stream) as server:
        assert_type(server, TCPServer)
        assert_type(server.server_address, tuple[str, int])
        assert_type(server.server_address[1], int)
        assert_type(server.socket, socket.socket)
        assert_type(server.get_request(), tuple[socket.socket, tuple[str, int]])
        server.process_request(*server.get_request())


def udp() -> None:
    with UDPServer(("127.0.0.1", 0), on_datagram) as server:
        assert_type(server, UDPServer)
        assert_type(server.server_address, tuple[str, int])
        assert_type(server.max_packet_size, int)
        request, client_address = server.get_request()
        assert_type(request, tuple[bytes, socket.socket])
        assert_type(request[0], bytes)
        assert_type(client_address, tuple[str, int])


def unix_stream() -> None:
    with UnixStreamServer("/run/service.sock", on_stream) as server:
        assert_type(server, UnixStreamServer)
        assert_type(server.server_address, UnixAddress)
        assert_type(server.get_request(), tuple[StreamRequest, str | bytes | None])


def unix_datagram() -> None:
    with UnixDatagramServer("/run/service.sock", on_datagram) as server:
        assert_type(server, UnixDatagramServer)
        assert_type(server.server_address, UnixAddress)
        assert_type(server.get_request(), tuple[DatagramRequest, str | bytes | None])


def paths() -> None:
    UnixStreamServer(Path("/run") / "service.sock", on_stream)
    UnixStreamServer(b"\0abstract", on_stream)
    UnixDatagramServer(Path("/run") / "service.sock", on_datagram)
    UnixDatagramServer(b"\0abstract", on_datagram, False)


def other_families() -> None:
    with TCP6Server(("::1", 0, 0, 0), on_stream) as streams:
        assert_type(streams, TCP6Server)
        assert_type(streams.server_address, tuple[str, int, int, int])
        assert_type(streams.get_request()[1], Inet6Address)
    with UDP6Server(("::1", 0, 0, 0), on_datagram, bind_and_activate=False) as datagrams:
        assert_type(datagrams, UDP6Server)
        assert_type(datagrams.get_request(), tuple[DatagramRequest, Inet6Address])


def generic() -> None:
    with StreamServer[InetAddress](("127.0.0.1", 0), on_stream) as server:
        assert_type(server, StreamServer[InetAddress])
        assert_type(server.get_request(), tuple[StreamRequest, InetAddress])


def bases(server: BaseServer[StreamRequest, InetAddress]) -> None:
    """What every server has, whatever its transport."""
    assert_type(server.state, State)
    assert_type(server.timeout, float | None)
    assert_type(server.fileno(), int)
    assert_type(server.verify_request(*server.get_request()), bool)
    assert_type(server.server_address, InetAddress)


def options(server: SocketServer[StreamRequest, InetAddress]) -> None:
    assert_type(server.address_family, int)
    assert_type(server.socket_type, int)
    assert_type(server.allow_reuse_address, bool)
    assert_type(server.allow_reuse_port, bool)


def accept_any_stream(server: BaseServer[StreamRequest, InetAddress]) -> None:
    """Take any server of TCP connections."""


accept_any_stream(TCPServer(("127.0.0.1", 0), on_stream, bind_and_activate=False))


class Tuned(TCPServer):
    """Options of a class, and hooks with the types of their server."""

    timeout = 2.5
    request_queue_size = 10
    allow_reuse_address = True

    def verify_request(self, request: StreamRequest, client_address: InetAddress) -> bool:
        return client_address[0] == "127.0.0.1"

    def service_actions(self) -> None:
        super().service_actions()
