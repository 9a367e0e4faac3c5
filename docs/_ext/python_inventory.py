"""An inventory of the few names of Python's documentation that this one links to.

Sphinx reads such an inventory from the network as a rule. A build here must not
need one, so the names stand in a text file: one a line, with the kind of object,
the page, and the anchor there if it isn't the name.
"""

import zlib
from pathlib import Path

_HEAD = b"# Sphinx inventory version 2\n# Project: Python\n# Version: 3\n# compressed with zlib\n"


def write(names: Path, inventory: Path) -> Path:
    """Write the *inventory* of the list in *names*; returns *inventory*."""
    lines = [
        entry(*line.split())
        for line in names.read_text("utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    inventory.parent.mkdir(parents=True, exist_ok=True)
    inventory.write_bytes(_HEAD + zlib.compress("".join(lines).encode("utf-8")))
    return inventory


def entry(name: str, kind: str, page: str, anchor: str = "$") -> str:
    """The line of the inventory for one name."""
    if kind == "py:module":
        anchor = "module-$"
    return f"{name} {kind} 1 {page}.html#{anchor} -\n"
