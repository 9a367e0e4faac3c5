"""The service behind ``netserve echo``: what comes in goes back in capitals."""

from typing import Any, TypeAlias

from netserve.concurrency import ThreadingMixIn
from netserve.core import BaseServer
from netserve.handlers import DatagramRequestHandler, StreamRequestHandler
from netserve.transports import TCPServer, UDPServer

# The handlers run on every address, so they take any; only the transport matters.
AnyServer: TypeAlias = BaseServer[Any, Any]


class StreamEcho(StreamRequestHandler):
    """Sends back each line as it arrives, until the client has no more."""

    def handle(self) -> None:
        """Echo line by line."""
        for line in self.rfile:
            self.wfile.write(line.upper())


class DatagramEcho(DatagramRequestHandler):
    """Sends back the datagram."""

    def handle(self) -> None:
        """Echo the datagram."""
        self.wfile.write(self.packet.upper())


class _Threads(ThreadingMixIn):
    # Ctrl-C ends the service although clients are connected.
    daemon_threads = True


class TCPEchoServer(_Threads, TCPServer):
    """The echo on TCP, a thread for each connection."""


class UDPEchoServer(_Threads, UDPServer):
    """The echo on UDP, a thread for each datagram."""


def internet_server(host: str, port: int, *, datagrams: bool) -> AnyServer:
    """An echo server on *host* and *port*: UDP if *datagrams*, else TCP."""
    if datagrams:
        return UDPEchoServer((host, port), DatagramEcho)
    return TCPEchoServer((host, port), StreamEcho)


def unix_server(path: str, *, datagrams: bool) -> AnyServer:
    """An echo server on the Unix domain socket *path*.

    Raises :class:`ImportError` where the platform has no such sockets.
    """
    from netserve.transports import UnixDatagramServer, UnixStreamServer

    class UnixEchoServer(_Threads, UnixStreamServer):
        """The echo on connections, a thread for each."""

    class UnixDatagramEchoServer(_Threads, UnixDatagramServer):
        """The echo on datagrams, a thread for each."""

    if datagrams:
        return UnixDatagramEchoServer(path, DatagramEcho)
    return UnixEchoServer(path, StreamEcho)
