"""The layout of the table."""

import pytest

from benchmarks.table import layout, number


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (0.126, "0.13"), (12.34, "12.3"), (123.4, "123"), (12345.6, "12,346")],
)
def test_numbers_have_the_digits_that_count(value: float | None, text: str) -> None:
    """Three of them, and a dash for none."""
    assert number(value) == text


def test_a_unit_follows() -> None:
    """After a space."""
    assert number(1.0, "ms") == "1.00 ms"


def test_columns_are_aligned() -> None:
    """Names to the left, numbers to the right, and an empty row between groups."""
    rows = [["a", "1", ""], [], ["bcd", "1,000", "said"]]
    assert layout(["name", "n", "note"], rows, left=[0, 2]).splitlines() == [
        "name      n  note",
        "----  -----  ----",
        "a         1",
        "",
        "bcd   1,000  said",
    ]
