"""The check of a handler: on the fakes, in all the ways in which its input may come and end."""

import threading
from collections.abc import Callable, Iterator
from typing import Final, cast

from netserve.core import MessageHandler, PeerError, is_coroutine_handler
from netserve.testing._contract import Contract, cuts, shown
from netserve.testing._errors import StarvedError
from netserve.testing._exchange import PEER, MessageExchange, handle_now
from netserve.testing._fake_connection import FakeConnection
from netserve.testing._fake_datagrams import FakeDatagramSocket, FakeServer

_PLACES: Final = 40

_PIECES: Final = "the answer is the same in whatever pieces a stream comes"
_EXPECTED: Final = "the answer is what the test expects"
_ENDS: Final = "the handler comes to its end when its input does, so that a drain ends it"
_PEERS: Final = (
    "what the peer does wrong, or that it leaves, raises a PeerError or an OSError if anything"
)
_RETURNS: Final = "the request is handled before the handler returns"
_DRIVEN: Final = "no method does any I/O, except through transmit"
_MEMBERS: Final = "the handler has the members of the Protocol"
_SAME: Final = "a driven handler answers as one that reads its connection itself"


def check_handler(
    handler: Callable[..., object],
    data: bytes,
    *,
    answer: bytes | None = None,
    datagram: bool = False,
    client_address: object = PEER,
    server: object = None,
) -> None:
    """Check that *handler* does what servers rely on, with *data* as a client's input.

    On a stream *data* is all that the client sends; with *datagram*, one datagram.
    *answer* is all that it is to be answered; not looked at when None. *server* is
    what the handler finds as its server, by default a :class:`FakeServer`.

    The handler is run some hundred times: what it does to the world outside must
    not change its answers. Input is cut in pieces, ends early, and is reset; a
    handler of messages is driven besides, without a connection, as
    :class:`~netserve.core.MessageHandler` describes. A handler whose work is a
    coroutine is run each time in an event loop of its own.

    Raises :class:`ContractError`, which says what is broken, and
    :class:`RuntimeError` for a coroutine where an event loop runs already.
    """
    if is_coroutine_handler(handler):
        # Only here, because asyncio is large.
        from netserve.testing._coroutines import refuse_running_loop

        refuse_running_loop()
    check = _HandlerCheck(handler, client_address, server)
    before = set(threading.enumerate())
    if datagram:
        check.datagrams(data, answer)
    else:
        check.streams(data, answer)
    threads = [thread.name for thread in threading.enumerate() if thread not in before]
    check.contract.require(not threads, _RETURNS, f"it has left the threads {threads}")


class _HandlerCheck:
    """The check of one handler."""

    def __init__(
        self, handler: Callable[..., object], client_address: object, server: object
    ) -> None:
        self.contract = Contract("RequestHandlerClass", handler)
        self.driven = Contract("MessageHandler", handler)
        self.handler = handler
        self.address = client_address
        self.server = FakeServer(handler) if server is None else server

    def streams(self, data: bytes, answer: bytes | None) -> None:
        """Check it on connections."""
        whole = self._run(data)
        self.contract.require(
            answer is None or whole == answer, _EXPECTED, f"{shown(whole)}, and not {answer!r}"
        )
        for pieces in cuts(data):
            found = self._run(*pieces)
            self.contract.require(
                found == whole,
                _PIECES,
                f"the pieces {shown(pieces)} gave {shown(found)}, and others {shown(whole)}",
            )
        for half in _halves(data):
            self._run(half, leaves=True)
            self._run(half, leaves=True, resets=True)
        if hasattr(self.handler, "feed"):
            self._drive(data, whole)

    def datagrams(self, packet: bytes, answer: bytes | None) -> None:
        """Check it on datagrams."""
        with self.contract.only(guarantee=_EXPECTED, doing=f"the datagram {shown(packet)}"):
            socket = FakeDatagramSocket()
            self._handle((packet, socket))
        answers = socket.sent_to(self.address)
        self.contract.require(
            answer is None or answers == [answer],
            _EXPECTED,
            f"{shown(answers)}, and not the datagram {answer!r}",
        )
        for half in _halves(packet):
            try:
                with self.contract.only(
                    PeerError, OSError, guarantee=_PEERS, doing=f"the datagram {shown(half)}"
                ):
                    self._handle((half, FakeDatagramSocket()))
            except (PeerError, OSError):
                pass

    def _handle(self, request: object) -> None:
        """Have it handle *request*, and nothing be left of that."""
        tasks = handle_now(self.handler, request, self.address, self.server)
        self.contract.require(not tasks, _RETURNS, f"it has left the tasks {tasks}")

    def _run(self, *pieces: bytes, leaves: bool = False, resets: bool = False) -> bytes:
        """Run it on a connection; *leaves* tells that its client leaves too early."""
        connection = FakeConnection(peer=self.address)
        for piece in pieces:
            connection.feed(piece)
        if resets:
            connection.reset()
        else:
            connection.end()
        doing = f"{'a reset' if resets else 'the end of input'} after {shown(pieces)}"
        allowed = (PeerError, OSError) if leaves else ()
        try:
            with self.contract.only(
                StarvedError, *allowed, guarantee=_PEERS if leaves else _EXPECTED, doing=doing
            ):
                self._handle(connection)
        except StarvedError as error:
            raise self.contract.broken(_ENDS, f"after {doing}, {error}") from error
        except (PeerError, OSError):
            pass
        return connection.sent

    def _drive(self, data: bytes, whole: bytes) -> None:
        for pieces in cuts(data):
            found = self._exchange(pieces)
            self.driven.require(
                found == whole,
                _SAME,
                f"with the pieces {shown(pieces)} it answers {shown(found)},"
                f" and not {shown(whole)}",
            )
        for half in _halves(data):
            self._exchange([half], leaves=True)

    def _exchange(self, pieces: list[bytes], *, leaves: bool = False) -> bytes:
        allowed = (PeerError,) if leaves else ()
        guarantee = _PEERS if leaves else _DRIVEN
        exchange: MessageExchange[MessageHandler] | None = None
        try:
            with self.driven.only(*allowed, guarantee=guarantee, doing="driving it"):
                exchange = MessageExchange(
                    self._make, client_address=self.address, server=_Driver(self.server)
                )
                self.driven.require(
                    isinstance(cast("object", exchange.handler), MessageHandler),
                    _MEMBERS,
                    "some are missing",
                )
                for piece in pieces:
                    if not exchange.closing:
                        exchange.feed(piece)
                if not exchange.closing:
                    exchange.end()
                exchange.finish()
        except PeerError:
            pass
        return b"" if exchange is None else exchange.sent

    def _make(self, *arguments: object) -> MessageHandler:
        made: MessageHandler = self.handler(*arguments)  # type: ignore[assignment]  # checked next
        return made


class _Driver:
    """*server*, as one that drives messages."""

    drives_messages = True

    def __init__(self, server: object) -> None:
        self._server = server

    def __getattr__(self, name: str) -> object:
        return getattr(self._server, name)


def _halves(data: bytes) -> Iterator[bytes]:
    """Beginnings of *data*: all of them, if it is short."""
    step = max(1, len(data) // _PLACES)
    for size in range(0, len(data), step):
        yield data[:size]
