"""What all servers on a socket share: making it or taking it over, binding it, closing it."""

import contextlib
import socket as _socket
from collections.abc import Callable, Generator
from typing import Any, Final, cast

from typing_extensions import Self

from netserve.core import AddressT, BaseServer, Loop, RequestT, State
from netserve.transports._addresses import choose_family
from netserve.transports._bind import explain
from netserve.transports._inet6_socket import Inet6Socket
from netserve.transports._inherited import describe, listens, misfit, open_descriptor
from netserve.transports._options import Plan, SocketOptions, plan
from netserve.transports._systemd import passed_sockets

INTERNET: Final = (_socket.AF_INET, _socket.AF_INET6)
_UNKNOWN: Final = -1


class SocketServer(BaseServer[RequestT, AddressT]):
    """A server that takes its requests from a socket of its own.

    *server_address* and *RequestHandlerClass* are as for
    :class:`~netserve.core.BaseServer`. Unless *bind_and_activate* is false
    (the default is true), the constructor calls :meth:`server_bind` and
    :meth:`server_activate`; when either raises, the socket is closed before the
    exception goes on. Each of the keywords sets the attribute of its name, which
    the class has too; None, the default, leaves the class's.

    Raises the exception that :meth:`socket.socket.bind` raised, of the same
    class, with a message that names the address and the remedy; for
    *socket_options* what :class:`SocketOptions` tells.
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

    dual_stack: bool | None = False
    """Whether a socket of IPv6 on all interfaces serves IPv4 too (``IPV6_V6ONLY``).

    A client of IPv4 is then reported with its IPv4 address. It is set either way,
    false by default, because systems differ; None leaves it to the system (see
    :manpage:`ipv6(7)`).
    """

    socket_options: SocketOptions = SocketOptions()
    """What else to set on the sockets; nothing unless given."""

    # Declared again because server_bind assigns it: the type is the base's.
    server_address: AddressT
    """The address to serve; once bound, the one that the system reports."""

    _ns_blocks_while_serving: bool = True

    # Whether the family may follow from the address, if no class states one, and
    # addresses are pairs of host and port whatever the family.
    _ns_pairs: bool = False

    # Whether a socket is made and bound as CPython's servers do it, and no more.
    _ns_as_cpython: bool = False

    # Defaults on the class, for programs that build a server without __init__.
    _ns_plan: Plan = Plan()
    _ns_listens: bool = False

    socket: _socket.socket
    """The socket on which the server takes requests."""

    def __init__(
        self,
        server_address: AddressT,
        RequestHandlerClass: Callable[[RequestT, AddressT, Self], object],
        bind_and_activate: bool = True,
        *,
        allow_reuse_address: bool | None = None,
        allow_reuse_port: bool | None = None,
        dual_stack: bool | None = None,
        socket_options: SocketOptions | None = None,
    ) -> None:
        super().__init__(server_address, RequestHandlerClass)
        self._ns_set("allow_reuse_address", allow_reuse_address)
        self._ns_set("allow_reuse_port", allow_reuse_port)
        self._ns_set("dual_stack", dual_stack)
        self._ns_set("socket_options", socket_options)
        self._ns_choose_family()
        self._ns_plan = plan(self.socket_options, self.address_family, self.socket_type)
        self.socket = self._ns_make_socket()
        try:
            self._ns_plan.apply(self.socket)
            if bind_and_activate:
                self.server_bind()
                self.server_activate()
        except BaseException:
            # A failure to close must not hide the first error.
            self._ns_call_hook(self.server_close, "server_close")
            raise

    @classmethod
    def from_socket(
        cls,
        listener: _socket.socket,
        RequestHandlerClass: Callable[[RequestT, AddressT, Self], object],
    ) -> Self:
        """A server on *listener*, a bound socket that somebody else has made.

        It is the server's from now on, which closes it; its path, if it has one, is
        left where it is. A stream socket is made to listen unless it does already.
        The class is called with the socket's address, the handler, and a false
        *bind_and_activate*; :meth:`server_bind` isn't called.

        Raises :class:`ValueError`, which says what would be right, for a socket of
        another family or type, an unbound one and a connection; it then stays the
        caller's.
        """
        problem = cls._ns_misfit(listener)
        if problem is not None:
            msg = f"{cls.__name__} can't serve {describe(listener)}: {problem}"
            raise ValueError(msg)
        # mypy doesn't know that cls(...) wants a handler for Self.
        make = cast("Callable[..., Self]", cls)
        server = make(listener.getsockname(), RequestHandlerClass, bind_and_activate=False)
        try:
            cls._ns_adopt(server, listener)
        except BaseException:
            cls._ns_call_hook(server, server.server_close, "server_close")
            raise
        return server

    @classmethod
    def from_fd(
        cls,
        descriptor: int,
        RequestHandlerClass: Callable[[RequestT, AddressT, Self], object],
    ) -> Self:
        """A server on the socket with this *descriptor*, as a parent process leaves one.

        As :meth:`from_socket`. Raises :class:`OSError` too, when the descriptor
        isn't a socket. Programs that are started from now on don't inherit it.
        """
        listener = open_descriptor(descriptor)
        try:
            return cls.from_socket(listener, RequestHandlerClass)
        except BaseException:
            # It is still the caller's.
            listener.detach()
            raise

    @classmethod
    def from_systemd(
        cls,
        RequestHandlerClass: Callable[[RequestT, AddressT, Self], object],
        name: str | None = None,
    ) -> Self:
        """A server on a socket that systemd has opened for this process.

        *name* is that of the socket unit or its ``FileDescriptorName``; of several
        sockets with one name the first is taken that fits, and the next by the
        next call. Without a name it is the only one that fits. See
        :manpage:`sd_listen_fds(3)`, :manpage:`systemd.socket(5)` and
        :meth:`from_socket`. The environment variables are removed.

        Raises :class:`ActivationError` when there is none (of that name), and
        :class:`ValueError` when none fits, or several without a name do.
        """
        listener = passed_sockets.take(name, cls._ns_misfit)
        try:
            return cls.from_socket(listener, RequestHandlerClass)
        except BaseException:
            listener.close()
            raise

    @classmethod
    def _ns_misfit(cls, listener: _socket.socket) -> str | None:
        """What is wrong with *listener* for this class; None if nothing."""
        families = {cls.address_family}
        if cls._ns_family_follows():
            families = {*INTERNET}
        return misfit(listener, families, cls.socket_type)

    @classmethod
    def _ns_family_follows(cls) -> bool:
        """Whether the family is the address's to say, because no class states one."""
        stating = next(each for each in cls.__mro__ if "address_family" in vars(each))
        return cls._ns_pairs and not cls._ns_as_cpython and stating is SocketServer

    def _ns_set(self, name: str, value: object) -> None:
        """Set the attribute *name* of this server, unless *value* is None."""
        if value is not None:
            setattr(self, name, value)

    def _ns_choose_family(self) -> None:
        if not self._ns_family_follows():
            return
        try:
            self.address_family, address = choose_family(
                self.server_address, self.socket_type, dual_stack=self.dual_stack
            )
        except (OSError, ValueError) as error:
            raise explain(error, _UNKNOWN, self.server_address) from error
        self.server_address = cast("AddressT", address)

    def _ns_make_socket(self) -> _socket.socket:
        if self.address_family != _socket.AF_INET6 or self._ns_as_cpython:
            return _socket.socket(self.address_family, self.socket_type)
        made = Inet6Socket.make(self.socket_type, pairs=self._ns_pairs)
        if self.dual_stack is not None:
            made.setsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY, not self.dual_stack)
        return made

    def _ns_adopt(self, listener: _socket.socket) -> None:
        """Serve on *listener* in place of the socket that was made."""
        self._ns_plan.apply(listener)
        self.socket.close()
        # A socket of the program's own class stays what it is.
        if isinstance(self.socket, Inet6Socket) and type(listener) is _socket.socket:
            listener = Inet6Socket.adopt(listener, pairs=self._ns_pairs)
        self.socket = listener
        self.server_address = self.socket.getsockname()
        self._ns_move(State.BOUND, "from_socket")
        self._ns_listens = listens(listener)
        self.server_activate()

    def server_bind(self) -> None:
        """Bind :attr:`socket` to :attr:`server_address`, and read back the real one.

        A port of 0 thereby becomes the one that the system chose.
        """
        if self.allow_reuse_address and hasattr(_socket, "SO_REUSEADDR"):
            self.socket.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
        if (
            self.allow_reuse_port
            and hasattr(_socket, "SO_REUSEPORT")
            and self.address_family in INTERNET
        ):
            self.socket.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEPORT, 1)
        address: Any = self.server_address
        self._ns_prepare_to_bind()
        try:
            self._ns_bind(address)
        except (OSError, TypeError, OverflowError, ValueError) as error:
            raise explain(error, self.address_family, address) from error
        self.server_address = self.socket.getsockname()
        self._ns_move(State.BOUND, "server_bind")

    def _ns_prepare_to_bind(self) -> None:
        """Look at what binding needs besides the address; raises what is wrong with that."""

    def _ns_bind(self, address: Any) -> None:
        self.socket.bind(address)

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
