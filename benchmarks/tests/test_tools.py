"""What the load generators print is read right."""

import pytest

from benchmarks.tools import read_dnsperf, read_loadgen, read_redis, read_wrk

WRK = """Running 1s test @ http://127.0.0.1:8000/
  1 threads and 50 connections
  18342 requests in 1.00s, 11.86MB read
  Socket errors: connect 0, read 3, write 0, timeout 1
  Non-2xx or 3xx responses: 2
Requests/sec:  18342.51
Transfer/sec:     11.86MB
"""
DNSPERF = """Statistics:

  Queries sent:         9003
  Queries completed:    9000 (99.97%)
  Queries lost:         3 (0.03%)

  Response codes:       NOERROR 8990 (99.89%), SERVFAIL 10 (0.11%)
  Queries per second:   89990.100000
"""


def test_wrk() -> None:
    """The rate, and all that went wrong."""
    assert read_wrk(WRK) == {"rate": 18342.51, "errors": 6}
    assert "failed" in read_wrk("unable to connect")


def test_redis_benchmark() -> None:
    """As if each command were sent as often as the others, one after the other."""
    text = 'WARNING: no config\n"test","rps"\n"SET","100.0"\n"GET","300.0"\n'
    assert read_redis(text)["rate"] == pytest.approx(150)
    assert "failed" in read_redis("Could not connect")


def test_dnsperf() -> None:
    """A query that is lost or refused is an error."""
    assert read_dnsperf(DNSPERF) == {"rate": 89990.1, "errors": 13}
    assert "failed" in read_dnsperf("")


def test_our_own() -> None:
    """Its line is JSON; a run without a request is a failure."""
    assert read_loadgen('{"requests_with_warmup": 5, "rate": 2}')["rate"] == 2
    assert "failed" in read_loadgen('{"requests_with_warmup": 0, "rate": 0}')
    assert read_loadgen('{"failed": "connect"}') == {"failed": "connect"}
