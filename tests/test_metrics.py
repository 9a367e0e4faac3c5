"""The metrics are what the servers count, as a real scraper reads them."""

import http.client
import importlib
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as plain_text

from netserve.core import Outcome, State
from netserve.handlers import MessageRequestHandler
from netserve.metrics import MetricsServer, StatsCollector
from netserve.servers import ThreadingTCPServer

PATIENCE = 30  # seconds
OPEN_METRICS = "application/openmetrics-text; version=1.0.0"


class Upper(MessageRequestHandler):
    """Answers in capitals; has no answer to an empty message."""

    def handle_message(self, message: bytes) -> bytes | None:
        """Return *message* in capitals."""
        assert message
        return message.upper()


@contextmanager
def scraped(registry: CollectorRegistry | None = None) -> Iterator[tuple]:
    """A server, its address, and the address of its metrics."""
    with ThreadingTCPServer(("127.0.0.1", 0), Upper).background() as running:
        servers = {"upper": running.server}
        with MetricsServer(("127.0.0.1", 0), servers, registry).background() as metrics:
            yield running.server, running.address, metrics.address


def fetch(address: tuple[str, int], path: str = "/metrics", method: str = "GET", **headers: str):
    """The status, the type and the body of a page."""
    connection = http.client.HTTPConnection(*address, timeout=PATIENCE)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.headers["Content-Type"], answer.read().decode()
    finally:
        connection.close()


def samples(families: Iterator[Metric]) -> dict[tuple, float]:
    """Each sample's value by its name and labels."""
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def value(found: dict[tuple, float], name: str, **labels: str) -> float:
    """One sample of the server's."""
    return found[(f"netserve_server_{name}", *sorted({"server": "upper", **labels}.items()))]


def ask(address: tuple[str, int], message: bytes) -> bytes:
    """What comes back for *message*, until the end."""
    with socket.create_connection(address, timeout=PATIENCE) as client:
        client.sendall(message)
        client.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: client.recv(4096), b""))


def until_ended(server: ThreadingTCPServer, count: int) -> None:
    """Wait until *count* requests have ended."""
    assert server.requests_in_progress.wait_for(
        lambda: server.stats().accepted == count and not server.stats().active,
        lambda: float("inf"),
    )


@pytest.mark.parametrize(("accept", "parse"), [("", plain_text), (OPEN_METRICS, open_metrics)])
def test_a_scrape_has_what_the_server_counts(accept, parse) -> None:
    """In either format, as Prometheus' own parser reads it."""
    with scraped() as (server, address, metrics):
        assert ask(address, b"one\n") == b"ONE\n"
        assert ask(address, b"\n") == b""
        until_ended(server, 2)
        with socket.create_connection(address, timeout=PATIENCE) as client:
            client.sendall(b"three\n")
            assert client.recv(100) == b"THREE\n"
            status, kind, page = fetch(metrics, Accept=accept)
            stats = server.stats()
        assert status == 200
        assert kind.startswith("application/openmetrics-text" if accept else "text/plain")
        found = samples(parse(page))
        assert value(found, "accepted_requests_total") == 3
        assert value(found, "active_requests") == 1
        assert value(found, "requests_total", outcome="completed") == 1
        assert value(found, "requests_total", outcome="failed") == 1
        assert value(found, "exhaustions_total") == 0
        assert value(found, "state", state="serving") == 1
        assert value(found, "state", state="draining") == 0
        assert value(found, "state_since_timestamp_seconds") == pytest.approx(stats.since)
        assert value(found, "network_io_bytes_total", direction="receive") == stats.bytes_received
        assert value(found, "network_io_bytes_total", direction="transmit") == stats.bytes_sent
        ends = sum(
            value(found, "requests_total", outcome=outcome.name.lower()) for outcome in Outcome
        )
        assert ends + 1 == 3
        assert sum(value(found, "state", state=state.value) for state in State) == 1


def test_the_programs_own_metrics_are_served_too() -> None:
    """Those of the registry that it gives."""
    registry = CollectorRegistry()
    Counter("orders", "Orders.", registry=registry).inc(7)
    with scraped(registry) as (_, _, metrics):
        found = samples(plain_text(fetch(metrics)[2]))
    assert found[("orders_total",)] == 7
    assert value(found, "active_requests") == 0


def test_head_and_other_paths() -> None:
    """HEAD has the length and no page; what isn't there says where the metrics are."""
    with scraped() as (_, _, metrics):
        status, kind, page = fetch(metrics, method="HEAD")
        assert (status, page) == (200, "")
        assert kind.startswith("text/plain")
        assert fetch(metrics, "/?x=1")[0] == 200
        status, _, page = fetch(metrics, "/other")
        assert status == 404
        assert "the metrics are at /metrics" in page


def test_a_collector_without_servers_is_refused() -> None:
    """It would tell nothing."""
    with pytest.raises(ValueError, match="there is no server to collect from"):
        StatsCollector({})


def test_a_collector_can_be_registered_before_the_server_counts() -> None:
    """Registering asks nothing, and the repr names the servers."""
    server = ThreadingTCPServer(("127.0.0.1", 0), Upper)
    with server:
        collector = StatsCollector({"upper": server})
        assert repr(collector) == "<StatsCollector of upper>"
        registry = CollectorRegistry(auto_describe=True)
        registry.register(collector)
        with pytest.raises(ValueError, match="Duplicated timeseries"):
            registry.register(StatsCollector({"other": server}))


def test_without_prometheus_client_the_import_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is an extra, and is named."""
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    for name in [name for name in sys.modules if name.startswith("netserve.metrics")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ImportError, match=r"install netserve with the extra \[metrics\]"):
        importlib.import_module("netserve.metrics")
