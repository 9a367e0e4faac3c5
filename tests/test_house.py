"""The rules of the house: what a package is, what it may import, and what it exports."""

import ast
import importlib
import inspect
import itertools
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli", reason="needs a reader of TOML")

ROOT = Path(__file__).parent.parent
LEAVES = {
    "core": ["core"],
    "transports": ["transports"],
    "concurrency": ["concurrency"],
    "handlers": ["handlers"],
    "testing": ["testing"],
    "netserve": ["cli", "metrics", "servers", "socketserver"],
}
MODULES = [f"netserve.{leaf}" for leaves in LEAVES.values() for leaf in leaves]

EXTRAS = {"netserve": {"metrics", "reload"}, "concurrency": {"uvloop"}}

# What each package may import of the others.
MAY_IMPORT = {
    "netserve.core": set[str](),
    "netserve.transports": {"netserve.core"},
    "netserve.concurrency": {"netserve.core"},
    "netserve.handlers": {"netserve.core"},
    "netserve.testing": {"netserve.core"},
}

# What each requires besides its siblings.
REQUIRES = {
    "netserve": {"click", "python-json-logger", "rich", "tomli"},
    "testing": {"pytest", "typing-extensions"},
}


def folder_of(module: str) -> Path:
    """The folder of a leaf package's sources."""
    leaf = module.partition(".")[2]
    (package,) = (name for name, leaves in LEAVES.items() if leaf in leaves)
    return ROOT / "packages" / package / "src" / "netserve" / leaf


def imports(source: Path, module: str) -> Iterator[str]:
    """The modules that a source file of the leaf package *module* imports, wherever in it."""
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level < 2, f"{source} imports from above its package"
            origin = module if node.level else node.module or ""
            # ``from netserve import core`` imports netserve.core.
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def project(package: str) -> dict[str, Any]:
    """The table ``project`` of a package's pyproject.toml."""
    text = (ROOT / "packages" / package / "pyproject.toml").read_text()
    table: dict[str, Any] = tomllib.loads(text)["project"]
    return table


def loaded_after(statement: str) -> set[str]:
    """The modules of netserve that a fresh process has loaded after *statement*."""
    program = f"{statement}\nimport sys\nprint(*(m for m in sys.modules if 'netserve' in m))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return {".".join(name.split(".")[:2]) for name in done.stdout.split()} - {"netserve"}


def test_each_package_of_the_repository_is_known_here() -> None:
    """A new package has to be entered above, and so comes under these rules."""
    found = {path.parent.name for path in ROOT.glob("packages/*/pyproject.toml")}
    assert found == set(LEAVES)


def test_netserve_is_a_namespace() -> None:
    """An ``__init__.py`` would hide the leaves of every other distribution."""
    assert not list(ROOT.glob("packages/*/src/netserve/__init__.py*"))
    assert not list(ROOT.glob("packages/*/src/__init__.py*"))


@pytest.mark.parametrize("package", LEAVES)
def test_each_distribution_has_its_own_leaves(package: str) -> None:
    """Nothing but them lies in its part of the namespace, and each is typed."""
    source = ROOT / "packages" / package / "src"
    entries = {path.name for path in source.iterdir() if path.suffix != ".egg-info"}
    assert entries == {"netserve"}
    leaves = {path.name for path in (source / "netserve").iterdir()} - {"__pycache__"}
    assert leaves == set(LEAVES[package])
    for leaf in leaves:
        assert (source / "netserve" / leaf / "__init__.py").is_file()
        assert (source / "netserve" / leaf / "py.typed").is_file()


@pytest.mark.parametrize("module", MODULES)
def test_modules_are_private(module: str) -> None:
    """What a program may import is the package; the files in it may change."""
    sources = {path.name for path in folder_of(module).rglob("*.py")}
    assert {name for name in sources if not name.startswith("_")} == set()
    assert "__init__.py" in sources


@pytest.mark.parametrize("module", MAY_IMPORT)
def test_packages_import_core_and_not_each_other(module: str) -> None:
    """Read from the sources, so that an import inside a function counts too."""
    allowed = MAY_IMPORT[module] | {module}
    for source in folder_of(module).rglob("*.py"):
        ours = {name for name in imports(source, module) if name.split(".")[0] == "netserve"}
        found = {".".join(name.split(".")[:2]) for name in ours}
        assert found <= allowed, f"{source.name} imports {sorted(found - allowed)}"


@pytest.mark.parametrize("module", MAY_IMPORT)
def test_importing_a_package_loads_no_other_but_core(module: str) -> None:
    """Seen in a fresh process, whatever way the import takes."""
    assert loaded_after(f"import {module}") == MAY_IMPORT[module] | {module}


@pytest.mark.parametrize("package", LEAVES)
def test_requirements_are_siblings_and_few_others(package: str) -> None:
    """Most need typing-extensions alone; the command has libraries of its own."""
    requirements = project(package)["dependencies"]
    names = {re.split(r"[^\w-]", requirement)[0] for requirement in requirements}
    others = {name for name in names if not name.startswith("netserve")}
    assert others == REQUIRES.get(package, {"typing-extensions"})
    assert project(package).get("optional-dependencies", {}).keys() == EXTRAS.get(package, set())


@pytest.mark.parametrize("package", LEAVES)
def test_siblings_are_required_in_capped_ranges(package: str) -> None:
    """From the sibling's minor version of today up to the next one."""
    required = set()
    for requirement in project(package)["dependencies"]:
        if requirement.startswith("netserve"):
            said = re.fullmatch(r"netserve-(\w+)>=(\d+)\.(\d+),<(\d+)\.(\d+)", requirement)
            assert said, requirement
            sibling = said[1]
            lowest, limit = (int(said[2]), int(said[3])), (int(said[4]), int(said[5]))
            assert limit == (lowest[0], lowest[1] + 1), requirement
            assert tuple(map(int, project(sibling)["version"].split(".")[:2])) == lowest
            required.add(f"netserve.{sibling}")
    # Who runs a server needs nothing to test one.
    expected = MAY_IMPORT.get(f"netserve.{package}", set(MAY_IMPORT) - {"netserve.testing"})
    assert required == expected


@pytest.mark.parametrize("package", LEAVES)
def test_each_package_has_its_own_version_and_papers(package: str) -> None:
    """A version of three numbers in its own pyproject.toml, a README and the licence."""
    table = project(package)
    assert re.fullmatch(r"\d+\.\d+\.\d+", table["version"])
    assert table["name"] == ("netserve" if package == "netserve" else f"netserve-{package}")
    assert "dynamic" not in table
    folder = ROOT / "packages" / package
    assert (folder / table["readme"]).is_file()
    assert (folder / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()


def bound_names(module: str) -> set[str]:
    """The public names that a package's ``__init__`` binds, read from its source."""
    tree = ast.parse((folder_of(module) / "__init__.py").read_text())
    names = set[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(module + "."):
            names |= {alias.asname or alias.name for alias in node.names}
            if "*" in names:
                names = names - {"*"} | set(importlib.import_module(node.module or "").__all__)
    return {name for name in names if not name.startswith("_")}


@pytest.mark.parametrize("module", MODULES)
def test_all_is_what_is_exported(module: str) -> None:
    """``__all__`` names what the package takes from its private modules, each once."""
    package = importlib.import_module(module)
    exported = package.__all__
    assert len(exported) == len(set(exported))
    assert all(hasattr(package, name) for name in exported)
    if module != "netserve.socketserver":  # its star import gives CPython's names alone
        assert set(exported) == bound_names(module)
    else:
        handlers = set(importlib.import_module("netserve.handlers").__all__)
        additions = {"install", "uninstall"}
        assert set(exported) - handlers == bound_names(module) - additions - handlers


def documented_data(module: str) -> set[str]:
    """The names of variables in a package that a string literal follows, as Sphinx reads them."""
    names = set[str]()
    for source in folder_of(module).rglob("*.py"):
        body = ast.parse(source.read_text()).body
        for node, following in itertools.pairwise(body):
            documented = (
                isinstance(following, ast.Expr)
                and isinstance(following.value, ast.Constant)
                and isinstance(following.value.value, str)
            )
            if documented and isinstance(node, ast.AnnAssign | ast.Assign):
                targets = [node.target] if isinstance(node, ast.AnnAssign) else node.targets
                names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


@pytest.mark.parametrize("module", MODULES)
def test_every_exported_name_has_a_docstring(module: str) -> None:
    """Its own, not one that it inherits."""
    package = importlib.import_module(module)
    assert package.__doc__
    documented = documented_data(module)
    for name in package.__all__:
        value = getattr(package, name)
        if inspect.isclass(value) and value.__module__.startswith("netserve"):
            assert vars(value).get("__doc__"), name
        elif inspect.isfunction(value):
            assert value.__doc__, name
        elif callable(getattr(value, "main", None)):  # a command of click
            assert value.help, name
        else:
            assert name in documented, name


def repository_files() -> list[Path]:
    """The files that git knows, and those that it would take."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("not a checkout of git")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_no_file_knows_this_machine() -> None:
    """Neither the path of the checkout nor the address of a package registry stands anywhere."""
    # Every index of Python packages is a folder "simple"; put together here, so
    # that this file is no find. A checkout in a folder such as /code would be
    # found in many a text.
    forbidden = [
        re.escape(f"{ROOT}/").encode(),
        b"index" + b"-url",
        rb"https?://[^\s'\"]+/" + rb"simple\b",
    ]
    finds = [
        f"{path.relative_to(ROOT)}: {pattern.decode()}"
        for path in repository_files()
        for pattern in forbidden
        if re.search(pattern, path.read_bytes())
    ]
    assert finds == []
