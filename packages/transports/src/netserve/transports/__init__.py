"""netserve.transports: where requests come from.

The four servers of the original reference, and the bases for families that it
doesn't have. The Unix domain servers are absent where the platform has no
such sockets, and TLS where Python was built without it.
"""

import importlib.util
import socket

from netserve.transports._datagram import DatagramServer, UDPServer
from netserve.transports._socket_server import SocketServer
from netserve.transports._stream import StreamServer, TCPServer

__all__ = [
    "DatagramServer",
    "SocketServer",
    "StreamServer",
    "TCPServer",
    "UDPServer",
]

if hasattr(socket, "AF_UNIX"):
    from netserve.transports._unix import UnixDatagramServer, UnixStreamServer

    __all__ += ["UnixDatagramServer", "UnixStreamServer"]

if importlib.util.find_spec("_ssl") is not None:
    from netserve.transports._tls import TLSMixIn, server_context
    from netserve.transports._tls_connection import TLSConnection
    from netserve.transports._tls_errors import PlainTextError, TLSError

    __all__ += ["PlainTextError", "TLSConnection", "TLSError", "TLSMixIn", "server_context"]
