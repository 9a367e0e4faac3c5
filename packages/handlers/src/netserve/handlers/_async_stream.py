"""The handler that reads and writes a connection in a coroutine."""

import socket
from typing import ClassVar

from netserve.core import AsyncConnection, StreamRequest
from netserve.handlers._async_base import AsyncRequestHandler, AsyncServerT
from netserve.handlers._async_files import AsyncReader, AsyncWriter
from netserve.handlers._base import AddressT


class AsyncStreamRequestHandler(AsyncRequestHandler[StreamRequest, AddressT, AsyncServerT]):
    """Gives :meth:`handle` the connection as a pair of files, whose methods are awaited.

    The type parameters are those of the client's address and the server; the first
    is ``Any`` unless given, the second any server that awaits coroutines.
    """

    handles_streams: ClassVar[bool] = True

    disable_nagle_algorithm: bool = False
    """Whether to set ``TCP_NODELAY`` (see :manpage:`tcp(7)`).

    ``AsyncioMixIn`` sets it already on TCP.
    """

    max_line_size: int | None = 65536
    """The longest line that :attr:`rfile` reads, its end included, in bytes (default 64 KiB).

    A longer one raises :class:`~netserve.core.LineTooLongError`. None is no limit.
    """

    connection: AsyncConnection
    """What moves the bytes; its ``ssl_object`` tells of TLS."""

    rfile: AsyncReader
    """What the client sends, to be read."""

    wfile: AsyncWriter
    """What the client is to receive, to be written."""

    def attach(self, connection: AsyncConnection) -> None:
        """Apply the options, and open :attr:`rfile` and :attr:`wfile`."""
        if self.disable_nagle_algorithm:
            self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        self.connection = connection
        self.rfile = AsyncReader(connection, self.max_line_size)
        self.wfile = AsyncWriter(connection)
