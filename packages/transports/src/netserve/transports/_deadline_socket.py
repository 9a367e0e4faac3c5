"""The plain socket of a connection that has deadlines."""

import socket as _socket
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from typing_extensions import Self

from netserve.core import Deadlines
from netserve.transports._timed_socket import TimedSocket

if TYPE_CHECKING:
    from typing_extensions import Buffer


class DeadlineSocket(TimedSocket):
    """A connected stream socket with deadlines."""

    @classmethod
    def adopt(cls, connection: _socket.socket, deadlines: Deadlines) -> Self:
        """Take over the descriptor of *connection*, which is left closed."""
        own = connection.gettimeout()
        self = cls(connection.family, connection.type, connection.proto, connection.detach())
        self.deadlines = deadlines
        self.settimeout(own)
        return self

    def dup(self) -> Self:
        """As :meth:`socket.socket.dup`; the copy keeps the same deadlines."""
        copy = super().dup()
        copy.deadlines = self.deadlines
        return copy

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """As :meth:`socket.socket.recv`."""
        return self._receive(super().recv, bufsize, flags)

    def recv_into(self, buffer: "Buffer", nbytes: int = 0, flags: int = 0) -> int:
        """As :meth:`socket.socket.recv_into`."""
        received = self._receive(super().recv_into, buffer, nbytes, flags)
        self._count(received)
        return received

    def recvfrom(self, bufsize: int, flags: int = 0, /) -> tuple[bytes, Any]:
        """As :meth:`socket.socket.recvfrom`."""
        return self._receive(super().recvfrom, bufsize, flags)

    def recvfrom_into(self, buffer: "Buffer", nbytes: int = 0, flags: int = 0) -> tuple[int, Any]:
        """As :meth:`socket.socket.recvfrom_into`."""
        return self._receive(super().recvfrom_into, buffer, nbytes, flags)

    def recvmsg(self, bufsize: int, ancbufsize: int = 0, flags: int = 0, /) -> Any:
        """As :meth:`socket.socket.recvmsg`."""
        return self._receive(super().recvmsg, bufsize, ancbufsize, flags)

    def recvmsg_into(
        self, buffers: "Iterable[Buffer]", ancbufsize: int = 0, flags: int = 0, /
    ) -> Any:
        """As :meth:`socket.socket.recvmsg_into`."""
        return self._receive(super().recvmsg_into, buffers, ancbufsize, flags)

    def send(self, data: "Buffer", flags: int = 0, /) -> int:
        """As :meth:`socket.socket.send`."""
        return self._send(super().send, data, flags)

    def sendmsg(
        self,
        buffers: "Iterable[Buffer]",
        ancdata: Iterable[tuple[int, int, "Buffer"]] = (),
        flags: int = 0,
        address: Any = None,
        /,
    ) -> int:
        """As :meth:`socket.socket.sendmsg`."""
        return self._send(super().sendmsg, buffers, ancdata, flags, address)
