"""The mix-ins on this project's servers, used and overridden."""

import socket

from typing_extensions import assert_type

from netserve.concurrency import (
    Children,
    ForkingHooks,
    ForkingMixIn,
    ThreadGroup,
    ThreadingHooks,
    ThreadingMixIn,
)
from netserve.core import (
    DatagramRequest,
    ForkHooks,
    HookAddressT,
    HookRequestT,
    Inet6Address,
    InetAddress,
    RequestHooks,
    ServerMixIn,
    StreamRequest,
    run_request,
)
from netserve.handlers import DatagramRequestHandler, StreamRequestHandler
from netserve.transports import (
    StreamServer,
    TCPServer,
    UDPServer,
    UnixDatagramServer,
    UnixStreamServer,
)


class ThreadingTCP(ThreadingMixIn, TCPServer):
    daemon_threads = True


class ThreadingUDP(ThreadingMixIn, UDPServer):
    block_on_close = False


class ThreadingUnix(ThreadingMixIn, UnixStreamServer): ...


class ThreadingUnixDatagram(ThreadingMixIn, UnixDatagramServer): ...


class ThreadingTCP6(ThreadingMixIn, StreamServer[Inet6Address]):
    address_family = socket.AF_INET6


class ForkingTCP(ForkingMixIn, TCPServer):
    max_children = 4


class ForkingUDP(ForkingMixIn, UDPServer):
    # Both bases declare it, and pyright then wants it declared here as well.
    timeout: float | None = 1.5


class ForkingUnix(ForkingMixIn, UnixStreamServer): ...


class ForkingUnixDatagram(ForkingMixIn, UnixDatagramServer): ...


class OnThreads(StreamRequestHandler[InetAddress, ThreadingTCP]):
    def handle(self) -> None:
        assert_type(self.server, ThreadingTCP)
        assert_type(self.server.request_threads, ThreadGroup)
        assert_type(len(self.server.request_threads), int)


class OnProcesses(DatagramRequestHandler[InetAddress, ForkingUDP]):
    def handle(self) -> None:
        assert_type(self.server, ForkingUDP)
        assert_type(self.server.active_children, Children | None)


def threading() -> None:
    with ThreadingTCP(("127.0.0.1", 0), OnThreads) as server:
        assert_type(server, ThreadingTCP)
        assert_type(server.server_address, InetAddress)
        assert_type(server.daemon_threads, bool)
        assert_type(server.block_on_close, bool)
        request, client_address = server.get_request()
        assert_type(request, StreamRequest)
        server.process_request(request, client_address)
        server.process_request_thread(request, client_address)


def threading_others(handler: type[StreamRequestHandler]) -> None:
    ThreadingUDP(("127.0.0.1", 0), DatagramRequestHandler).handle_request()
    ThreadingUDP(("127.0.0.1", 0), DatagramRequestHandler).process_request(
        (b"x", socket.socket()), ("127.0.0.1", 1)
    )
    ThreadingUnix("socket", handler).process_request(socket.socket(), None)
    ThreadingUnixDatagram("socket", DatagramRequestHandler).serve_forever()
    with ThreadingTCP6(("::1", 0, 0, 0), handler) as server:
        server.process_request(socket.socket(), ("::1", 1, 0, 0))


def forking() -> None:
    with ForkingUDP(("127.0.0.1", 0), OnProcesses) as server:
        assert_type(server, ForkingUDP)
        assert_type(server.timeout, float | None)
        assert_type(server.max_children, int)
        server.process_request(*server.get_request())
        server.collect_children(blocking=True)


def forking_others(handler: type[StreamRequestHandler]) -> None:
    ForkingTCP(("127.0.0.1", 0), handler).process_request(socket.socket(), ("127.0.0.1", 1))
    ForkingUnix("socket", handler).process_request(socket.socket(), "peer")
    ForkingUnixDatagram("socket", DatagramRequestHandler).service_actions()


class ConcreteThreading(ThreadingMixIn, TCPServer):
    """A user's overrides of the mix-in's hooks, with the types of the server."""

    def process_request(self, request: StreamRequest, client_address: InetAddress) -> None:
        if client_address[1] > 0:
            super().process_request(request, client_address)

    def process_request_thread(self, request: StreamRequest, client_address: InetAddress) -> None:
        request.settimeout(5)
        super().process_request_thread(request, client_address)

    def server_close(self) -> None:
        super().server_close()


class ConcreteForking(ForkingMixIn, UDPServer):
    """The same, of processes and datagrams."""

    def process_request(self, request: DatagramRequest, client_address: InetAddress) -> None:
        if request[0]:
            super().process_request(request, client_address)

    def service_actions(self) -> None:
        super().service_actions()

    def handle_timeout(self) -> None:
        super().handle_timeout()


class InlineMixIn(ServerMixIn):
    """A mix-in of a user's own, for any server with the hooks that it calls."""

    def process_request(
        self: RequestHooks[HookRequestT, HookAddressT],
        request: HookRequestT,
        client_address: HookAddressT,
    ) -> None:
        run_request(self, request, client_address)


class Inline(InlineMixIn, UnixStreamServer): ...


def inline() -> None:
    with Inline("socket", StreamRequestHandler) as server:
        assert_type(server, Inline)
        server.process_request(*server.get_request())


class Duck:
    """A class of nobody's, which has the documented hooks."""

    def finish_request(self, request: str, client_address: int) -> None: ...
    def handle_error(self, request: str, client_address: int) -> None: ...
    def shutdown_request(self, request: str) -> None: ...
    def close_request(self, request: str) -> None: ...
    def server_close(self) -> None: ...


class ThreadingDuck(ThreadingMixIn, Duck): ...


class ForkingDuck(ForkingMixIn, Duck): ...


ThreadingDuck().process_request("request", 1)
ForkingDuck().process_request("request", 1)


def protocols() -> None:
    """Each server is what the Protocols say, for its own request and address."""
    server = TCPServer(("127.0.0.1", 0), StreamRequestHandler)
    request_hooks: RequestHooks[StreamRequest, InetAddress] = server
    fork_hooks: ForkHooks[StreamRequest, InetAddress] = server
    threading: ThreadingHooks[StreamRequest, InetAddress] = ThreadingTCP(
        ("127.0.0.1", 0), StreamRequestHandler
    )
    forking: ForkingHooks[DatagramRequest, InetAddress] = ForkingUDP(
        ("127.0.0.1", 0), DatagramRequestHandler
    )
    duck: RequestHooks[str, int] = Duck()
    print(request_hooks, fork_hooks, threading, forking, duck)
