"""The tasks of a contributor, each a session; ``nox -l`` lists them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nox
from nox.command import CommandFailed

nox.needs_version = ">=2024.4.15"
nox.options.default_venv_backend = "virtualenv"
nox.options.sessions = ["lint", "tests", "typing", "packages", "conformance", "docs"]

ROOT = Path(__file__).parent
PACKAGES = ["core", "transports", "concurrency", "handlers", "testing", "netserve"]
INTERPRETERS = ["3.10", "3.11", "3.12", "3.13"]
# Exact, because a newer one may word its messages in another way, or find more.
CHECKERS = ["mypy==2.4.1", "pyright==1.1.414", "ty==0.0.105", "pyrefly==1.4.1"]
TEST_TOOLS = [
    "pytest>=8",
    "pytest-timeout",
    "pytest-xdist",
    "hypothesis",
    "trustme",
    "typing-extensions>=4.12",
    "packaging",  # with the next, for the tests of tools/release.py
    "towncrier",
    # Where it can't be had, its tests are skipped; CPython alone says where it can.
    "uvloop; sys_platform != 'win32' and platform_python_implementation == 'CPython'",
]
PARALLEL = ["-n", "auto"]  # as many at a time as there are cores
PEERS = ["uvloop", "gevent", "twisted", "tornado", "trio", "anyio", "easynetwork"]
PROGRAMS = ["django", "dnslib", "prometheus-client", "werkzeug"]  # run by tests/test_programs.py
CLUSTER = "distributed"  # Dask's, for tests/test_dask_executor.py


def declared(package: str) -> dict[str, Any]:
    """The table ``project`` of *package*'s pyproject.toml."""
    table: dict[str, Any] = nox.project.load_toml(ROOT / "packages" / package / "pyproject.toml")
    return dict(table["project"])


def siblings(package: str) -> list[str]:
    """The packages of this repository that *package* declares as requirements."""
    names = [requirement.split(">")[0] for requirement in declared(package)["dependencies"]]
    return [name for name in PACKAGES if f"netserve-{name}" in names]


def extras(package: str) -> list[str]:
    """What *package* can make use of if it is there."""
    optional = declared(package).get("optional-dependencies", {})
    return [requirement for group in optional.values() for requirement in group]


def install_from_source(session: nox.Session) -> None:
    """Install every package in place, with what it can make use of."""
    for name in PACKAGES:
        session.install("--editable", str(ROOT / "packages" / name), *extras(name))


def build(session: nox.Session, folder: Path, *packages: str) -> list[str]:
    """Build the sdist, and from it the wheel, of *packages*; return the wheels' paths."""
    shutil.rmtree(folder, ignore_errors=True)
    session.install("build")
    for name in packages:
        source = ROOT / "packages" / name
        backend = nox.project.load_toml(source / "pyproject.toml")["build-system"]["requires"]
        session.install(*backend)
        # Without an environment of its own, which would take longer than to build.
        session.run("python", "-m", "build", "--no-isolation", "--outdir", str(folder), str(source))
    return sorted(map(str, folder.glob("*.whl")))


def interpreter(version: str) -> str | None:
    """The command of the CPython *version* on this machine, or None if it has none."""
    command = shutil.which(f"python{version}")
    if command is None:
        return None
    answer = subprocess.run([command, "-c", ""], capture_output=True, check=False)
    return command if answer.returncode == 0 else None


@nox.session
def lint(session: nox.Session) -> None:
    """Check format, style and types of everything in the repository."""
    install_from_source(session)
    session.install("ruff==0.17.6", "nox", *CHECKERS, *TEST_TOOLS)
    session.run("ruff", "format", "--check")
    session.run("ruff", "check")
    session.run(
        "mypy",
        *(f"packages/{name}/src" for name in PACKAGES),
        "noxfile.py",
        "examples",
        "benchmarks",
        "tools",
        "typing_tests/check.py",
    )
    session.run("pyright")


@nox.session
def tests(session: nox.Session) -> None:
    """Run all tests on this interpreter, with the coverage of branches held at 99.8 %."""
    install_from_source(session)
    session.install("coverage", *TEST_TOOLS, *PROGRAMS, CLUSTER)
    session.run("coverage", "erase")
    pytest = ["coverage", "run", "-m", "pytest", *session.posargs]
    try:
        session.run(*pytest, *PARALLEL)
    except CommandFailed:
        if "CI" not in os.environ:
            raise
        # There nobody sees whether the machine was busy: what failed has to fail alone, too.
        session.run(*pytest, "--last-failed", "--last-failed-no-failures", "none")
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report")


@nox.session(python=INTERPRETERS)
def interpreters(session: nox.Session) -> None:
    """Run all tests on every supported interpreter that this machine has."""
    install_from_source(session)
    session.install(*TEST_TOOLS, *PROGRAMS, CLUSTER)
    session.run("pytest", *PARALLEL, *session.posargs)


@nox.session
@nox.parametrize("package", PACKAGES)
def packages(session: nox.Session, package: str) -> None:
    """Build a package and its siblings, install it alone, then test and type-check it there."""
    folder = Path(session.create_tmp()).resolve() / "dist"
    wheels = build(session, folder, package, *siblings(package))
    session.install("twine")
    session.run("twine", "check", "--strict", *map(str, folder.iterdir()))
    session.run("python", "-m", "venv", "--clear", str(folder / "alone"))
    python = str(folder / "alone" / "bin" / "python")
    session.run(python, "-m", "pip", "install", "-q", *wheels, external=True)
    session.run(python, "-m", "pip", "check", external=True)
    session.run(
        python, "-m", "pip", "install", "-q", CHECKERS[0], "pytest", "pytest-timeout",
        "pytest-xdist", "hypothesis", "trustme", *extras(package),
        external=True,
    )  # fmt: skip
    session.run(python, "-m", "pytest", *PARALLEL, f"packages/{package}/tests", external=True)
    modules = sorted(
        f"netserve.{leaf.parent.name}"
        for leaf in (ROOT / "packages" / package / "src" / "netserve").glob("*/py.typed")
    )
    # Away from the sources, so that what is checked is what is installed.
    with session.chdir(session.create_tmp()):
        for module in modules:
            session.run(python, "-m", "mypy", "--strict", "-p", module, external=True)


@nox.session
def installs(session: nox.Session) -> None:
    """Release a copy; install the built files of all packages in every order that could matter."""
    folder = Path(session.create_tmp()).resolve() / "dist"
    session.install("twine", *TEST_TOOLS)
    build(session, folder, *PACKAGES)
    session.run("pytest", "tests/test_release.py")
    session.run("python", "tools/install_orders.py", str(folder))


@nox.session(python=INTERPRETERS[0])
def minimums(session: nox.Session) -> None:
    """Run the packages' tests with the lowest versions they support, on the oldest interpreter."""
    session.install("packaging", "tomli")
    lines = session.run("python", "tools/minimums.py", silent=True) or ""
    constraints = Path(session.create_tmp()).resolve() / "constraints.txt"
    constraints.write_text(lines)
    for name in PACKAGES:
        folder = str(ROOT / "packages" / name)
        session.install("--constraint", str(constraints), "--editable", folder, *extras(name))
    session.install("--constraint", str(constraints), "pytest-timeout", "hypothesis", "trustme")
    session.run("python", "-m", "pip", "check")
    session.run("pytest", *(session.posargs or ["packages"]))


@nox.session
def typing(session: nox.Session) -> None:
    """Check what four type checkers accept and refuse, against the built wheels."""
    wheels = build(session, Path(session.create_tmp()) / "dist", *PACKAGES)
    session.install("--force-reinstall", *wheels)
    session.install(*CHECKERS, *(extra for name in PACKAGES for extra in extras(name)))
    session.run("python", "typing_tests/check.py", *session.posargs)


@nox.session
def conformance(session: nox.Session) -> None:
    """Run CPython's own tests with netserve in place of socketserver; -- --all for every one."""
    for version in INTERPRETERS:
        command = interpreter(version)
        if command is None:
            session.log(f"skipped: there is no CPython {version} on this machine")
            continue
        # One interpreter is enough for the slow modules, unless somebody asks for more.
        everything = version == f"{sys.version_info[0]}.{sys.version_info[1]}"
        arguments = session.posargs or (["--all"] if everything else ["--quick"])
        session.run(command, "tests/conformance/run.py", *arguments, external=True)


@nox.session
def faults(session: nox.Session) -> None:
    """Put servers through faults and attacks, and write what was seen to docs/faults.csv."""
    install_from_source(session)
    session.install(*TEST_TOOLS)
    table = ROOT / "docs" / "faults.csv"
    if not session.posargs:
        table.unlink(missing_ok=True)
    checks = "tests/faults/test_table.py"
    session.run(
        "pytest", "tests/faults", "--ignore", checks, "--results", str(table), *session.posargs
    )
    # Not before the table is written.
    session.run("pytest", checks)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation without a warning, and run the code in it."""
    install_from_source(session)
    session.install("-r", "docs/requirements.txt", *TEST_TOOLS)
    session.run("sphinx-build", "-W", "-n", "-b", "html", "docs", "docs/_build/html")
    session.run("pytest", "docs")


@nox.session
def mutation(session: nox.Session) -> None:
    """Put single faults into the four packages and list those that no test finds."""
    install_from_source(session)
    session.install("cosmic-ray", *TEST_TOOLS)
    session.run("python", "tests/mutation/run.py", *session.posargs)


@nox.session
def soak(session: nox.Session) -> None:
    """Keep servers under load for minutes: nothing may grow; and hold 10,000 connections."""
    install_from_source(session)
    session.install("pytest>=8", "pytest-timeout")
    session.run("pytest", "-s", "tests/soak/soak_servers.py", *session.posargs)


@nox.session
def container(session: nox.Session) -> None:
    """Build the container recipe of the deployment guide, and run it; as root."""
    session.install("pytest>=8", "pytest-timeout")
    session.run("pytest", "tests/container/build_recipe.py", *session.posargs)


@nox.session
def benchmarks(session: nox.Session) -> None:
    """Compare the servers with those of other frameworks; -- --quick for what says most."""
    install_from_source(session)
    # Not all of TEST_TOOLS: trio's plugin for hypothesis warns, which is an error here.
    session.install("pytest>=8", "pytest-timeout")
    for peer in PEERS:
        # One that can't be had here is absent from the table, which says so.
        session.run("python", "-m", "pip", "install", "-q", peer, success_codes=[0, 1])
    session.run("python", "-m", "pytest", "-q", "benchmarks/tests")
    session.run("python", "-m", "benchmarks.run", *session.posargs)


@nox.session
def release(session: nox.Session) -> None:
    """Prepare the release of a package: -- PACKAGE; nothing is committed, tagged or sent."""
    session.install("build", "packaging", "towncrier", "twine")
    session.run("python", "tools/release.py", *session.posargs)


if __name__ == "__main__":
    nox.main()
