"""Prepare the release of one package: its version, its changelog, its files.

Nothing is committed, tagged or sent anywhere: the program prints what to do next.
Run it with ``nox -s release -- PACKAGE``.

The next version follows from the changelog's fragments. The requirements of siblings
are capped at the next minor version, which so is what may break a program; the first
release takes the version as it is.
"""

import argparse
import filecmp
import hashlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from packaging.version import Version

sys.path.insert(0, str(Path(__file__).parent.parent))

from tools.packages import ROOT, Package, read_packages

BREAKING = {"changed", "removed"}
"""The kinds of fragments that call for a new minor version."""

_VERSION = re.compile(r'^version = "[^"]*"$', re.MULTILINE)
_START = "<!-- towncrier release notes start -->"


class ReleaseError(Exception):
    """Why a package can't be released as it is."""


def kinds_of_fragments(package: Package) -> list[str]:
    """The kinds of the changelog fragments that *package* has, one for each."""
    paths = sorted((package.folder / "changelog.d").glob("*.*.md"))
    return [path.name.split(".")[-2] for path in paths]


def was_released(package: Package) -> bool:
    """Whether its changelog tells of a release."""
    text = (package.folder / "CHANGELOG.md").read_text("utf-8")
    return "\n## " in text.partition(_START)[2]


def next_version(package: Package, kinds: Iterable[str]) -> Version:
    """The version that a release with fragments of these *kinds* has.

    Raises :class:`ReleaseError` when there are none, and so nothing to release.
    """
    present = set(kinds)
    if not present:
        msg = f"{package.name} has no fragments in changelog.d: nothing has changed"
        raise ReleaseError(msg)
    if not was_released(package):
        return package.version
    major, minor, patch = package.version.release
    if present & BREAKING:
        return Version(f"{major}.{minor + 1}.0")
    return Version(f"{major}.{minor}.{patch + 1}")


def check_ranges(name: str, version: Version, packages: Iterable[Package]) -> None:
    """Raise :class:`ReleaseError` unless what others require of *name* allows *version*."""
    broken = [
        f"{package.name} requires {requirement}"
        for package in packages
        for requirement in package.requirements
        if requirement.name == name and version not in requirement.specifier
    ]
    if broken:
        major, minor, _ = version.release
        msg = (
            f"{name} {version} is outside of what others require: {'; '.join(broken)}."
            f" Make it >={major}.{minor},<{major}.{minor + 1} there, and release these next"
        )
        raise ReleaseError(msg)


def write_version(package: Package, version: Version) -> None:
    """Put *version* in the package's pyproject.toml."""
    text = package.settings.read_text("utf-8")
    changed, count = _VERSION.subn(f'version = "{version}"', text)
    if count != 1:
        msg = f"{package.settings} has {count} lines with a version, not one"
        raise ReleaseError(msg)
    package.settings.write_text(changed, "utf-8")


def build_changelog(root: Path, package: Package, version: Version, date: str | None) -> None:
    """Have towncrier write the fragments to the changelog, and remove them."""
    command = [
        sys.executable, "-m", "towncrier", "build", "--yes",
        "--dir", str(package.folder), "--config", str(root / "pyproject.toml"),
        "--name", package.name, "--version", str(version),
        *(["--date", date] if date else []),
    ]  # fmt: skip
    run(command, root)


def build_twice(package: Package, folder: Path) -> list[Path]:
    """Build sdist and wheel into *folder*, and again elsewhere; returns the files.

    Raises :class:`ReleaseError` when the two builds differ in a byte.
    """
    # The same for both, and for whoever builds it again: the date of the last commit.
    epoch = os.environ.get("SOURCE_DATE_EPOCH") or date_of_commit(package.folder)
    environment = {**os.environ, "SOURCE_DATE_EPOCH": epoch}
    with tempfile.TemporaryDirectory() as elsewhere:
        for outdir in (folder, Path(elsewhere)):
            command = [sys.executable, "-m", "build", "--outdir", str(outdir), str(package.folder)]
            run(command, package.folder, environment)
        files = sorted(folder.iterdir())
        check_same(files, sorted(Path(elsewhere).iterdir()))
    return files


def date_of_commit(folder: Path) -> str:
    """When the last commit was made, in seconds since the epoch; 0 where git doesn't tell."""
    command = ["git", "log", "-1", "--format=%ct"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "0"


def check_same(files: list[Path], again: list[Path]) -> None:
    """Raise :class:`ReleaseError` unless both builds gave the same files."""
    names = [path.name for path in files]
    if names != [path.name for path in again]:
        msg = f"two builds gave {names} and {[path.name for path in again]}"
        raise ReleaseError(msg)
    differing = [
        one.name for one, other in zip(files, again, strict=True)
        if not filecmp.cmp(one, other, shallow=False)
    ]  # fmt: skip
    if differing:
        msg = f"two builds of the same sources differ: {', '.join(differing)}"
        raise ReleaseError(msg)


def run(command: list[str], folder: Path, environment: dict[str, str] | None = None) -> None:
    """Run *command* in *folder*; raises :class:`ReleaseError` with its output when it fails."""
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        msg = f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}"
        raise ReleaseError(msg)


def find(name: str, packages: list[Package]) -> Package:
    """The package in the folder *name*, or of that name."""
    for package in packages:
        if name in {package.folder.name, package.name}:
            return package
    msg = f"no package is called {name!r}; there are {', '.join(p.folder.name for p in packages)}"
    raise ReleaseError(msg)


def release(root: Path, name: str, date: str | None, version: str | None) -> list[str]:
    """Prepare the release of the package *name*; returns the lines to print."""
    packages = read_packages(root)
    package = find(name, packages)
    kinds = kinds_of_fragments(package)
    chosen = Version(version) if version else next_version(package, kinds)
    check_ranges(package.name, chosen, packages)
    write_version(package, chosen)
    build_changelog(root, package, chosen, date)
    folder = root / "dist" / f"{package.name}-{chosen}"
    folder.mkdir(parents=True)
    files = build_twice(package, folder)
    run([sys.executable, "-m", "twine", "check", "--strict", *map(str, files)], root)
    return [
        f"{package.name} {chosen} is built, twice to the same bytes:",
        *(f"  {hashlib.sha256(path.read_bytes()).hexdigest()}  {path}" for path in files),
        "Look at the changes, then:",
        f"  git commit -m 'Release {package.name} {chosen}' -- {package.folder.relative_to(root)}",
        f"  git tag {package.name}-{chosen}",
        f"  twine upload {folder.relative_to(root)}/*",
    ]


def main() -> None:
    """Prepare a release, or say why it can't be."""
    parser = argparse.ArgumentParser(description="Prepare the release of one package.")
    parser.add_argument("package", help="the folder in packages/, such as core")
    parser.add_argument("--version", help="instead of the one that follows from the fragments")
    parser.add_argument("--date", help="of the release, in the changelog (default: today)")
    parser.add_argument("--root", type=Path, default=ROOT, help="of another copy of the repository")
    given = parser.parse_args()
    try:
        lines = release(given.root.resolve(), given.package, given.date, given.version)
    except ReleaseError as error:
        sys.exit(f"release: {error}")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
