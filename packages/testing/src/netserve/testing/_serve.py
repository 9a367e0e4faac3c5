"""What the fixture ``serve`` gives, apart from pytest."""

import contextlib
from collections.abc import Callable
from typing import Any, cast, overload

from netserve.testing._service import GRACE, ServerT, Service, serving


class Serve:
    """What the fixture ``serve`` gives: call it as :func:`serving`.

    The servers are ended with the test, the last one first.
    """

    def __init__(self) -> None:
        self.checks_leaks: bool = True
        """Whether the test must leave no thread, child process or descriptor (default: yes).

        A test that keeps some for good reason sets it to false.
        """

        self._ends = contextlib.ExitStack()

    @overload
    def __call__(
        self,
        server: Callable[..., ServerT],
        handler: Callable[..., object],
        address: object = None,
        *,
        grace: float = GRACE,
    ) -> Service[ServerT]: ...
    @overload
    def __call__(self, server: ServerT, *, grace: float = GRACE) -> Service[ServerT]: ...
    def __call__(
        self,
        server: object,
        handler: Callable[..., object] | None = None,
        address: object = None,
        *,
        grace: float = GRACE,
    ) -> Service[Any]:
        """Serve until the test ends; the arguments are those of :func:`serving`."""
        span = cast("Any", serving)(server, handler, address, grace=grace)
        service: Service[Any] = self._ends.enter_context(span)
        return service

    def close(self) -> None:
        """End the servers; raises what :func:`serving` does at its end."""
        self._ends.close()
