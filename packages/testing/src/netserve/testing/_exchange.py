"""Running a handler on the fakes: on a stream, on a datagram, or driven by messages."""

import inspect
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Final, Generic, cast

from typing_extensions import Self, TypeVar

from netserve.core import CoroutineHandler, MessageHandler
from netserve.testing._fake_connection import FakeConnection
from netserve.testing._fake_datagrams import FakeDatagramSocket, FakeServer

PEER: Final = ("127.0.0.1", 50000)
"""The client's address unless the test gives one."""

HandlerT = TypeVar("HandlerT", bound=MessageHandler)


def handle_stream(
    handler: Callable[..., object],
    data: bytes | Iterable[bytes] | FakeConnection = b"",
    *,
    client_address: object = PEER,
    server: object = None,
) -> bytes:
    """Have *handler* handle a connection whose client sends *data*, then nothing more.

    Each of several pieces is received by itself. A :class:`FakeConnection` as *data* is
    the connection itself, whose client does what the test has told it. *server* is by
    default a :class:`FakeServer`. If the work of *handler* is a coroutine, it is run in
    an event loop of its own.

    Returns what the handler has sent; raises what it raises, and :class:`RuntimeError`
    for a coroutine where an event loop runs already.
    """
    connection = _connection(data, client_address)
    handle_now(handler, connection, client_address, server)
    return connection.sent


async def handle_stream_async(
    handler: Callable[..., object],
    data: bytes | Iterable[bytes] | FakeConnection = b"",
    *,
    client_address: object = PEER,
    server: object = None,
) -> bytes:
    """As :func:`handle_stream`, in the event loop that runs."""
    connection = _connection(data, client_address)
    await _handle(handler, connection, client_address, server)
    return connection.sent


def handle_datagram(
    handler: Callable[..., object],
    packet: bytes,
    *,
    client_address: object = PEER,
    server: object = None,
) -> list[bytes]:
    """Have *handler* handle the datagram *packet*.

    *server* is by default a :class:`FakeServer`. If the work of *handler* is a
    coroutine, it is run in an event loop of its own.

    Returns the datagrams that it has sent to *client_address*; raises what it raises,
    and :class:`RuntimeError` for a coroutine where an event loop runs already.
    """
    socket = FakeDatagramSocket()
    handle_now(handler, (packet, socket), client_address, server)
    return socket.sent_to(client_address)


async def handle_datagram_async(
    handler: Callable[..., object],
    packet: bytes,
    *,
    client_address: object = PEER,
    server: object = None,
) -> list[bytes]:
    """As :func:`handle_datagram`, in the event loop that runs."""
    socket = FakeDatagramSocket()
    await _handle(handler, (packet, socket), client_address, server)
    return socket.sent_to(client_address)


def handle_now(
    handler: Callable[..., object], request: object, client_address: object, server: object
) -> list[str]:
    """Have *handler* handle *request*; returns the names of the tasks that it leaves behind."""
    work = _begin(handler, request, client_address, server)
    if work is None:
        return []
    # Only here, because asyncio is large.
    from netserve.testing._coroutines import run_now

    return run_now(work)


async def _handle(
    handler: Callable[..., object], request: object, client_address: object, server: object
) -> None:
    work = _begin(handler, request, client_address, server)
    if work is not None:
        await work


def _begin(
    handler: Callable[..., object], request: object, client_address: object, server: object
) -> Coroutine[Any, Any, None] | None:
    """Make the handler of *request*; returns what is still to be awaited, if anything is.

    Raises :class:`TypeError` for one whose work is a coroutine, but not as servers run it.
    """
    given = FakeServer(handler) if server is None else server
    made = handler(request, client_address, given)
    if inspect.iscoroutine(made):
        made.close()
        msg = f"{handler!r} makes a coroutine, and not a handler, such as an AsyncRequestHandler"
        raise TypeError(msg)
    if not hasattr(made, "attach"):
        return None
    work = cast("CoroutineHandler", made)
    is_stream = isinstance(request, FakeConnection)
    if getattr(made, "handles_streams", is_stream) != is_stream:
        kinds = ("connections", "datagrams") if is_stream else ("datagrams", "connections")
        msg = f"{handler!r} handles {kinds[1]}, and its request is one of {kinds[0]}"
        raise TypeError(msg)
    if isinstance(request, FakeConnection):
        # Only here, because asyncio is large.
        from netserve.testing._coroutines import FakeAsyncConnection

        return FakeAsyncConnection(request, given).serve(work)
    return work.run()


def _connection(
    data: bytes | Iterable[bytes] | FakeConnection, client_address: object
) -> FakeConnection:
    """The connection whose client sends *data*, unless that is one."""
    if isinstance(data, FakeConnection):
        return data
    connection = FakeConnection(peer=client_address)
    for piece in [data] if isinstance(data, bytes) else data:
        connection.feed(piece)
    connection.end()
    return connection


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
