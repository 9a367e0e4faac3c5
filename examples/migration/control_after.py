"""A control socket: programs of this machine ask a daemon for its values."""

import sys

from netserve.handlers import StreamRequestHandler
from netserve.servers import ThreadingUnixStreamServer

VALUES = {"colour": "blue", "size": "7"}


class Control(StreamRequestHandler):
    """Answers the name of a value with the value."""

    max_line_size = 100

    def handle(self) -> None:
        """One question a connection."""
        name = self.rfile.readline().strip().decode()
        self.wfile.write(VALUES.get(name, "?").encode() + b"\n")


class ControlServer(ThreadingUnixStreamServer):
    """For this user alone, from the first moment on; one that asks nothing is closed."""

    socket_mode = 0o600
    message_timeout = 5.0
    idle_timeout = 5.0


if __name__ == "__main__":
    path = sys.argv[1]
    with ControlServer(path, Control) as server:
        print(path, flush=True)
        server.run()
