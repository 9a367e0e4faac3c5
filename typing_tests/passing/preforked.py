"""Servers of several processes: in front of every mix-in, and ready-made."""

from http.server import BaseHTTPRequestHandler, HTTPServer

from typing_extensions import assert_type

from netserve import servers
from netserve.concurrency import (
    ForkingMixIn,
    MultiplexingMixIn,
    PreforkMixIn,
    ThreadingMixIn,
    ThreadPoolMixIn,
    WorkerError,
)
from netserve.core import InetAddress, NetserveError, Stats, StopResult
from netserve.handlers import DatagramRequestHandler, MessageRequestHandler, StreamRequestHandler
from netserve.transports import TCPServer, UDPServer, UnixStreamServer

HERE = ("127.0.0.1", 0)


class Upper(MessageRequestHandler):
    def handle_message(self, message: bytes) -> bytes | None:
        return message.upper()


class Alone(PreforkMixIn, TCPServer):
    """With settings."""

    processes = 4
    failed_starts = 1
    block_on_close = False

    def setup_worker(self) -> None:
        super().setup_worker()


class Threads(PreforkMixIn, ThreadingMixIn, TCPServer):
    """In front of another mix-in."""


class Pool(PreforkMixIn, ThreadPoolMixIn, UnixStreamServer):
    """And of this."""


class Forks(PreforkMixIn, ForkingMixIn, UDPServer):
    """And of this."""


class Multiplexed(PreforkMixIn, MultiplexingMixIn, TCPServer):
    """And of this."""


class Web(PreforkMixIn, ThreadPoolMixIn, HTTPServer):
    """In front of a server of the standard library."""


class MyServer(servers.PreforkMultiplexingTCPServer):
    """A server with a member that its handlers use."""

    greeting = b"hello"


class Greeter(MessageRequestHandler[InetAddress, MyServer]):
    """A handler that needs its own server."""

    def setup(self) -> None:
        assert_type(self.server, MyServer)
        self.send(self.server.greeting)


def mixed() -> None:
    server = Alone(HERE, StreamRequestHandler)
    server.prefork()
    server.replace_workers()
    assert_type(server.worker_pids, list[int])
    assert_type(server.stats(), Stats)
    assert_type(server.stop(1.5), StopResult)
    with server.background() as running:
        assert_type(running.server, Alone)
    Threads(HERE, Upper).run()
    Pool("socket", Upper)
    Forks(HERE, DatagramRequestHandler)
    Multiplexed(HERE, Upper)
    web = Web(HERE, BaseHTTPRequestHandler)
    web.serve_forever()
    web.shutdown()
    error: NetserveError = WorkerError("they end")
    raise error


def ready_made() -> None:
    for stream in (StreamRequestHandler, Upper):
        servers.PreforkTCPServer(HERE, stream)
        servers.PreforkThreadPoolTCPServer(HERE, stream)
        servers.PreforkUnixStreamServer("socket", stream)
        servers.PreforkThreadPoolUnixStreamServer("socket", stream)
    for datagram in (DatagramRequestHandler, Upper):
        servers.PreforkUDPServer(HERE, datagram)
        servers.PreforkThreadPoolUDPServer(HERE, datagram)
        servers.PreforkUnixDatagramServer("socket", datagram)
        servers.PreforkThreadPoolUnixDatagramServer("socket", datagram)
    servers.PreforkMultiplexingTCPServer(HERE, Upper)
    servers.PreforkMultiplexingUDPServer(HERE, Upper)
    servers.PreforkMultiplexingUnixStreamServer("socket", Upper)
    servers.PreforkMultiplexingUnixDatagramServer("socket", Upper)
    MyServer(HERE, Greeter)
