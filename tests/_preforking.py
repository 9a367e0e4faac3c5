"""A preforking server in a process of its own, for ``test_prefork``.

The argument is a JSON object: ``bases``, names of the form ``module:name``; ``handler``,
a name of one here; ``attributes`` of the server class; ``start``, the name of what a
worker does first; ``folder``, where it may write. It serves with ``run()``. The address
is printed as a line, and a report for each SIGUSR1.
"""

import importlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from netserve.handlers import MessageRequestHandler, StreamRequestHandler


def tell(**answer: object) -> None:
    """Print *answer* as one line."""
    os.write(1, json.dumps(answer, default=str).encode() + b"\n")


class Upper(MessageRequestHandler):
    """Answers in capitals, with the process that did."""

    def handle_message(self, message: bytes) -> bytes | None:
        """Return the message in capitals."""
        if message == b"stop":
            self.server.stop()
        return message.upper() + b" %d" % os.getpid()


class Lines(StreamRequestHandler):
    """As Upper, for all servers that call handlers once."""

    def handle(self) -> None:
        """Answer each line."""
        for line in self.rfile:
            self.wfile.write(line.strip().upper() + b" %d\n" % os.getpid())


class Sleepy(StreamRequestHandler):
    """Says its process, and heeds nothing after that."""

    def handle(self) -> None:
        """Sleep."""
        self.wfile.write(b"%d\n" % os.getpid())
        time.sleep(600)


def die(_server: Any) -> None:
    """End the worker before it serves."""
    os.write(2, b"dies\n")
    os._exit(7)


def die_while_told(server: Any) -> None:
    """End the worker before it serves, as long as a file says so."""
    if (server.folder / "die").exists():
        die(server)


def wait_until_told(server: Any) -> None:
    """Serve as soon as a file says so; one says that this process waits for it."""
    (server.folder / f"waits-{os.getpid()}").touch()
    until = time.monotonic() + 60
    while not (server.folder / "go").exists():
        assert time.monotonic() < until
        time.sleep(0.005)


def main() -> None:
    """Serve."""
    order = json.loads(sys.argv[1])
    bases = []
    for name in order["bases"]:
        module, _, attribute = name.partition(":")
        bases.append(getattr(importlib.import_module(module), attribute))
    attributes = {"processes": 2, "folder": Path(order["folder"]), **order["attributes"]}
    if order["start"]:
        attributes["setup_worker"] = globals()[order["start"]]
    server_class: Any = type("Server", tuple(bases), attributes)
    address = order["address"] or ("127.0.0.1", 0)
    server = server_class(address, globals()[order["handler"]])

    def report(*_: object) -> None:
        tell(stats=vars(server.stats()), pids=server.worker_pids, shown=repr(server))

    signal.signal(signal.SIGUSR1, report)
    tell(address=server.server_address)
    try:
        server.run()
    finally:
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        tell(stats=vars(server.stats()), pids=[], shown=repr(server))


if __name__ == "__main__":
    main()
