"""What was measured comes into the documentation."""

import json
from pathlib import Path
from typing import Any

from benchmarks.publish import main


def result(cores: str, **medians: float) -> dict[str, Any]:
    """What a run has measured, as far as it is published, and some more."""
    return {
        "versions": {"Python": "3.11"},
        "options": {"rounds": 5, "seconds": 1.0, "cores": cores, "loadgen": "/tmp/loadgen"},
        "commands": {"echo": ["/tmp/loadgen"]},
        "samples": [1, 2, 3],
        "summary": [
            {
                "cell": cell, "server": "netserve-sync", "unit": "replies/s", "median": median,
                "spread": 0.1, "ratio": 1.5, "reference_ratio": None, "remarks": "",
                "baseline": "stdlib-threading", "median_of_ratios": 1.4,
            }
            for cell, median in medians.items()
        ],
    }  # fmt: skip


def test_runs_are_joined_by_their_cores(tmp_path: Path) -> None:
    """A later one goes first where both have a cell; no path of the machine is in it."""
    files = [tmp_path / f"{number}.json" for number in range(3)]
    for file, content in zip(
        files,
        [result("two", one=1, two=2), result("free", one=9), result("two", two=3)],
        strict=True,
    ):
        file.write_text(json.dumps(content))
    destination = tmp_path / "published.json"
    main([*map(str, files), "--to", str(destination)])
    text = destination.read_text()
    assert "/tmp/" not in text
    runs = json.loads(text)
    assert set(runs) == {"two", "free"}
    assert {row["cell"]: row["median"] for row in runs["two"]["summary"]} == {"two": 3, "one": 1}
    assert runs["free"]["options"] == {"rounds": 5, "seconds": 1.0, "cores": "free"}
    assert "samples" not in runs["two"]
