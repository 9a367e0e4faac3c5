"""A datagram socket without a network, and a server that is none."""

import socket as _socket
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

from netserve.core import UnnamedPeerError

if TYPE_CHECKING:
    from typing_extensions import Buffer


class FakeDatagramSocket(_socket.socket):
    """What a handler takes for the socket of a datagram server; it collects what is sent.

    With :class:`FakeServer`, ``(packet, FakeDatagramSocket())`` is a request. It is
    a :class:`socket.socket` for ``isinstance`` and for type checkers, and has no
    descriptor.

    Not simulated: receiving, which is the server's; loss; the limits on size.
    Methods that aren't here raise :class:`OSError`, as those of a closed socket do.
    """

    def __init__(self) -> None:
        # The base's constructor isn't called: it would open a real socket.
        self._io_refs = 0
        self._closed = False
        self.sent: list[tuple[bytes, object]] = []
        """The datagrams that the handler has sent so far, each with the address it went to."""

        self.is_gone: bool = False
        """Whether to send raises :class:`ConnectionRefusedError`, as when the client has left."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} with {len(self.sent)} datagrams sent>"

    def __del__(self) -> None:
        # There is nothing to warn of.
        pass

    @property
    def answers(self) -> list[bytes]:
        """The datagrams alone."""
        return [data for data, _ in self.sent]

    def sent_to(self, address: object) -> list[bytes]:
        """The datagrams that went to *address*."""
        return [data for data, each in self.sent if each == address]

    def sendto(self, data: "Buffer", *rest: object) -> int:
        """Collect *data*; the address is the last argument, and must be one."""
        address = rest[-1]
        if address is None or address == "":
            msg = "the sender of the datagram has no address to answer to; it isn't bound"
            raise UnnamedPeerError(msg)
        if self.is_gone:
            raise ConnectionRefusedError
        with memoryview(data) as view:
            self.sent.append((view.tobytes(), address))
            return view.nbytes

    def close(self) -> NoReturn:
        """Not for a handler: the socket is the server's."""
        msg = "a handler must not close the socket of a datagram server"
        raise AssertionError(msg)


class FakeServer:
    """What a handler takes for its server; further attributes are the keyword arguments.

    *drives_messages* says whether it is one that drives messages
    (:class:`~netserve.core.MessageDriver`).
    """

    def __init__(
        self,
        handler: Callable[..., object] | None = None,
        *,
        server_address: object = ("127.0.0.1", 1),
        drives_messages: bool = False,
        **attributes: object,
    ) -> None:
        self.RequestHandlerClass = handler
        self.server_address = server_address
        self.drives_messages = drives_messages
        vars(self).update(attributes)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {self.server_address!r}>"

    def __getattr__(self, name: str) -> NoReturn:
        msg = f"this FakeServer has no {name}: FakeServer({name}=...) gives it one"
        raise AttributeError(msg)
