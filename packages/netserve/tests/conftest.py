"""What holds for every test here: it leaves no thread, child process or descriptor behind."""

import contextlib
import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Fail the test that leaves a thread, a child process or an open descriptor."""
    before = _held()
    yield
    left = {kind: sorted(held - before[kind]) for kind, held in _held().items()}
    assert not any(left.values()), f"left behind: {left}"


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """An empty folder, whose name is short enough for the path of a Unix socket."""
    with tempfile.TemporaryDirectory(prefix="ns-") as name:
        yield Path(name)


def _held() -> dict[str, set[str]]:
    return {
        "threads": {f"{thread.name} ({thread.ident})" for thread in threading.enumerate()},
        "children": set(_children()),
        "descriptors": set(_descriptors()),
    }


def _children() -> Iterator[str]:
    """The children of this process, the dead ones that nobody has collected included."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        # The process may have ended meanwhile.
        with contextlib.suppress(OSError):
            # The second field, the command in parentheses, may hold anything.
            parent = stat.read_text().rpartition(")")[2].split()[1]
            if int(parent) == os.getpid():
                yield stat.parent.name


def _descriptors() -> Iterator[str]:
    folder = Path("/proc/self/fd")
    for entry in folder.iterdir() if folder.exists() else ():
        # The one through which the folder is read is gone.
        with contextlib.suppress(OSError):
            yield f"{entry.name}: {entry.readlink()}"
