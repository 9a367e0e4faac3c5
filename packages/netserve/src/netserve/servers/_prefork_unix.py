"""The combinations of several processes that need both ``fork`` and Unix domain sockets."""

from netserve.concurrency import PreforkMixIn
from netserve.servers._unix import (
    MultiplexingUnixDatagramServer,
    MultiplexingUnixStreamServer,
    ThreadPoolUnixDatagramServer,
    ThreadPoolUnixStreamServer,
)
from netserve.transports import UnixDatagramServer, UnixStreamServer

__all__ = [
    "PreforkMultiplexingUnixDatagramServer",
    "PreforkMultiplexingUnixStreamServer",
    "PreforkThreadPoolUnixDatagramServer",
    "PreforkThreadPoolUnixStreamServer",
    "PreforkUnixDatagramServer",
    "PreforkUnixStreamServer",
]


class PreforkUnixStreamServer(PreforkMixIn, UnixStreamServer):
    """A Unix stream server of several processes, each with one connection at a time."""


class PreforkUnixDatagramServer(PreforkMixIn, UnixDatagramServer):
    """A Unix datagram server of several processes, each with one datagram at a time."""


class PreforkThreadPoolUnixStreamServer(PreforkMixIn, ThreadPoolUnixStreamServer):
    """A Unix stream server of several processes, each with a bounded number of threads."""


class PreforkThreadPoolUnixDatagramServer(PreforkMixIn, ThreadPoolUnixDatagramServer):
    """A Unix datagram server of several processes, each with a bounded number of threads."""


class PreforkMultiplexingUnixStreamServer(PreforkMixIn, MultiplexingUnixStreamServer):
    """A Unix stream server of several processes, each with one thread for its connections."""


class PreforkMultiplexingUnixDatagramServer(PreforkMixIn, MultiplexingUnixDatagramServer):
    """A Unix datagram server of several processes, each of which has one thread for datagrams."""
