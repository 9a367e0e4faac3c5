"""netserve's servers: one row for each way of running a request.

Only what a row needs is imported: what a server holds in memory is measured, and
what it forks takes the longer, the more that is.
"""

import importlib
from typing import Any

from benchmarks import applications
from benchmarks.service import BACKLOG, arguments, serve_until_signal
from netserve.transports import TCPServer, UDPServer

FAMILIES = {
    "sync": "blocking",
    "threading": "blocking",
    "forking": "blocking",
    "threadpool": "blocking",
    "messages": "messages",
    "multiplexing": "messages",
    "inline": "messages",
    "executor": "messages",
    "asyncio": "coroutines",
    "uvloop": "coroutines",
}
"""The module beside this one that has the mix-ins and handlers of a row."""

PREFORK = "prefork-"
"""What several processes run whole: the rows that begin with this."""

SERVICES = ("echo", "once", "mix", "cpu", "resp", "udp", "dns", "http")


def build(variant: str, service: str) -> tuple[Any, Any]:
    """Return the server class and the handler of a row."""
    inner = variant.removeprefix(PREFORK)
    family: Any = importlib.import_module(f"benchmarks.servers.{FAMILIES[inner]}")
    mixins, handler = family.build(inner, service)
    if inner != variant:
        from netserve.concurrency import PreforkMixIn

        mixins = (PreforkMixIn, *mixins)
    attributes: dict[str, Any] = {"request_queue_size": BACKLOG, "max_connections": None}
    transport: type = TCPServer
    if service == "http":
        transport = applications.web_server()
    elif service in {"udp", "dns"}:
        transport = UDPServer
    elif service == "resp":
        # The handler of messages looks for them on its server.
        attributes["values"] = applications.redis().Values()
    return type("Server", (*mixins, transport), attributes), handler


def main() -> None:
    """Serve until told to stop."""
    variant, service = arguments(
        *FAMILIES, f"{PREFORK}threadpool", f"{PREFORK}multiplexing", services=SERVICES
    )
    server_class, handler = build(variant, service)
    with server_class(("127.0.0.1", 0), handler) as server:
        serve_until_signal(server.serve_forever, server.shutdown, server.server_address[1])


if __name__ == "__main__":
    main()
