"""netserve.servers: ready-made servers, each a transport with one mix-in or two in front.

Their names are made as those of ``socketserver`` are, and their defaults are
those of ``netserve.transports`` and ``netserve.concurrency``. Those with
processes are absent where the platform can't fork, and the Unix ones where it has
no such sockets. Each is imported when it is asked for.
"""

import os
import socket
from typing import TYPE_CHECKING

from netserve.core import import_later

if TYPE_CHECKING:
    # What each has in its __all__, which is what stands below under its name.
    from netserve.servers._asyncio import *
    from netserve.servers._multiplexing import *
    from netserve.servers._threads import *

_LATER = {
    "_asyncio": ["AsyncioTCPServer", "AsyncioUDPServer"],
    "_multiplexing": ["MultiplexingTCPServer", "MultiplexingUDPServer"],
    "_threads": [
        "ThreadPoolTCPServer",
        "ThreadPoolUDPServer",
        "ThreadingTCPServer",
        "ThreadingUDPServer",
    ],
}

if hasattr(os, "fork"):
    if TYPE_CHECKING:
        from netserve.servers._forking import *
        from netserve.servers._prefork import *

    _LATER["_forking"] = ["ForkingTCPServer", "ForkingUDPServer"]
    _LATER["_prefork"] = [
        "PreforkMultiplexingTCPServer",
        "PreforkMultiplexingUDPServer",
        "PreforkTCPServer",
        "PreforkThreadPoolTCPServer",
        "PreforkThreadPoolUDPServer",
        "PreforkUDPServer",
    ]

if hasattr(socket, "AF_UNIX"):
    if TYPE_CHECKING:
        from netserve.servers._asyncio_unix import *
        from netserve.servers._unix import *

    _LATER["_asyncio_unix"] = ["AsyncioUnixDatagramServer", "AsyncioUnixStreamServer"]
    _LATER["_unix"] = [
        "MultiplexingUnixDatagramServer",
        "MultiplexingUnixStreamServer",
        "ThreadPoolUnixDatagramServer",
        "ThreadPoolUnixStreamServer",
        "ThreadingUnixDatagramServer",
        "ThreadingUnixStreamServer",
    ]

if hasattr(os, "fork") and hasattr(socket, "AF_UNIX"):
    if TYPE_CHECKING:
        from netserve.servers._forking_unix import *
        from netserve.servers._prefork_unix import *

    _LATER["_forking_unix"] = ["ForkingUnixDatagramServer", "ForkingUnixStreamServer"]
    _LATER["_prefork_unix"] = [
        "PreforkMultiplexingUnixDatagramServer",
        "PreforkMultiplexingUnixStreamServer",
        "PreforkThreadPoolUnixDatagramServer",
        "PreforkThreadPoolUnixStreamServer",
        "PreforkUnixDatagramServer",
        "PreforkUnixStreamServer",
    ]

if not TYPE_CHECKING:
    # A checker can't read the one, and would take any name for one that the other has.
    __all__ = [name for names in _LATER.values() for name in names]
    __getattr__ = import_later(__name__, _LATER)
