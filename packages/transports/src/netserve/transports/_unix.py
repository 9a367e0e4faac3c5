"""Servers on Unix domain sockets; only where the platform has them."""

import os
import socket as _socket
from collections.abc import Callable

from typing_extensions import Self

from netserve.core import DatagramRequest, StreamRequest, UnixAddress, UnixPath
from netserve.transports._datagram import DatagramServer
from netserve.transports._stream import StreamServer


class UnixStreamServer(StreamServer[UnixAddress]):
    """A server of connections on a Unix domain socket (see :manpage:`unix(7)`).

    *server_address* is a path, a :class:`pathlib.Path` included, or on Linux an
    abstract name: bytes or a string that begin with a zero byte.
    """

    address_family: int = _socket.AF_UNIX

    def __init__(
        self,
        server_address: UnixPath,
        RequestHandlerClass: Callable[[StreamRequest, UnixAddress, Self], object],
        bind_and_activate: bool = True,
    ) -> None:
        super().__init__(plain_path(server_address), RequestHandlerClass, bind_and_activate)


class UnixDatagramServer(DatagramServer[UnixAddress]):
    """A server of datagrams on a Unix domain socket (see :manpage:`unix(7)`).

    *server_address* is as for :class:`UnixStreamServer`. The address of a
    client that bound none is None, and can't be answered.
    """

    address_family: int = _socket.AF_UNIX

    def __init__(
        self,
        server_address: UnixPath,
        RequestHandlerClass: Callable[[DatagramRequest, UnixAddress, Self], object],
        bind_and_activate: bool = True,
    ) -> None:
        super().__init__(plain_path(server_address), RequestHandlerClass, bind_and_activate)


def plain_path(path: UnixPath) -> str | bytes:
    """*path* as what :meth:`socket.socket.bind` takes.

    What isn't a path is given back as it is, for ``bind`` to refuse.
    """
    return os.fspath(path) if isinstance(path, os.PathLike) else path
