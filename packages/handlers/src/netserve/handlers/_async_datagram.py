"""The handler that answers a datagram in a coroutine."""

import asyncio
import socket as _socket
from io import BytesIO
from typing import Any, ClassVar, Final

from netserve.core import DatagramRequest, log
from netserve.handlers._async_base import AsyncRequestHandler, AsyncServerT
from netserve.handlers._base import AddressT

_DONT_WAIT: Final = getattr(_socket, "MSG_DONTWAIT", 0)
_FIRST_PAUSE: Final = 0.001  # seconds
_LONGEST_PAUSE: Final = 0.1  # seconds


class AsyncDatagramRequestHandler(AsyncRequestHandler[DatagramRequest, AddressT, AsyncServerT]):
    """Gives :meth:`handle` the datagram to read, and sends what it wrote as the answer.

    The type parameters are those of the client's address and the server; the first
    is ``Any`` unless given, the second any server that awaits coroutines.
    """

    handles_streams: ClassVar[bool] = False

    packet: bytes
    """The datagram."""

    socket: _socket.socket
    """The server's socket, on which the answer leaves."""

    rfile: BytesIO
    """The datagram, to be read; nothing of it is awaited."""

    wfile: BytesIO
    """The answer, to be written; nothing of it is awaited."""

    def __init__(
        self, request: DatagramRequest, client_address: AddressT, server: AsyncServerT
    ) -> None:
        super().__init__(request, client_address, server)
        self.packet, self.socket = request
        self.rfile = BytesIO(self.packet)
        self.wfile = BytesIO()

    async def finish(self) -> None:
        """Send what was written to :attr:`wfile` as one datagram, an empty one included."""
        await self.send(self.wfile.getvalue())

    async def send(self, data: bytes) -> None:
        """Send *data* as one datagram, and wait while the system has no room for it.

        That the client has left meanwhile is no error, but one DEBUG record.
        """
        address: Any = self.client_address
        pause = _FIRST_PAUSE
        while True:
            try:
                self.socket.sendto(data, _DONT_WAIT, address)
            except BlockingIOError:
                # Whether there is room for this client is nothing to wait on.
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            except (ConnectionError, FileNotFoundError) as error:
                log.debug("%r left before its answer came (%s)", address, error)
                return
            else:
                return
