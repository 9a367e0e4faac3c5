"""Whether a socket that somebody else has made is one that a server can listen on.

:func:`misfit` looks at a socket and at what a server class needs, and answers in
words; the server does the rest.
"""

import os
import socket as _socket
from collections.abc import Collection
from typing import cast


def misfit(given: _socket.socket, families: Collection[int], socket_type: int) -> str | None:
    """What is wrong with *given* for a server of *families* and *socket_type*; None if nothing."""
    if given.family not in families or given.type != socket_type:
        wanted = " or ".join(sorted(_family(family) for family in families))
        return f"it takes {_kind(socket_type)} of {wanted}"
    if not is_bound(given):
        return "it takes one that is bound to an address"
    if socket_type == _socket.SOCK_STREAM and _is_connected(given):
        return "it listens, and this is a connection; give it the listening socket (Accept=no)"
    return None


def describe(given: _socket.socket) -> str:
    """*given* in words, for messages."""
    return f"{_kind(given.type)} of {_family(given.family)} at {given.getsockname()!r}"


def listens(given: _socket.socket) -> bool:
    """Whether *given* listens already; false where the system doesn't tell."""
    option = getattr(_socket, "SO_ACCEPTCONN", None)
    if option is None or given.type != _socket.SOCK_STREAM:
        return False
    return bool(given.getsockopt(_socket.SOL_SOCKET, option))


def is_bound(given: _socket.socket) -> bool:
    """Whether *given* has an address."""
    address: object = given.getsockname()
    if isinstance(address, tuple):
        # Of the Internet; the system takes no port of zero.
        return cast("tuple[object, ...]", address)[1] != 0
    return bool(address)


def open_descriptor(descriptor: int) -> _socket.socket:
    """A socket that owns *descriptor*, which programs that are started don't inherit.

    Raises :class:`OSError` with ``ENOTSOCK`` or ``EBADF`` when it is none.
    """
    try:
        given = _socket.socket(fileno=descriptor)
    except OSError as error:
        msg = f"descriptor {descriptor} isn't a socket ({error.strerror})"
        raise OSError(error.errno, msg) from error
    os.set_inheritable(descriptor, False)
    # Whoever made it may have made it non-blocking.
    given.settimeout(_socket.getdefaulttimeout())
    return given


def _is_connected(given: _socket.socket) -> bool:
    try:
        given.getpeername()
    except OSError:
        return False
    return True


def _kind(socket_type: int) -> str:
    try:
        return f"a socket of {_socket.SocketKind(socket_type).name}"
    except ValueError:
        return f"a socket of type {socket_type}"


def _family(family: int) -> str:
    try:
        return _socket.AddressFamily(family).name
    except ValueError:
        return f"family {family}"
