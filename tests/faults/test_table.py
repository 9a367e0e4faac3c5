"""The table in the documentation is that of the suite: neither goes stale."""

import csv
import re
from pathlib import Path

HERE = Path(__file__).parent
DOCS = HERE.parent.parent / "docs"


def faults() -> list[str]:
    """The names of the faults, as the tests are marked with them."""
    return [
        name
        for path in sorted(HERE.glob("test_*.py"))
        for name in re.findall(r'^@pytest\.mark\.fault\("(.+)"\)$', path.read_text(), re.MULTILINE)
    ]


def test_every_fault_is_in_the_table() -> None:
    """And nothing else is."""
    with (DOCS / "faults.csv").open(encoding="utf-8", newline="") as file:
        listed = {row["fault"] for row in csv.DictReader(file)}
    assert listed == set(faults())


def test_every_fault_is_explained() -> None:
    """Below the table, each once."""
    text = (DOCS / "faults.rst").read_text("utf-8")
    explained = re.findall(r"^(\S.*)\n    \S", text, re.MULTILINE)
    assert sorted(explained) == sorted(faults())
