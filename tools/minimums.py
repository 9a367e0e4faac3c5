"""The lowest versions that the packages support, as constraints for pip.

``nox -s minimums`` tests with these on the oldest interpreter.
"""

import sys
from collections.abc import Iterable
from pathlib import Path

from packaging.requirements import Requirement

sys.path.insert(0, str(Path(__file__).parent.parent))

from tools.packages import read_packages


def lowest(requirement: Requirement) -> str:
    """*requirement* at its lowest version.

    Raises :class:`ValueError` when it doesn't say which that is.
    """
    bounds = [bound.version for bound in requirement.specifier if bound.operator in {">=", "=="}]
    if len(bounds) != 1:
        msg = f"{requirement} doesn't say from which version on"
        raise ValueError(msg)
    return f"{requirement.name}=={bounds[0]}"


def constraints(requirements: Iterable[Requirement]) -> list[str]:
    """The lowest version of each, the siblings left out; the highest of several bounds."""
    found = {lowest(each) for each in requirements if not each.name.startswith("netserve")}
    names = [line.partition("==")[0] for line in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        msg = f"packages differ in the lowest version of {', '.join(twice)}"
        raise ValueError(msg)
    return sorted(found)


if __name__ == "__main__":
    print("\n".join(constraints(r for package in read_packages() for r in package.requirements)))
