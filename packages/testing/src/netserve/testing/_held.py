"""What this process holds: its threads, and on Linux its children and descriptors.

Elsewhere than on Linux the system doesn't tell of the latter two as readily, and
they aren't looked at.
"""

import contextlib
import gc
import sys
import threading
import time
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, TypeAlias

Held: TypeAlias = dict[str, set[str]]
"""What is held, for each kind of thing."""

PATIENCE: Final = 2.0
"""How long what is about to go has to go, in seconds."""


def held() -> Held:
    """What this process holds now."""
    return {
        "threads": {f"{thread.name} ({thread.ident})" for thread in threading.enumerate()},
        "children": set(_children()),
        "descriptors": set(_descriptors()),
    }


def left_behind(before: Held, patience: float = PATIENCE) -> dict[str, list[str]]:
    """What is held that wasn't *before*, after at most *patience* seconds; empty for nothing."""
    until = time.monotonic() + patience
    while True:
        # An object that nobody can reach any more may hold a descriptor.
        gc.collect()
        found = {kind: sorted(now - before[kind]) for kind, now in held().items()}
        if not any(found.values()) or time.monotonic() >= until:
            return {kind: names for kind, names in found.items() if names}
        # Nothing tells of the end of all that is looked at.
        time.sleep(0.005)


def stacks(threads: Iterable[threading.Thread]) -> str:
    """Where *threads* stand, as tracebacks."""
    frames = sys._current_frames()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # documented
    found: list[str] = []
    for thread in threads:
        frame = None if thread.ident is None else frames.get(thread.ident)
        if frame is not None:
            lines = "".join(traceback.format_stack(frame))
            found.append(f"Thread {thread.name} is at (most recent call last):\n{lines}")
    return "".join(found)


def _children() -> Iterator[str]:
    """The children, the dead ones that nobody has collected included."""
    for path in Path("/proc/self/task").glob("*/children"):
        # The thread may have ended meanwhile.
        with contextlib.suppress(OSError):
            yield from path.read_text().split()


def _descriptors() -> Iterator[str]:
    folder = Path("/proc/self/fd")
    for entry in folder.iterdir() if folder.exists() else ():
        # The one through which the folder is read is gone.
        with contextlib.suppress(OSError):
            yield f"{entry.name}: {entry.readlink()}"
