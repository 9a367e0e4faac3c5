"""The types that the packages exchange: addresses and requests.

Addresses are what :mod:`socket` reports for a family (see *Socket families*
in its documentation); a request is what ``get_request`` takes from the
listening socket and a handler receives.
"""

import os
from socket import socket as Socket
from typing import Any, TypeAlias

from typing_extensions import TypeVar

InetAddress: TypeAlias = tuple[str, int]
"""An IPv4 address: host and port number, as ``("127.0.0.1", 80)``."""

Inet6Address: TypeAlias = tuple[str, int, int, int]
"""An IPv6 address: host, port number, flow information, scope id."""

UnixAddress: TypeAlias = str | bytes | None
"""The address of a Unix domain socket as the system reports it.

A path as ``str``, a Linux abstract name as ``bytes`` that begin with a zero
byte; a peer without a name is ``""`` on a stream and ``None`` on a datagram.
It can't be indexed without a check, because it isn't a pair.
"""

UnixPath: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]
"""What a Unix domain server can be asked to listen on."""

StreamRequest: TypeAlias = Socket
"""The request of a stream server: the connected socket."""

DatagramRequest: TypeAlias = tuple[bytes, Socket]
"""The request of a datagram server: the datagram and the socket to answer on."""


class TruncatedDatagram(tuple[bytes, Socket]):
    """The request of a datagram that was longer than the server reads: the part that was read.

    It is a :data:`DatagramRequest` like any other; what tells it from a whole one
    is its class.
    """

    __slots__ = ()


RequestT = TypeVar("RequestT")
"""The request of a server class: a socket, or a datagram with its socket."""

AddressT = TypeVar("AddressT")
"""The address of a server class's peers, and its own."""

# A function's type variables, solved by the type of ``self``, for hooks that a
# mix-in defines. The bound keeps a user's override with concrete types legal
# in pyright, which otherwise compares it with ``object``; calls are checked as
# strictly as without it.
HookRequestT = TypeVar("HookRequestT", bound=Any)
"""The request of the server class that a mix-in's hook is called on."""

HookAddressT = TypeVar("HookAddressT", bound=Any)
"""The address of the server class that a mix-in's hook is called on."""
