"""netserve.socketserver: a drop-in for the standard library's ``socketserver``.

Change ``import socketserver`` to ``from netserve import socketserver`` and the
program goes on as before, with this project's loop. Names, defaults and the
class diagram are those of CPython; the types are precise. :func:`install` makes
``import socketserver`` itself mean this module, for programs that can't be
changed.
"""

# Programs reach these through the module, and patch them there.
import os as os
import selectors as selectors
import socket as socket
import sys as sys
import threading as threading
import time as _time
from collections.abc import Callable as _Callable
from io import BufferedIOBase as BufferedIOBase

from netserve.handlers import BaseRequestHandler, StreamRequestHandler
from netserve.socketserver._base import BaseServer
from netserve.socketserver._handlers import DatagramRequestHandler
from netserve.socketserver._install import install as install
from netserve.socketserver._install import uninstall as uninstall
from netserve.socketserver._servers import TCPServer, UDPServer
from netserve.socketserver._threading import (
    ThreadingMixIn,
    ThreadingTCPServer,
    ThreadingUDPServer,
)

time: _Callable[[], float] = _time.monotonic

__version__ = "0.4"

__all__ = [
    "BaseServer",
    "TCPServer",
    "UDPServer",
    "ThreadingUDPServer",
    "ThreadingTCPServer",
    "BaseRequestHandler",
    "StreamRequestHandler",
    "DatagramRequestHandler",
    "ThreadingMixIn",
]

if hasattr(os, "fork"):
    from netserve.socketserver._forking import ForkingMixIn, ForkingTCPServer, ForkingUDPServer

    __all__ += ["ForkingUDPServer", "ForkingTCPServer", "ForkingMixIn"]

if hasattr(socket, "AF_UNIX"):
    from netserve.socketserver._unix import (
        ThreadingUnixDatagramServer,
        ThreadingUnixStreamServer,
        UnixDatagramServer,
        UnixStreamServer,
    )

    __all__ += [
        "UnixStreamServer",
        "UnixDatagramServer",
        "ThreadingUnixStreamServer",
        "ThreadingUnixDatagramServer",
    ]
    if hasattr(os, "fork"):
        from netserve.socketserver._forking_unix import (
            ForkingUnixDatagramServer,
            ForkingUnixStreamServer,
        )

        __all__ += ["ForkingUnixStreamServer", "ForkingUnixDatagramServer"]
