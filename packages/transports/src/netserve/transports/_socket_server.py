"""What all servers on a socket share: making it, binding it, closing it."""

import contextlib
import socket as _socket
from collections.abc import Callable, Generator
from typing import Any, Final

from typing_extensions import Self

from netserve.core import AddressT, BaseServer, Loop, RequestT, State
from netserve.transports._bind import explain

_INTERNET: Final = (_socket.AF_INET, _socket.AF_INET6)


class SocketServer(BaseServer[RequestT, AddressT]):
    """A server that takes its requests from a socket of its own.

    *server_address* and *RequestHandlerClass* are as for
    :class:`~netserve.core.BaseServer`. Unless *bind_and_activate* is false
    (the default is true), the constructor calls :meth:`server_bind` and
    :meth:`server_activate`; when either raises, the socket is closed before the
    exception goes on.

    Raises the exception that :meth:`socket.socket.bind` raised, of the same
    class, with a message that names the address and the remedy.
    """

    address_family: int = _socket.AF_INET
    """The family of the socket, as :data:`socket.AF_INET`."""

    socket_type: int = _socket.SOCK_STREAM
    """The type of the socket, as :data:`socket.SOCK_STREAM`."""

    requests_per_wait: int = 16
    """How many requests are taken after one wait, if as many are there (default 16)."""

    allow_reuse_address: bool = False
    """Whether to set ``SO_REUSEADDR`` before binding (see :manpage:`socket(7)`)."""

    allow_reuse_port: bool = False
    """Whether to set ``SO_REUSEPORT`` on an Internet socket before binding.

    Several sockets may then listen on one port (see :manpage:`socket(7)`).
    """

    # Declared again because server_bind assigns it: the type is the base's.
    server_address: AddressT
    """The address to serve; once bound, the one that the system reports."""

    _ns_blocks_while_serving: bool = True

    socket: _socket.socket
    """The socket on which the server takes requests."""

    def __init__(
        self,
        server_address: AddressT,
        RequestHandlerClass: Callable[[RequestT, AddressT, Self], object],
        bind_and_activate: bool = True,
    ) -> None:
        super().__init__(server_address, RequestHandlerClass)
        self.socket = _socket.socket(self.address_family, self.socket_type)
        if bind_and_activate:
            try:
                self.server_bind()
                self.server_activate()
            except BaseException:
                # A failure to close must not hide the first error.
                self._ns_call_hook(self.server_close, "server_close")
                raise

    def server_bind(self) -> None:
        """Bind :attr:`socket` to :attr:`server_address`, and read back the real one.

        A port of 0 thereby becomes the one that the system chose.
        """
        if self.allow_reuse_address and hasattr(_socket, "SO_REUSEADDR"):
            self.socket.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
        if (
            self.allow_reuse_port
            and hasattr(_socket, "SO_REUSEPORT")
            and self.address_family in _INTERNET
        ):
            self.socket.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEPORT, 1)
        address: Any = self.server_address
        try:
            self.socket.bind(address)
        except (OSError, TypeError, OverflowError, ValueError) as error:
            raise explain(error, self.address_family, address) from error
        self.server_address = self.socket.getsockname()
        self._ns_move(State.BOUND, "server_bind")

    def server_close(self) -> None:
        """Close :attr:`socket`; a loop in another thread ends soon after."""
        super().server_close()
        self.socket.close()

    def fileno(self) -> int:
        """The descriptor of :attr:`socket`, for a selector; -1 once closed."""
        return self.socket.fileno()

    @contextlib.contextmanager
    def _ns_serving(self) -> Generator[Loop]:
        """As everywhere; a listening socket doesn't block meanwhile.

        A timeout of the program's own is left as it is.
        """
        with super()._ns_serving() as loop:
            listener, own = self.socket, self.socket.gettimeout()
            may_block = self._ns_blocks_while_serving or own is not None
            # It may be closed already, by whoever has stopped the server before its start.
            with contextlib.suppress(OSError):
                listener.settimeout(own if may_block else 0)
            try:
                yield loop
            finally:
                with contextlib.suppress(OSError):
                    listener.settimeout(own)

    def _ns_patience(self) -> float | None:
        """The shorter of :attr:`timeout` and the socket's own, in seconds."""
        limits = [limit for limit in (self.socket.gettimeout(), self.timeout) if limit is not None]
        return min(limits, default=None)
