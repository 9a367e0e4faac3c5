"""Who calls whom when a server drives the messages of its connections.

On an ordinary server a handler reads its connection itself, and blocks in doing
so. A server that waits for many connections at once reads them instead, and hands
what has come to the handler, which answers with what is to be sent. The two
Protocols here are all that one knows of the other.

How long a peer may take is the server's matter in either case: it sees the time
between the calls, and a handler has none of its own.

A server may also have the messages themselves answered elsewhere, in a process for
instance. Then what happens to a message is a function of it alone, which can be
sent there, and the handler has what comes before and after: it cuts the stream in
messages, and sends the answers. That is what the other two Protocols are for.
"""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from netserve.core._framing import Decoder


class MessageDriver(Protocol):
    """A server that calls the methods of :class:`MessageHandler` itself."""

    @property
    def drives_messages(self) -> bool:
        """Whether it does: then making the handler of a connection calls none of them.

        A handler looks at it once, in its constructor. A server that hasn't the
        attribute doesn't drive. A datagram is one message and needs no driving:
        its handler handles it in the constructor on every server.
        """
        ...


@runtime_checkable
class MessageHandler(Protocol):
    """The handler of one connection, as the server calls it that drives messages.

    The server makes the handler, sets :attr:`transmit`, and calls
    :meth:`setup`, then :meth:`flush`. It calls :meth:`feed` with what it has
    read, as often as it reads, and :meth:`end_of_input` when the peer sends no
    more; and sends what they return. After each call it looks at
    :attr:`closing`: when that is true, it reads no more, and ends the connection
    once everything has been sent. :meth:`finish` comes last, once, unless
    :meth:`setup` has raised.

    A handler may have an attribute ``ssl_object``. A server that speaks TLS itself,
    and leaves the request plain, puts the :class:`ssl.SSLObject` there before
    :meth:`setup`.

    Guaranteed by the handler: no method does any I/O, except through
    :attr:`transmit`. Guaranteed by the server: no two calls at a time.
    """

    transmit: Callable[[bytes], None]
    """Sends bytes to the peer, after all that was returned or sent before.

    Set by the server, and called from within the other methods. It should raise
    nothing when the peer has left, and may return before the bytes are out.
    """

    @property
    def decoder(self) -> Decoder:
        """What cuts the stream; its :attr:`~Decoder.pending` tells of a half-received message."""
        ...

    @property
    def closing(self) -> bool:
        """Whether the connection is to end once everything has been sent."""
        ...

    def setup(self) -> None:
        """Prepare; called once, first."""

    def feed(self, data: bytes, /) -> bytes:
        """Take what has come; return all that is to be sent, which may be nothing.

        Raises what the code of the user raises, after it has transmitted the
        answers until then. The connection must end then.
        """
        ...

    def end_of_input(self) -> bytes:
        """Take the end of what comes; return what is to be sent before the connection ends."""
        ...

    def flush(self) -> None:
        """Transmit what is queued, if anything is."""

    def finish(self) -> None:
        """Clean up, and transmit what is still queued; called once, last."""


class MessageForwarder(Protocol):
    """A server that has the messages of a :class:`ForwardedHandler` answered elsewhere."""

    @property
    def forwards_messages(self) -> bool:
        """Whether it does, at present: then making the handler of a datagram doesn't handle it.

        A handler looks at it once, in its constructor. A server that hasn't the
        attribute doesn't.
        """
        ...


class ForwardedHandler(MessageHandler, Protocol):
    """The handler of a connection, or of a datagram, whose messages are answered elsewhere.

    In place of :meth:`feed` and :meth:`end_of_input` the server calls
    :meth:`receive_messages` and :meth:`receive_end`, has
    :meth:`message_function` answer what they return, and calls
    :meth:`queue_answer` for each message, in their order, then :meth:`flush`.
    When :attr:`input_ended` and every message has been answered, it calls
    :meth:`end_messages`, unless :attr:`closing` is true by then. The rest is as
    for :class:`MessageHandler`. A datagram is one message, which the server has:
    of its handler it calls :meth:`setup`, :meth:`queue_answer`, :meth:`flush` and
    :meth:`finish`.
    """

    @classmethod
    def message_function(cls) -> Callable[[bytes], bytes | None]:
        """What answers a message and needs nothing but it.

        Raises :class:`TypeError`, which says why, when there is no such function.
        """
        ...

    @property
    def input_ended(self) -> bool:
        """Whether no more messages come: the peer has ended, or broken the framing."""
        ...

    def receive_messages(self, data: bytes, /) -> list[bytes]:
        """Take what has come; return the messages that it completes."""
        ...

    def receive_end(self) -> list[bytes]:
        """Take the end of what comes; return the messages that it completes."""
        ...

    def queue_answer(self, message: bytes, answer: bytes | None, /) -> None:
        """Queue what the function has returned for *message*."""

    def end_messages(self) -> None:
        """Take note that all messages have been answered, and queue what is to be sent last."""
