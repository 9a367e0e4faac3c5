"""Runs CPython's own tests with ``netserve.socketserver`` in place of ``socketserver``.

    python3.12 tests/conformance/run.py [--quick | --all] [MODULE...]

The interpreter that runs it is the one tested; it needs no more than its standard
library with the ``test`` package (3.10 or later), and pip. Each of CPython's test
modules that reach ``socketserver`` is run twice: with the standard library's
module, and with ours. A test that passes with the first and not with the second
is run again on both sides, twice at most, and then fails the run, which says its
name and exits with 1. By default the modules are the quick ones; with ``--all``
they are all sixteen; and names, such as ``test.test_ssl``, choose others.

How ours gets in. The folder ``swap`` stands first in ``PYTHONPATH``, so that
child processes find it too; its ``socketserver.py`` chooses the module and counts
the servers that are built, on both sides. The run fails as well when ours weren't
built about as often as the standard library's. ``worker.py`` runs one module.

Where ``unshare`` can make a network namespace, each module has one of its own,
with a loopback interface and no other: nothing leaves the machine, and no two
modules compete for a port. Whether or not there is one, the tests that want the
Internet are left out.
"""

import argparse
import concurrent.futures
import dataclasses
import importlib.util
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCES = sorted(map(str, HERE.parents[1].glob("packages/*/src")))
SWAP = HERE / "swap"
STOCK, OURS = "socketserver", "netserve.socketserver"

QUICK = [
    "test.test_socketserver",
    "test.test_httpservers",
    "test.test_docxmlrpc",
    "test.test_wsgiref",
    "test.test_urllib2_localnet",
    "test.test_robotparser",
    "test.test_pydoc",
    "test.test_httplib",
    "test.test_asyncio.test_streams",
    "idlelib.idle_test.test_rpc",
]
SLOW = [
    "test.test_xmlrpc",
    "test.test_imaplib",
    "test.test_logging",
    "test.test_ssl",
    "test.test_asyncio.test_events",
    "test.test_asyncio.test_sock_lowlevel",
]
ALL = QUICK + SLOW

RERUNS = 2
TIME_LIMIT = 300  # seconds for a module
ENDED = "(the process ends)"
"""Stands among the tests that passed when their process has ended well."""


@dataclasses.dataclass(frozen=True)
class Side:
    """What a module's tests have come to on one side."""

    passed: frozenset[str]
    servers: int
    log: str

    @property
    def count(self) -> int:
        """How many tests have passed."""
        return len(self.passed - {ENDED})


def isolation() -> list[str]:
    """The command that runs another in a network of its own; empty if there is none."""
    for options in ("-n", "-rn"):
        command = ["unshare", options]
        if shutil.which("unshare") and not subprocess.call(
            [*command, "true"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ):
            return command
    return []


class Runner:
    """Runs modules on either side, with all that they leave behind in *folder*."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.isolation = isolation()
        self.requirements = folder / "lib"

    def install_requirements(self) -> None:
        """Fetch what the sources need on every interpreter, for this run alone."""
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "install", "-qq", "--disable-pip-version-check"),
                *("--target", str(self.requirements), "typing-extensions>=4.12"),
            ],
            check=True,
        )

    def run(self, target: str, module: str, chosen: frozenset[str] = frozenset()) -> Side:
        """Run *module*, or the tests *chosen* of it, with *target* as socketserver."""
        place = Path(tempfile.mkdtemp(dir=self.folder))
        (place / "work").mkdir()
        count, results, log = place / "count", place / "passed", place / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [
                    *(*self.isolation, sys.executable, str(HERE / "worker.py")),
                    *(module, str(results), *sorted(chosen)),
                ],
                cwd=place / "work",
                env=self.environment(target, place),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                ended = process.wait(TIME_LIMIT) == 0
            except subprocess.TimeoutExpired:
                ended = False
                # What it started as well: the session is its own.
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        passed = results.read_text().splitlines() if results.exists() else []
        return Side(
            frozenset(passed + [ENDED] * ended),
            count.stat().st_size if count.exists() else 0,
            log.read_text(errors="replace"),
        )

    def environment(self, target: str, place: Path) -> dict[str, str]:
        """The environment of a module's process."""
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("PYTHON")
        }
        environment |= {
            "PYTHONPATH": str(SWAP),
            "CONFORMANCE_TARGET": target,
            "CONFORMANCE_COUNT": str(place / "count"),
            "CONFORMANCE_PATH": os.pathsep.join([*SOURCES, str(self.requirements)]),
            "TMPDIR": str(place / "work"),
        }
        if self.isolation:
            environment["CONFORMANCE_ISOLATED"] = "1"
        return environment

    def again(self, module: str, stock: Side, ours: Side) -> tuple[Side, frozenset[str]]:
        """Run the tests of *module* again that passed with the stock module alone.

        That a test fails once, on a busy machine, is no proof; nor is it one
        if the test then fails with the stock module too. Returns *ours* with
        those that have passed after all, and the tests that fail.
        """
        suspects = stock.passed - ours.passed
        for _ in range(RERUNS):
            if not suspects:
                break
            print(f"{module}: running again {', '.join(sorted(suspects))}")
            # What keeps a process from its end may be any test.
            chosen = frozenset[str]() if ENDED in suspects else suspects
            second_stock, second_ours = (self.run(side, module, chosen) for side in (STOCK, OURS))
            passed = ours.passed | (suspects & second_ours.passed)
            ours = dataclasses.replace(ours, passed=passed, log=second_ours.log)
            suspects &= second_stock.passed - passed
        return ours, suspects


def compare(runner: Runner, modules: list[str]) -> int:
    """Run *modules* on both sides, print how they compare, and return how many tests fail."""
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        # The long ones first, so that none is left to run alone.
        futures = {
            (target, module): pool.submit(runner.run, target, module)
            for module in reversed(modules)
            for target in (STOCK, OURS)
        }
    sides = {key: future.result() for key, future in futures.items()}
    failures: list[str] = []
    rows: list[tuple[str, int, int, int]] = []
    for module in modules:
        stock, ours = sides[STOCK, module], sides[OURS, module]
        if not stock.count:
            print(stock.log)
            failures.append(f"{module}: no test passed with the standard library's module")
        ours, failed = runner.again(module, stock, ours)
        if failed:
            print(ours.log)
            failures += [f"{module}: {test}" for test in sorted(failed)]
        # Not exactly as many: some tests try again until they get a free port.
        if ours.servers < 0.9 * stock.servers:
            failures.append(
                f"{module}: {ours.servers} of our servers were built, {stock.servers} of theirs"
            )
        rows.append((module, stock.count, ours.count, ours.servers))
    if not sum(row[3] for row in rows):
        failures.append("no server was built at all")
    print_table(rows)
    for failure in failures:
        print(f"FAILED {failure}")
    print(f"{sum(row[2] for row in rows)} passed, {len(failures)} failed")
    return len(failures)


def print_table(rows: list[tuple[str, int, int, int]]) -> None:
    """Print what each module has come to, and the sums."""
    print(f"\n{'module':<38}{'stock passed':>13}{'ours passed':>13}{'servers built':>15}")
    total = [sum(column) for column in list(zip(*rows, strict=True))[1:]]
    for module, stock, ours, servers in [*rows, ("together", *total)]:
        print(f"{module:<38}{stock:>13}{ours:>13}{servers:>15}")


def exists(module: str) -> bool:
    """Whether this interpreter has *module*; distributions leave parts of the tests out."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def main() -> int:
    """Run what the command line asks for; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="the quick modules (the default)")
    parser.add_argument("--all", action="store_true", help="all modules")
    parser.add_argument("modules", nargs="*", help="these modules")
    arguments = parser.parse_args()
    name = f"CPython {platform.python_version()}"
    wanted = arguments.modules or (ALL if arguments.all else QUICK)
    modules = [module for module in wanted if exists(module)]
    if not modules:
        print(f"{name}: skipped, for it comes without the test package")
        return 0
    for module in wanted:
        if module not in modules:
            print(f"{name}: skipped {module}, for it comes without that")
    with tempfile.TemporaryDirectory(prefix="conf-", ignore_cleanup_errors=True) as folder:
        runner = Runner(Path(folder))
        runner.install_requirements()
        if not runner.isolation:
            print("unshare can't make a network: the tests run in this machine's")
        print(f"{name}: {len(modules)} test modules, with the stock module and with ours")
        return 1 if compare(runner, modules) else 0


if __name__ == "__main__":
    sys.exit(main())
