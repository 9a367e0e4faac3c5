"""netserve.metrics: what servers count, for Prometheus.

It needs the extra ``metrics``, which is ``prometheus-client``.
"""

try:
    from netserve.metrics._collector import Measured, StatsCollector
    from netserve.metrics._endpoint import MetricsServer
except ImportError as _error:
    if (_error.name or "").partition(".")[0] != "prometheus_client":
        raise
    _message = "netserve.metrics needs prometheus-client: install netserve with the extra [metrics]"
    raise ImportError(_message, name=_error.name) from _error

__all__ = ["Measured", "MetricsServer", "StatsCollector"]
