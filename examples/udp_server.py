"""A UDP server that sends each datagram back in capitals.

Run ``python udp_server.py``, then ``python udp_client.py hello world with UDP``.
"""

import argparse
import contextlib

from netserve.core import DatagramRequest, InetAddress
from netserve.handlers import BaseRequestHandler
from netserve.transports import UDPServer


class UpperCaseHandler(BaseRequestHandler[DatagramRequest, InetAddress, UDPServer]):
    """Made once for each datagram."""

    def handle(self) -> None:
        """Answer the datagram."""
        # There is no connection: the request is the datagram with the server's
        # socket, and the answer has to be addressed.
        data, socket = self.request
        data = data.strip()
        print(f"{self.client_address[0]} wrote:")
        print(data.decode())
        socket.sendto(data.upper(), self.client_address)


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=9999, help="0 takes one that is free")
    port: int = parser.parse_args().port
    with UDPServer(("localhost", port), UpperCaseHandler) as server:
        host, port = server.server_address
        print(f"serving on {host}:{port} until Ctrl-C", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()


if __name__ == "__main__":
    main()
