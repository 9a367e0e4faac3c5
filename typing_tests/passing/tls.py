"""Servers under TLS, and what their handlers know of the client."""

import socket
import ssl
from typing import Any

from typing_extensions import assert_type

from netserve.concurrency import MultiplexingMixIn, ThreadingMixIn
from netserve.core import InetAddress, PeerError, PlainTextError, StreamRequest, TLSError
from netserve.handlers import MessageRequestHandler, StreamRequestHandler, TLSRequestHandler
from netserve.transports import TCPServer, TLSMixIn, UnixStreamServer, server_context

HERE = ("127.0.0.1", 0)


class Server(ThreadingMixIn, TLSMixIn, TCPServer):
    """The usual order."""

    ssl_context = server_context("cert.pem", "key.pem", client_ca="ca.pem", alpn=["http/1.1"])
    handshake_timeout = 5.0


class Reloading(TLSMixIn, ThreadingMixIn, TCPServer):
    """The other order, and certificates that are read again."""

    def make_ssl_context(self) -> ssl.SSLContext:
        return server_context("cert.pem")


class Unix(TLSMixIn, UnixStreamServer):
    """Another family."""


class Multiplexing(MultiplexingMixIn, TLSMixIn, TCPServer):
    """Messages."""


class Bare(TLSRequestHandler):
    """Without type arguments."""

    def handle(self) -> None:
        assert_type(self.request, ssl.SSLSocket)
        assert_type(self.connection, ssl.SSLSocket)
        assert_type(self.client_address, Any)
        assert_type(self.request.selected_alpn_protocol(), str | None)
        assert_type(self.request.getpeercert(True), bytes | None)
        self.request.getpeercert()
        assert_type(self.rfile.readline(), bytes)


class Precise(TLSRequestHandler[InetAddress, Server]):
    """With type arguments."""

    def handle(self) -> None:
        assert_type(self.client_address, tuple[str, int])
        assert_type(self.server, Server)
        assert_type(self.request.version(), str | None)


class Plain(StreamRequestHandler):
    """A handler that doesn't care."""

    def handle(self) -> None:
        assert_type(self.request, socket.socket)


class Messages(MessageRequestHandler):
    """A handler of messages that looks."""

    def handle_message(self, message: bytes) -> bytes | None:
        if isinstance(self.request, ssl.SSLSocket):
            self.request.getpeercert()
        return message


def function(request: StreamRequest, client_address: object, server: object) -> None:
    """A handler need not be a class."""


Server(HERE, Bare)
Server(HERE, Precise)
Server(HERE, Plain)
Server(HERE, Messages)
Server(HERE, function)
Reloading(HERE, Bare)
Unix("/run/service.sock", Bare)
Multiplexing(HERE, Messages)

with Server(HERE, Bare, bind_and_activate=False) as server:
    server.ssl_context = server_context("cert.pem", "key.pem", password="secret")
    server.handshake_timeout = 2.5
    server.reload_certificates()
    server.reload()
    assert_type(server.make_ssl_context(), ssl.SSLContext)


def whose_fault(error: Exception) -> str:
    if isinstance(error, PlainTextError):
        assert_type(error.beginning, bytes)
    if isinstance(error, TLSError):
        fault: PeerError = error
        also: ssl.SSLError = error
        return f"{fault} {also} {error.reason}"
    return ""
