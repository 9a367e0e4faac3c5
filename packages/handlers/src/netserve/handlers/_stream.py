"""The handler that reads and writes a connection as files."""

import contextlib
import socket
from io import DEFAULT_BUFFER_SIZE, BufferedIOBase, RawIOBase
from typing import TYPE_CHECKING, Generic, cast

from typing_extensions import TypeVar

from netserve.core import Deadlines, StreamRequest
from netserve.handlers._base import AddressT, BaseRequestHandler, ServerT
from netserve.handlers._reader import MessageReader, TimesMessages

if TYPE_CHECKING:
    from typing_extensions import Buffer


ConnectionT = TypeVar("ConnectionT", bound=StreamRequest, default=StreamRequest)


class StreamRequestHandler(
    BaseRequestHandler[ConnectionT, AddressT, ServerT], Generic[AddressT, ServerT, ConnectionT]
):
    """Gives :meth:`handle` the connection as a pair of binary files.

    The type parameters are those of the client's address and the server, each
    ``Any`` unless given, and of the connection, which is a socket unless given.
    """

    rbufsize: int = -1
    """Size of :attr:`rfile`'s buffer in bytes; -1, the default: the system's choice.

    With 0 it is the unbuffered :class:`socket.SocketIO`.
    """

    wbufsize: int = 0
    """Size of :attr:`wfile`'s buffer in bytes; 0, the default: each write is sent at once."""

    timeout: float | None = None
    """How long one operation on the socket may take, in seconds; None: for ever."""

    disable_nagle_algorithm: bool = False
    """Whether to set ``TCP_NODELAY`` (see :manpage:`tcp(7)`); useful with a buffered wfile."""

    max_line_size: int | None = None
    """The longest line that :attr:`rfile` reads, its end included, in bytes; None: any.

    A longer one raises :class:`~netserve.core.LineTooLongError`. It needs a
    buffered :attr:`rfile`.
    """

    connection: ConnectionT
    """The connected socket, which is also :attr:`request`."""

    rfile: BufferedIOBase
    """What the client sends, to be read."""

    wfile: BufferedIOBase
    """What the client is to receive, to be written."""

    def setup(self) -> None:
        """Apply the options to the socket, and open :attr:`rfile` and :attr:`wfile`."""
        self.connection = self.request
        if self.timeout is not None:
            self.connection.settimeout(self.timeout)
        if self.disable_nagle_algorithm:
            self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        self.rfile = self._open_reader()
        if self.wbufsize == 0:
            self.wfile = SocketWriter(self.connection)
        else:
            self.wfile = cast("BufferedIOBase", self.connection.makefile("wb", self.wbufsize))

    def _open_reader(self) -> BufferedIOBase:
        deadlines = getattr(self.connection, "deadlines", None)
        # By class, because tests of handlers pass mock connections, which have everything.
        clock = self.connection if isinstance(deadlines, Deadlines) else None
        if self.max_line_size is None and (clock is None or not self.rbufsize):
            # typeshed promises less than a buffered file; with a size of 0 it is
            # a raw SocketIO, which has the methods that a handler uses.
            return cast("BufferedIOBase", self.connection.makefile("rb", self.rbufsize))
        if not self.rbufsize:
            msg = "max_line_size needs a buffered rfile: set rbufsize to other than 0"
            raise ValueError(msg)
        size = DEFAULT_BUFFER_SIZE if self.rbufsize < 0 else self.rbufsize
        raw = cast("RawIOBase", self.connection.makefile("rb", 0))
        return MessageReader(raw, size, self.max_line_size, cast("TimesMessages | None", clock))

    def finish(self) -> None:
        """Send what :attr:`wfile` still holds, and close both files.

        That the client has left meanwhile is no error.
        """
        if not self.wfile.closed:
            with contextlib.suppress(OSError):
                self.wfile.flush()
        # Closing flushes once more, and so fails once more.
        with contextlib.suppress(OSError):
            self.wfile.close()
        self.rfile.close()


class SocketWriter(BufferedIOBase):
    """A writable binary file that sends each write whole, and holds back nothing.

    *connection* is the socket to send on; closing the file leaves it open.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection

    def writable(self) -> bool:
        """True."""
        return True

    def write(self, data: "Buffer", /) -> int:
        """Send all of *data*; returns its length in bytes, raises what ``sendall`` does."""
        self._socket.sendall(data)
        with memoryview(data) as view:
            return view.nbytes

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._socket.fileno()
