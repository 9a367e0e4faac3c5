"""Running a handler on the fakes: on a stream, on a datagram, or driven by messages."""

from collections.abc import Callable, Iterable
from typing import Final, Generic

from typing_extensions import Self, TypeVar

from netserve.core import MessageHandler
from netserve.testing._fake_connection import FakeConnection
from netserve.testing._fake_datagrams import FakeDatagramSocket, FakeServer

PEER: Final = ("127.0.0.1", 50000)
"""The client's address unless the test gives one."""

HandlerT = TypeVar("HandlerT", bound=MessageHandler)


def handle_stream(
    handler: Callable[..., object],
    data: bytes | Iterable[bytes] = b"",
    *,
    client_address: object = PEER,
    server: object = None,
) -> bytes:
    """Have *handler* handle a connection whose client sends *data*, then nothing more.

    Each of several pieces is received by itself. *server* is by default a
    :class:`FakeServer`. Returns what the handler has sent; raises what it raises.
    """
    connection = FakeConnection(peer=client_address)
    for piece in [data] if isinstance(data, bytes) else data:
        connection.feed(piece)
    connection.end()
    handler(connection, client_address, FakeServer(handler) if server is None else server)
    return connection.sent


def handle_datagram(
    handler: Callable[..., object],
    packet: bytes,
    *,
    client_address: object = PEER,
    server: object = None,
) -> list[bytes]:
    """Have *handler* handle the datagram *packet*.

    *server* is by default a :class:`FakeServer`. Returns the datagrams that it has
    sent to *client_address*; raises what it raises.
    """
    socket = FakeDatagramSocket()
    request = (packet, socket)
    handler(request, client_address, FakeServer(handler) if server is None else server)
    return [data for data, address in socket.sent if address == client_address]


class MessageExchange(Generic[HandlerT]):
    """A connection to a handler of messages, which the test drives step by step.

    As a server does it that drives messages: *handler* is made, and called with
    what the test feeds; there is no socket at all, and to touch one is an error.
    *server* is by default a :class:`FakeServer` that drives messages.

    Raises :class:`TypeError` when *handler* makes no handler of messages.
    """

    def __init__(
        self,
        handler: Callable[..., HandlerT],
        *,
        client_address: object = PEER,
        server: object = None,
    ) -> None:
        self.sent: bytes = b""
        """All that the handler has sent so far."""

        self._finished = False
        driver = FakeServer(handler, drives_messages=True) if server is None else server
        made = handler(_Untouchable(peer=client_address), client_address, driver)
        if not hasattr(made, "feed"):
            msg = f"{handler!r} makes no handler of messages, such as a MessageRequestHandler"
            raise TypeError(msg)
        self.handler: HandlerT = made
        """The handler."""

        made.transmit = self._transmit
        made.setup()
        made.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.finish()

    @property
    def closing(self) -> bool:
        """Whether the handler wants the connection to end."""
        return self.handler.closing

    def feed(self, data: bytes) -> bytes:
        """Send *data*; returns what the handler sends meanwhile."""
        before = len(self.sent)
        answers = self.handler.feed(data)
        self.sent += answers
        return self.sent[before:]

    def end(self) -> bytes:
        """End the client's output; returns what the handler sends then."""
        before = len(self.sent)
        answers = self.handler.end_of_input()
        self.sent += answers
        return self.sent[before:]

    def finish(self) -> bytes:
        """End the connection; returns what the handler sends last. Harmless to repeat."""
        if self._finished:
            return b""
        self._finished = True
        before = len(self.sent)
        self.handler.finish()
        return self.sent[before:]

    def _transmit(self, data: bytes) -> None:
        self.sent += data


class _Untouchable(FakeConnection):
    """The connection of a handler that must leave it alone."""

    def _check_open(self) -> None:
        msg = "a driven handler does no I/O of its own, but through transmit"
        raise AssertionError(msg)
