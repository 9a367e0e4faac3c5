"""Saying what is wrong with an address, when ``bind`` only says that it is.

:func:`explain` turns what :meth:`socket.socket.bind` raised into the same kind
of exception with a message that names the address and the remedy. It decides
from its arguments alone, and does no I/O.
"""

import errno
import socket
import sys
from typing import Final

_UNIX: Final = getattr(socket, "AF_UNIX", None)

_FORMS: Final = {
    socket.AF_INET: "a (host, port) tuple such as ('127.0.0.1', 8000)",
    socket.AF_INET6: "a (host, port) tuple such as ('::1', 8000)",
    _UNIX: "a path such as '/run/service.sock'",
    -1: "a (host, port) tuple such as ('127.0.0.1', 8000) or ('::1', 8000)",
}

# sun_path in unix(7), less the null character at its end.
MAX_PATH: Final = 107 if sys.platform == "linux" else 103
"""How many bytes the path of a Unix domain socket may have."""


_REMEDIES: Final = {
    errno.EADDRINUSE: "another socket holds it; stop its owner, or choose another address",
    errno.EADDRNOTAVAIL: "no interface of this machine has it; choose one that exists",
    errno.EACCES: "this user may not bind it; choose a port of 1024 or more, or a writable folder",
    errno.EPERM: "this user may not do that there; choose another path, or owner and group",
    errno.EEXIST: "a file that isn't a socket is there; remove it, or choose another path",
    errno.ENOENT: "its folder doesn't exist; create that first",
    errno.ENOTDIR: "a part of its folder is a file; choose another path",
}


def explain(error: Exception, family: int, address: object) -> Exception:
    """The exception to raise in place of *error*, which ``bind`` raised for *address*.

    *family* is the socket's address family. The result is of the same class as
    *error*, with its ``errno`` if it has one; in place of a
    :class:`UnicodeError` it is a :class:`ValueError`.
    """
    form = _FORMS.get(family, "an address of that family")
    if isinstance(error, socket.gaierror):
        remedy = f"the host isn't known: give {form}"
        if family >= 0:
            name = socket.AddressFamily(family).name
            remedy = f"the host isn't one of {name}: give {form}"
        return socket.gaierror(error.errno, _sentence(address, str(error.strerror), remedy))
    if isinstance(error, OSError):
        # CPython itself refuses a path too long for sockaddr_un, without an errno.
        number = error.errno or errno.ENAMETOOLONG
        reason = error.strerror or str(error)
        remedy = _REMEDIES.get(number, f"give {form}")
        if number == errno.ENAMETOOLONG:
            remedy = f"choose a path of at most {MAX_PATH} bytes, or bind relative to its folder"
        return type(error)(number, _sentence(address, reason, remedy))
    if isinstance(error, OverflowError):
        return OverflowError(_sentence(address, str(error), "give a port from 0 to 65535"))
    if isinstance(error, UnicodeError):
        return ValueError(_sentence(address, str(error), f"give {form}"))
    return type(error)(_sentence(address, str(error), f"give {form}"))


def _sentence(address: object, reason: str, remedy: str) -> str:
    return f"can't bind {address!r} ({reason}): {remedy}"
