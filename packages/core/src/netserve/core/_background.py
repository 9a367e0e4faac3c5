"""The handle on a server that another thread serves."""

import threading
from collections.abc import Callable
from typing import Generic

from typing_extensions import TypeVar

from netserve.core._drain import StopResult
from netserve.core._types import AddressT

ServerT = TypeVar("ServerT")


class Running(Generic[ServerT, AddressT]):
    """A server that another thread serves; what ``with server.background()`` gives."""

    def __init__(
        self,
        server: ServerT,
        address: AddressT,
        thread: threading.Thread,
        stop: Callable[[float | None], StopResult],
    ) -> None:
        self.server: ServerT = server
        """The server."""

        self.address: AddressT = address
        """The address that it serves: the real one, with the port that the system chose."""

        self.thread = thread
        """The thread that serves."""

        self.result: StopResult | None = None
        """What came of the drain, once it is over."""

        self._stop = stop

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.server!r}>"

    def stop(self, grace: float | None = None) -> StopResult:
        """Drain now, and return what came of it; the end of ``with`` closes the server.

        *grace* is in seconds; None, the default, is what ``background`` was given.
        """
        self.result = self._stop(grace)
        return self.result
