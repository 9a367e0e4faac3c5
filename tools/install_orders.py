"""Install every distribution from the built files, in every order that could matter.

Six distributions have 720 orders. What an order can change is seen in two of them: a
later one overwrites, or on its removal takes away, what an earlier one has brought; or
it wants other versions of the same requirement. So each ordered pair is installed in an
empty environment, with what it requires, and the second one removed again; and at last
all of them, in the order of their names and in the reverse one.

Run it with ``nox -s installs``, in an environment of its own.
"""

import argparse
import itertools
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from tools.packages import Package, read_packages

Pip = Callable[..., object]


def orders(names: Iterable[str]) -> list[tuple[str, ...]]:
    """The orders to try: every ordered pair, and all names forwards and backwards."""
    every = sorted(names)
    return [*itertools.permutations(every, 2), tuple(every), tuple(reversed(every))]


def overlaps(files: dict[str, set[str]]) -> list[str]:
    """The files that two distributions have in common, as ``FILE (ONE, OTHER)``."""
    return sorted(
        f"{path} ({one}, {other})"
        for one, other in itertools.combinations(sorted(files), 2)
        for path in files[one] & files[other]
    )


def try_order(order: tuple[str, ...], packages: dict[str, Package], dist: Path) -> None:
    """Install the distributions in this *order*; raises what goes wrong.

    All modules that should be there are imported after each step, in a new process.
    """
    pip("uninstall", "-y", *packages)
    present: list[str] = []
    for name in order:
        version = packages[name].version
        pip("install", "--find-links", str(dist), f"{name}=={version}")
        pip("check")
        present.append(name)
        import_all(present, packages)
    if len(order) == 2 and not requires(packages[order[0]], order[1], packages):
        pip("uninstall", "-y", order[1])
        import_all(present[:1], packages)


def requires(package: Package, name: str, packages: dict[str, Package]) -> bool:
    """Whether *package* requires the distribution *name*, itself or by another."""
    siblings = [each.name for each in package.requirements if each.name in packages]
    return name in siblings or any(requires(packages[each], name, packages) for each in siblings)


def import_all(names: Iterable[str], packages: dict[str, Package]) -> None:
    """Import the modules of the distributions *names*, from what is installed."""
    extras = {"netserve.metrics"}  # needs what only an extra brings
    modules = [m for name in names for m in packages[name].modules if m not in extras]
    program = "; ".join(f"import {module}" for module in modules)
    subprocess.run([sys.executable, "-I", "-c", program], check=True)


def pip(*arguments: str) -> None:
    """Run pip in this environment, quietly; raises when it fails."""
    command = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", *arguments]
    subprocess.run(command, check=True)


def main() -> None:
    """Try all orders."""
    parser = argparse.ArgumentParser(description="Install the built files in many orders.")
    parser.add_argument("dist", type=Path, help="the folder of the built files")
    given = parser.parse_args()
    packages = {package.name: package for package in read_packages()}
    for order in orders(packages):
        print("installing", ", ".join(order), flush=True)
        try_order(order, packages, given.dist)


if __name__ == "__main__":
    main()
