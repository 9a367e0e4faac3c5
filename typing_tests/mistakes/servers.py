"""Mistakes with the options and hooks of servers and mix-ins."""

import socket

from netserve import servers, socketserver
from netserve.concurrency import ForkingMixIn, ThreadingMixIn
from netserve.core import BaseServer, DatagramRequest, InetAddress, RequestHooks, StreamRequest
from netserve.handlers import DatagramRequestHandler, StreamRequestHandler
from netserve.transports import TCPServer, UDPServer

HERE = ("127.0.0.1", 0)


class Threading(ThreadingMixIn, TCPServer):
    pass


class Forking(ForkingMixIn, UDPServer):
    pass


class NoServer:
    """A class without the hooks that a mix-in calls."""

    def server_close(self) -> None: ...


class ThreadingNothing(ThreadingMixIn, NoServer):
    pass


class ForkingNothing(ForkingMixIn, NoServer):
    pass


class TimeoutAsText(TCPServer):
    # E timeout-as-text: assignable; float; None
    # E timeout-as-text (mypy): assignment; float; None
    timeout = "5"


class QueueAsText(TCPServer):
    # E queue-size-as-text: assignable; int
    # E queue-size-as-text (mypy): assignment; int
    request_queue_size = "5"


class ReuseAsText(TCPServer):
    # E reuse-as-text: assignable; bool
    # E reuse-as-text (mypy): assignment; bool
    allow_reuse_address = "yes"


class FamilyAsText(TCPServer):
    # E family-as-text: assignable; int
    # E family-as-text (mypy): assignment; int
    address_family = "AF_INET6"


class PacketSizeAsFloat(UDPServer):
    # E packet-size-as-float: assignable; float; int
    # E packet-size-as-float (mypy): assignment; float; int
    max_packet_size = 1e4


class DaemonsAsText(Threading):
    # E daemon-threads-as-text: assignable; bool
    # E daemon-threads-as-text (mypy): assignment; bool
    daemon_threads = "yes"


class ManyChildren(Forking):
    # E max-children-as-text: assignable; int
    # E max-children-as-text (mypy): assignment; int
    max_children = "40"


class VerifyReturnsNothing(TCPServer):
    # E verify-request-returns-none: verify_request; ncompatible
    # E verify-request-returns-none (pyrefly): verify_request; inconsistent
    def verify_request(self, request: StreamRequest, client_address: InetAddress) -> None: ...


class VerifyDatagram(TCPServer):
    # E verify-request-of-datagrams: verify_request; ncompatible
    # E verify-request-of-datagrams (pyrefly): verify_request; inconsistent
    def verify_request(self, request: DatagramRequest, client_address: InetAddress) -> bool:
        raise NotImplementedError


class ErrorWithoutAddress(TCPServer):
    # E handle-error-of-one-argument: handle_error; ncompatible
    # E handle-error-of-one-argument (pyrefly): handle_error; inconsistent
    def handle_error(self, request: StreamRequest) -> None: ...


class ProcessDatagram(Threading):
    # E process-request-overridden-for-datagrams: process_request; ncompatible
    # E process-request-overridden-for-datagrams (pyrefly): process_request; inconsistent
    def process_request(self, request: DatagramRequest, client_address: InetAddress) -> None: ...


class ProcessDatagramBesideMixIn(ThreadingMixIn, TCPServer):
    # E process-request-overridden-beside-mix-in: process_request; ncompatible
    # E process-request-overridden-beside-mix-in (pyrefly): process_request; inconsistent
    def process_request(self, request: DatagramRequest, client_address: InetAddress) -> None: ...


# E mix-in-behind-server: process_request
class Behind(TCPServer, ThreadingMixIn):
    pass


class WrongGetRequest(TCPServer):
    # E get-request-of-datagrams: get_request; ncompatible
    # E get-request-of-datagrams (pyrefly): get_request; inconsistent
    def get_request(self) -> tuple[DatagramRequest, InetAddress]:
        raise NotImplementedError


tcp = TCPServer(HERE, StreamRequestHandler)
threading = Threading(HERE, StreamRequestHandler)
forking = Forking(HERE, DatagramRequestHandler)
connection = socket.socket()

# E process-datagram-on-tcp: Argument; process_request; socket
tcp.process_request((b"data", connection), HERE)

# E process-datagram-on-threading-tcp: Argument; process_request; socket
threading.process_request((b"data", connection), HERE)

# E process-unix-client-on-threading-tcp: Argument; process_request; tuple[str, int]
threading.process_request(connection, "peer")

# E process-connection-on-forking-udp: Argument; process_request; socket; tuple; bytes
forking.process_request(connection, HERE)

# E process-request-thread-of-datagram: Argument; process_request_thread; socket
threading.process_request_thread((b"data", connection), HERE)

# E process-request-without-address: issing; client_address
# E process-request-without-address (ty): No argument; client_address
threading.process_request(connection)

# E threading-mix-in-without-hooks: ThreadingNothing; ThreadingHooks
ThreadingNothing().process_request(connection, HERE)

# E forking-mix-in-without-hooks: ForkingNothing; ForkingHooks
ForkingNothing().process_request(connection, HERE)

# E threads-of-plain-server: attribute; daemon_threads
tcp.daemon_threads

# E collect-children-positional: positional arguments
forking.collect_children(True)

# E state-is-read-only: read-only; state
# E state-is-read-only (pyright): state; property
tcp.state = "closed"

# E shutdown-with-timeout: positional arguments
# E shutdown-with-timeout (mypy): Too many arguments
tcp.shutdown(5.0)

# E poll-interval-as-text: Argument; serve_forever; float
tcp.serve_forever("0.5")

# E bind-and-activate-as-text: Argument; bool
TCPServer(HERE, StreamRequestHandler, bind_and_activate="no")

# E close-datagram-on-tcp: Argument; close_request; socket
tcp.close_request((b"data", connection))

# E no-such-option: reuse_port
TCPServer(HERE, StreamRequestHandler, reuse_port=True)

with tcp as listening:
    # E context-is-no-socket: attribute; accept
    listening.accept()

# E hooks-for-other-requests: TCPServer; RequestHooks
hooks: RequestHooks[DatagramRequest, InetAddress] = tcp

# E base-server-needs-address: Argument; tuple[str, int]
BaseServer[StreamRequest, InetAddress]("127.0.0.1", StreamRequestHandler)

# E dropin-install-takes-no-argument: positional arguments
# E dropin-install-takes-no-argument (mypy): Too many arguments
socketserver.install(True)

# E transport-among-ready-made-servers: TCPServer
servers.TCPServer
