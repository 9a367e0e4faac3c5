"""A server under TLS as a program; ``test_tls`` starts it.

The argument is a JSON object: ``bases``, the classes to mix as ``module:name``;
``folder``, where ``server.pem`` and ``server.key`` are, and ``ca.pem``;
``client_ca``, whether clients need a certificate; ``attributes`` of the class. It
prints its port, serves with ``run()``, and prints its statistics at the end.
Records go to standard error, one a line.
"""

import importlib
import json
import logging
import ssl
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from netserve.handlers import Lines, MessageRequestHandler
from netserve.transports import TCPServer, TLSMixIn, server_context


class Handler(MessageRequestHandler):
    """Answers in capitals, and knows a few words."""

    framing = Lines(max_size=1 << 21)

    def handle_message(self, message: bytes) -> bytes | None:
        """Answer."""
        assert self.ssl_object is not None
        if message == b"who":
            return repr(self.ssl_object.getpeercert()).encode()
        if message == b"protocol":
            return repr(self.ssl_object.selected_alpn_protocol()).encode()
        if message == b"quit":
            self.close()
        if message == b"slow":
            time.sleep(0.5)
        return message.upper()


class Records(logging.Handler):
    """Prints each record as a line."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print *record*."""
        trace = " with a traceback" if record.exc_info else ""
        print(f"{record.levelname}{trace}: {record.getMessage()}", file=sys.stderr, flush=True)


def find(name: str) -> Any:
    """The class that ``module:name`` means."""
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


def main() -> None:
    """Serve."""
    logging.basicConfig(handlers=[Records()], level=logging.DEBUG)
    given = json.loads(sys.argv[1])
    folder = Path(given["folder"])

    def make_ssl_context(_self: object) -> ssl.SSLContext:
        return server_context(
            folder / "server.pem",
            folder / "server.key",
            client_ca=folder / "ca.pem" if given["client_ca"] else None,
            alpn=["echo", "discard"],
        )

    bases = (*map(find, given["bases"]), TLSMixIn, TCPServer)
    members = {"make_ssl_context": make_ssl_context, **given["attributes"]}
    server: Any = type("Server", bases, members)(("127.0.0.1", 0), Handler)
    print(json.dumps(server.server_address[1]), flush=True)
    server.run()
    print(json.dumps(asdict(server.stats()), default=str), flush=True)


if __name__ == "__main__":
    main()
