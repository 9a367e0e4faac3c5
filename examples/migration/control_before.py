"""A control socket: programs of this machine ask a daemon for its values."""

import os
import socketserver
import sys

VALUES = {"colour": "blue", "size": "7"}


class Control(socketserver.StreamRequestHandler):
    """Answers the name of a value with the value."""

    def handle(self):
        """One question a connection."""
        name = self.rfile.readline().strip().decode()
        self.wfile.write(VALUES.get(name, "?").encode() + b"\n")


if __name__ == "__main__":
    path = sys.argv[1]
    if os.path.exists(path):
        os.unlink(path)
    with socketserver.ThreadingUnixStreamServer(path, Control) as server:
        os.chmod(path, 0o600)
        print(path, flush=True)
        server.serve_forever()
