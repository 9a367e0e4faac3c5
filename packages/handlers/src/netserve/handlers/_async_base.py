"""The base of the handlers whose work is a coroutine."""

from collections.abc import Awaitable
from typing import ClassVar, Generic

from typing_extensions import TypeVar

from netserve.core import AsyncConnection, CoroutineServer, log
from netserve.handlers._base import AddressT, RequestT

AsyncServerT = TypeVar("AsyncServerT", default=CoroutineServer)


class AsyncRequestHandler(Generic[RequestT, AddressT, AsyncServerT]):
    """Handles one request in a coroutine, which the server awaits.

    Derive from a subclass of it, and define :meth:`handle`. :meth:`run` calls
    :meth:`setup`, then :meth:`handle`, then :meth:`finish`; the last also when
    :meth:`handle` raised or was cancelled, but not when :meth:`setup` did. When both
    raise, the first error goes on, and the one of :meth:`finish` is a warning on the
    logger ``netserve.server``.

    Its server is one that awaits coroutines: ``netserve.concurrency.AsyncioMixIn``
    makes one.
    """

    handles_streams: ClassVar[bool]
    """Whether its requests are connections, or else datagrams."""

    request: RequestT
    """A connected socket, not to be read or written here; or (data, socket)."""

    client_address: AddressT
    """The client's address, in the form of the server's family."""

    server: AsyncServerT
    """The server that took the request."""

    def __init__(self, request: RequestT, client_address: AddressT, server: AsyncServerT) -> None:
        self.request = request
        self.client_address = client_address
        self.server = server

    def attach(self, connection: AsyncConnection) -> None:
        """Take the connection; called by the server, if the request is one."""
        msg = f"{type(self).__name__} handles no connections"
        raise TypeError(msg)

    async def run(self) -> None:
        """Handle the request; called by the server, once."""
        await _settle(self.setup())
        try:
            await self.handle()
        except BaseException:
            try:
                await _settle(self.finish())
            except Exception:
                # The first error says what went wrong; this is most often its consequence.
                log.warning("%r: finish() raised after handle()", self, exc_info=True)
            raise
        await _settle(self.finish())

    def setup(self) -> Awaitable[None] | None:
        """Prepare for :meth:`handle`; does nothing here. It may be a coroutine."""

    async def handle(self) -> None:
        """Do all that the request needs; does nothing here."""

    def finish(self) -> Awaitable[None] | None:
        """Clean up after :meth:`handle`; does nothing here. It may be a coroutine."""


async def _settle(step: Awaitable[None] | None) -> None:
    """Await *step*, if it is a coroutine."""
    if step is not None:
        await step
