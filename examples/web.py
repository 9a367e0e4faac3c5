"""The standard library's web server on a bounded pool of threads, with kept connections.

Run ``python web.py --folder .``, then ``curl http://127.0.0.1:8000/``, or put
``wrk -c 20 http://127.0.0.1:8000/hello`` to it.
"""

import argparse
import contextlib
import socket
import sys
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path

from netserve.concurrency import ThreadPoolMixIn


class WebServer(ThreadPoolMixIn, HTTPServer):
    """At most 32 connections at once; the next ones wait, and none is refused."""

    max_workers = 32
    request_queue_size = 128

    def handle_error(
        self, request: socket.socket | tuple[bytes, socket.socket], client_address: tuple[str, int]
    ) -> None:
        """Print what went wrong, unless the client has just left."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class WebHandler(SimpleHTTPRequestHandler):
    """Sends the files of a folder, and a greeting."""

    # Connections are kept for the next request, as long as that comes within seconds:
    # a kept connection holds its thread.
    protocol_version = "HTTP/1.1"
    timeout = 5

    # Without Nagle's algorithm, and with head and body in one piece: a kept connection
    # would otherwise wait for an acknowledgement that the client delays.
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_GET(self) -> None:
        """Greet, or send a file."""
        if self.path != "/hello":
            super().do_GET()
            return
        body = b"hello\n"
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Log nothing of what went well."""


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8000, help="0: any free port")
    parser.add_argument("--folder", type=Path, default=Path(), help="what to send")
    arguments = parser.parse_args()
    handler = partial(WebHandler, directory=str(arguments.folder))
    with WebServer(("127.0.0.1", arguments.port), handler) as server:
        print("serving on {}:{} until Ctrl-C".format(*server.server_address))
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()


if __name__ == "__main__":
    main()
