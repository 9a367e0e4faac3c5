"""From samples to rows."""

from typing import Any

from benchmarks.report import notes, summary, table


def result(*samples: tuple[str, int, dict[str, Any]], less_is_better: bool = False) -> Any:
    """What a run of one cell has recorded."""
    figure = {"key": "rate", "unit": "1/s", "less_is_better": less_is_better}
    return {
        "versions": {"python": "CPython 3"},
        "options": {"rounds": 3, "seconds": 1.0, "cores": "two"},
        "commands": {"echo-1": ["taskset", "-c", "1", "/somewhere/loadgen", "-p", "PORT"]},
        "absent": {"gevent": "gevent is not installed"},
        "skipped": {},
        "cells": [{"name": "echo-1", "baseline": "slow", "figures": [figure]}],
        "samples": [
            {"cell": "echo-1", "server": server, "round": number} | sample
            for server, number, sample in samples
        ],
    }


def test_the_best_server_comes_first_and_one_without_a_figure_last() -> None:
    """A failed sample counts for nothing but a remark."""
    record = result(
        ("slow", 0, {"rate": 10}),
        ("broken", 0, {"rate": 99, "failed": "it didn't start"}),
        ("uvloop-protocol", 0, {"rate": 40}),
        ("fast", 0, {"rate": 30, "errors": 2, "resent": 1}),
    )
    rows = summary(record)
    assert [row["server"] for row in rows] == ["uvloop-protocol", "fast", "slow", "broken"]
    assert [row["ratio"] for row in rows] == [4, 3, 1, None]
    assert [row["reference_ratio"] for row in rows] == [1, 0.75, 0.25, None]
    assert rows[1]["remarks"] == "2 errors, 1 resent"
    assert rows[3]["remarks"] == "it didn't start"


def test_a_disturbed_round_counts_only_where_all_were() -> None:
    """It is remarked on in either case."""
    record = result(
        ("slow", 0, {"rate": 10, "disturbed": 1}),
        ("slow", 1, {"rate": 20, "disturbed": 1}),
        ("fast", 0, {"rate": 1, "disturbed": 1}),
        ("fast", 1, {"rate": 30, "disturbed": 0}),
    )
    rows = summary(record)
    assert [(row["server"], row["median"]) for row in rows] == [("fast", 30), ("slow", 15)]
    assert [row["remarks"] for row in rows] == ["1 disturbed", "2 disturbed"]


def test_where_less_is_better_the_least_comes_first() -> None:
    """And has the highest ratio."""
    record = result(("slow", 0, {"rate": 10}), ("fast", 0, {"rate": 5}), less_is_better=True)
    assert [(row["server"], row["ratio"]) for row in summary(record)] == [("fast", 2), ("slow", 1)]


def test_the_table_marks_the_baseline_and_names_the_cell_once() -> None:
    """So that its groups are seen."""
    record = result(("slow", 0, {"rate": 10}), ("fast", 0, {"rate": 30}))
    text = table(record | {"summary": summary(record)})
    lines = text.splitlines()
    assert lines[2].split() == ["echo-1", "fast", "30.0", "1/s", "0%", "3.00", "-"]
    assert lines[3].split() == ["slow", "10.0", "1/s", "0%", "1.00", "(1)", "-"]


def test_the_notes_name_versions_commands_and_what_is_absent() -> None:
    """Without the folders of this machine."""
    text = notes(result(), "/root")
    assert "python: CPython 3\n" in text
    assert "echo-1: taskset -c 1 loadgen -p PORT\n" in text
    assert "gevent: gevent is not installed\n" in text
    assert "Left out" not in text
