"""netserve.transports: where requests come from.

The four servers of the original reference, and the bases for families that it
doesn't have; and the PROXY protocol, by which a server behind a proxy learns whose
connection it has. The Unix domain servers are absent where the platform has no
such sockets.
"""

import socket

from netserve.transports._datagram import DatagramServer, UDPServer
from netserve.transports._proxy import ProxyProtocolMixIn
from netserve.transports._proxy_header import (
    ProxyClientFlags,
    ProxyCommand,
    ProxyEndpoint,
    ProxyFamily,
    ProxyHeader,
    ProxyProtocolError,
    ProxySSL,
    ProxyTLV,
    ProxyTransport,
)
from netserve.transports._proxy_parser import ProxyParser, encode_proxy_header
from netserve.transports._socket_server import SocketServer
from netserve.transports._stream import StreamServer, TCPServer
from netserve.transports._trusted import TrustedProxy

__all__ = [
    "DatagramServer",
    "ProxyClientFlags",
    "ProxyCommand",
    "ProxyEndpoint",
    "ProxyFamily",
    "ProxyHeader",
    "ProxyParser",
    "ProxyProtocolError",
    "ProxyProtocolMixIn",
    "ProxySSL",
    "ProxyTLV",
    "ProxyTransport",
    "SocketServer",
    "StreamServer",
    "TCPServer",
    "TrustedProxy",
    "UDPServer",
    "encode_proxy_header",
]

if hasattr(socket, "AF_UNIX"):
    from netserve.transports._unix import UnixDatagramServer, UnixStreamServer

    __all__ += ["UnixDatagramServer", "UnixStreamServer"]
