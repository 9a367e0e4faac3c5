"""The packages of this repository, as their pyproject.toml files describe them."""

import sys
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.version import Version

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent


class Package:
    """The package in *folder*."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings = folder / "pyproject.toml"
        table: dict[str, Any] = tomllib.loads(self.settings.read_text("utf-8"))["project"]
        self.name: str = table["name"]
        """The distribution's name."""

        self.version = Version(table["version"])
        optional: dict[str, list[str]] = table.get("optional-dependencies", {})
        every = [table["dependencies"], *optional.values()]
        self.requirements = [Requirement(text) for group in every for text in group]
        """What it requires, in its extras too."""

        self.python: str = table["requires-python"]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} {self.version}>"

    @property
    def modules(self) -> list[str]:
        """The leaf packages that it holds."""
        leaves = (self.folder / "src" / "netserve").glob("*/py.typed")
        return sorted(f"netserve.{leaf.parent.name}" for leaf in leaves)


def read_packages(root: Path = ROOT) -> list[Package]:
    """All packages of the repository at *root*, by name."""
    found = root.glob("packages/*/pyproject.toml")
    return sorted((Package(path.parent) for path in found), key=lambda package: package.name)
