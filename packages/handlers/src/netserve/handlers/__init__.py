"""netserve.handlers: what is done with a request.

The handler classes of the original reference. Any other callable that takes a
request, the client's address and the server will do as well.
"""

from netserve.handlers._base import BaseRequestHandler
from netserve.handlers._datagram import DatagramRequestHandler
from netserve.handlers._stream import SocketWriter, StreamRequestHandler

__all__ = [
    "BaseRequestHandler",
    "DatagramRequestHandler",
    "SocketWriter",
    "StreamRequestHandler",
]
