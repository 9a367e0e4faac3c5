"""Serves combinations of mix-in, server and handler, one after the other.

``test_composition`` runs this as a process of its own, with one thread, so that
servers may fork, and with the folder to serve files and Unix sockets from as
its working directory. Each line of standard input is a JSON object: ``bases``,
the classes to mix as ``module:name``, and ``handler``, a name of ``HANDLERS``.
The answer is a line with the server's address; it serves until SIGTERM; then a
line says what was left behind. Records of the level INFO and above go to standard
error.
"""

import http.server
import importlib
import json
import logging
import os
import signal
import socketserver
import sys
import threading
import wsgiref.simple_server
import xmlrpc.server
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from netserve import concurrency, core, handlers

MAIN_PROCESS = os.getpid()


class Server(Protocol):
    """What the servers share, the standard library's and this project's."""

    server_address: Any

    def serve_forever(self, poll_interval: float) -> None:
        """Serve until told to stop."""

    def server_close(self) -> None:
        """Close the socket."""


def where() -> str:
    """Who runs the caller: the server's own thread, another one, or a child process."""
    if os.getpid() != MAIN_PROCESS:
        return "child"
    return "main" if threading.current_thread() is threading.main_thread() else "thread"


def reply(data: bytes) -> bytes:
    """What the handlers answer to *data*."""
    return data.strip().upper() + b" in " + where().encode()


def function(request: Any, client_address: Any, server: object) -> None:
    """Handle a request of any server: a handler need not be a class."""
    if isinstance(request, tuple):
        data, socket = request
        socket.sendto(reply(data), client_address)
    else:
        request.sendall(reply(request.recv(1024)))


class Base(handlers.BaseRequestHandler):
    """Our base class, on streams and datagrams."""

    def handle(self) -> None:
        """Answer."""
        function(self.request, self.client_address, self.server)


class Stream(handlers.StreamRequestHandler):
    """Our files on a connection."""

    def handle(self) -> None:
        """Answer."""
        self.wfile.write(reply(self.rfile.readline()))


class Datagram(handlers.DatagramRequestHandler):
    """Our files on a datagram."""

    def handle(self) -> None:
        """Answer."""
        self.wfile.write(reply(self.rfile.read()))


class Messages(handlers.MessageRequestHandler):
    """Our messages; a few words make it do something else than answer in capitals."""

    framing = handlers.Lines(max_size=1000)

    def handle_message(self, message: bytes) -> bytes | None:
        """Answer."""
        if message == b"nothing":
            return None
        if message == b"twice":
            self.send(b"FIRST")
        if message == b"quit":
            self.close()
        if message == b"fail":
            msg = "of the handler"
            raise RuntimeError(msg)
        return message.upper()

    def handle_framing_error(self, error: core.FramingError) -> bytes | None:
        """Say what was wrong."""
        return f"! {error}".encode()


class StdlibBase(socketserver.BaseRequestHandler):
    """The standard library's base class, on streams and datagrams."""

    def handle(self) -> None:
        """Answer."""
        function(self.request, self.client_address, self.server)


class StdlibStream(socketserver.StreamRequestHandler):
    """The standard library's files on a connection."""

    def handle(self) -> None:
        """Answer."""
        self.wfile.write(reply(self.rfile.readline()))


class StdlibDatagram(socketserver.DatagramRequestHandler):
    """The standard library's files on a datagram."""

    def handle(self) -> None:
        """Answer."""
        self.wfile.write(reply(self.rfile.read()))


class Quiet:
    """Keeps standard error for errors."""

    def log_request(self, code: object = "-", size: object = "-") -> None:
        """Say nothing."""


class Files(Quiet, http.server.SimpleHTTPRequestHandler):
    """Serves the working directory."""

    def end_headers(self) -> None:
        """Tell also who runs the handler."""
        self.send_header("X-Ran-In", where())
        super().end_headers()


class Wsgi(Quiet, wsgiref.simple_server.WSGIRequestHandler):
    """Runs the application."""


HANDLERS: dict[str, Callable[[Any, Any, Any], object]] = {
    "function": function,
    "base": Base,
    "stream": Stream,
    "datagram": Datagram,
    "messages": Messages,
    "stdlib-base": StdlibBase,
    "stdlib-stream": StdlibStream,
    "stdlib-datagram": StdlibDatagram,
    "files": Files,
    "xmlrpc": xmlrpc.server.SimpleXMLRPCRequestHandler,
    "wsgi": Wsgi,
}


def application(environ: dict[str, Any], start_response: Callable[..., object]) -> list[bytes]:
    """Answer the path of the request."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [reply(environ["PATH_INFO"].encode())]


def find(name: str) -> type:
    """The class that ``module:name`` means."""
    module, _, attribute = name.partition(":")
    found = getattr(importlib.import_module(module), attribute)
    assert isinstance(found, type)
    return found


def make(bases: list[str], handler: str) -> Server:
    """The server of the mixed class."""
    server_class: Any = type("Mixed", tuple(map(find, bases)), {})
    address = "socket" if "Unix" in bases[-1] else ("127.0.0.1", 0)
    server: Any = server_class(address, HANDLERS[handler])
    if handler == "xmlrpc":
        server.logRequests = False
        server.register_function(lambda text: reply(text.encode()).decode(), "reply")
    if handler == "wsgi":
        server.set_app(application)
    result: Server = server
    return result


def stop(server: Server) -> None:
    """End the loop from a signal handler, which runs in the loop's own thread."""
    if isinstance(server, (core.BaseServer, concurrency.PreforkMixIn)):
        server.shutdown()
    else:
        # The standard library's shutdown() would wait for this very thread.
        vars(server)["_BaseServer__shutdown_request"] = True


def descriptors() -> set[str]:
    """The descriptors that are open, where the system tells."""
    folder = Path("/proc/self/fd")
    return {entry.name for entry in folder.iterdir()} if folder.exists() else set()


def children_are_left() -> bool:
    """Whether there is a child process, dead or alive."""
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return False
    return True


def main() -> None:
    """Serve what each line of standard input asks for."""
    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.INFO)
    for line in sys.stdin:
        before = descriptors()
        server = make(**json.loads(line))
        signal.signal(signal.SIGTERM, lambda number, frame, server=server: stop(server))
        print(json.dumps(server.server_address), flush=True)
        server.serve_forever(0.01)
        server.server_close()
        Path("socket").unlink(missing_ok=True)
        left = {
            "threads": threading.active_count() - 1,
            "children": children_are_left(),
            "descriptors": sorted(descriptors() - before),
        }
        print(json.dumps({name: value for name, value in left.items() if value}), flush=True)


if __name__ == "__main__":
    main()
