"""A server behind a proxy, in a process of its own; ``test_proxied`` starts it.

The argument is a JSON object: ``bases``, the classes to mix as ``module:name``;
``attributes``, what the class has besides; ``path``, the Unix socket to serve on
in place of a port; ``certificate``, the file with the key and certificate to speak
TLS with. The first line of the output is the server's address. Each
line of a client is answered with a JSON object that says what the handler knows.
Each connection that a handler sees, and each log record, is a line in the file
``log`` of the working directory. SIGUSR1 has the statistics printed as a line,
and who is served at the moment; SIGTERM ends it.
"""

import importlib
import json
import logging
import os
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from netserve import transports
from netserve.core import BaseServer
from netserve.handlers import Lines, MessageRequestHandler
from netserve.transports import ProxyHeader, ProxyProtocolMixIn


class Log(logging.Handler):
    """Appends each record to a file, that of children too."""

    def __init__(self) -> None:
        super().__init__()
        self._file = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def emit(self, record: logging.LogRecord) -> None:
        """Append *record*."""
        self.tell(
            logger=record.name,
            level=record.levelname,
            message=record.getMessage(),
            traceback=record.exc_info is not None,
        )

    def tell(self, **entry: object) -> None:
        """Append *entry*."""
        os.write(self._file, json.dumps(entry).encode() + b"\n")


def plain(header: ProxyHeader) -> dict[str, Any]:
    """*header* as what JSON can have."""
    ssl = header.ssl
    return {
        "version": header.version,
        "command": header.command.name,
        "family": header.family.name,
        "transport": header.transport.name,
        "source": header.source,
        "destination": header.destination,
        "authority": header.authority,
        "alpn": (header.alpn or b"").decode(),
        "unique_id": (header.unique_id or b"").decode(),
        "checksummed": header.checksummed,
        "ssl": ssl and {**asdict(ssl), "others": len(ssl.others), "verified": ssl.verified},
        "others": len(header.others),
    }


class Knows(MessageRequestHandler[Any, Any]):
    """Answers each line with what is known of its client."""

    framing = Lines(max_size=1000)

    def setup(self) -> None:
        """Note that a handler has seen the connection, and of which kind it is."""
        header = self.server.proxy_header(self.request)
        log.tell(seen=self.client_address, command=header and header.command.name)

    def handle_message(self, message: bytes) -> bytes:
        """Tell all."""
        header = self.server.proxy_header(self.request)
        return json.dumps(
            {
                "client": self.client_address,
                "proxy": self.server.proxy_address(self.request),
                "header": header and plain(header),
                "in_progress": addresses(self.server),
                "message": message.decode(),
            }
        ).encode()


def find(name: str) -> type:
    """The class that ``module:name`` means."""
    module, _, attribute = name.partition(":")
    found = getattr(importlib.import_module(module), attribute)
    assert isinstance(found, type)
    return found


def addresses(server: BaseServer[Any, Any]) -> list[Any]:
    """Who is served, as far as this process knows."""
    return [entry.address for entry in server.requests_in_progress.entries()]


def report(server: BaseServer[Any, Any]) -> None:
    """Print what *server* has done so far, and who is served."""
    line = json.dumps({**asdict(server.stats()), "clients": addresses(server)}, default=str)
    os.write(1, line.encode() + b"\n")


def main() -> None:
    """Serve as the argument asks for."""
    logging.getLogger("netserve").addHandler(log)
    logging.getLogger("netserve").setLevel(logging.DEBUG)
    asked = json.loads(sys.argv[1])
    *mixins, base = map(find, asked["bases"])
    attributes = {"access_log": True, **asked.get("attributes", {})}
    if "farewell" in attributes:
        attributes["farewell"] = attributes["farewell"].encode()
    if "certificate" in asked:
        mixins.append(transports.TLSMixIn)
        attributes["ssl_context"] = transports.server_context(asked["certificate"])
    kind: Any = type("Served", (*mixins, ProxyProtocolMixIn, base), attributes)
    path = asked.get("path")
    server = kind(path or ("127.0.0.1", 0), Knows)
    signal.signal(signal.SIGUSR1, lambda *_: report(server))
    os.write(1, json.dumps(server.server_address).encode() + b"\n")
    server.run()
    server.server_close()
    if path:
        Path(path).unlink(missing_ok=True)


log = Log()

if __name__ == "__main__":
    main()
