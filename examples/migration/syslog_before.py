"""A receiver of syslog datagrams, which keeps the lines in a file."""

import socketserver
import sys


class Receiver(socketserver.BaseRequestHandler):
    """Writes one line for a datagram."""

    def handle(self):
        """Append it."""
        data, _ = self.request
        with open(sys.argv[2], "ab") as log:
            log.write(self.client_address[0].encode() + b" " + data.strip() + b"\n")


if __name__ == "__main__":
    with socketserver.UDPServer(("127.0.0.1", int(sys.argv[1])), Receiver) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()
