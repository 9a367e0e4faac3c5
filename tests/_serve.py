"""Serves combinations of mix-in, server and handler, one after the other.

``test_composition`` runs this as a process of its own, with one thread, so that
servers may fork, and with the folder to serve files and Unix sockets from as
its working directory. Each line of standard input is a JSON object: ``bases``,
the classes to mix as ``module:name``, and ``handler``, a name of ``HANDLERS``.
``place`` may say where, a name of ``PLACES``. The answer is a line with the server's
address; it serves until SIGTERM; then a line says what was left behind. Records of
the level INFO and above go to standard error.
"""

import contextlib
import http.server
import importlib
import json
import logging
import os
import signal
import socket
import socketserver
import ssl
import sys
import threading
import wsgiref.simple_server
import xmlrpc.server
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

from netserve import concurrency, core, handlers, transports
from netserve.concurrency import MultiplexingMixIn

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
        data, answering = request
        answering.sendto(reply(data), client_address)
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


class AsyncStream(handlers.AsyncStreamRequestHandler):
    """Our files on a connection, in a coroutine."""

    async def handle(self) -> None:
        """Answer."""
        await self.wfile.write(reply(await self.rfile.readline()))


class AsyncDatagram(handlers.AsyncDatagramRequestHandler):
    """Our files on a datagram, in a coroutine."""

    async def handle(self) -> None:
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


class SentMessages(Messages):
    """The same, with the work apart, so that it can be done elsewhere."""

    handle_message = handlers.MessageRequestHandler.handle_message

    @staticmethod
    def process_message(message: bytes) -> bytes | None:
        """Answer."""
        if message == b"nothing":
            return None
        if message == b"fail":
            msg = "of the handler"
            raise RuntimeError(msg)
        return message.upper()

    def handle_answer(self, message: bytes, answer: bytes | None) -> bytes | None:
        """Do what concerns the connection."""
        if message == b"twice":
            self.send(b"FIRST")
        if message == b"quit":
            self.close()
        return answer


class ExecutorMixIn(MultiplexingMixIn):
    """Has the messages answered by an executor of the server's own, one after the other."""

    max_in_flight_per_connection = 4

    def make_executor(self) -> Executor:
        """A thread."""
        return ThreadPoolExecutor(1)


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
    "async-stream": AsyncStream,
    "async-datagram": AsyncDatagram,
    "messages": Messages,
    "sent-messages": SentMessages,
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


def usual(server_class: Any, handler: Any) -> Any:
    """A server on an address of its own."""
    address = "socket" if server_class.address_family == socket.AF_UNIX else ("127.0.0.1", 0)
    return server_class(address, handler)


def ipv6(server_class: Any, handler: Any) -> Any:
    """A server on IPv6."""
    return server_class(("::1", 0), handler)


def dual(server_class: Any, handler: Any) -> Any:
    """A server on all interfaces, of IPv4 too."""
    return server_class(("::", 0), handler, dual_stack=True)


def inherited(server_class: Any, handler: Any) -> Any:
    """A server on the descriptor of a socket that somebody else has bound."""
    bound = socket.socket(server_class.address_family, server_class.socket_type)
    bound.bind("socket" if server_class.address_family == socket.AF_UNIX else ("127.0.0.1", 0))
    return server_class.from_fd(bound.detach(), handler)


PLACES: dict[str, Callable[[Any, Any], Any]] = {
    "usual": usual,
    "ipv6": ipv6,
    "dual": dual,
    "inherited": inherited,
}


def context(_server: object) -> ssl.SSLContext:
    """What servers under TLS speak, with the certificate in the folder above."""
    return transports.server_context("../server.pem", "../server.key")


def make(bases: list[str], handler: str, place: str = "usual") -> Server:
    """The server of the mixed class."""
    server_class: Any = type("Mixed", tuple(map(find, bases)), {"make_ssl_context": context})
    server: Any = PLACES[place](server_class, HANDLERS[handler])
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
    with contextlib.suppress(ImportError):
        importlib.import_module("_uvloop")
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
