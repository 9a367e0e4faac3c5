"""The pytest plugin, which the entry point ``pytest11`` names: the fixture ``serve``."""

import contextlib
from collections.abc import Generator, Iterator
from typing import Any, Final, cast

import pytest

from netserve.testing._serve import Serve
from netserve.testing._service import leaving_nothing

_FAILED: Final = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note that a test has failed; what it leaves behind then says nothing new."""
    report = yield
    if report.when == "call":
        item.stash[_FAILED] = report.failed
    return report


@pytest.fixture
def serve(request: pytest.FixtureRequest) -> Iterator[Serve]:
    """Serve servers for the time of a test, and fail it for what they do wrong.

    ``serve(ServerClass, Handler)`` or ``serve(server)`` gives a
    netserve.testing.Service: a server in the background, on a real address, with
    clients. After the test it is drained and closed; what a handler has raised, and
    threads, child processes and descriptors that are left, fail the test.
    """
    served = Serve()
    with contextlib.ExitStack() as checks:
        checks.enter_context(leaving_nothing(lambda: _checks(served, request)))
        checks.callback(served.close)
        yield served


def _checks(served: Serve, request: pytest.FixtureRequest) -> bool:
    item = cast("pytest.Item", cast("Any", request).node)
    return served.checks_leaks and not item.stash.get(_FAILED, False)
