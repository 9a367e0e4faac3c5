"""gevent: StreamServer and DatagramServer, a greenlet for each connection.

The chunk that was received is cut in lines, and their answers are sent at once,
which is faster than gevent's file objects.
"""

import signal
from typing import Any

import gevent
from gevent.server import DatagramServer, StreamServer

from benchmarks.service import (
    BACKLOG,
    MAX_LINE,
    PAUSE,
    READ,
    StopWatch,
    announce,
    arguments,
    cut,
    join,
)


def echo(connection: Any, _address: object) -> None:
    """Answer lines until the client closes."""
    no_delay(connection)
    rest = b""
    while data := connection.recv(READ):
        lines, rest = cut(rest + data)
        if len(rest) >= MAX_LINE:
            return
        if lines:
            connection.sendall(join(lines))


def once(connection: Any, _address: object) -> None:
    """Answer one line."""
    data = connection.recv(READ)
    while data and b"\n" not in data:
        data += connection.recv(READ)
    connection.sendall(join(cut(data)[0][:1]))


def mix(connection: Any, _address: object) -> None:
    """Answer lines, some of them late: what blocks is gevent's own, as after its patches."""
    no_delay(connection)
    rest = b""
    while data := connection.recv(READ):
        lines, rest = cut(rest + data)
        for line in lines:
            if line.startswith(b"S"):
                gevent.sleep(PAUSE)
            connection.sendall(line.upper() + b"\n")


def no_delay(connection: Any) -> None:
    """Set TCP_NODELAY."""
    connection.setsockopt(gevent.socket.IPPROTO_TCP, gevent.socket.TCP_NODELAY, 1)


class Datagrams(DatagramServer):
    """Answers datagrams."""

    def handle(self, data: bytes, address: Any) -> None:
        """Send it back in upper case."""
        self.socket.sendto(data.upper(), address)


def main() -> None:
    """Serve until told to stop."""
    _, service = arguments("gevent")
    if service == "udp":
        server: Any = Datagrams("127.0.0.1:0")
    else:
        handler = {"echo": echo, "once": once, "mix": mix}[service]
        server = StreamServer(("127.0.0.1", 0), handler, backlog=BACKLOG)
    watch = StopWatch()
    server.start()
    gevent.signal_handler(signal.SIGUSR1, watch.ask, server.stop)
    announce(server.server_port)
    server.serve_forever()
    watch.report()


if __name__ == "__main__":
    main()
