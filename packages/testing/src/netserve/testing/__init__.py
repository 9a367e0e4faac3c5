"""netserve.testing: what it takes to test a network server, one's own or a part of one.

A server in the background with clients, in pytest (the fixture ``serve``) and
elsewhere; fakes with which a handler runs without a network; and checks that an
implementation keeps what the Protocols of core guarantee. What needs asyncio is
imported when it is asked for.
"""

from typing import TYPE_CHECKING

from netserve.core import import_later
from netserve.testing._check_framing import check_framing
from netserve.testing._check_handler import check_handler
from netserve.testing._check_mixin import check_mixin
from netserve.testing._check_server import Connected, check_server
from netserve.testing._clients import DatagramClient, StreamClient
from netserve.testing._errors import (
    ContractError,
    HandlerFailedError,
    LeftBehindError,
    StarvedError,
)
from netserve.testing._exchange import (
    MessageExchange,
    handle_datagram,
    handle_datagram_async,
    handle_stream,
    handle_stream_async,
)
from netserve.testing._fake_connection import FakeConnection
from netserve.testing._fake_datagrams import FakeDatagramSocket, FakeServer
from netserve.testing._serve import Serve
from netserve.testing._service import Servable, Service, leaving_nothing, serving

if TYPE_CHECKING:
    from netserve.testing._coroutines import FakeAsyncConnection

__all__ = [
    "Connected",
    "ContractError",
    "DatagramClient",
    "FakeAsyncConnection",
    "FakeConnection",
    "FakeDatagramSocket",
    "FakeServer",
    "HandlerFailedError",
    "LeftBehindError",
    "MessageExchange",
    "Servable",
    "Serve",
    "Service",
    "StarvedError",
    "StreamClient",
    "check_framing",
    "check_handler",
    "check_mixin",
    "check_server",
    "handle_datagram",
    "handle_datagram_async",
    "handle_stream",
    "handle_stream_async",
    "leaving_nothing",
    "serving",
]

if not TYPE_CHECKING:
    # A checker would take any name for one that it has.
    __getattr__ = import_later(__name__, {"_coroutines": ["FakeAsyncConnection"]})
