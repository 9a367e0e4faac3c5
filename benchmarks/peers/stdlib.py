"""The standard library's socketserver: synchronous, with threads, with forks."""

import socketserver
from typing import Any

from benchmarks import applications
from benchmarks.service import (
    BACKLOG,
    MAX_LINE,
    answer,
    arguments,
    serve_until_signal,
)


class Echo(socketserver.StreamRequestHandler):
    """Answers lines until the client closes."""

    disable_nagle_algorithm = True

    def handle(self) -> None:
        """Read, answer, and so on."""
        readline, write = self.rfile.readline, self.wfile.write
        while (line := readline(MAX_LINE)).endswith(b"\n"):
            write(line.upper())


class Once(socketserver.StreamRequestHandler):
    """Answers one line."""

    def handle(self) -> None:
        """Read, answer."""
        self.wfile.write(self.rfile.readline(MAX_LINE).upper())


class Mix(socketserver.StreamRequestHandler):
    """Answers lines, some of them late."""

    disable_nagle_algorithm = True

    def handle(self) -> None:
        """Read, answer, and so on."""
        while (line := self.rfile.readline(MAX_LINE)).endswith(b"\n"):
            self.wfile.write(answer(line))


class Datagram(socketserver.BaseRequestHandler):
    """Answers a datagram."""

    def handle(self) -> None:
        """Send it back in upper case."""
        data, socket = self.request
        socket.sendto(data.upper(), self.client_address)


class Threads(socketserver.ThreadingMixIn):
    """Threads that nobody waits for, as ``ThreadingHTTPServer`` has them."""

    daemon_threads = True


class Forks(socketserver.ForkingMixIn):
    """As many processes as the load needs; with the default of 40 it would stand still."""

    max_children = 100


HANDLERS: dict[str, type] = {"echo": Echo, "once": Once, "mix": Mix, "udp": Datagram}
APPLICATIONS = ("resp", "dns", "http")
MIXINS: dict[str, tuple[type, ...]] = {"sync": (), "threading": (Threads,), "forking": (Forks,)}


def build(variant: str, service: str) -> tuple[Any, Any]:
    """Return the server class and the handler of a row."""
    transport: type = socketserver.TCPServer
    if service == "http":
        transport, handler = applications.web_server(), applications.web_handler()
    elif service == "resp":
        handler = applications.redis_handler(socketserver.StreamRequestHandler)
    elif service == "dns":
        transport = socketserver.UDPServer
        handler = applications.names_handler(socketserver.BaseRequestHandler)
    else:
        handler = HANDLERS[service]
        if service == "udp":
            transport = socketserver.UDPServer
    # With a queue that the load doesn't overflow.
    attributes = {"request_queue_size": BACKLOG, "allow_reuse_address": True}
    return type("Server", (*MIXINS[variant], transport), attributes), handler


def main() -> None:
    """Serve until told to stop."""
    variant, service = arguments(*MIXINS, services=(*HANDLERS, *APPLICATIONS))
    server_class, handler = build(variant, service)
    with server_class(("127.0.0.1", 0), handler) as server:
        serve_until_signal(server.serve_forever, server.shutdown, server.server_address[1])


if __name__ == "__main__":
    main()
