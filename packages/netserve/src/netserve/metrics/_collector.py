"""Statistics of servers as the metrics that a scrape finds.

Theory of operation. Nothing is counted here. At each scrape every server is asked
once for its :class:`~netserve.core.Stats`, which is consistent in itself: so the
requests that were accepted are, in each scrape, those in progress and those that
have ended. A server of several processes sums over them in ``stats()``, so that one
endpoint, in the parent, tells of all.

The names follow OpenTelemetry's conventions for servers, written as Prometheus
writes them: ``netserve.server.requests`` becomes ``netserve_server_requests_total``.
"""

from collections.abc import Iterator, Mapping
from typing import Final, Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from netserve.core import Outcome, State, Stats


class Measured(Protocol):
    """What a collector needs of a server.

    Guaranteed: ``stats`` may be called from any thread, at any time.
    """

    def stats(self) -> Stats:
        """A consistent snapshot of what the server has done so far."""
        ...


class StatsCollector(Collector):
    """Gives a registry the statistics of *servers*, each under the name that it has there.

    The name becomes the label ``server``. Register it as any collector:
    ``REGISTRY.register(StatsCollector({"echo": server}))``. Raises
    :class:`ValueError` when there is no server.
    """

    def __init__(self, servers: Mapping[str, Measured]) -> None:
        if not servers:
            msg = "there is no server to collect from: give at least one, by its name"
            raise ValueError(msg)
        self._servers = dict(servers)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {', '.join(self._servers)}>"

    def describe(self) -> list[Metric]:
        """The metrics without samples, so that registering asks no server."""
        return list(_families().values())

    def collect(self) -> Iterator[Metric]:
        """Ask each server, and yield the metrics."""
        families = _families()
        for name, server in self._servers.items():
            _add(families, name, server.stats())
        yield from families.values()


_PREFIX: Final = "netserve_server_"

# Name, kind, help, and the labels beside ``server``.
_METRICS: Final = (
    ("accepted_requests", CounterMetricFamily, "Requests that were taken.", ()),
    ("active_requests", GaugeMetricFamily, "Requests that are in progress.", ()),
    ("requests", CounterMetricFamily, "Requests that have ended, by how.", ("outcome",)),
    (
        "exhaustions",
        CounterMetricFamily,
        "How often accepting was paused because the system had run out of something.",
        (),
    ),
    (
        "network_io_bytes",
        CounterMetricFamily,
        "Bytes of ended requests, as far as they are known.",
        ("direction",),
    ),
    ("state", GaugeMetricFamily, "1 for the state that the server is in.", ("state",)),
    (
        "state_since_timestamp_seconds",
        GaugeMetricFamily,
        "When the server came to its state, in seconds since the epoch.",
        (),
    ),
)


def _families() -> dict[str, CounterMetricFamily | GaugeMetricFamily]:
    return {
        name: family(_PREFIX + name, text, labels=["server", *labels])
        for name, family, text, labels in _METRICS
    }


def _add(
    families: dict[str, CounterMetricFamily | GaugeMetricFamily], server: str, stats: Stats
) -> None:
    """Add the samples of one *server* to *families*."""
    families["accepted_requests"].add_metric([server], stats.accepted)
    families["active_requests"].add_metric([server], stats.active)
    for outcome in Outcome:
        name = outcome.name.lower()
        families["requests"].add_metric([server, name], getattr(stats, name))
    families["exhaustions"].add_metric([server], stats.exhausted)
    families["network_io_bytes"].add_metric([server, "receive"], stats.bytes_received)
    families["network_io_bytes"].add_metric([server, "transmit"], stats.bytes_sent)
    for state in State:
        families["state"].add_metric([server, state.value], float(state is stats.state))
    families["state_since_timestamp_seconds"].add_metric([server], stats.since)
