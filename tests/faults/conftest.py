"""The table of results, and what the fault suite adds to pytest.

The suite takes minutes and the whole machine, so that it isn't collected with the
other tests (``collect_ignore`` in the conftest of the repository), but only where
its folder is named: ``nox -s faults``, or ``pytest tests/faults``.
"""

import csv
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

# Test modules are imported by their path here, and find no neighbours without this.
sys.path.insert(0, str(Path(__file__).parent))

COLUMNS = ["fault", "server", "seen", "stdlib"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the file for the results."""
    parser.addoption("--results", type=Path, help="the csv file to write what was measured to")


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known that names a fault."""
    config.addinivalue_line("markers", "fault(name): the fault, by its name in docs/faults.csv")


@pytest.fixture
def seen(request: pytest.FixtureRequest) -> Callable[..., None]:
    """A function that reports what was seen of *server*, and of the stdlib's beside it.

    It prints a line, and writes a row to the file of ``--results`` in place of
    the one that is there for this fault and server.
    """
    marker = request.node.get_closest_marker("fault")
    assert marker is not None
    path: Path | None = request.config.getoption("--results")

    def report(server: str, seen: str, stdlib: str = "") -> None:
        row = [marker.args[0], server, seen, stdlib]
        plugins = request.config.pluginmanager
        with plugins.getplugin("capturemanager").global_and_fixture_disabled():
            beside = [f"stdlib: {stdlib}"] if stdlib else []
            plugins.getplugin("terminalreporter").write("\n" + " | ".join([*row[:3], *beside]))
        if path is not None:
            write(path, row)

    return report


def write(path: Path, row: list[str]) -> None:
    """Put *row* in the place of the one for the same fault and server, or at the end."""
    rows = []
    if path.exists():
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))[1:]
    places = [place for place, old in enumerate(rows) if old[:2] == row[:2]]
    if places:
        rows[places[0]] = row
    else:
        rows.append(row)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *rows])
