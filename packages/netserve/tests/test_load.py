"""Finding a handler by its name."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from netserve.cli._errors import Refusal
from netserve.cli._load import load_handler


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, which is new; the modules in it are forgotten at the end."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_a_handler_of_the_current_folder_is_found(here: Path) -> None:
    """In a package, and within a class."""
    (here / "shop").mkdir()
    (here / "shop" / "__init__.py").touch()
    (here / "shop" / "orders.py").write_text("class Desk:\n    class Handler: pass\n")
    handler = load_handler("shop.orders:Desk.Handler")
    assert handler.__qualname__ == "Desk.Handler"
    assert load_handler("shop.orders:Desk.Handler") is handler


@pytest.mark.parametrize("reference", ["shop", "shop:", ":Handler", ""])
def test_what_names_no_handler_is_refused(here: Path, reference: str) -> None:
    """With the form that would."""
    with pytest.raises(Refusal, match="names no handler: give module:Handler"):
        load_handler(reference)


def test_a_missing_module_is_refused(here: Path) -> None:
    """It may also be the package that is missing."""
    with pytest.raises(Refusal, match=r"there is no module 'nowhere_at_all\.inner' in "):
        load_handler("nowhere_at_all.inner:Handler")


def test_a_module_that_imports_in_vain_says_so_itself(here: Path) -> None:
    """The command's words would hide which one is missing."""
    (here / "needy_module.py").write_text("import nowhere_at_all\n")
    with pytest.raises(ModuleNotFoundError, match="nowhere_at_all"):
        load_handler("needy_module:Handler")


def test_a_missing_or_uncallable_attribute_is_refused(here: Path) -> None:
    """Each with its own sentence."""
    (here / "handlers_module.py").write_text("number = 7\n")
    with pytest.raises(Refusal, match="'handlers_module' has no 'Handler'"):
        load_handler("handlers_module:Handler")
    with pytest.raises(Refusal, match="is no handler: it can't be called, being 7"):
        load_handler("handlers_module:number")
