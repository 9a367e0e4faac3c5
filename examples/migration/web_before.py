"""A small web API on http.server."""

import http.server
import json
import sys


class Sums(http.server.BaseHTTPRequestHandler):
    """Answers /add/1/2 with the sum."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        """Add the numbers in the path."""
        numbers = [int(part) for part in self.path.split("/")[2:]]
        body = json.dumps({"sum": sum(numbers)}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):  # noqa: A002  # the base's name
        """Say nothing."""


if __name__ == "__main__":
    address = ("127.0.0.1", int(sys.argv[1]))
    with http.server.ThreadingHTTPServer(address, Sums) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()
