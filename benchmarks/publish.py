"""``python -m benchmarks.publish FILE ...``: what runs have measured, for the documentation.

Each FILE is what ``benchmarks.run --json`` wrote; runs on the same cores are joined, the
later ones going first where they have the same cell. It writes ``docs/benchmarks.json``,
without the samples and without what is only this machine's.
"""

import argparse
import datetime as dt
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

DESTINATION = Path(__file__).parent.parent / "docs" / "benchmarks.json"

_SHOWN = ("cell", "server", "unit", "median", "spread", "ratio", "reference_ratio", "remarks")


def extract(result: Mapping[str, Any], date: str) -> dict[str, Any]:
    """What the documentation shows of one run, made on *date*."""
    return {
        "date": date,
        "versions": result["versions"],
        "options": {name: result["options"][name] for name in ("rounds", "seconds", "cores")},
        "summary": [{name: row[name] for name in _SHOWN} for row in result["summary"]],
    }


def joined(results: Iterable[tuple[Mapping[str, Any], str]]) -> dict[str, Any]:
    """The *results*, each with its date, by their cores."""
    runs: dict[str, Any] = {}
    for result, date in results:
        run = extract(result, date)
        cores = run["options"]["cores"]
        before = runs.get(cores)
        if before is not None:
            cells = {row["cell"] for row in run["summary"]}
            run["summary"] += [row for row in before["summary"] if row["cell"] not in cells]
        runs[cores] = run
    return runs


def main(argv: list[str] | None = None) -> None:
    """Read the files, and write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.publish")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--to", type=Path, default=DESTINATION, help="where to write")
    options = parser.parse_args(argv)
    results = [
        (
            json.loads(path.read_text("utf-8")),
            dt.date.fromtimestamp(path.stat().st_mtime).isoformat(),
        )
        for path in options.files
    ]
    options.to.write_text(json.dumps(joined(results), indent=1) + "\n")


if __name__ == "__main__":
    main()
