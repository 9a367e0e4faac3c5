"""Each handler class, and handlers that aren't classes, on the servers they are for."""

import socket
from io import BufferedIOBase, BytesIO
from typing import Any

from typing_extensions import assert_type

from netserve.core import DatagramRequest, InetAddress, StreamRequest, UnixAddress
from netserve.handlers import (
    BaseRequestHandler,
    DatagramRequestHandler,
    SocketWriter,
    StreamRequestHandler,
)
from netserve.transports import TCPServer, UDPServer, UnixDatagramServer, UnixStreamServer

HERE = ("127.0.0.1", 0)


class MyServer(TCPServer):
    """A server with a member that its handlers use."""

    greeting = b"hello\n"


class MyUDPServer(UDPServer):
    """The same, of datagrams."""

    greeting = b"hello\n"


class Bare(StreamRequestHandler):
    """Without type arguments: precise about its files, ``Any`` about the rest."""

    def handle(self) -> None:
        assert_type(self.request, socket.socket)
        assert_type(self.connection, socket.socket)
        assert_type(self.client_address, Any)
        assert_type(self.server, Any)
        assert_type(self.rfile, BufferedIOBase)
        assert_type(self.wfile, BufferedIOBase)
        assert_type(self.rfile.readline(), bytes)
        assert_type(self.wfile.write(b"x"), int)
        for line in self.rfile:
            assert_type(line, bytes)


class BareDatagram(DatagramRequestHandler):
    """Without type arguments."""

    def handle(self) -> None:
        assert_type(self.request, tuple[bytes, socket.socket])
        assert_type(self.packet, bytes)
        assert_type(self.socket, socket.socket)
        assert_type(self.client_address, Any)
        assert_type(self.server, Any)
        assert_type(self.rfile, BytesIO)
        assert_type(self.wfile, BytesIO)
        assert_type(self.rfile.read(), bytes)


class BareBase(BaseRequestHandler):
    """Without type arguments: fits every server."""

    def handle(self) -> None:
        assert_type(self.request, Any)
        assert_type(self.client_address, Any)
        assert_type(self.server, Any)


class Greeter(StreamRequestHandler[InetAddress, MyServer]):
    """A handler that needs its own server."""

    timeout = 2.5
    disable_nagle_algorithm = True

    def handle(self) -> None:
        assert_type(self.request, socket.socket)
        assert_type(self.client_address, tuple[str, int])
        assert_type(self.client_address[0], str)
        assert_type(self.server, MyServer)
        self.wfile.write(self.server.greeting)


class DatagramGreeter(DatagramRequestHandler[InetAddress, MyUDPServer]):
    """The same, of datagrams."""

    def handle(self) -> None:
        assert_type(self.client_address, tuple[str, int])
        assert_type(self.server, MyUDPServer)
        self.wfile.write(self.server.greeting)


class OnUnix(StreamRequestHandler[UnixAddress, UnixStreamServer]):
    """On a Unix stream server, whose peers mostly have no name."""

    def handle(self) -> None:
        assert_type(self.client_address, str | bytes | None)
        assert_type(self.server, UnixStreamServer)
        assert_type(self.server.server_address, UnixAddress)


class OnUnixDatagram(DatagramRequestHandler[UnixAddress, UnixDatagramServer]):
    """On a Unix datagram server: an unnamed peer can't be answered."""

    def finish(self) -> None:
        if self.client_address is not None:
            assert_type(self.client_address, str | bytes)
            super().finish()


class Request(BaseRequestHandler[StreamRequest, InetAddress, TCPServer]):
    """With ``request`` instead of files."""

    def handle(self) -> None:
        assert_type(self.request, socket.socket)
        assert_type(self.request.recv(10), bytes)
        assert_type(self.client_address, InetAddress)
        assert_type(self.server, TCPServer)


class OnlyTheAddress(StreamRequestHandler[InetAddress]):
    """With the server left open."""

    def handle(self) -> None:
        assert_type(self.client_address, InetAddress)
        assert_type(self.server, Any)


def stream_function(request: socket.socket, client_address: InetAddress, server: TCPServer) -> None:
    """Handle a connection in a plain function."""
    assert_type(server.server_address, InetAddress)


def greeting_function(request: StreamRequest, address: InetAddress, server: MyServer) -> str:
    """What a handler returns doesn't matter."""
    return server.greeting.decode()


def datagram_function(request: DatagramRequest, address: InetAddress, server: UDPServer) -> None:
    """Handle a datagram in a plain function."""
    data, answer_on = request
    answer_on.sendto(data, address)


class Counter:
    """An object whose method handles requests."""

    def handle(self, request: object, client_address: object, server: object) -> int:
        return 1


def servers() -> None:
    TCPServer(HERE, Bare)
    TCPServer(HERE, BareBase)
    TCPServer(HERE, Request)
    TCPServer(HERE, OnlyTheAddress)
    TCPServer(HERE, BaseRequestHandler)
    UDPServer(HERE, BareDatagram)
    UDPServer(HERE, BareBase)
    UnixStreamServer("socket", Bare)
    UnixStreamServer("socket", OnUnix)
    UnixDatagramServer("socket", BareDatagram)
    UnixDatagramServer("socket", OnUnixDatagram)


def own_servers() -> None:
    """A handler for a server class is legal on that class, and on those derived from it."""
    with MyServer(HERE, Greeter) as server:
        assert_type(server, MyServer)
    MyServer(HERE, Request)
    MyServer(HERE, stream_function)
    MyServer(HERE, greeting_function)
    MyUDPServer(HERE, DatagramGreeter)
    MyUDPServer(HERE, datagram_function)


def callables() -> None:
    TCPServer(HERE, stream_function)
    TCPServer(HERE, Counter().handle)
    TCPServer(HERE, lambda request, _address, _server: request.sendall(b"x"))
    UDPServer(HERE, datagram_function)
    UDPServer(HERE, Counter().handle)


def writer(connection: socket.socket) -> None:
    assert_type(SocketWriter(connection).write(bytearray(b"x")), int)
    assert_type(SocketWriter(connection).fileno(), int)
