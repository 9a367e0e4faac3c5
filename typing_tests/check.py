"""Check what four type checkers accept and refuse of programs that use netserve.

Run with the interpreter of an environment that has netserve's wheels and the
checkers installed; ``nox -s typing`` makes one. The programs are copied away
from the repository first, so that each checker sees what a user's would: the
installed packages and the settings in ``checkers/``, not the sources.

* ``passing/``: no checker reports anything.
* ``mistakes/``: each checker reports an error on each marked line, with the key
  words of the mark, and none elsewhere. A mark is a comment in the line before::

      # E name-of-the-mistake: key word; another
      # E name-of-the-mistake (ty): what ty says instead

* ``misses.json``: the mistakes that a checker misses, each with a remark. One
  that isn't listed fails, and so does a listed one that is caught after all.
  Each is named in ``docs/typing_limits.rst`` too.
* ``pyright --verifytypes`` finds every public type of every package known.
"""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
LIMITS = HERE.parent / "docs" / "typing_limits.rst"
SCRIPTS = Path(sysconfig.get_path("scripts"))
MODULES = [
    f"netserve.{leaf}"
    for leaf in [
        "core",
        "transports",
        "concurrency",
        "handlers",
        "testing",
        "socketserver",
        "servers",
        "metrics",
        "cli",
    ]
]

MARK = re.compile(r"\s*# E (?P<name>[\w-]+)(?: \((?P<checker>\w+)\))?: (?P<words>.+)")
DOCUMENTED = re.compile(r"^\* ``(?P<name>[\w-]+)`` \((?P<checkers>[\w, ]+)\):", re.MULTILINE)


class Problem(NamedTuple):
    """What a checker reports about a line of a program."""

    program: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.program}:{self.line}: {self.message}"


class Mistake(NamedTuple):
    """A marked line, with the key words for each checker; those under "" are for the rest."""

    name: str
    program: str
    line: int
    words: dict[str, list[str]]

    @property
    def is_limit(self) -> bool:
        """Whether it is none at run time, but an error because of typeshed."""
        return self.program == "mistakes/limits.py"

    def is_told_by(self, problem: Problem, checker: str) -> bool:
        """Whether *problem* of *checker* is this mistake's error."""
        words = self.words.get(checker) or self.words[""]
        return (problem.program, problem.line) == (self.program, self.line) and all(
            word in problem.message for word in words
        )


class Tally:
    """The checks so far; each that failed is printed at once."""

    def __init__(self) -> None:
        self.passed = 0
        self.failed = 0

    def add(self, good: bool, complaint: str) -> None:
        """Count a check that is *good*, or else print its *complaint*."""
        if good:
            self.passed += 1
        else:
            self.failed += 1
            print(f"FAILED {complaint}")


def run(*command: str) -> str:
    """The standard output of a tool that is installed beside this interpreter.

    The exit status only says whether something was found, which the output
    says better; a tool that fails otherwise leaves output that can't be read.
    """
    tool, *arguments = command
    # Nothing but the installed packages is to be found, and pyright takes the
    # environment whose python comes first.
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in {"MYPYPATH", "PYTHONPATH", "VIRTUAL_ENV"}
    }
    environment["PATH"] = os.pathsep.join([str(SCRIPTS), environment.get("PATH", os.defpath)])
    answer = subprocess.run(
        [SCRIPTS / tool, *arguments], capture_output=True, text=True, check=False, env=environment
    )
    if not answer.stdout.strip() and answer.returncode:
        raise SystemExit(f"{' '.join(command)} failed: {answer.stderr}")
    return answer.stdout


def mypy() -> Iterator[Problem]:
    """What mypy reports."""
    output = run(
        "mypy", "--config-file", "mypy.ini", "--python-executable", sys.executable,
        "--output", "json", "passing", "mistakes",
    )  # fmt: skip
    for line in output.splitlines():
        found = json.loads(line)
        # Notes explain the error that they follow.
        if found["severity"] == "error":
            message = f"{found['message']} {found['hint'] or ''}"
            yield Problem(Path(found["file"]).as_posix(), found["line"], message)


def pyright() -> Iterator[Problem]:
    """What pyright reports."""
    output = json.loads(run("pyright", "--pythonpath", sys.executable, "--outputjson"))
    for found in output["generalDiagnostics"]:
        program = Path(found["file"]).resolve().relative_to(Path.cwd().resolve())
        line = found["range"]["start"]["line"] + 1
        yield Problem(program.as_posix(), line, found["message"])


def ty() -> Iterator[Problem]:
    """What ty reports."""
    output = run(
        "ty", "check", "--config-file", "ty.toml", "--python", sys.prefix,
        "--output-format", "gitlab", "passing", "mistakes",
    )  # fmt: skip
    for found in json.loads(output):
        location = found["location"]
        program = Path(location["path"]).as_posix()
        yield Problem(program, location["positions"]["begin"]["line"], found["description"])


def pyrefly() -> Iterator[Problem]:
    """What pyrefly reports."""
    output = run(
        "pyrefly", "check", "--config", "pyrefly.toml",
        "--python-interpreter-path", sys.executable, "--output-format", "json",
    )  # fmt: skip
    for found in json.loads(output)["errors"]:
        yield Problem(Path(found["path"]).as_posix(), found["line"], found["description"])


CHECKERS: dict[str, Callable[[], Iterator[Problem]]] = {
    "mypy": mypy,
    "pyright": pyright,
    "ty": ty,
    "pyrefly": pyrefly,
}


def programs(folder: str) -> list[str]:
    """The programs in *folder*."""
    return sorted(f"{folder}/{path.name}" for path in (HERE / folder).glob("*.py"))


def catalogue() -> list[Mistake]:
    """The marked mistakes, in the order of their programs and lines."""
    found: dict[str, Mistake] = {}
    for program in programs("mistakes"):
        names: list[str] = []
        for number, line in enumerate((HERE / program).read_text("utf-8").splitlines(), 1):
            mark = MARK.fullmatch(line)
            if mark is None:
                names.clear()
                continue
            # The mistake is in the line after the last of its marks.
            words = {} if mark["name"] not in names else found[mark["name"]].words
            if mark["name"] in found and not words:
                raise SystemExit(f"{program}:{number}: {mark['name']} is the name of another")
            names.append(mark["name"])
            words[mark["checker"] or ""] = mark["words"].split("; ")
            found[mark["name"]] = Mistake(mark["name"], program, number + 1, words)
    return list(found.values())


def check_environment(tally: Tally) -> None:
    """Check that the packages come from the installed wheels, not from the sources."""
    installed = Path(sysconfig.get_path("purelib")).resolve()
    for module in MODULES:
        spec = importlib.util.find_spec(module)
        origin = spec.origin if spec else None
        found = origin is not None and Path(origin).resolve().is_relative_to(installed)
        tally.add(found, f"{module} is not installed from a wheel, it is {origin}")


def check_programs(
    tally: Tally, checker: str, problems: list[Problem], mistakes: list[Mistake], missed: set[str]
) -> tuple[str, ...]:
    """Check the *problems* of one *checker*; returns its cells of the table."""
    clean = 0
    for program in programs("passing"):
        complaints = [str(problem) for problem in problems if problem.program == program]
        tally.add(not complaints, f"{checker}: {program} must pass\n  " + "\n  ".join(complaints))
        clean += not complaints
    caught: dict[bool, int] = {True: 0, False: 0}
    for mistake in mistakes:
        where = f"{checker}: {mistake.program}:{mistake.line} {mistake.name}"
        here = [problem for problem in problems if problem[:2] == mistake[1:3]]
        is_caught = any(mistake.is_told_by(problem, checker) for problem in here)
        caught[mistake.is_limit] += is_caught
        if mistake.name in missed:
            tally.add(not here, f"{where} is listed as missed, but is caught")
        else:
            says = "\n  ".join(problem.message for problem in here) or "says nothing"
            tally.add(is_caught, f"{where} isn't told with its key words\n  {says}")
    limits = sum(mistake.is_limit for mistake in mistakes)
    marked = {mistake[1:3] for mistake in mistakes}
    for program in programs("mistakes"):
        others = [
            str(problem)
            for problem in problems
            if problem.program == program and problem[:2] not in marked
        ]
        tally.add(not others, f"{checker}: errors in unmarked lines\n  " + "\n  ".join(others))
    return (
        f"{clean} of {len(programs('passing'))}",
        f"{caught[False]} of {len(mistakes) - limits}",
        f"{caught[True]} of {limits}",
        ", ".join(sorted(missed)) or "-",
    )


def check_limits(tally: Tally, misses: dict[str, dict[str, str]], mistakes: list[Mistake]) -> None:
    """Check that the docs name each miss with its checker, and no others."""
    listed = {(name, checker) for checker, names in misses.items() for name in names}
    documented = {
        (item["name"], checker)
        for item in DOCUMENTED.finditer(LIMITS.read_text("utf-8"))
        for checker in item["checkers"].split(", ")
    }
    for name, checker in sorted(listed | documented):
        what = f"{name} as missed by {checker}"
        tally.add((name, checker) in documented, f"{LIMITS.name} doesn't list {what}")
        tally.add((name, checker) in listed, f"misses.json doesn't list {what}")
    unknown = {name for name, _ in listed} - {mistake.name for mistake in mistakes}
    tally.add(not unknown, f"misses.json names no mistakes: {sorted(unknown)}")


def check_completeness(tally: Tally, module: str) -> str:
    """Check that every public type of *module* is known; returns its cell of the table."""
    output: dict[str, Any] = json.loads(
        run("pyright", "--outputjson", "--verifytypes", module, "--ignoreexternal")
    )
    report = output["typeCompleteness"]
    score = report["completenessScore"]
    vague = [symbol["name"] for symbol in report["symbols"] if not symbol["isTypeKnown"]]
    # A package without symbols has nothing unknown either.
    complete = score == 1 and report["exportedSymbolCounts"]["withKnownType"] > 0
    tally.add(complete, f"{module}: types known of {score:.1%}, not of {', '.join(vague)}")
    return f"{score:.1%}"


def print_table(rows: list[tuple[str, ...]]) -> None:
    """Print *rows*, the first of which is the heading, in columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())


def main() -> int:
    """Check everything; returns the exit status."""
    tally = Tally()
    mistakes = catalogue()
    misses: dict[str, dict[str, str]] = json.loads((HERE / "misses.json").read_text("utf-8"))
    check_environment(tally)
    check_limits(tally, misses, mistakes)
    table: list[tuple[str, ...]] = [
        ("checker", "passing programs", "mistakes caught", "typeshed's limits", "misses")
    ]
    # nox sets this to a folder inside the repository, whose settings and ignored
    # files are not to matter.
    os.environ.pop("TMPDIR", None)
    with tempfile.TemporaryDirectory() as away:
        for folder in ("passing", "mistakes"):
            shutil.copytree(HERE / folder, Path(away, folder))
        shutil.copytree(HERE / "checkers", away, dirs_exist_ok=True)
        os.chdir(away)
        for checker, ask in CHECKERS.items():
            missed = set(misses.get(checker, {}))
            cells = check_programs(tally, checker, list(ask()), mistakes, missed)
            table.append((checker, *cells))
        completeness = [(module, check_completeness(tally, module)) for module in MODULES]
        os.chdir(HERE)
    print_table(table)
    print()
    print_table([("package", "public types known"), *completeness])
    print()
    print(f"{tally.passed} passed, {tally.failed} failed")
    return 1 if tally.failed else 0


if __name__ == "__main__":
    sys.exit(main())
