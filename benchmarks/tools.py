"""What the load generators print, read."""

import csv
import json
import re
from collections.abc import Iterable
from typing import Any

Sample = dict[str, Any]
"""Figures by name; ``errors`` counts what went wrong, ``failed`` says why there are none."""


def read_loadgen(text: str) -> Sample:
    """Read the line of JSON of our own generator."""
    sample: Sample = json.loads(text)
    if not sample.get("failed") and not sample["requests_with_warmup"]:
        sample["failed"] = "no request was answered"
    return sample


def read_wrk(text: str) -> Sample:
    """Read wrk's report: the rate, and what it counts as errors."""
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    if rate is None:
        return {"failed": "wrk printed no rate"}
    errors = 0
    if socket_errors := re.search(r"Socket errors: (.*)", text):
        errors += sum(map(int, re.findall(r"\d+", socket_errors[1])))
    if statuses := re.search(r"Non-2xx or 3xx responses: (\d+)", text):
        errors += int(statuses[1])
    return {"rate": float(rate[1]), "errors": errors}


def read_redis(text: str) -> Sample:
    """Read redis-benchmark's CSV: as many of each command as of the others, in all the time."""
    lines: Iterable[str] = [line for line in text.splitlines() if line.startswith('"')]
    rates = {row["test"]: float(row["rps"]) for row in csv.DictReader(lines)}
    if not rates or not all(rates.values()):
        return {"failed": "redis-benchmark printed no rate"}
    rate = len(rates) / sum(1 / rate for rate in rates.values())
    return {"rate": rate, "errors": 0, "commands": rates}


def read_dnsperf(text: str) -> Sample:
    """Read dnsperf's report: the rate, and the queries without an answer."""
    rate = re.search(r"Queries per second:\s+([\d.]+)", text)
    lost = re.search(r"Queries lost:\s+(\d+)", text)
    codes = re.search(r"Response codes:\s+(.*)", text)
    if rate is None or lost is None:
        return {"failed": "dnsperf printed no rate"}
    errors = int(lost[1])
    for name, count in re.findall(r"(\w+) (\d+) \(", codes[1] if codes else ""):
        errors += int(count) if name != "NOERROR" else 0
    return {"rate": float(rate[1]), "errors": errors}
