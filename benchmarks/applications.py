"""Applications for existing clients: a web page, a Redis, a name server.

Each is a handler's body, written once, so that it runs on the standard library's base
classes and on ours alike. It is made when it is asked for, because a server that
doesn't serve it is to hold none of the modules that it needs.
"""

import importlib
from io import BufferedIOBase
from typing import Any

PAGE = b"x" * 512


def web_handler() -> type:
    """A handler that answers GET with a small page, on a connection that stays open."""
    from http.server import BaseHTTPRequestHandler

    class WebHandler(BaseHTTPRequestHandler):
        """Answers GET."""

        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1  # head and body leave in one segment

        def do_GET(self) -> None:
            """Send the page."""
            self.send_response(200)
            self.send_header("Content-Type", "text/plain")
            self.send_header("Content-Length", str(len(PAGE)))
            self.end_headers()
            self.wfile.write(PAGE)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the base's name
            """Write no log, which would be measured too."""

    return WebHandler


def web_server() -> type:
    """The standard library's web server, which a mix-in may come before."""
    from http.server import HTTPServer

    return HTTPServer


def redis() -> Any:
    """The module of ``examples/small_redis.py``."""
    # By name, because type checkers know the examples as modules of their own folder.
    return importlib.import_module("examples.small_redis")


def redis_handler(base: type) -> type:
    """A handler on *base*, which reads files, that answers as a small Redis."""
    values = redis().Values()  # shared by all connections

    def handle(self: Any) -> None:
        serve_redis(self.rfile, self.wfile, values)

    return type("Redis", (base,), {"disable_nagle_algorithm": True, "handle": handle})


def serve_redis(rfile: BufferedIOBase, wfile: BufferedIOBase, values: Any) -> None:
    """Answer the commands of ``examples/small_redis.py`` on *values* until the client closes.

    Read as files, in the serialization protocol of Redis (RESP 2), as clients send
    it: arrays of strings, each with its length.
    """
    readline, read, write = rfile.readline, rfile.read, wfile.write
    while head := readline(64):
        words = []
        for _ in range(int(head[1:])):
            length = int(readline(64)[1:])
            words.append(read(length + 2)[:-2])
        write(values.answer(words))


def names_handler(base: type) -> type:
    """A handler of datagrams on *base* that answers as a small name server."""

    def handle(self: Any) -> None:
        data, socket = self.request
        socket.sendto(answer_dns(data), self.client_address)

    return type("Names", (base,), {"handle": handle})


def answer_dns(query: bytes) -> bytes:
    """Answer a question for an address with 127.0.0.1, whatever the name.

    The identifier and the question are the query's own; the answer refers to the
    name by its place in the message.
    """
    return (
        query[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + query[12:]
        + b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\x7f\0\0\1"
    )  # fmt: skip
