"""Composition with the standard library: mix-ins both ways, and handlers with a cast."""

import http.server
import socketserver
import wsgiref.simple_server
import xmlrpc.server
from collections.abc import Callable
from typing import Any, TypeAlias, cast

from typing_extensions import assert_type

from netserve.concurrency import Children, ForkingMixIn, ThreadGroup, ThreadingMixIn
from netserve.core import Inet6Address, InetAddress, StreamRequest
from netserve.handlers import DatagramRequestHandler, StreamRequestHandler
from netserve.transports import (
    StreamServer,
    TCPServer,
    UDPServer,
    UnixDatagramServer,
    UnixStreamServer,
)

HERE = ("127.0.0.1", 0)


# The mix-ins of this project on the standard library's servers.


class ThreadingTCP(ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True


class ThreadingUDP(ThreadingMixIn, socketserver.UDPServer): ...


class ThreadingUnix(ThreadingMixIn, socketserver.UnixStreamServer): ...


class ThreadingUnixDatagram(ThreadingMixIn, socketserver.UnixDatagramServer): ...


class ThreadingHTTP(ThreadingMixIn, http.server.HTTPServer): ...


class ThreadingXMLRPC(ThreadingMixIn, xmlrpc.server.SimpleXMLRPCServer): ...


class ThreadingWSGI(ThreadingMixIn, wsgiref.simple_server.WSGIServer): ...


class ForkingTCP(ForkingMixIn, socketserver.TCPServer):
    max_children = 4


class ForkingUDP(ForkingMixIn, socketserver.UDPServer): ...


class ForkingUnix(ForkingMixIn, socketserver.UnixStreamServer): ...


class ForkingUnixDatagram(ForkingMixIn, socketserver.UnixDatagramServer): ...


class ForkingHTTP(ForkingMixIn, http.server.HTTPServer): ...


class ForkingXMLRPC(ForkingMixIn, xmlrpc.server.SimpleXMLRPCServer): ...


class ForkingWSGI(ForkingMixIn, wsgiref.simple_server.WSGIServer): ...


def ours_on_theirs() -> None:
    with ThreadingHTTP(HERE, http.server.SimpleHTTPRequestHandler) as server:
        assert_type(server, ThreadingHTTP)
        assert_type(server.request_threads, ThreadGroup)
        server.process_request(*server.get_request())
        server.serve_forever()
    with ThreadingTCP(HERE, socketserver.StreamRequestHandler) as tcp:
        tcp.process_request(*tcp.get_request())
    with ForkingXMLRPC(HERE) as xml_rpc:
        assert_type(xml_rpc, ForkingXMLRPC)
        assert_type(xml_rpc.active_children, Children | None)
        xml_rpc.process_request(*xml_rpc.get_request())
    with ThreadingWSGI(HERE, wsgiref.simple_server.WSGIRequestHandler) as wsgi:
        wsgi.process_request(*wsgi.get_request())
    with ForkingUDP(HERE, socketserver.DatagramRequestHandler) as udp:
        udp.handle_request()


# The standard library's mix-ins on the servers of this project.


class TheirThreadsOnTCP(socketserver.ThreadingMixIn, TCPServer):
    daemon_threads = True


class TheirThreadsOnUDP(socketserver.ThreadingMixIn, UDPServer): ...


class TheirThreadsOnUnix(socketserver.ThreadingMixIn, UnixStreamServer): ...


class TheirThreadsOnUnixDatagram(socketserver.ThreadingMixIn, UnixDatagramServer): ...


class TheirThreadsOnTCP6(socketserver.ThreadingMixIn, StreamServer[Inet6Address]): ...


class TheirProcessesOnTCP(socketserver.ForkingMixIn, TCPServer): ...


class TheirProcessesOnUDP(socketserver.ForkingMixIn, UDPServer): ...


class TheirProcessesOnUnix(socketserver.ForkingMixIn, UnixStreamServer): ...


class TheirProcessesOnUnixDatagram(socketserver.ForkingMixIn, UnixDatagramServer): ...


class OnTheirThreads(StreamRequestHandler[InetAddress, TheirThreadsOnTCP]):
    def handle(self) -> None:
        assert_type(self.server, TheirThreadsOnTCP)
        assert_type(self.server.daemon_threads, bool)


def theirs_on_ours() -> None:
    with TheirThreadsOnTCP(HERE, OnTheirThreads) as server:
        assert_type(server, TheirThreadsOnTCP)
        assert_type(server.server_address, InetAddress)
        server.process_request(*server.get_request())
    with TheirProcessesOnUDP(HERE, DatagramRequestHandler) as udp:
        assert_type(udp, TheirProcessesOnUDP)
        assert_type(udp.active_children, set[int] | None)
        udp.process_request(*udp.get_request())


# Handlers across the border work at run time; typeshed makes them type errors
# (see the page on typing limits in the docs), and a cast says that one knows.

StreamHandler: TypeAlias = Callable[[StreamRequest, InetAddress, TCPServer], object]


def handlers_across() -> None:
    class Echo(StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(self.rfile.readline())

    ours: Any = Echo
    socketserver.TCPServer(HERE, ours)
    socketserver.TCPServer(HERE, cast("type[socketserver.BaseRequestHandler]", Echo))
    TCPServer(HERE, cast("StreamHandler", http.server.SimpleHTTPRequestHandler))
