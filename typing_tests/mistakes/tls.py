"""Mistakes with TLS."""

from netserve.core import InetAddress
from netserve.handlers import StreamRequestHandler, TLSRequestHandler
from netserve.transports import TCPServer, TLSMixIn, server_context

HERE = ("127.0.0.1", 0)


class Server(TLSMixIn, TCPServer):
    """A server under TLS."""


class Bare(TLSRequestHandler):
    """A handler that needs TLS."""


class Knowing(TLSRequestHandler[InetAddress, Server]):
    """A handler that needs this very server."""


class Plain(StreamRequestHandler):
    """A handler that doesn't, and knows of none."""

    def handle(self) -> None:
        # E peer-certificate-without-tls: getpeercert
        self.request.getpeercert()


# E tls-handler-on-a-plain-server: Knowing
TCPServer(HERE, Knowing)

# E bare-tls-handler-on-a-plain-server: Bare
TCPServer(HERE, Bare)

# E context-of-another-kind: SSLContext
Server.ssl_context = "cert.pem"

# E authority-by-position: positional
server_context("cert.pem", "key.pem", "ca.pem")
