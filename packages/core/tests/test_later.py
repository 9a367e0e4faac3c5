"""Tests of netserve.core._later."""

import sys

import pytest


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package on disk, of whose modules nothing is imported yet."""
    folder = tmp_path / "lazy"
    folder.mkdir()
    (folder / "__init__.py").write_text(
        "from netserve.core import import_later\n"
        "__getattr__ = import_later(__name__, {'_heavy': ['Thing', 'other'], '_gone': ['lost']})\n"
    )
    (folder / "_heavy.py").write_text("class Thing: pass\nother = Thing()\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield "lazy"
    for name in [name for name in sys.modules if name.partition(".")[0] == "lazy"]:
        del sys.modules[name]


def test_a_module_is_imported_when_its_name_is_asked_for(package):
    """Not with the package."""
    lazy = __import__(package)
    assert "lazy._heavy" not in sys.modules
    assert lazy.Thing is sys.modules["lazy._heavy"].Thing
    assert isinstance(lazy.other, lazy.Thing)


def test_what_was_asked_for_is_an_attribute(package):
    """So that nothing is looked up a second time."""
    lazy = __import__(package)
    assert "Thing" not in vars(lazy)
    thing = lazy.Thing
    assert vars(lazy)["Thing"] is thing


def test_a_name_that_is_not_there_is_an_attribute_error(package):
    """As of any module; and what a module lacks of the standard library is its own error."""
    lazy = __import__(package)
    with pytest.raises(AttributeError, match="module 'lazy' has no attribute 'nothing'") as caught:
        _ = lazy.nothing
    assert caught.value.name == "nothing"
    assert caught.value.obj is lazy
    with pytest.raises(ImportError, match=r"lazy\._gone"):
        _ = lazy.lost


def test_names_can_be_imported_from_it(package):
    """As from any package."""
    namespace = {}
    exec("from lazy import Thing, other", namespace)
    assert type(namespace["other"]) is namespace["Thing"]
    with pytest.raises(ImportError, match="nothing"):
        exec("from lazy import nothing", {})
