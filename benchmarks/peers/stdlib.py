"""The standard library's socketserver: synchronous, with threads, with forks."""

import http.server
import socketserver

from benchmarks.application import Values, WebHandler, answer_dns, serve_redis
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


class Redis(socketserver.StreamRequestHandler):
    """A small Redis."""

    disable_nagle_algorithm = True
    values = Values()  # shared by all connections

    def handle(self) -> None:
        """Answer commands until the client closes."""
        serve_redis(self.rfile, self.wfile, self.values)


class Datagram(socketserver.BaseRequestHandler):
    """Answers a datagram."""

    def handle(self) -> None:
        """Send it back in upper case."""
        data, socket = self.request
        socket.sendto(data.upper(), self.client_address)


class Names(socketserver.BaseRequestHandler):
    """A small name server."""

    def handle(self) -> None:
        """Answer the question."""
        data, socket = self.request
        socket.sendto(answer_dns(data), self.client_address)


class Threads(socketserver.ThreadingMixIn):
    """Threads that nobody waits for, as ``ThreadingHTTPServer`` has them."""

    daemon_threads = True


class Forks(socketserver.ForkingMixIn):
    """As many processes as the load needs; with the default of 40 it would stand still."""

    max_children = 100


class TCP(socketserver.TCPServer):
    """With a queue that the load doesn't overflow."""

    request_queue_size = BACKLOG
    allow_reuse_address = True


class HTTP(http.server.HTTPServer):
    """With that queue too."""

    request_queue_size = BACKLOG


class ThreadingTCP(Threads, TCP):
    """A thread each."""


class ForkingTCP(Forks, TCP):
    """A process each."""


class ThreadingUDP(Threads, socketserver.UDPServer):
    """A thread for each datagram."""


class ForkingUDP(Forks, socketserver.UDPServer):
    """A process for each datagram."""


class ThreadingHTTP(Threads, HTTP):
    """The web server with threads."""


class ForkingHTTP(Forks, HTTP):
    """The web server with processes."""


HANDLERS = {
    "echo": Echo, "once": Once, "mix": Mix, "resp": Redis,
    "udp": Datagram, "dns": Names, "http": WebHandler,
}  # fmt: skip
SERVERS: dict[str, tuple[type[TCP], type[socketserver.UDPServer], type[HTTP]]] = {
    "sync": (TCP, socketserver.UDPServer, HTTP),
    "threading": (ThreadingTCP, ThreadingUDP, ThreadingHTTP),
    "forking": (ForkingTCP, ForkingUDP, ForkingHTTP),
}


def main() -> None:
    """Serve until told to stop."""
    variant, service = arguments(*SERVERS, services=tuple(HANDLERS))
    tcp, udp, web = SERVERS[variant]
    kind = {"udp": udp, "dns": udp, "http": web}.get(service, tcp)
    with kind(("127.0.0.1", 0), HANDLERS[service]) as server:
        serve_until_signal(server.serve_forever, server.shutdown, server.server_address[1])


if __name__ == "__main__":
    main()
