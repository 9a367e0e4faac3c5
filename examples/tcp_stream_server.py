"""A TCP server that sends back, in capitals, what a client says, read as a file.

Run ``python tcp_stream_server.py``, then ``python tcp_client.py hello world with TCP``.
"""

import argparse
import contextlib

from netserve.core import InetAddress
from netserve.handlers import StreamRequestHandler
from netserve.transports import TCPServer


class UpperCaseHandler(StreamRequestHandler[InetAddress, TCPServer]):
    """Made once for each connection; what happens on it is up to :meth:`handle`."""

    def handle(self) -> None:
        """Read a line, and answer."""
        # rfile and wfile are the connection as files. readline() waits until the
        # line is whole, in however many pieces it comes.
        data = self.rfile.readline().strip()
        print(f"{self.client_address[0]} wrote:")
        print(data.decode())
        self.wfile.write(data.upper())


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=9999, help="0 takes one that is free")
    port: int = parser.parse_args().port
    with TCPServer(("localhost", port), UpperCaseHandler) as server:
        host, port = server.server_address
        print(f"serving on {host}:{port} until Ctrl-C", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()


if __name__ == "__main__":
    main()
