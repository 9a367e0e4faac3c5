"""The report of a run, from what was recorded of it."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from benchmarks.cells import REFERENCE
from benchmarks.ratios import median_of_ratios, ratio_of_medians, spread
from benchmarks.table import layout, number

Samples = Sequence[Mapping[str, Any]]


def values(samples: Samples, cell: str, server: str, key: str) -> dict[int, float]:
    """The figure *key* of a server in a cell, by round; a failed sample has none.

    Disturbed rounds count only where all of them were.
    """
    own = [
        sample
        for sample in samples
        if sample["cell"] == cell
        and sample["server"] == server
        and not sample.get("failed")
        and key in sample
    ]
    undisturbed = [sample for sample in own if not sample.get("disturbed")]
    return {sample["round"]: float(sample[key]) for sample in undisturbed or own}


def remarks(samples: Samples, cell: str, server: str) -> str:
    """What went wrong with a server in a cell, and what it counts besides."""
    own = [each for each in samples if (each["cell"], each["server"]) == (cell, server)]
    counts = {
        key: sum(each.get(key, 0) for each in own) for key in ("errors", "resent", "disturbed")
    }
    said = [f"{count} {key}" for key, count in counts.items() if count]
    reasons = sorted({each["failed"] for each in own if each.get("failed")})
    return ", ".join(said + reasons)


def summary(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One record for each figure of each server in each cell, the best first."""
    records = []
    samples = result["samples"]
    for cell in result["cells"]:
        servers = dict.fromkeys(each["server"] for each in samples if each["cell"] == cell["name"])
        for figure in cell["figures"]:
            key, less = figure["key"], figure["less_is_better"]
            figures = {name: values(samples, cell["name"], name, key) for name in servers}
            base = figures.get(cell["baseline"], {})
            reference = figures.get(REFERENCE, {})
            rows = [
                {
                    "cell": cell["name"],
                    "server": name,
                    "unit": figure["unit"],
                    "baseline": cell["baseline"],
                    "median": statistics.median(own.values()) if own else None,
                    "spread": spread(list(own.values())),
                    "ratio": ratio_of_medians(
                        list(own.values()), list(base.values()), less_is_better=less
                    ),
                    "median_of_ratios": median_of_ratios(own, base, less_is_better=less),
                    "reference_ratio": ratio_of_medians(
                        list(own.values()), list(reference.values()), less_is_better=less
                    ),
                    "remarks": remarks(samples, cell["name"], name),
                }
                for name, own in figures.items()
            ]
            # A server that has no figure comes last.
            best = -1 if not less else 1
            rows.sort(key=lambda row: (row["median"] is None, best * (row["median"] or 0)))
            records += rows
    return records


def table(result: Mapping[str, Any]) -> str:
    """The table: for each cell its servers, the best first."""
    rows: list[list[str]] = []
    previous = None
    for row in result["summary"]:
        group = (row["cell"], row["unit"])
        if previous not in (None, group):
            rows.append([])
        share = row["spread"]
        rows.append(
            [
                row["cell"] if group != previous else "",
                row["server"],
                number(row["median"], row["unit"]),
                "-" if share is None else f"{share:.0%}",
                number(row["ratio"]) + ("  (1)" if row["server"] == row["baseline"] else ""),
                number(row["reference_ratio"]),
                row["remarks"],
            ]
        )
        previous = group
    header = ["cell", "server", "median", "spread", "x baseline", f"x {REFERENCE}", "remarks"]
    return layout(header, rows, left=[0, 1, 6])


def notes(result: Mapping[str, Any], root: str) -> str:
    """What a reader of the table must know: versions, commands, and what is missing.

    Paths lose *root* and what is only this machine's.
    """
    lines = ["Versions"]
    lines += [f"  {name}: {version}" for name, version in result["versions"].items()]
    options = result["options"]
    lines += [
        "",
        f"Medians of {options['rounds']} interleaved rounds of {options['seconds']:g} s,"
        f" --cores {options['cores']}",
        "",
        "Commands",
    ]
    for cell, command in result["commands"].items():
        lines.append(f"  {cell}: {' '.join(_short(word, root) for word in command)}")
    for title, key in [("Absent", "absent"), ("Left out", "skipped")]:
        if result[key]:
            lines += ["", title]
            lines += [f"  {name}: {reason}" for name, reason in result[key].items()]
    return "\n".join([*lines, ""])


def _short(word: str, root: str) -> str:
    path = PurePath(word)
    if not path.is_absolute():
        return word
    return str(path.relative_to(root)) if path.is_relative_to(root) else path.name
