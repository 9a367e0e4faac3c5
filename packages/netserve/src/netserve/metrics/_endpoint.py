"""The page that Prometheus scrapes, served by a server of our own."""

import http.server
from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from netserve.concurrency import ThreadPoolMixIn
from netserve.core import InetAddress, StreamRequest, log
from netserve.metrics._collector import Measured, StatsCollector
from netserve.transports import TCPServer

if TYPE_CHECKING:
    import socketserver

_PATHS = frozenset({"/", "/metrics"})


class MetricsServer(ThreadPoolMixIn, TCPServer):
    """Serves the metrics of *servers* over HTTP at *server_address*, under ``/metrics``.

    *servers* are as for :class:`StatsCollector`. With *registry*, which is
    ``prometheus_client``'s, its collectors are served besides.

    It is a server like any other: ``with MetricsServer(...).background():`` serves
    beside the program's own, and a port of 0 becomes the one that the system
    chose. It answers GET and HEAD, in the format that the scraper asks for.
    """

    max_workers: int = 2
    max_connections: int | None = 64
    idle_timeout: float | None = 10.0
    message_timeout: float | None = 10.0
    connection_timeout: float | None = 60.0
    grace: float = 1.0

    def __init__(
        self,
        server_address: InetAddress,
        servers: Mapping[str, Measured],
        registry: CollectorRegistry | None = None,
    ) -> None:
        # One that is asked for nothing when collectors are registered.
        self.registry: CollectorRegistry = CollectorRegistry(auto_describe=False)
        self.registry.register(StatsCollector(servers))
        if registry is not None:
            self.registry.register(registry)
        super().__init__(server_address, _answer)

    def page(self, accept: str) -> tuple[bytes, str]:
        """The metrics, as the ``Accept`` header *accept* asks for; returns them and their type."""
        encode, kind = choose_encoder(accept)
        return encode(self.registry), kind


class _Page(http.server.BaseHTTPRequestHandler):
    """Answers a scrape."""

    server_version = "netserve"

    def do_GET(self) -> None:
        """Answer with the metrics."""
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        """Answer as GET does, without the page."""
        self._answer(with_body=False)

    def _answer(self, *, with_body: bool) -> None:
        if self.path.partition("?")[0] not in _PATHS:
            self.send_error(404, "the metrics are at /metrics")
            return
        body, kind = cast("MetricsServer", self.server).page(self.headers.get("Accept", ""))
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base's name
        """Tell who scrapes, at level DEBUG."""
        log.debug("%s scraped: %s", self.client_address, format % args)


def _answer(request: StreamRequest, client_address: InetAddress, server: MetricsServer) -> None:
    # typeshed lets the standard library's handlers on its own servers only.
    _Page(request, client_address, cast("socketserver.BaseServer", server))
