"""The cells and the servers that play in them."""

import pytest

from benchmarks.cells import CELLS, QUICK, chosen
from benchmarks.entries import ENTRIES, Entry
from benchmarks.processes import ROOT
from benchmarks.run import participants


def test_names_are_unique() -> None:
    """A pattern means one thing."""
    for items in (CELLS, ENTRIES):
        names = [item.name for item in items]
        assert len(names) == len(set(names))


def test_every_server_has_its_program() -> None:
    """And takes part in something."""
    for entry in ENTRIES:
        path = ROOT / "benchmarks" / f"{entry.program.replace('.', '/')}.py"
        assert path.is_file()
        assert any(entry.plays(cell.service, cell.connections) for cell in CELLS)


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_every_cell_has_its_baseline(cell: object) -> None:
    """Even when it was not asked for, as without it there is no ratio."""
    (found,) = [each for each in CELLS if each is cell]
    assert found.baseline in {entry.name for entry in participants(found, ["netserve-sync"], None)}


def test_a_pattern_chooses_and_one_without_a_match_is_an_error() -> None:
    """A typing error must not make an empty table."""
    names = [cell.name for cell in CELLS]
    assert chosen(names, []) == names
    assert chosen(names, ["udp-*"]) == ["udp-1", "udp-50"]
    assert chosen(names, list(QUICK))
    with pytest.raises(ValueError, match="tcp"):
        chosen(names, ["tcp"])


def test_what_is_missing_is_said() -> None:
    """A package, or a name in it."""
    entry = Entry("x", "peers.x", "x", frozenset(), "no_such_module", "no-such-package")
    assert entry.absent() == "no-such-package is not installed"
    assert entry.version() is None
    entry = Entry("x", "peers.x", "x", frozenset(), "json:Nothing", "json")
    assert entry.absent() == "the installed json has no Nothing yet"
    assert Entry("x", "peers.x", "x", frozenset(), "json:loads", "json").absent() is None
    assert Entry("x", "peers.x", "x", frozenset()).absent() is None
