"""The service of the deployment guide: each line comes back in capitals, with who sent it."""

import os

from netserve.core import InetAddress
from netserve.handlers import MessageRequestHandler

REPLICA = os.environ.get("REPLICA", "alone").encode()


class Shout(MessageRequestHandler[InetAddress | str]):
    """Says which replica answers, and whom."""

    def handle_message(self, message: bytes) -> bytes | None:
        """Return the replica, the client's host, and *message* in capitals."""
        address = self.client_address
        host = address[0] if isinstance(address, tuple) else "local"
        return b"%s %s %s" % (REPLICA, host.encode(), message.upper())
