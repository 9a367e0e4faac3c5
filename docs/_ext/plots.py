"""Plots that are drawn from what the benchmarks have measured.

``.. benchmark-plot:: CELL`` draws a bar for each server in a cell of
``benchmarks.json``, which ``python -m benchmarks.publish`` writes, the best first; with
``:cores:`` of the run on those cores. ``.. benchmark-conditions::`` says what was
measured with. A cell that isn't there fails the build. The SVG takes its colours from
the theme, light or dark.
"""

import html
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive, directives
from sphinx.application import Sphinx

FILE = Path(__file__).parent.parent / "benchmarks.json"

_ROW = 24
_LABEL = 168
_BAR = 250
_VALUE = 130


def runs() -> dict[str, Any]:
    """The published runs, by the cores that they were measured on."""
    published: dict[str, Any] = json.loads(FILE.read_text("utf-8"))
    return published


def written(value: float, unit: str) -> str:
    """A figure with its unit, as one reads it."""
    if unit == "1/s":
        return f"{value / 1000:.3g} k/s" if value >= 1000 else f"{value:.3g} /s"
    return f"{value:.3g} {unit}"


def bars(rows: Sequence[dict[str, Any]], title: str) -> str:
    """An SVG with a bar for each of *rows*, which have a server, a median, a unit and a ratio."""
    height = _ROW * len(rows) + 6
    width = _LABEL + _BAR + _VALUE
    longest = max(row["median"] for row in rows)
    parts = [
        f'<div class="plot"><svg viewBox="0 0 {width} {height}" width="{width}"'
        f' height="{height}" role="img" aria-label="{html.escape(title)}"'
        ' xmlns="http://www.w3.org/2000/svg">'
    ]
    for number, row in enumerate(rows):
        y = _ROW * number + _ROW / 2
        length = max(_BAR * row["median"] / longest, 1)
        kind = "ours" if row["server"].startswith("netserve-") else "theirs"
        ratio = "" if row["ratio"] is None else f" ({row['ratio']:.2g} x)"
        parts.append(
            f'<text class="name" x="{_LABEL - 8}" y="{y:g}">{html.escape(row["server"])}</text>'
            f'<rect class="{kind}" x="{_LABEL}" y="{y - 8:g}" width="{length:.1f}" height="16"/>'
            f'<text class="value" x="{_LABEL + length + 6:.1f}" y="{y:g}">'
            f"{html.escape(written(row['median'], row['unit']) + ratio)}</text>"
        )
    return "".join([*parts, "</svg></div>"])


class BenchmarkPlot(Directive):
    """Draws one cell."""

    required_arguments = 1
    option_spec = {  # noqa: RUF012  # docutils' form
        "cores": directives.unchanged,
        "unit": directives.unchanged,
    }

    def run(self) -> Sequence[nodes.Node]:
        """The plot."""
        cell = self.arguments[0]
        cores = self.options.get("cores", "two")
        rows = [
            row
            for row in runs()[cores]["summary"]
            if row["cell"] == cell
            and row["median"] is not None
            and self.options.get("unit", row["unit"]) == row["unit"]
        ]
        if not rows:
            raise self.error(f"benchmarks.json has no figures for {cell} with --cores {cores}")
        return [nodes.raw("", bars(rows, f"{cell}, --cores {cores}"), format="html")]


class BenchmarkConditions(Directive):
    """Says what the figures were measured with."""

    def run(self) -> Sequence[nodes.Node]:
        """A list: when, on what, how often, and with which versions."""
        items = nodes.bullet_list()
        for cores, run in runs().items():
            options = run["options"]
            versions = ", ".join(f"{name} {version}" for name, version in run["versions"].items())
            said = (
                f": medians of {options['rounds']} interleaved rounds of"
                f" {options['seconds']:g} s, on {run['date']}, with {versions}"
            )
            name = nodes.literal("", f"--cores {cores}")
            items += nodes.list_item("", nodes.paragraph("", "", name, nodes.Text(said)))
        return [items]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directives."""
    app.add_directive("benchmark-plot", BenchmarkPlot)
    app.add_directive("benchmark-conditions", BenchmarkConditions)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
