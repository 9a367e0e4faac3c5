"""netserve.transports: where requests come from.

The four servers of the original reference, and the bases for families that it
doesn't have; how they are given addresses, inherited sockets and socket options; and
the PROXY protocol, by which a server behind a proxy learns whose connection it has. The
Unix domain servers are absent where the platform has no such sockets, and TLS where
Python was built without it. What few programs need is imported when it is asked for.
"""

import importlib.util
import socket
from typing import TYPE_CHECKING

from netserve.core import import_later
from netserve.transports._addresses import ParsedAddress, parse_address
from netserve.transports._credentials import PeerCredentials, peer_credentials
from netserve.transports._datagram import DatagramServer, UDPServer
from netserve.transports._options import SocketOptions
from netserve.transports._socket_server import SocketServer
from netserve.transports._stream import StreamServer, TCPServer
from netserve.transports._systemd import ActivationError, sockets_from_systemd

if TYPE_CHECKING:
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
    from netserve.transports._trusted import TrustedProxy

__all__ = [
    "ActivationError",
    "DatagramServer",
    "ParsedAddress",
    "PeerCredentials",
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
    "SocketOptions",
    "SocketServer",
    "StreamServer",
    "TCPServer",
    "TrustedProxy",
    "UDPServer",
    "encode_proxy_header",
    "parse_address",
    "peer_credentials",
    "sockets_from_systemd",
]

if hasattr(socket, "AF_UNIX"):
    from netserve.transports._unix import (
        UnixDatagramServer,
        UnixServer,
        UnixStreamServer,
        UnnamedPeer,
    )

    __all__ += ["UnixDatagramServer", "UnixServer", "UnixStreamServer", "UnnamedPeer"]

_LATER = {
    "_proxy": ["ProxyProtocolMixIn"],
    "_proxy_header": [
        "ProxyClientFlags",
        "ProxyCommand",
        "ProxyEndpoint",
        "ProxyFamily",
        "ProxyHeader",
        "ProxyProtocolError",
        "ProxySSL",
        "ProxyTLV",
        "ProxyTransport",
    ],
    "_proxy_parser": ["ProxyParser", "encode_proxy_header"],
    "_trusted": ["TrustedProxy"],
}

if importlib.util.find_spec("_ssl") is not None:
    if TYPE_CHECKING:
        from netserve.transports._tls import TLSMixIn, server_context
        from netserve.transports._tls_connection import TLSConnection

    _LATER["_tls"] = ["TLSMixIn", "server_context"]
    _LATER["_tls_connection"] = ["TLSConnection"]
    __all__ += ["TLSConnection", "TLSMixIn", "server_context"]

if not TYPE_CHECKING:
    # A checker would take any name for one that it has.
    __getattr__ = import_later(__name__, _LATER)
