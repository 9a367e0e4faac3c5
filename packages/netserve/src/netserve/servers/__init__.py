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
    from netserve.servers._asyncio import AsyncioTCPServer, AsyncioUDPServer
    from netserve.servers._multiplexing import MultiplexingTCPServer, MultiplexingUDPServer
    from netserve.servers._threads import (
        ThreadingTCPServer,
        ThreadingUDPServer,
        ThreadPoolTCPServer,
        ThreadPoolUDPServer,
    )

__all__ = [
    "AsyncioTCPServer",
    "AsyncioUDPServer",
    "MultiplexingTCPServer",
    "MultiplexingUDPServer",
    "ThreadPoolTCPServer",
    "ThreadPoolUDPServer",
    "ThreadingTCPServer",
    "ThreadingUDPServer",
]

_LATER = {
    "_asyncio": ["AsyncioTCPServer", "AsyncioUDPServer"],
    "_multiplexing": ["MultiplexingTCPServer", "MultiplexingUDPServer"],
    "_threads": [
        "ThreadingTCPServer",
        "ThreadingUDPServer",
        "ThreadPoolTCPServer",
        "ThreadPoolUDPServer",
    ],
}

if hasattr(os, "fork"):
    if TYPE_CHECKING:
        from netserve.servers._forking import ForkingTCPServer, ForkingUDPServer
        from netserve.servers._prefork import (
            PreforkMultiplexingTCPServer,
            PreforkMultiplexingUDPServer,
            PreforkTCPServer,
            PreforkThreadPoolTCPServer,
            PreforkThreadPoolUDPServer,
            PreforkUDPServer,
        )

    _LATER["_forking"] = ["ForkingTCPServer", "ForkingUDPServer"]
    _LATER["_prefork"] = [
        "PreforkMultiplexingTCPServer",
        "PreforkMultiplexingUDPServer",
        "PreforkTCPServer",
        "PreforkThreadPoolTCPServer",
        "PreforkThreadPoolUDPServer",
        "PreforkUDPServer",
    ]

    __all__ += [
        "ForkingTCPServer",
        "ForkingUDPServer",
        "PreforkMultiplexingTCPServer",
        "PreforkMultiplexingUDPServer",
        "PreforkTCPServer",
        "PreforkThreadPoolTCPServer",
        "PreforkThreadPoolUDPServer",
        "PreforkUDPServer",
    ]

if hasattr(socket, "AF_UNIX"):
    if TYPE_CHECKING:
        from netserve.servers._asyncio_unix import (
            AsyncioUnixDatagramServer,
            AsyncioUnixStreamServer,
        )
        from netserve.servers._unix import (
            MultiplexingUnixDatagramServer,
            MultiplexingUnixStreamServer,
            ThreadingUnixDatagramServer,
            ThreadingUnixStreamServer,
            ThreadPoolUnixDatagramServer,
            ThreadPoolUnixStreamServer,
        )

    _LATER["_asyncio_unix"] = ["AsyncioUnixDatagramServer", "AsyncioUnixStreamServer"]
    _LATER["_unix"] = [
        "MultiplexingUnixDatagramServer",
        "MultiplexingUnixStreamServer",
        "ThreadingUnixDatagramServer",
        "ThreadingUnixStreamServer",
        "ThreadPoolUnixDatagramServer",
        "ThreadPoolUnixStreamServer",
    ]

    __all__ += [
        "AsyncioUnixDatagramServer",
        "AsyncioUnixStreamServer",
        "MultiplexingUnixDatagramServer",
        "MultiplexingUnixStreamServer",
        "ThreadPoolUnixDatagramServer",
        "ThreadPoolUnixStreamServer",
        "ThreadingUnixDatagramServer",
        "ThreadingUnixStreamServer",
    ]
    if hasattr(os, "fork"):
        if TYPE_CHECKING:
            from netserve.servers._forking_unix import (
                ForkingUnixDatagramServer,
                ForkingUnixStreamServer,
            )
            from netserve.servers._prefork_unix import (
                PreforkMultiplexingUnixDatagramServer,
                PreforkMultiplexingUnixStreamServer,
                PreforkThreadPoolUnixDatagramServer,
                PreforkThreadPoolUnixStreamServer,
                PreforkUnixDatagramServer,
                PreforkUnixStreamServer,
            )

        _LATER["_forking_unix"] = ["ForkingUnixDatagramServer", "ForkingUnixStreamServer"]
        _LATER["_prefork_unix"] = [
            "PreforkMultiplexingUnixDatagramServer",
            "PreforkMultiplexingUnixStreamServer",
            "PreforkThreadPoolUnixDatagramServer",
            "PreforkThreadPoolUnixStreamServer",
            "PreforkUnixDatagramServer",
            "PreforkUnixStreamServer",
        ]

        __all__ += [
            "ForkingUnixDatagramServer",
            "ForkingUnixStreamServer",
            "PreforkMultiplexingUnixDatagramServer",
            "PreforkMultiplexingUnixStreamServer",
            "PreforkThreadPoolUnixDatagramServer",
            "PreforkThreadPoolUnixStreamServer",
            "PreforkUnixDatagramServer",
            "PreforkUnixStreamServer",
        ]

if not TYPE_CHECKING:
    # A checker would take any name for one that it has.
    __getattr__ = import_later(__name__, _LATER)
