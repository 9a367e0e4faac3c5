"""Internet servers of several processes, each of which runs the whole server; only with fork."""

from netserve.concurrency import PreforkMixIn
from netserve.servers._multiplexing import MultiplexingTCPServer, MultiplexingUDPServer
from netserve.servers._threads import ThreadPoolTCPServer, ThreadPoolUDPServer
from netserve.transports import TCPServer, UDPServer

__all__ = [
    "PreforkMultiplexingTCPServer",
    "PreforkMultiplexingUDPServer",
    "PreforkTCPServer",
    "PreforkThreadPoolTCPServer",
    "PreforkThreadPoolUDPServer",
    "PreforkUDPServer",
]


class PreforkTCPServer(PreforkMixIn, TCPServer):
    """A TCP server of several processes, each with one connection at a time."""


class PreforkUDPServer(PreforkMixIn, UDPServer):
    """A UDP server of several processes, each with one datagram at a time."""


class PreforkThreadPoolTCPServer(PreforkMixIn, ThreadPoolTCPServer):
    """A TCP server of several processes, each with a bounded number of threads."""


class PreforkThreadPoolUDPServer(PreforkMixIn, ThreadPoolUDPServer):
    """A UDP server of several processes, each with a bounded number of threads."""


class PreforkMultiplexingTCPServer(PreforkMixIn, MultiplexingTCPServer):
    """A TCP server of several processes, each with one thread for its connections' messages."""


class PreforkMultiplexingUDPServer(PreforkMixIn, MultiplexingUDPServer):
    """A UDP server of several processes, each of which handles datagrams in one thread."""
