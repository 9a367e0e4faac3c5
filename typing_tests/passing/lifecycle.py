"""Running, stopping, limits, and what a server tells of itself."""

import threading

from typing_extensions import assert_type

from netserve import socketserver
from netserve.concurrency import ForkingMixIn, ThreadingMixIn
from netserve.core import (
    Admission,
    BaseServer,
    DatagramRequest,
    Deadline,
    DeadlineError,
    Inet6Address,
    InetAddress,
    Ledger,
    LineTooLongError,
    Outcome,
    Overload,
    PeerError,
    RequestT,
    Running,
    State,
    Stats,
    StopResult,
    StreamRequest,
    UnixAddress,
    admit,
    needs_no_interval,
    peer_key,
)
from netserve.handlers import DatagramRequestHandler, StreamRequestHandler
from netserve.transports import StreamServer, TCPServer, UDPServer, UnixStreamServer

HERE = ("127.0.0.1", 0)


class Stream(StreamRequestHandler):
    """A handler with a limit."""

    max_line_size = 1000


class Limited(ThreadingMixIn, TCPServer):
    """A server with every limit set."""

    max_connections = 10
    max_connections_per_peer = 2
    overload = "refuse"
    farewell = b"busy\n"
    idle_timeout = 30
    message_timeout = 2.5
    connection_timeout = 3600
    linger_timeout = 0.5
    linger_bytes = 4096
    grace = 10
    drains_backlog = False
    access_log = True


class Unlimited(ForkingMixIn, UDPServer):
    """A server without the limits that are set by default."""

    max_connections = None
    max_connections_per_peer = None
    overload: Overload = "wait"


class Hooked(TCPServer):
    """The hooks with the types of their server."""

    def handle_error(self, request: StreamRequest, client_address: InetAddress) -> None:
        assert_type(client_address[1], int)

    def handle_disconnect(
        self, request: StreamRequest, client_address: InetAddress, outcome: Outcome
    ) -> None:
        super().handle_disconnect(request, client_address, outcome)

    def refuse_request(self, request: StreamRequest, client_address: InetAddress) -> None:
        request.sendall(b"busy\n")

    def may_accept(self) -> bool:
        return super().may_accept()

    @needs_no_interval
    def service_actions(self) -> None:
        super().service_actions()


class Counting(BaseServer[RequestT, Inet6Address]):
    """A hook for servers of any request."""

    def handle_disconnect(
        self, request: RequestT, client_address: Inet6Address, outcome: Outcome
    ) -> None:
        assert_type(client_address[3], int)


class TCP6Server(StreamServer[Inet6Address]):
    """A family that has no class of its own."""


def background() -> None:
    with TCPServer(HERE, Stream).background() as running:
        assert_type(running, Running[TCPServer, InetAddress])
        assert_type(running.server, TCPServer)
        assert_type(running.address, InetAddress)
        assert_type(running.address[1], int)
        assert_type(running.thread, threading.Thread)
        assert_type(running.result, StopResult | None)
        assert_type(running.stop(), StopResult)
        assert_type(running.stop(2.5), StopResult)


def background_of_others(tcp6: TCP6Server) -> None:
    """The handle knows each server by its own class and address."""
    with Limited(HERE, Stream).background(grace=1) as limited:
        assert_type(limited, Running[Limited, InetAddress])
    with Unlimited(HERE, DatagramRequestHandler).background() as unlimited:
        assert_type(unlimited.server, Unlimited)
        assert_type(unlimited.server.get_request(), tuple[DatagramRequest, InetAddress])
    with UnixStreamServer("socket", Stream).background() as unix:
        assert_type(unix, Running[UnixStreamServer, UnixAddress])
        assert_type(unix.address, str | bytes | None)
    with tcp6.background() as running:
        assert_type(running.address, Inet6Address)
    with socketserver.ThreadingTCPServer(HERE, Stream).background() as dropin:
        assert_type(dropin, Running[socketserver.ThreadingTCPServer, InetAddress])


def stop(server: Limited) -> None:
    server.run()
    server.run(grace=2.5)
    result = server.stop(grace=5)
    assert_type(result, StopResult)
    assert_type(result.drained, int)
    assert_type(result.forced, int)
    assert_type(result.elapsed, float)
    assert_type(server.stop(), StopResult)
    assert_type(server.stop(None), StopResult)


def tell(server: Limited) -> None:
    stats = server.stats()
    assert_type(stats, Stats)
    assert_type(stats.state, State)
    assert_type(stats.since, float)
    assert_type(stats.accepted - stats.active, int)
    assert_type(stats.bytes_received, int)
    assert_type(server.requests_in_progress, Ledger)


def options(server: BaseServer[StreamRequest, InetAddress], streams: TCPServer) -> None:
    assert_type(server.max_connections, int | None)
    assert_type(server.max_connections_per_peer, int | None)
    assert_type(server.overload, Overload)
    assert_type(server.farewell, bytes)
    assert_type(server.grace, float)
    assert_type(streams.idle_timeout, float | None)
    assert_type(streams.linger_bytes, int)
    server.max_connections = 5
    server.overload = "refuse"
    streams.idle_timeout = None


def errors(handler: StreamRequestHandler) -> None:
    assert_type(handler.max_line_size, int | None)
    try:
        handler.rfile.readline()
    except DeadlineError as error:
        assert_type(error.deadline, Deadline)
        assert_type(error.seconds, float)
        as_builtin: TimeoutError = error
        print(as_builtin)
    except LineTooLongError as error:
        as_peer_error: PeerError = error
        raise as_peer_error from None


def decide() -> None:
    assert_type(admit(1, 10, "refuse"), Admission)
    assert_type(peer_key(HERE), bytes | None)
