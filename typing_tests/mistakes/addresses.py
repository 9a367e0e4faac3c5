"""Mistakes with the addresses of servers and their clients."""

from pathlib import Path

from netserve import socketserver
from netserve.core import BaseServer, Inet6Address, InetAddress, StreamRequest, UnixAddress
from netserve.handlers import DatagramRequestHandler, StreamRequestHandler
from netserve.transports import StreamServer, TCPServer, UDPServer, UnixStreamServer

HERE = ("127.0.0.1", 0)


class Handler(StreamRequestHandler):
    pass


class OnUnix(StreamRequestHandler[UnixAddress, UnixStreamServer]):
    def handle(self) -> None:
        # E index-of-unix-client: None; subscript
        # E index-of-unix-client (mypy): None; not indexable
        self.client_address[0]

        # E index-of-unix-server: None; subscript
        # E index-of-unix-server (mypy): None; not indexable
        self.server.server_address[0]

        # E unix-client-as-path: Argument; bytes; PathLike
        Path(self.client_address)


class OnTCP(StreamRequestHandler[InetAddress, TCPServer]):
    def handle(self) -> None:
        # E port-as-string: int; no attribute; upper
        # E port-as-string (pyright): upper; attribute; "int"
        self.client_address[1].upper()

        # E third-part-of-pair: ndex; out of
        self.client_address[2]

        # E client-address-as-text: encode; attribute
        self.client_address.encode()


udp = UDPServer(HERE, DatagramRequestHandler)

# E unix-address-to-tcp: Argument; tuple[str, int]
TCPServer("/run/service.sock", Handler)

# E path-to-tcp: Argument; Path; tuple[str, int]
TCPServer(Path("/run/service.sock"), Handler)

# E tcp-address-to-unix: Argument; tuple; PathLike[str]
UnixStreamServer(("127.0.0.1", 0), Handler)

# E port-alone: Argument; tuple[str, int]
TCPServer(8000, Handler)

# E port-given-as-string: Argument; tuple[str, int]
# E port-given-as-string (pyright): Argument; InetAddress; "int"
TCPServer(("127.0.0.1", "8000"), Handler)

# E address-reversed: Argument; tuple[str, int]
# E address-reversed (pyright): Argument; InetAddress; "int"
TCPServer((8000, "127.0.0.1"), Handler)

# E address-as-list: Argument; list; tuple[str, int]
TCPServer(["127.0.0.1", 8000], Handler)

# E address-unpacked: Argument; tuple[str, int]
TCPServer("127.0.0.1", 8000, Handler)

# E inet-address-to-inet6: Argument; tuple[str, int, int, int]
StreamServer[Inet6Address](HERE, Handler)

# E unix-address-assigned-to-tcp: tuple[str, int]; server_address
# E unix-address-assigned-to-tcp (mypy): assignment; tuple[str, int]
TCPServer(HERE, Handler).server_address = "/run/service.sock"

# E udp-server-as-stream-server: UDPServer; BaseServer
server: BaseServer[StreamRequest, InetAddress] = udp

# E dropin-unix-address-to-tcp: Argument; tuple[str, int]
socketserver.TCPServer("/run/service.sock", Handler)

# E dropin-tcp-address-to-unix: Argument; tuple; PathLike[str]
socketserver.ThreadingUnixStreamServer(("127.0.0.1", 0), Handler)
