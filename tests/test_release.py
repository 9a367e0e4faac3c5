"""The tools of a release: what they decide, and what they do to a copy of a repository."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

pytest.importorskip("towncrier", reason="needs towncrier")
pytest.importorskip("packaging", reason="needs packaging")

from packaging.requirements import Requirement
from packaging.version import Version

from tools import install_orders, minimums, release
from tools.packages import Package, read_packages

ROOT = Path(__file__).parent.parent

Make = Callable[..., Package]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A function that makes a package in a repository of its own."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)

    def begin(
        name: str = "core",
        *,
        version: str = "0.1.0",
        requires: tuple[str, ...] = (),
        fragments: tuple[str, ...] = (),
        released: bool = True,
    ) -> Package:
        folder = tmp_path / "packages" / name
        (folder / "changelog.d").mkdir(parents=True)
        (folder / "pyproject.toml").write_text(
            f'[project]\nname = "netserve-{name}"\nversion = "{version}"\n'
            f'requires-python = ">=3.10"\ndependencies = {list(requires)!r}\n'
        )
        for number, kind in enumerate(fragments):
            path = folder / "changelog.d" / f"change{number}.{kind}.md"
            path.write_text(f"Something was {kind}.\n")
        past = f"\n## {version} (2026-01-01)\n" if released else ""
        (folder / "CHANGELOG.md").write_text(f"# Changes\n\n{release._START}\n{past}")
        return Package(folder)

    return begin


@pytest.mark.parametrize(
    ("kinds", "released", "expected"),
    [
        (["fixed"], True, "0.1.1"),
        (["fixed", "added"], True, "0.1.1"),
        (["fixed", "changed"], True, "0.2.0"),
        (["removed"], True, "0.2.0"),
        (["added", "removed"], False, "0.1.0"),
    ],
)
def test_the_next_version(make: Make, kinds: list[str], released: bool, expected: str) -> None:
    """What may break a program is a minor version; the first release has the version that is."""
    package = make(released=released, fragments=tuple(kinds))
    assert release.kinds_of_fragments(package) == kinds
    assert release.next_version(package, kinds) == Version(expected)


def test_without_fragments_there_is_nothing_to_release(make: Make) -> None:
    """It says so."""
    with pytest.raises(release.ReleaseError, match="netserve-core has no fragments"):
        release.next_version(make(), [])


def test_others_must_allow_the_version(make: Make) -> None:
    """The capped ranges of siblings hold, or it is said what to make of them."""
    make("core")
    make("handlers", requires=("netserve-core>=0.1,<0.2", "typing-extensions>=4.12"))
    packages = read_packages(make("transports").folder.parent.parent)
    assert [package.name for package in packages] == [
        "netserve-core", "netserve-handlers", "netserve-transports",
    ]  # fmt: skip
    release.check_ranges("netserve-core", Version("0.1.7"), packages)
    with pytest.raises(
        release.ReleaseError, match=r"netserve-handlers requires netserve-core.* >=0\.2,<0\.3 there"
    ):
        release.check_ranges("netserve-core", Version("0.2.0"), packages)


def test_the_version_and_the_changelog_are_written(make: Make, tmp_path: Path) -> None:
    """The fragments are gone, and their text stands under the version."""
    package = make(fragments=("fixed", "added"))
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    release.write_version(package, Version("0.1.1"))
    release.build_changelog(tmp_path, package, Version("0.1.1"), "2026-02-03")
    assert Package(package.folder).version == Version("0.1.1")
    text = (package.folder / "CHANGELOG.md").read_text("utf-8")
    assert text.index("## 0.1.1 (2026-02-03)") < text.index("Something was fixed")
    assert text.index("Something was added") < text.index("## 0.1.0 (2026-01-01)")
    assert release.kinds_of_fragments(package) == []


def test_a_version_that_is_not_there(make: Make) -> None:
    """Nothing is guessed."""
    package = make()
    package.settings.write_text("[project]\n")
    with pytest.raises(release.ReleaseError, match="0 lines with a version"):
        release.write_version(package, Version("1.0.0"))


def test_builds_are_compared(tmp_path: Path) -> None:
    """By name, and byte by byte."""
    for name, text in [("a/x", "1"), ("b/x", "1"), ("c/x", "2"), ("d/y", "1")]:
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)
    files = {name: sorted((tmp_path / name).iterdir()) for name in "abcd"}
    release.check_same(files["a"], files["b"])
    with pytest.raises(release.ReleaseError, match="same sources differ: x"):
        release.check_same(files["a"], files["c"])
    with pytest.raises(release.ReleaseError, match="two builds gave"):
        release.check_same(files["a"], files["d"])


def test_a_command_that_fails_tells_its_output(tmp_path: Path) -> None:
    """Not only that it has failed."""
    with pytest.raises(release.ReleaseError, match="what was wrong"):
        release.run([sys.executable, "-c", "exit('what was wrong')"], tmp_path)


def test_a_package_is_found_by_folder_and_name(make: Make) -> None:
    """Another name is answered with those there are."""
    package = make()
    assert release.find("core", [package]) is release.find("netserve-core", [package])
    with pytest.raises(release.ReleaseError, match="'cores'; there are core"):
        release.find("cores", [package])


def test_the_program_says_what_is_wrong(make: Make, tmp_path: Path) -> None:
    """In one line, and with an exit status."""
    make()
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "release.py", "core", "--root", tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("release: netserve-core has no fragments")


@pytest.mark.skipif(find_spec("twine") is None, reason="nox -s installs has what it needs")
@pytest.mark.timeout(300)
def test_a_copy_is_released(tmp_path: Path) -> None:
    """Its files are there, and what to do next is printed; the repository is as it was."""
    copy = tmp_path / "copy"
    ignored = shutil.ignore_patterns(".*", "dist", "docs", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, copy, ignore=ignored)
    subprocess.run(["git", "init", "-q", copy], check=True)
    before = Package(ROOT / "packages" / "core").version
    done = subprocess.run(
        [sys.executable, copy / "tools" / "release.py", "core", "--version", "0.1.99"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "git tag netserve-core-0.1.99" in done.stdout
    built = {path.name for path in (copy / "dist" / "netserve-core-0.1.99").iterdir()}
    assert built == {
        "netserve_core-0.1.99-py3-none-any.whl", "netserve_core-0.1.99.tar.gz",
    }  # fmt: skip
    assert release.was_released(Package(copy / "packages" / "core"))
    assert Package(ROOT / "packages" / "core").version == before


def test_every_package_could_be_released() -> None:
    """The ranges of this repository allow the versions that come next."""
    packages = read_packages()
    for package in packages:
        kinds = release.kinds_of_fragments(package)
        if kinds:
            version = release.next_version(package, kinds)
            release.check_ranges(package.name, version, packages)


def test_the_lowest_versions() -> None:
    """Of each requirement; one without a bound, or with two, is a mistake."""
    wanted = ["netserve-core>=0.1,<0.2", "click>=8.1", "pytest>=8,<9", "click>=8.1"]
    assert minimums.constraints(map(Requirement, wanted)) == ["click==8.1", "pytest==8"]
    with pytest.raises(ValueError, match="doesn't say from which version on"):
        minimums.lowest(Requirement("click"))
    with pytest.raises(ValueError, match="differ in the lowest version of click"):
        minimums.constraints([Requirement("click>=8"), Requirement("click>=7")])


def test_every_requirement_has_a_lowest_version() -> None:
    """In this repository."""
    requirements = [each for package in read_packages() for each in package.requirements]
    assert "typing-extensions==4.12" in minimums.constraints(requirements)


def test_the_orders_to_install_in() -> None:
    """Every pair both ways, and all."""
    found = install_orders.orders(["b", "a", "c"])
    assert len(found) == 6 + 2
    assert {("a", "b"), ("b", "a"), ("a", "b", "c"), ("c", "b", "a")} <= set(found)


def test_what_a_package_requires_by_another(make: Make) -> None:
    """It mustn't be removed under it."""
    packages = {
        package.name: package
        for package in [
            make("core"),
            make("handlers", requires=("netserve-core>=0.1,<0.2", "click>=8")),
            make("all", requires=("netserve-handlers>=0.1,<0.2",)),
        ]
    }
    assert install_orders.requires(packages["netserve-all"], "netserve-core", packages)
    assert not install_orders.requires(packages["netserve-core"], "netserve-all", packages)


def test_no_file_belongs_to_two_packages() -> None:
    """So that none overwrites another's, whatever the order."""
    files = {
        package.name: {
            str(path.relative_to(package.folder / "src"))
            for path in (package.folder / "src").rglob("*.py")
        }
        for package in read_packages()
    }
    assert all(files.values())
    assert install_orders.overlaps(files) == []
    assert install_orders.overlaps({"a": {"x", "y"}, "b": {"y"}}) == ["y (a, b)"]
