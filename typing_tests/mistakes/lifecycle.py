"""Mistakes in running and stopping servers, with their limits and their hooks."""

from typing import Any

from netserve import socketserver
from netserve.core import DatagramRequest, InetAddress, Outcome, StreamRequest, admit
from netserve.handlers import DatagramRequestHandler, StreamRequestHandler
from netserve.transports import TCPServer, UDPServer, UnixStreamServer

HERE = ("127.0.0.1", 0)


class OverloadUnknown(TCPServer):
    # E overload-unknown: assignable; Literal
    # E overload-unknown (mypy): assignment; Literal
    overload = "maybe"


class ConnectionsAsText(TCPServer):
    # E max-connections-as-text: assignable; int
    # E max-connections-as-text (mypy): assignment; int
    max_connections = "10"


class ConnectionsAsFloat(TCPServer):
    # E connections-per-peer-as-float: assignable; float; int
    # E connections-per-peer-as-float (mypy): assignment; float; int
    max_connections_per_peer = 2.5


class FarewellAsText(TCPServer):
    # E farewell-as-text: assignable; bytes
    # E farewell-as-text (mypy): assignment; bytes
    farewell = "busy"


class GraceAsText(TCPServer):
    # E grace-as-text: assignable; float
    # E grace-as-text (mypy): assignment; float
    grace = "5"


class IdleAsText(TCPServer):
    # E idle-timeout-as-text: assignable; float; None
    # E idle-timeout-as-text (mypy): assignment; float; None
    idle_timeout = "30"


class LingerUnlimited(TCPServer):
    # E linger-timeout-is-none: assignable; None; float
    # E linger-timeout-is-none (mypy): assignment; None; float
    linger_timeout = None


class AccessLogAsPath(TCPServer):
    # E access-log-as-path: assignable; bool
    # E access-log-as-path (mypy): assignment; bool
    access_log = "/var/log/access"


class LineSizeAsFloat(StreamRequestHandler):
    # E line-size-as-float: assignable; float; int
    # E line-size-as-float (mypy): assignment; float; int
    max_line_size = 1e3


class DisconnectWithoutOutcome(TCPServer):
    # E handle-disconnect-without-outcome: handle_disconnect; ncompatible
    # E handle-disconnect-without-outcome (pyrefly): handle_disconnect; inconsistent
    def handle_disconnect(self, request: StreamRequest, client_address: InetAddress) -> None: ...


class DisconnectOfText(TCPServer):
    # E handle-disconnect-of-text: handle_disconnect; ncompatible
    # E handle-disconnect-of-text (pyrefly): handle_disconnect; inconsistent
    def handle_disconnect(self, request: Any, client_address: Any, outcome: str) -> None: ...


class RefuseDatagram(TCPServer):
    # E refuse-request-of-datagrams: refuse_request; ncompatible
    # E refuse-request-of-datagrams (pyrefly): refuse_request; inconsistent
    def refuse_request(self, request: DatagramRequest, client_address: InetAddress) -> None: ...


class AcceptReturnsNothing(TCPServer):
    # E may-accept-returns-none: may_accept; ncompatible
    # E may-accept-returns-none (pyrefly): may_accept; inconsistent
    def may_accept(self) -> None: ...


tcp = TCPServer(HERE, StreamRequestHandler)
udp = UDPServer(HERE, DatagramRequestHandler)

# E stop-with-grace-as-text: Argument; stop; float
tcp.stop(grace="5")

# E run-with-grace-as-text: Argument; run; float
tcp.run("5")

# E background-with-grace-as-text: Argument; float
tcp.background(grace="5")

# E background-without-with: attribute; address
tcp.background().address

# E idle-timeout-of-datagrams: attribute; idle_timeout
udp.idle_timeout

# E overload-assigned-unknown: Literal; overload
# E overload-assigned-unknown (mypy): assignment; Literal
tcp.overload = "drop"

# E stats-without-call: attribute; accepted
tcp.stats.accepted

# E stats-are-frozen: accepted; read-only
# E stats-are-frozen (pyrefly): accepted; frozen
tcp.stats().accepted = 0

# E outcome-of-stop-as-number: upported; StopResult
total = tcp.stop() + 1

# E disconnect-with-wrong-outcome: Argument; handle_disconnect; Outcome
tcp.handle_disconnect(*tcp.get_request(), "FAILED")

# E disconnect-of-datagram: Argument; handle_disconnect; socket
tcp.handle_disconnect(udp.get_request()[0], HERE, Outcome.DISCONNECTED)

# E admit-with-unknown-overload: Argument; admit; Literal
admit(1, 2, "drop")

with tcp.background() as running:
    # E running-is-no-server: attribute; serve_forever
    running.serve_forever()

    # E running-address-as-text: attribute; encode
    running.address.encode()

    # E running-result-unchecked: None; drained
    running.result.drained

    # E running-server-of-other-requests: assign; tuple[bytes, socket]
    datagram: DatagramRequest = running.server.get_request()[0]

with UnixStreamServer("socket", StreamRequestHandler).background() as unix:
    # E index-of-running-unix-address: None; subscript
    # E index-of-running-unix-address (mypy): None; not indexable
    unix.address[0]

# E dropin-stop-with-grace-as-text: Argument; stop; float
socketserver.TCPServer(HERE, StreamRequestHandler).stop("5")
