"""Mistakes between a server and its handler."""

import socket

from netserve import socketserver
from netserve.core import DatagramRequest, Inet6Address, InetAddress, StreamRequest, UnixAddress
from netserve.handlers import BaseRequestHandler, DatagramRequestHandler, StreamRequestHandler
from netserve.transports import (
    StreamServer,
    TCPServer,
    UDPServer,
    UnixDatagramServer,
    UnixStreamServer,
)

HERE = ("127.0.0.1", 0)


class MyServer(TCPServer):
    greeting = b"hello\n"


class OtherServer(TCPServer):
    pass


class TCP6Server(StreamServer[Inet6Address]):
    address_family = socket.AF_INET6


class Stream(StreamRequestHandler):
    pass


class Datagram(DatagramRequestHandler):
    pass


class ForMyServer(StreamRequestHandler[InetAddress, MyServer]):
    pass


class ForTCP(StreamRequestHandler[InetAddress, TCPServer]):
    pass


class ForUnix(StreamRequestHandler[UnixAddress]):
    pass


class ForUnixDatagram(DatagramRequestHandler[UnixAddress]):
    pass


class ForDatagrams(BaseRequestHandler[DatagramRequest]):
    pass


class TwoArguments(Stream):
    def __init__(self, request: StreamRequest, client_address: InetAddress) -> None:
        super().__init__(request, client_address, None)


def on_stream(request: StreamRequest, client_address: InetAddress, server: TCPServer) -> None: ...


def on_datagram(request: DatagramRequest, client_address: InetAddress, server: object) -> None: ...


def for_my_server(
    request: StreamRequest, client_address: InetAddress, server: MyServer
) -> None: ...


def two_arguments(request: StreamRequest, client_address: InetAddress) -> None: ...


def four_arguments(request: object, address: object, server: object, more: object) -> None: ...


def keyword_only(
    request: StreamRequest, client_address: InetAddress, *, server: object
) -> None: ...


# E stream-handler-on-udp: Argument; Stream; UDPServer; tuple[bytes, socket]
UDPServer(HERE, Stream)

# E stream-handler-on-unix-datagram: Argument; Stream; UnixDatagramServer; tuple[bytes, socket]
UnixDatagramServer("socket", Stream)

# E datagram-handler-on-tcp: Argument; Datagram; TCPServer; socket
TCPServer(HERE, Datagram)

# E datagram-handler-on-unix-stream: Argument; Datagram; UnixStreamServer; socket
UnixStreamServer("socket", Datagram)

# E base-handler-of-datagrams-on-tcp: Argument; ForDatagrams; TCPServer; socket
TCPServer(HERE, ForDatagrams)

# E stream-function-on-udp: Argument; socket; UDPServer; tuple[bytes, socket]
UDPServer(HERE, on_stream)

# E datagram-function-on-tcp: Argument; tuple[bytes, socket]; TCPServer
TCPServer(HERE, on_datagram)

# E unix-handler-on-tcp: Argument; ForUnix; TCPServer; tuple[str, int]
TCPServer(HERE, ForUnix)

# E tcp-handler-on-unix: Argument; ForTCP; UnixStreamServer
UnixStreamServer("socket", ForTCP)

# E unix-handler-on-udp: Argument; ForUnixDatagram; UDPServer; tuple[str, int]
UDPServer(HERE, ForUnixDatagram)

# E inet-handler-on-inet6: Argument; ForTCP; TCP6Server; int, int, int
TCP6Server(("::1", 0, 0, 0), ForTCP)

# E handler-for-derived-server: Argument; ForMyServer; TCPServer
TCPServer(HERE, ForMyServer)

# E handler-for-other-server: Argument; ForMyServer; OtherServer
OtherServer(HERE, ForMyServer)

# E function-for-derived-server: Argument; MyServer; TCPServer
TCPServer(HERE, for_my_server)

# E handler-not-callable: Argument; handler; TCPServer; object
# E handler-not-callable (mypy): Argument; bytes; Callable
TCPServer(HERE, b"handler")

# E handler-is-none: Argument; None; TCPServer
TCPServer(HERE, None)

# E handler-instance: Argument; Stream; TCPServer
TCPServer(HERE, Stream(socket.socket(), HERE, None))

# E handler-missing: issing; RequestHandlerClass
# E handler-missing (ty): No argument; RequestHandlerClass
TCPServer(HERE)

# E handler-class-of-two-arguments: Argument; TwoArguments; TCPServer
TCPServer(HERE, TwoArguments)

# E function-of-two-arguments: Argument; None; TCPServer
TCPServer(HERE, two_arguments)

# E function-of-four-arguments: Argument; None; TCPServer; object
TCPServer(HERE, four_arguments)

# E function-with-keyword-only-server: Argument; server; TCPServer
TCPServer(HERE, keyword_only)

# E handler-assigned-to-server: Datagram; TCPServer; socket
TCPServer(HERE, Stream).RequestHandlerClass = Datagram

# E dropin-stream-handler-on-udp: Argument; Stream; UDPServer; tuple[bytes, socket]
socketserver.UDPServer(HERE, Stream)

# E dropin-datagram-handler-on-threading-tcp: Argument; Datagram; ThreadingTCPServer
socketserver.ThreadingTCPServer(HERE, Datagram)

# E dropin-handler-for-derived-server: Argument; ForMyServer; TCPServer
socketserver.TCPServer(HERE, ForMyServer)
