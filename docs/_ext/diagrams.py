"""Diagrams that are drawn from the code when the documentation is built.

``.. lifecycle-diagram::`` draws ``netserve.core.TRANSITIONS``;
``.. class-diagram::`` draws which of its classes derive from which. Only the
places of the boxes are written down: here for the states, in the directive for
the classes. A state without a place fails the build, so that no diagram goes
stale. The SVG stands in the page itself and takes its colours from the theme,
light or dark.
"""

import html
import importlib
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from docutils import nodes
from docutils.parsers.rst import Directive, directives
from sphinx.application import Sphinx

from netserve.core import TRANSITIONS, State


class Box(NamedTuple):
    """A labelled rectangle by its centre."""

    label: str
    x: float
    y: float
    width: float
    height: float = 34

    def edge_towards(self, x: float, y: float, gap: float = 0) -> tuple[float, float]:
        """The point of the outline, *gap* outside, on the line from the centre to (x, y)."""
        dx, dy = x - self.x, y - self.y
        half_width, half_height = self.width / 2 + gap, self.height / 2 + gap
        scale = min(
            half_width / abs(dx) if dx else math.inf,
            half_height / abs(dy) if dy else math.inf,
        )
        return self.x + dx * scale, self.y + dy * scale


# As wide as the text of a page on a telephone.
_STATES = {
    State.CREATED: (44, 60),
    State.BOUND: (148, 60),
    State.SERVING: (252, 60),
    State.DRAINING: (334, 150),
    State.STOPPED: (252, 240),
    State.CLOSED: (96, 240),
}


def draw(boxes: Iterable[Box], paths: Iterable[str], size: tuple[float, float], title: str) -> str:
    """An SVG of *boxes* joined by *paths* (the ``d`` of each), with arrow heads."""
    width, height = size
    parts = [
        f'<div class="diagram"><svg viewBox="0 0 {width:g} {height:g}" width="{width:g}"'
        f' height="{height:g}" role="img" aria-label="{html.escape(title)}"'
        ' xmlns="http://www.w3.org/2000/svg"><defs><marker id="arrow" viewBox="0 0 10 10"'
        ' refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto-start-reverse">'
        '<path class="head" d="M0 0 10 5 0 10z"/></marker></defs>'
    ]
    parts += [f'<path class="line" d="{path}" marker-end="url(#arrow)"/>' for path in paths]
    parts += [
        f'<rect x="{box.x - box.width / 2:g}" y="{box.y - box.height / 2:g}"'
        f' width="{box.width:g}" height="{box.height:g}" rx="5"/>'
        f'<text x="{box.x:g}" y="{box.y:g}">{html.escape(box.label)}</text>'
        for box in boxes
    ]
    return "".join([*parts, "</svg></div>"])


def curve(start: Box, end: Box, bend: float) -> str:
    """The path from *start* to *end* that leaves the straight line by *bend* at most."""
    dx, dy = end.x - start.x, end.y - start.y
    length = math.hypot(dx, dy)
    middle_x = (start.x + end.x) / 2 + 2 * bend * dy / length
    middle_y = (start.y + end.y) / 2 - 2 * bend * dx / length
    x1, y1 = start.edge_towards(middle_x, middle_y)
    x2, y2 = end.edge_towards(middle_x, middle_y, gap=2)
    return f"M{x1:.1f} {y1:.1f}Q{middle_x:.1f} {middle_y:.1f} {x2:.1f} {y2:.1f}"


def loop(box: Box, *, above: bool) -> str:
    """The path from *box* to itself, above it or on its left."""
    if above:
        top = box.y - box.height / 2
        return (
            f"M{box.x - 12:g} {top:g}"
            f"C{box.x - 22:g} {top - 26:g} {box.x + 22:g} {top - 26:g} {box.x + 12:g} {top - 2:g}"
        )
    left = box.x - box.width / 2
    return (
        f"M{left:g} {box.y - 9:g}"
        f"C{left - 42:g} {box.y - 28:g} {left - 42:g} {box.y + 28:g} {left - 2:g} {box.y + 9:g}"
    )


class LifecycleDiagram(Directive):
    """Draws the states of a server and the moves between them, and lists them."""

    def run(self) -> Sequence[nodes.Node]:
        """The diagram, and the same as a list."""
        boxes = {state: Box(state.value, *_STATES[state], width=78) for state in State}
        paths = []
        for state, following in TRANSITIONS.items():
            for other in sorted(following, key=str):
                if other is state:
                    paths.append(loop(boxes[state], above=boxes[state].y < 100))
                    continue
                here, there = boxes[state], boxes[other]
                passes_a_box = any(
                    box not in {here, there}
                    and box.y == here.y == there.y
                    and min(here.x, there.x) < box.x < max(here.x, there.x)
                    for box in boxes.values()
                )
                both_ways = state in TRANSITIONS[other]
                paths.append(curve(here, there, 38 if passes_a_box else 8 * both_ways))
        title = "The states of a server; the list below says the same"
        svg = draw(boxes.values(), paths, (380, 280), title)
        moves = nodes.bullet_list()
        for state, following in TRANSITIONS.items():
            then = ", ".join(other.value for other in State if other in following)
            paragraph = nodes.paragraph("", "", nodes.strong("", state.value))
            paragraph += nodes.Text(f" → {then}")
            moves += nodes.list_item("", paragraph)
        return [nodes.raw("", svg, format="html"), moves]


class ClassDiagram(Directive):
    """Draws classes and which derive from which, base above or to the left.

    Each line of the content is a class by its full name, its column and its
    row. Only bases that are in the diagram are drawn.
    """

    has_content = True
    required_arguments = 1
    final_argument_whitespace = True
    option_spec = {"column": directives.positive_int}  # noqa: RUF012  # docutils' form

    def run(self) -> Sequence[nodes.Node]:
        """The diagram."""
        column = self.options.get("column", 190)
        boxes: dict[type, Box] = {}
        for line in self.content:
            name, x, y = line.split()
            module, _, attribute = name.rpartition(".")
            cls = getattr(importlib.import_module(module), attribute)
            label = cls.__name__
            boxes[cls] = Box(label, 88 + float(x) * column, 22 + float(y) * 66, 164)
        paths = [
            _tree_line(boxes[base], box)
            for cls, box in boxes.items()
            for base in _nearest(cls, set(boxes))
        ]
        width = max(box.x + box.width / 2 for box in boxes.values()) + 3
        height = max(box.y + box.height / 2 for box in boxes.values()) + 5
        svg = draw(boxes.values(), paths, (width, height), self.arguments[0])
        return [nodes.raw("", svg, format="html")]


def _nearest(cls: type, shown: set[type]) -> list[type]:
    """The bases of *cls* in *shown* that aren't bases of another such base."""
    bases = [base for base in cls.__mro__[1:] if base in shown]
    return [base for base in bases if not any(base in other.__mro__[1:] for other in bases)]


def _tree_line(base: Box, derived: Box) -> str:
    """An arrow from *base* to *derived*: straight, or in right angles."""
    if base.y == derived.y:
        return f"M{base.x + base.width / 2:g} {base.y:g}H{derived.x - derived.width / 2 - 2:g}"
    top = derived.y - derived.height / 2 - 2
    if 0 < derived.x - base.x < base.width / 2:
        trunk = base.x - base.width / 2 + 12
        left = derived.x - derived.width / 2 - 2
        return f"M{trunk:g} {base.y + base.height / 2:g}V{derived.y:g}H{left:g}"
    if base.x == derived.x:
        return f"M{base.x:g} {base.y + base.height / 2:g}V{top:g}"
    half = base.y + base.height / 2 + 14
    return f"M{base.x:g} {base.y + base.height / 2:g}V{half:g}H{derived.x:g}V{top:g}"


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directives."""
    app.add_directive("lifecycle-diagram", LifecycleDiagram)
    app.add_directive("class-diagram", ClassDiagram)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
