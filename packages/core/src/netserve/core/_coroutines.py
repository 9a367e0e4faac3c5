"""Who calls whom when a handler's work is a coroutine.

A server that runs coroutines makes the handler of a request, gives it its
connection, and awaits its ``run``. The server moves the bytes: it waits for many
connections at once, and keeps their deadlines. What the bytes mean, lines for
instance, is the handler's matter. The Protocols here are all that one knows of
the other.
"""

import inspect
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from netserve.core._drain import StopResult

if TYPE_CHECKING:
    from ssl import SSLObject


class CoroutineServer(Protocol):
    """A server that awaits the work of its handlers."""

    @property
    def runs_coroutines(self) -> bool:
        """Whether it does. A server that hasn't the attribute doesn't."""
        ...

    async def stop_async(self, grace: float | None = None) -> StopResult:
        """Drain, as ``stop`` does, without blocking the event loop."""
        ...


class AsyncConnection(Protocol):
    """A connected stream, to the coroutine of its handler.

    One coroutine at a time may receive, and one drain. What they raise is a
    :class:`~netserve.core.DeadlineError` when a deadline of the server's has
    passed, and from then on each time; or the :class:`OSError` of a peer that is
    gone.
    """

    @property
    def congested(self) -> bool:
        """Whether so much waits to be sent that the handler should :meth:`drain`."""
        ...

    @property
    def ssl_object(self) -> "SSLObject | None":
        """The state of TLS, with ``getpeercert`` and ``version``; None on a plain connection."""
        ...

    def receive(self, *, partial: bool = False) -> Awaitable[bytes]:
        """The next bytes that come; none at the end of the input.

        *partial* tells that the caller holds a message which isn't complete, so that
        its time runs.
        """
        ...

    def write(self, data: bytes) -> None:
        """Have *data* sent when the coroutine waits next, joined with what was written before."""

    async def drain(self) -> None:
        """Send what was written, and wait until not much of it is left."""


@runtime_checkable
class CoroutineHandler(Protocol):
    """The handler of one request, as a server calls it that runs coroutines.

    The server makes the handler. If the request is a connection, it calls
    :meth:`attach`. Then it awaits :meth:`run`, once, and ends the request.
    """

    def attach(self, connection: AsyncConnection) -> None:
        """Take *connection*, through which the handler receives and sends.

        A handler of datagrams raises :class:`TypeError`.
        """

    async def run(self) -> None:
        """Handle the request; raises what the code of the user does."""


def is_coroutine_handler(handler: object) -> bool:
    """Whether *handler*, a class or another callable, handles requests with coroutines.

    Its own ``handle`` tells, or it is a coroutine function itself.
    """
    if inspect.iscoroutinefunction(handler):
        return True
    return isinstance(handler, type) and inspect.iscoroutinefunction(
        getattr(handler, "handle", None)
    )
