"""Clients that wait no longer than a test may.

Each operation has a limit, and says what it has waited for when that is over.
"""

import contextlib
import socket as _socket
import struct
import tempfile
from typing import Final, cast

from typing_extensions import Self

PATIENCE: Final = 10.0
"""How long an operation of a client may take unless the test says otherwise, in seconds."""

_ANY: Final = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}


class StreamClient:
    """The client's end of a connection to *address*, of the family *family*.

    *timeout* is how long each operation may take, in seconds; beyond it,
    :class:`TimeoutError` says what was waited for. To be closed, by a ``with``
    statement for one.
    """

    def __init__(self, family: int, address: object, timeout: float = PATIENCE) -> None:
        self.socket: _socket.socket = _socket.socket(family, _socket.SOCK_STREAM)
        """The socket, for what this class doesn't do."""

        self._held = b""
        self.socket.settimeout(timeout)
        try:
            self.socket.connect(reachable(address))
        except BaseException:
            self.socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, data: bytes) -> None:
        """Send all of *data*."""
        self.socket.sendall(data)

    def read(self, size: int) -> bytes:
        """The next *size* bytes; fewer only at the end."""
        while len(self._held) < size and self._receive(f"{size} bytes"):
            pass
        return self._take(size)

    def read_line(self) -> bytes:
        """The next line, with its newline; without it only at the end."""
        while b"\n" not in self._held and self._receive("a line"):
            pass
        end = self._held.find(b"\n") + 1
        return self._take(end or len(self._held))

    def read_all(self) -> bytes:
        """All that comes until the server ends the connection."""
        while self._receive("the end of the connection"):
            pass
        return self._take(len(self._held))

    def end(self) -> None:
        """Send no more, which the server sees as the end of its input; it may still answer.

        Harmless when the server has left.
        """
        with contextlib.suppress(OSError):
            self.socket.shutdown(_socket.SHUT_WR)

    def reset(self) -> None:
        """Close so that the server sees the connection reset (TCP), or closed (Unix).

        A child process that was forked meanwhile and has a copy keeps that from it.
        """
        self.socket.setsockopt(_socket.SOL_SOCKET, _socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self) -> None:
        """Close; harmless when that has been done."""
        # A forked child may have a copy, which would keep the connection open.
        with contextlib.suppress(OSError):
            self.socket.shutdown(_socket.SHUT_RDWR)
        self.socket.close()

    def _receive(self, wanted: str) -> bool:
        """Wait for more; false at the end."""
        try:
            data = self.socket.recv(65536)
        except TimeoutError:
            msg = (
                f"{wanted} didn't come within {self.socket.gettimeout():g} s; so far {self._held!r}"
            )
            raise TimeoutError(msg) from None
        self._held += data
        return bool(data)

    def _take(self, size: int) -> bytes:
        taken, self._held = self._held[:size], self._held[size:]
        return taken


class DatagramClient:
    """A client that sends datagrams to *address*, of the family *family*, and receives answers.

    *timeout* is how long to wait for one, in seconds. To be closed, by a ``with``
    statement for one. On a Unix domain socket it has an address in a temporary
    folder, so that it can be answered.
    """

    def __init__(self, family: int, address: object, timeout: float = PATIENCE) -> None:
        self._ends = contextlib.ExitStack()
        self.socket: _socket.socket = self._ends.enter_context(
            _socket.socket(family, _socket.SOCK_DGRAM)
        )
        """The socket, for what this class doesn't do."""

        self.socket.settimeout(timeout)
        try:
            if family == getattr(_socket, "AF_UNIX", None):
                folder = self._ends.enter_context(tempfile.TemporaryDirectory(prefix="ns-"))
                self.socket.bind(f"{folder}/client")
            self.socket.connect(reachable(address))
        except BaseException:
            self._ends.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, data: bytes) -> None:
        """Send *data* as one datagram."""
        self.socket.send(data)

    def receive(self) -> bytes:
        """The next datagram; raises :class:`TimeoutError` when none comes in time."""
        try:
            return self.socket.recv(65536)
        except TimeoutError:
            msg = f"no datagram came within {self.socket.gettimeout():g} s"
            raise TimeoutError(msg) from None

    def close(self) -> None:
        """Close; harmless when that has been done."""
        self._ends.close()


def reachable(address: object) -> tuple[str, int] | str:
    """*address* as a client can connect to it: the loopback in place of *any address*."""
    if isinstance(address, tuple):
        host, *rest = cast("tuple[str, int]", address)
        return cast("tuple[str, int]", (_ANY.get(host, host), *rest))
    return cast("str", address)
