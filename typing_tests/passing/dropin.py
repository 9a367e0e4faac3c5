"""The drop-in module: each of its servers and handlers, and putting it in place."""

import socket
from io import BufferedIOBase, BytesIO
from pathlib import Path
from typing import Any

from typing_extensions import assert_type

from netserve import concurrency, socketserver, transports
from netserve.core import BaseServer as CoreServer
from netserve.core import DatagramRequest, InetAddress, StreamRequest, UnixAddress

HERE = ("127.0.0.1", 0)


class Stream(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        assert_type(self.request, socket.socket)
        assert_type(self.rfile, BufferedIOBase)
        assert_type(self.wfile, BufferedIOBase)
        assert_type(self.client_address, Any)
        self.wfile.write(self.rfile.readline().strip().upper())


class Datagram(socketserver.DatagramRequestHandler):
    def handle(self) -> None:
        assert_type(self.packet, bytes)
        assert_type(self.rfile, BytesIO)
        assert_type(self.wfile, BytesIO)


class Base(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        assert_type(self.request, Any)


def tcp() -> None:
    with socketserver.TCPServer(HERE, Stream) as server:
        assert_type(server, socketserver.TCPServer)
        assert_type(server.server_address, InetAddress)
        assert_type(server.get_request(), tuple[StreamRequest, InetAddress])
        assert_type(server.request_queue_size, int)
    with socketserver.ThreadingTCPServer(HERE, Base) as threading:
        assert_type(threading, socketserver.ThreadingTCPServer)
        assert_type(threading.get_request(), tuple[StreamRequest, InetAddress])
        threading.process_request(*threading.get_request())
    with socketserver.ForkingTCPServer(HERE, Stream) as forking:
        assert_type(forking, socketserver.ForkingTCPServer)
        assert_type(forking.active_children, concurrency.Children | None)
        forking.process_request(*forking.get_request())


def udp() -> None:
    with socketserver.UDPServer(HERE, Datagram) as server:
        assert_type(server, socketserver.UDPServer)
        assert_type(server.server_address, InetAddress)
        assert_type(server.get_request(), tuple[DatagramRequest, InetAddress])
    with socketserver.ThreadingUDPServer(HERE, Datagram) as threading:
        assert_type(threading, socketserver.ThreadingUDPServer)
        threading.process_request(*threading.get_request())
    with socketserver.ForkingUDPServer(HERE, Base) as forking:
        assert_type(forking, socketserver.ForkingUDPServer)
        forking.process_request(*forking.get_request())


def unix() -> None:
    with socketserver.UnixStreamServer(Path("socket"), Stream) as server:
        assert_type(server, socketserver.UnixStreamServer)
        assert_type(server.server_address, UnixAddress)
        assert_type(server.get_request(), tuple[StreamRequest, UnixAddress])
    with socketserver.ThreadingUnixStreamServer("socket", Stream) as threading:
        assert_type(threading, socketserver.ThreadingUnixStreamServer)
        threading.process_request(*threading.get_request())
    with socketserver.ForkingUnixStreamServer("socket", Stream) as forking:
        assert_type(forking, socketserver.ForkingUnixStreamServer)
        forking.process_request(*forking.get_request())


def unix_datagrams() -> None:
    with socketserver.UnixDatagramServer(Path("socket"), Datagram) as server:
        assert_type(server, socketserver.UnixDatagramServer)
        assert_type(server.get_request(), tuple[DatagramRequest, UnixAddress])
    with socketserver.ThreadingUnixDatagramServer("socket", Datagram) as threading:
        assert_type(threading, socketserver.ThreadingUnixDatagramServer)
        threading.process_request(*threading.get_request())
    with socketserver.ForkingUnixDatagramServer("socket", Datagram) as forking:
        assert_type(forking, socketserver.ForkingUnixDatagramServer)
        forking.process_request(*forking.get_request())


class MyServer(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """A program's own server, with its options and hooks."""

    allow_reuse_address = True
    daemon_threads = True
    name = "mine"

    def process_request(self, request: socket.socket, client_address: InetAddress) -> None:
        super().process_request(request, client_address)


class MyForkingServer(socketserver.ForkingMixIn, socketserver.UnixDatagramServer):
    """The same, with processes."""


class MyHandler(socketserver.StreamRequestHandler[InetAddress, MyServer]):
    """The handler classes take type arguments here too."""

    def handle(self) -> None:
        assert_type(self.server, MyServer)
        assert_type(self.server.name, str)


def function(request: socket.socket, client_address: InetAddress, server: MyServer) -> None:
    """Handle a connection in a plain function."""


def own() -> None:
    MyServer(HERE, MyHandler)
    MyServer(HERE, function)
    MyForkingServer("socket", Datagram)


def relations(
    tcp: socketserver.TCPServer,
    udp: socketserver.UDPServer,
    threads: socketserver.ThreadingMixIn,
    processes: socketserver.ForkingMixIn,
) -> None:
    """The module's classes are those of the packages, with other defaults."""
    any_stream: CoreServer[StreamRequest, InetAddress] = tcp
    dropin_base: socketserver.BaseServer[StreamRequest, InetAddress] = tcp
    precise: transports.TCPServer = tcp
    any_datagram: CoreServer[DatagramRequest, InetAddress] = udp
    threading: concurrency.ThreadingMixIn = threads
    forking: concurrency.ForkingMixIn = processes
    print(any_stream, dropin_base, precise, any_datagram, threading, forking)


def in_place() -> None:
    socketserver.install()
    socketserver.uninstall()
    assert_type(socketserver.time(), float)
