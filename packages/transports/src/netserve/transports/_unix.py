"""Servers on Unix domain sockets; only where the platform has them."""

import os
import socket as _socket
from collections.abc import Callable
from typing import Any

from typing_extensions import Self

from netserve.core import DatagramRequest, RequestT, StreamRequest, UnixAddress, UnixPath
from netserve.transports._datagram import DatagramServer
from netserve.transports._options import SocketOptions
from netserve.transports._socket_server import SocketServer
from netserve.transports._stream import StreamServer
from netserve.transports._unix_path import Access, Hold, access, bind_path


class UnnamedPeer(str):
    """The address of a client on a Unix domain socket that has bound none.

    It is the empty string, as the system reports it, and false; but it prints as
    ``unnamed``, and its first part, which handlers that were written for TCP ask
    for, does so too.
    """

    __slots__ = ()

    def __str__(self) -> str:
        return "unnamed"

    def __format__(self, format_spec: str) -> str:
        return format(str(self), format_spec)

    def __getitem__(self, key: Any) -> str:
        return str(self)


class UnixServer(SocketServer[RequestT, UnixAddress]):
    """A server on a Unix domain socket: what those of streams and datagrams share.

    A path that a server has left which is gone is taken over; one that another
    server has is not. :meth:`server_close` removes the path, if it is still the one
    that this server has made. Between :meth:`server_bind`, which gives the path its owner
    and mode, and :meth:`server_activate` no other server takes it.
    """

    address_family: int = _socket.AF_UNIX

    socket_mode: int | None = None
    """The permissions of the path, as ``0o660``: who may write may connect.

    They are set before anyone can connect. None, the default, is what the umask
    leaves; or ``0o660``, when an owner or a group is given.
    """

    socket_owner: str | int | None = None
    """The user to whom the path is given, by name or id; None, the default: ours."""

    socket_group: str | int | None = None
    """The group to which the path is given, by name or id; None, the default: ours."""

    _ns_access: Access | None = None
    _ns_hold: Hold | None = None

    def __init__(
        self,
        server_address: UnixPath,
        RequestHandlerClass: Callable[[RequestT, UnixAddress, Self], object],
        bind_and_activate: bool = True,
        *,
        socket_mode: int | None = None,
        socket_owner: str | int | None = None,
        socket_group: str | int | None = None,
        socket_options: SocketOptions | None = None,
    ) -> None:
        self._ns_set("socket_mode", socket_mode)
        self._ns_set("socket_owner", socket_owner)
        self._ns_set("socket_group", socket_group)
        super().__init__(
            plain_path(server_address),
            RequestHandlerClass,
            bind_and_activate,
            socket_options=socket_options,
        )

    # Not in server_bind, which programs call as this class's: there it must not go on to
    # another class that theirs derive from as well.
    def _ns_prepare_to_bind(self) -> None:
        self._ns_access = access(self.socket_mode, self.socket_owner, self.socket_group)

    def _ns_bind(self, address: Any) -> None:
        if not is_path(address):
            if self._ns_access is not None:
                msg = "an abstract name has no owner and no mode"
                raise ValueError(msg)
            super()._ns_bind(address)
        elif self._ns_as_cpython:
            bind_path(self.socket, address, self._ns_access)
        else:
            self._ns_hold = Hold.take(self.socket, address, self._ns_access)

    def server_activate(self) -> None:
        """Begin to serve: whoever looks at the path from now on finds a live server."""
        super().server_activate()
        if self._ns_hold is not None:
            self._ns_hold.settle()

    def server_close(self) -> None:
        """Remove the path, and close :attr:`socket`.

        A path that isn't this server's any more stays, and so does one that it was
        given with its socket, or that another process has bound.
        """
        hold, self._ns_hold = self._ns_hold, None
        if hold is not None:
            hold.release()
        super().server_close()


class UnixStreamServer(UnixServer[StreamRequest], StreamServer[UnixAddress]):
    """A server of connections on a Unix domain socket (see :manpage:`unix(7)`).

    *server_address* is a path, a :class:`pathlib.Path` included, or on Linux an
    abstract name: bytes or a string that begin with a zero byte. The address of a
    client that bound none is an :class:`UnnamedPeer`.
    """

    def __init__(
        self,
        server_address: UnixPath,
        RequestHandlerClass: Callable[[StreamRequest, UnixAddress, Self], object],
        bind_and_activate: bool = True,
        *,
        socket_mode: int | None = None,
        socket_owner: str | int | None = None,
        socket_group: str | int | None = None,
        request_queue_size: int | None = None,
        socket_options: SocketOptions | None = None,
    ) -> None:
        self._ns_set("request_queue_size", request_queue_size)
        super().__init__(
            server_address,
            RequestHandlerClass,
            bind_and_activate,
            socket_mode=socket_mode,
            socket_owner=socket_owner,
            socket_group=socket_group,
            socket_options=socket_options,
        )

    def get_request(self) -> tuple[StreamRequest, UnixAddress]:
        """Accept a connection; returns its socket and the client's address."""
        request, client_address = super().get_request()
        if client_address == "" and not self._ns_as_cpython:
            client_address = UnnamedPeer()
        return request, client_address


class UnixDatagramServer(UnixServer[DatagramRequest], DatagramServer[UnixAddress]):
    """A server of datagrams on a Unix domain socket (see :manpage:`unix(7)`).

    *server_address* is as for :class:`UnixStreamServer`. The address of a
    client that bound none is None, and can't be answered.
    """


def plain_path(path: UnixPath) -> str | bytes:
    """*path* as what :meth:`socket.socket.bind` takes.

    What isn't a path is given back as it is, for ``bind`` to refuse.
    """
    return os.fspath(path) if isinstance(path, os.PathLike) else path


def is_path(address: object) -> bool:
    """Whether *address* is a path: not an abstract name, an empty one, or something else."""
    return isinstance(address, str | bytes) and address[:1] not in {"", b"", "\0", b"\0"}
