"""A receiver of syslog datagrams, which keeps the lines in a file."""

import sys

from netserve.core import InetAddress
from netserve.handlers import MessageRequestHandler
from netserve.servers import MultiplexingUDPServer


class Receiver(MessageRequestHandler[InetAddress]):
    """Writes one line for a datagram."""

    def handle_message(self, message: bytes) -> bytes | None:
        """Append it; nobody waits for an answer."""
        with open(sys.argv[2], "ab") as log:
            log.write(self.client_address[0].encode() + b" " + message.strip() + b"\n")
        return None


if __name__ == "__main__":
    with MultiplexingUDPServer(("127.0.0.1", int(sys.argv[1])), Receiver) as server:
        print(server.server_address[1], flush=True)
        server.run()
