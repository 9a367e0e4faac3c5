"""A server that answers each line with itself in capitals, for as many lines as come.

Run ``python message_server.py``, then ``python message_client.py "hello world" bye``.
"""

import argparse
import contextlib

from netserve.concurrency import ThreadingMixIn
from netserve.core import FramingError, InetAddress
from netserve.handlers import Lines, MessageRequestHandler
from netserve.transports import TCPServer


class UpperCaseHandler(MessageRequestHandler[InetAddress, TCPServer]):
    """Made once for each connection; called for each line on it."""

    # LengthPrefixed(), Netstrings() or a framing of one's own would do as well.
    framing = Lines(max_size=1000, tolerate_cr=True)

    def handle_message(self, message: bytes) -> bytes | None:
        """Answer a line; neither has its newline."""
        print(f"{self.client_address[0]} wrote: {message.decode()}")
        if message == b"bye":
            self.close()
        return message.upper()

    def handle_framing_error(self, error: FramingError) -> bytes | None:
        """Say why the connection ends: a line is too long."""
        return f"{error}\n".encode()


class Server(ThreadingMixIn, TCPServer):
    """A thread for each connection.

    The handler runs as well without threads, on a Unix domain socket, or on a
    UDPServer, where each datagram is a message.
    """

    daemon_threads = True


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=9999, help="0 takes one that is free")
    port: int = parser.parse_args().port
    with Server(("localhost", port), UpperCaseHandler) as server:
        host, port = server.server_address
        print(f"serving on {host}:{port} until Ctrl-C", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()


if __name__ == "__main__":
    main()
