"""netserve.handlers: what is done with a request.

The handler classes of the original reference, one whose unit is a message, and
the framings that cut a stream into messages. Any other callable that takes a
request, the client's address and the server will do as well. Those for asyncio are
imported when they are asked for.
"""

from typing import TYPE_CHECKING

from netserve.core import import_later
from netserve.handlers._base import BaseRequestHandler
from netserve.handlers._datagram import DatagramRequestHandler
from netserve.handlers._lines import Lines
from netserve.handlers._message import MessageRequestHandler
from netserve.handlers._netstrings import Netstrings
from netserve.handlers._sized import FixedSize, LengthPrefixed
from netserve.handlers._stream import SocketWriter, StreamRequestHandler
from netserve.handlers._tls import SpeaksTLS, TLSRequestHandler

if TYPE_CHECKING:
    from netserve.handlers._async_base import AsyncRequestHandler
    from netserve.handlers._async_datagram import AsyncDatagramRequestHandler
    from netserve.handlers._async_files import AsyncReader, AsyncWriter
    from netserve.handlers._async_stream import AsyncStreamRequestHandler

__all__ = [
    "AsyncDatagramRequestHandler",
    "AsyncReader",
    "AsyncRequestHandler",
    "AsyncStreamRequestHandler",
    "AsyncWriter",
    "BaseRequestHandler",
    "DatagramRequestHandler",
    "FixedSize",
    "LengthPrefixed",
    "Lines",
    "MessageRequestHandler",
    "Netstrings",
    "SocketWriter",
    "SpeaksTLS",
    "StreamRequestHandler",
    "TLSRequestHandler",
]

if not TYPE_CHECKING:
    # A checker would take any name for one that it has.
    __getattr__ = import_later(
        __name__,
        {
            "_async_base": ["AsyncRequestHandler"],
            "_async_datagram": ["AsyncDatagramRequestHandler"],
            "_async_files": ["AsyncReader", "AsyncWriter"],
            "_async_stream": ["AsyncStreamRequestHandler"],
        },
    )
