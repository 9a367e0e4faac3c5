"""A small web API on http.server."""

import http.server
import json
import sys
from typing import Any

from netserve.concurrency import ThreadPoolMixIn
from netserve.transports import TCPServer


class Sums(http.server.BaseHTTPRequestHandler):
    """Answers /add/1/2 with the sum."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """Add the numbers in the path."""
        numbers = [int(part) for part in self.path.split("/")[2:]]
        body = json.dumps({"sum": sum(numbers)}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base's name
        """Say nothing."""


class WebServer(ThreadPoolMixIn, TCPServer):
    """A bounded pool, which clients that stay can't fill for long."""

    idle_timeout = 15.0


if __name__ == "__main__":
    # typeshed lets handlers of the standard library on its own servers only.
    handler: Any = Sums
    with WebServer(("127.0.0.1", int(sys.argv[1])), handler) as server:
        print(server.server_address[1], flush=True)
        server.run()
