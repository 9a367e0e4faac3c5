"""netserve.metrics: what servers count, for Prometheus.

It needs the extra ``metrics``, which is ``prometheus-client``.
"""

try:
    from netserve.metrics._collector import Measured, StatsCollector
    from netserve.metrics._endpoint import MetricsServer
except ImportError as error:
    if (error.name or "").partition(".")[0] != "prometheus_client":
        raise
    msg = "netserve.metrics needs prometheus-client: install netserve with the extra [metrics]"
    raise ImportError(msg, name=error.name) from error

__all__ = ["Measured", "MetricsServer", "StatsCollector"]
