"""Runs one of CPython's test modules, and writes down the tests that passed.

``run.py`` starts it, in a process of its own, as ``worker.py MODULE RESULTS
[TEST...]``: *RESULTS* is the file to write the names to, one a line, as the tests
pass; with names of tests, only those are run.
"""

import contextlib
import functools
import os
import struct
import sys
import unittest
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TextIO
from unittest import mock

LOOPBACK = b"lo"
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1


class Recorder(unittest.TextTestResult):
    """A result that also writes the names of the tests that pass to a file."""

    def __init__(self, passed: TextIO, *args: object, **keywords: object) -> None:
        super().__init__(*args, **keywords)
        self.passed = passed

    def addSuccess(self, test: unittest.TestCase) -> None:
        """Write the test's name."""
        super().addSuccess(test)
        self.record(test)

    def addExpectedFailure(self, test: unittest.TestCase, err: object) -> None:
        """Write the test's name: it did what CPython expects."""
        super().addExpectedFailure(test, err)
        self.record(test)

    def record(self, test: unittest.TestCase) -> None:
        """Write the test's name at once, for the case that the process doesn't live long."""
        print(test.id(), file=self.passed, flush=True)


def flat(suite: unittest.TestSuite) -> Iterator[unittest.TestCase]:
    """The tests of *suite* and of the suites in it."""
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from flat(test)
        else:
            yield test


def read_module_as_package(test_all: Callable[[object], None]) -> Callable[[object], None]:
    """*test_all* of test_socketserver, with our classes named as if they were in one module.

    It finds the public classes of the module by ``__module__ == 'socketserver'``.
    Ours are defined in several; what it wants to know, whether ``__all__`` names
    them, is then still worth knowing.
    """

    @functools.wraps(test_all)
    def wrapped(case: object) -> None:
        with contextlib.ExitStack() as patches:
            for value in vars(sys.modules["socketserver"]).values():
                if isinstance(value, type) and value.__module__.startswith("netserve."):
                    patches.enter_context(mock.patch.object(value, "__module__", "socketserver"))
            test_all(case)

    return wrapped


def prepare(module: ModuleType) -> None:
    """Fit *module* for the package that stands in for a module."""
    if module.__name__ == "test.test_socketserver":
        case = module.MiscTestCase
        case.test_all = read_module_as_package(case.test_all)


def raise_loopback() -> None:
    """Bring up the loopback interface, which is down in a new network namespace."""
    import fcntl
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sh14x", LOOPBACK, 0)
        answer = fcntl.ioctl(control, SIOCGIFFLAGS, request)
        flags = struct.unpack("16sh14x", answer)[1]
        if not flags & IFF_UP:
            fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh14x", LOOPBACK, flags | IFF_UP))


def main(name: str, results: str, *chosen: str) -> None:
    """Run the tests of module *name*, or those *chosen* of them."""
    # In place of this script's folder.
    sys.path[0] = str(Path.cwd())
    if "CONFORMANCE_ISOLATED" in os.environ:
        raise_loopback()
    from test import support

    # Tests that take long are run.
    support.use_resources = ["walltime"]
    if name == "test.test_socketserver":
        # All of its connections are on the loopback interface; others' aren't.
        support.use_resources.append("network")
    loader = unittest.TestLoader()
    __import__(name)
    prepare(sys.modules[name])
    tests = flat(loader.loadTestsFromName(name))
    suite = unittest.TestSuite(test for test in tests if not chosen or test.id() in chosen)
    with open(results, "w", encoding="utf-8") as passed:  # noqa: PTH123
        recorder = functools.partial(Recorder, passed)
        unittest.TextTestRunner(verbosity=2, resultclass=recorder).run(suite)


if __name__ == "__main__":
    main(*sys.argv[1:])
