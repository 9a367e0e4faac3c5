"""The layout of a table in plain text."""

from collections.abc import Sequence


def number(value: float | None, unit: str = "") -> str:
    """Write *value* with three digits that count, or a dash for None; *unit* follows."""
    if value is None:
        return "-"
    if abs(value) >= 100:
        text = f"{value:,.0f}"
    elif abs(value) >= 10:
        text = f"{value:.1f}"
    else:
        text = f"{value:.2f}"
    return f"{text} {unit}".rstrip()


def layout(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: Sequence[int]) -> str:
    """Align *rows* under *header*: the columns *left* to the left, the others to the right.

    A row without cells is an empty line.
    """
    widths = [
        max(len(row[column]) for row in [header, *rows] if row) for column in range(len(header))
    ]
    lines = [header, ["-" * width for width in widths], *rows]
    return "\n".join(_line(cells, widths, left) for cells in lines)


def _line(cells: Sequence[str], widths: Sequence[int], left: Sequence[int]) -> str:
    aligned = [
        cell.ljust(width) if column in left else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(cells, widths, strict=False))
    ]
    return "  ".join(aligned).rstrip()
