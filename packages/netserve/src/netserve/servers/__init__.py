"""netserve.servers: ready-made servers, each a transport with one mix-in or two in front.

Their names are made as those of ``socketserver`` are, and their defaults are
those of ``netserve.transports`` and ``netserve.concurrency``. Those with
processes are absent where the platform can't fork, and the Unix ones where it has
no such sockets.
"""

import os
import socket

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

if hasattr(os, "fork"):
    from netserve.servers._forking import ForkingTCPServer, ForkingUDPServer
    from netserve.servers._prefork import (
        PreforkMultiplexingTCPServer,
        PreforkMultiplexingUDPServer,
        PreforkTCPServer,
        PreforkThreadPoolTCPServer,
        PreforkThreadPoolUDPServer,
        PreforkUDPServer,
    )

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
