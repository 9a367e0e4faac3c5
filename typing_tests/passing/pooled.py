"""The pool and the multiplexer, in front of servers, and the ready-made combinations."""

import socket
import threading
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from socketserver import TCPServer as StandardTCPServer

from typing_extensions import assert_type

from netserve import servers
from netserve.concurrency import MultiplexingMixIn, ThreadPoolMixIn, WorkerPool
from netserve.core import (
    DatagramRequest,
    ForwardedHandler,
    InetAddress,
    Loop,
    MessageForwarder,
    MessageHandler,
    StreamRequest,
)
from netserve.handlers import DatagramRequestHandler, MessageRequestHandler, StreamRequestHandler
from netserve.transports import TCPServer, UDPServer, UnixDatagramServer, UnixStreamServer

HERE = ("127.0.0.1", 0)


class Upper(MessageRequestHandler):
    def handle_message(self, message: bytes) -> bytes | None:
        return message.upper()


class Stream(StreamRequestHandler):
    def handle(self) -> None:
        self.wfile.write(self.rfile.readline())


class Datagram(DatagramRequestHandler):
    def handle(self) -> None:
        self.wfile.write(self.packet)


class Pooled(ThreadPoolMixIn, TCPServer):
    """With settings."""

    max_workers = 8
    max_waiting = 0
    daemon_threads = True
    block_on_close = False
    idle_timeout = 30.0


class PooledUDP(ThreadPoolMixIn, UDPServer):
    """For datagrams."""


class PooledUnix(ThreadPoolMixIn, UnixStreamServer):
    """On a path."""


class PooledUnixDatagrams(ThreadPoolMixIn, UnixDatagramServer):
    """Datagrams on a path."""


class PooledWeb(ThreadPoolMixIn, HTTPServer):
    """In front of a server of the standard library."""


class PooledStandard(ThreadPoolMixIn, StandardTCPServer):
    """In front of another."""


class Multiplexed(MultiplexingMixIn, TCPServer):
    """With settings."""

    max_workers = 0
    # pyright wants the type, because the server behind the mix-in has the name too.
    message_timeout: float | None = None
    requests_per_wait = 1


class MultiplexedUDP(MultiplexingMixIn, UDPServer):
    """For datagrams."""


class MultiplexedUnix(MultiplexingMixIn, UnixStreamServer):
    """On a path."""


class Work(MessageRequestHandler):
    """Its work is a function of the message."""

    @staticmethod
    def process_message(message: bytes) -> bytes | None:
        return message.upper()

    def handle_answer(self, message: bytes, answer: bytes | None) -> bytes | None:
        self.send(message)
        return answer


class AlwaysAnswers(MessageRequestHandler):
    """The function's result may be narrower."""

    @staticmethod
    def process_message(data: bytes) -> bytes:
        return data


class OnProcesses(MultiplexingMixIn, TCPServer):
    """Has its messages answered by a pool of its own."""

    max_in_flight = 8
    max_in_flight_per_connection = 2

    def make_executor(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(2)


class OnThreads(MultiplexingMixIn, UDPServer):
    """Has its messages answered by a pool that it is given."""

    executor = ThreadPoolExecutor(2)


class Overridden(ThreadPoolMixIn, TCPServer):
    """The mix-in's hooks may be overridden with the types of the server."""

    def process_request(self, request: StreamRequest, client_address: InetAddress) -> None:
        assert_type(request, socket.socket)
        super().process_request(request, client_address)

    def process_request_thread(self, request: StreamRequest, client_address: InetAddress) -> None:
        super().process_request_thread(request, client_address)


class MyServer(servers.MultiplexingTCPServer):
    """A server with a member that its handlers use."""

    message_timeout = None
    greeting = b"hello"


class Greeter(MessageRequestHandler[InetAddress, MyServer]):
    """A handler that needs its own server."""

    def setup(self) -> None:
        assert_type(self.server, MyServer)
        self.send(self.server.greeting)


def make(request: StreamRequest, client_address: InetAddress, server: TCPServer) -> Upper:
    """A function that makes handlers of messages."""
    return Upper(request, client_address, server)


def mixed() -> None:
    pooled = Pooled(HERE, Stream)
    assert_type(pooled.worker_pool, WorkerPool)
    assert_type(pooled.pool_room, threading.Semaphore)
    assert_type(pooled.server_address, tuple[str, int])
    PooledUDP(HERE, Datagram)
    PooledUnix("socket", Stream)
    PooledUnixDatagrams("socket", Upper)
    PooledWeb(HERE, BaseHTTPRequestHandler)
    Overridden(HERE, Stream)
    multiplexed = Multiplexed(HERE, Upper)
    assert_type(multiplexed.worker_pool, WorkerPool | None)
    assert_type(multiplexed.current_loop, Loop | None)
    assert_type(multiplexed.make_loop(), Loop)
    MultiplexedUDP(HERE, Upper)
    MultiplexedUnix("socket", Upper)


def elsewhere(executor: Executor) -> None:
    OnProcesses(HERE, Work)
    OnThreads(HERE, AlwaysAnswers)
    server = Multiplexed(HERE, Work)
    server.executor = executor
    assert_type(server.forwards_messages, bool)
    assert_type(server.make_executor(), Executor | None)
    assert_type(Work.process_message(b"hello"), bytes | None)
    assert_type(Work.message_function(), Callable[[bytes], bytes | None])
    forwarder: MessageForwarder = server
    assert_type(forwarder.forwards_messages, bool)


def forward(connection: socket.socket) -> None:
    """What a server does that has messages answered elsewhere."""
    handler: ForwardedHandler = Work(connection, HERE, Multiplexed(HERE, Work))
    for message in handler.receive_messages(b"x") + handler.receive_end():
        handler.queue_answer(message, handler.message_function()(message))
    assert_type(handler.input_ended, bool)
    handler.end_messages()


def ready_made() -> None:
    for stream in (Stream, Upper):
        servers.ThreadingTCPServer(HERE, stream)
        servers.ForkingTCPServer(HERE, stream)
        servers.ThreadPoolTCPServer(HERE, stream)
        servers.ThreadingUnixStreamServer("socket", stream)
        servers.ForkingUnixStreamServer("socket", stream)
        servers.ThreadPoolUnixStreamServer("socket", stream)
    for datagram in (Datagram, Upper):
        servers.ThreadingUDPServer(HERE, datagram)
        servers.ForkingUDPServer(HERE, datagram)
        servers.ThreadPoolUDPServer(HERE, datagram)
        servers.ThreadingUnixDatagramServer("socket", datagram)
        servers.ForkingUnixDatagramServer("socket", datagram)
        servers.ThreadPoolUnixDatagramServer("socket", datagram)
    servers.MultiplexingTCPServer(HERE, Upper)
    servers.MultiplexingTCPServer(HERE, make, bind_and_activate=False)
    servers.MultiplexingUDPServer(HERE, Upper)
    servers.MultiplexingUnixStreamServer("socket", Upper)
    servers.MultiplexingUnixDatagramServer("socket", Upper)
    MyServer(HERE, Greeter)
    handler: Callable[[DatagramRequest, InetAddress, UDPServer], MessageHandler] = Upper
    servers.MultiplexingUDPServer(HERE, handler)


def engine() -> None:
    pool = WorkerPool(4, "work", daemon=True)
    pool.submit(pool.forget)
    assert_type(len(pool), int)
    assert_type(pool.waiting, int)
    assert_type(pool.max_workers, int)
    pool.close(wait=False)
