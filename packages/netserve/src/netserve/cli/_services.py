"""The handlers of the ready-made services."""

import logging
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from netserve.handlers import MessageRequestHandler

if TYPE_CHECKING:
    from http.server import SimpleHTTPRequestHandler

_log: Final = logging.getLogger("netserve.http")


class Echo(MessageRequestHandler):
    """Sends back each line, or datagram, in capitals."""

    def handle_message(self, message: bytes, /) -> bytes | None:
        """Return *message* in capitals."""
        return message.upper()


def file_handler(folder: Path) -> "type[SimpleHTTPRequestHandler]":
    """A handler of the standard library's that serves the files below *folder*."""
    # Not before it is needed: the other commands start faster without it.
    from http.server import SimpleHTTPRequestHandler

    class Files(SimpleHTTPRequestHandler):
        """Serves files, on connections that stay open for the next request."""

        protocol_version = "HTTP/1.1"

        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(folder))

        def setup(self) -> None:
            """Have small writes sent at once, where Nagle's algorithm would hold them back."""
            super().setup()
            if isinstance(self.client_address, tuple):
                self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def address_string(self) -> str:
            """The client, which has no host on a Unix domain socket."""
            address: Any = self.client_address
            return str(address[0]) if isinstance(address, tuple) else "a local client"

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base's name
            """Log a request as a record."""
            _log.info("%s %s", self.address_string(), format % args)

    return Files
