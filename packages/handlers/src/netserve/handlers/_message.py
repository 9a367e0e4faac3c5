"""The handler whose unit is a message, on any server.

Theory of operation. The heart does no I/O: :meth:`MessageRequestHandler.feed`
takes bytes and returns the bytes that answer them, all in one piece, so that one
read leads to one send however many messages it brought. Answers wait in a queue,
already framed; what empties it is the end of ``feed``, or ``flush``.

Who does the I/O is seen in the constructor. On most servers it is the handler,
within ``handle``, as with every other handler class. A server that drives messages
(:class:`~netserve.core.MessageDriver`) does it itself, and calls the same methods.

A server may have the messages answered elsewhere, in another process for instance
(:class:`~netserve.core.ForwardedHandler`). What is sent there is
:meth:`MessageRequestHandler.process_message`, which is static so that it can't rely
on what stays behind.

There are no deadlines here. How long a connection may be idle, or take for a
message, is for the server to decide, which sees the time between the calls; on a
server that blocks, it is the timeout of the socket.
"""

import contextlib
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, cast

from netserve.core import DatagramRequest, Decoder, Framing, FramingError, StreamRequest, log
from netserve.handlers._base import AddressT, BaseRequestHandler, ServerT
from netserve.handlers._lines import Lines
from netserve.handlers._peers import DatagramPeer, StreamPeer, transmit_last

if TYPE_CHECKING:
    import ssl


class MessageRequestHandler(BaseRequestHandler[StreamRequest | DatagramRequest, AddressT, ServerT]):
    """Gives :meth:`handle_message` each message, and sends what it returns as the answer.

    A subclass defines that, or :meth:`process_message` where the answer depends on
    the message alone, which then may be found in another process.

    On a stream, :attr:`framing` says where a message ends. On a datagram server
    each datagram is a message, and so is each answer; there is no framing.

    A handler serves one connection, or one datagram. Its methods are called one
    at a time, and aren't to be called from other threads.

    The type parameters are those of the client's address and the server; each
    is ``Any`` unless given.
    """

    framing: Framing = Lines()
    """How messages are framed on a stream, in both directions; by default, in lines."""

    ssl_object: "ssl.SSLObject | ssl.SSLSocket | None" = None
    """What knows the client's certificate under TLS, and its protocol; None without TLS.

    It has ``getpeercert()``, ``selected_alpn_protocol()``, ``version()`` and the like,
    from :meth:`setup` on, on every server; nothing is to be received or sent by it.
    """

    _peer: StreamPeer
    decoder: Decoder
    """What cuts the stream in messages; not there for a datagram."""

    _decode: Callable[[bytes], list[bytes]]
    _encode: Callable[[bytes], bytes]
    _encode_all: Callable[[list[bytes]], bytes]

    _input_ended: bool = False
    # The client's fault, and the level of the record that tells of it.
    _fault: tuple[FramingError, int] | None = None

    def __init__(
        self,
        request: StreamRequest | DatagramRequest,
        client_address: AddressT,
        server: ServerT,
    ) -> None:
        # Declared here, because pyright takes a function in the class's body for a method.
        self.transmit: Callable[[bytes], None]
        """Sends bytes to the client: how :meth:`flush` does it.

        It is there on a server that drives messages once that has set it, and
        on others from the beginning.
        """
        # Answers that aren't framed yet, which is done for all at once; and before
        # them what is framed already.
        self._answers: list[bytes] = []
        self._queue: list[bytes] = []
        self._closing = False
        if isinstance(request, tuple):
            self._encode = _unframed
            is_driven = bool(getattr(server, "forwards_messages", False))
        else:
            # Looked up once, because they are called for each read and message.
            self.decoder = self.framing.decoder()
            self._decode = self.decoder.decode
            self._encode = self.framing.encode
            self._encode_all = getattr(self.framing, "encode_all", self._encode_each)
            if hasattr(request, "getpeercert"):
                # A server that speaks TLS itself sets it, before it calls anything.
                self.ssl_object = cast("ssl.SSLSocket", request)
            is_driven = bool(getattr(server, "drives_messages", False))
            if not is_driven:
                self._peer = StreamPeer(request, client_address)
                self.transmit = self._peer.transmit
        if is_driven:
            # What the base's constructor does besides is the server's to do.
            self.request = request
            self.client_address = client_address
            self.server = server
        else:
            super().__init__(request, client_address, server)

    if not TYPE_CHECKING:

        def transmit(self, data: bytes, /) -> None:
            # A datagram's, most of which are answered by what is returned: it would
            # be made in vain. On a stream the attribute of the handler is in its place.
            DatagramPeer(self.request, self.client_address, self.server).transmit(data)

    @property
    def closing(self) -> bool:
        """Whether the connection ends once everything has been sent."""
        return self._closing

    def handle_message(self, message: bytes, /) -> bytes | None:
        """Answer *message*; a subclass must define this, or :meth:`process_message`.

        Both are without framing. None is no answer; ``b""`` is an answer, an
        empty one. When it raises, the answers before it are sent nevertheless,
        and the connection ends.

        Here it calls :meth:`process_message`, then :meth:`handle_answer`.
        """
        process = type(self).process_message
        if process is _undefined:
            msg = (
                f"{type(self).__name__} must define handle_message(): bytes, or None, for a"
                " message; or process_message(), a static method that does the same"
            )
            raise NotImplementedError(msg)
        return self.handle_answer(message, process(message))

    @staticmethod
    def process_message(message: bytes, /) -> bytes | None:
        """Answer *message*, as :meth:`handle_message` does, without a connection or a server.

        For work that a server may have done elsewhere: see
        ``MultiplexingMixIn.executor``. Servers that have none call it in place,
        through :meth:`handle_message`.
        """
        raise NotImplementedError

    def handle_answer(self, message: bytes, answer: bytes | None, /) -> bytes | None:
        """Called with what :meth:`process_message` returned; returns the answer, here *answer*.

        Always called where the connection is: an override may :meth:`send` more,
        :meth:`close`, or use the server. When it raises, it is as for
        :meth:`handle_message`.
        """
        return answer

    def handle_framing_error(self, error: FramingError, /) -> bytes | None:
        """Called when the client's bytes are no messages; returns None.

        An override may return a last answer, which is sent as it is, without
        framing. Then the connection ends. A client that is still sending may
        not get to read it, because TCP resets a connection that is closed with
        unread bytes.

        The messages before the fault have been handled. *error* says what is
        wrong: also that the stream ended within a message.
        """
        return None

    def send(self, message: bytes, /) -> None:
        """Queue *message* as an answer, before the one that will be returned.

        Raises :class:`ValueError` when :attr:`framing` can't frame it.
        """
        if self._answers:
            self._frame_answers()
        self._queue.append(self._encode(message))

    def flush(self) -> None:
        """Send now what is queued, instead of after the messages that have come."""
        if self._answers:
            self._frame_answers()
        if self._queue:
            pieces = self._queue if isinstance(self.request, tuple) else [b"".join(self._queue)]
            # First, so that nothing is sent twice should this fail.
            self._queue = []
            for piece in pieces:
                self.transmit(piece)

    def close(self) -> None:
        """End the connection once everything queued has been sent.

        Messages after the present one are not handled, even if they have come.
        """
        self._closing = True
        self._decode = _nothing

    def setup(self) -> None:
        """Prepare for the messages of this connection; does nothing here.

        What it queues with :meth:`send` is sent before any message comes.
        """

    def handle(self) -> None:
        """Handle the messages of this connection until it ends, or the datagram."""
        request = self.request
        if not isinstance(request, tuple):
            self._handle_stream()
            return
        try:
            answer = None if self._closing else self.handle_message(request[0])
        finally:
            if self._queue or self._answers:
                self.flush()
        if answer is not None:
            transmit_last(request, self.client_address, self.server, answer)

    def finish(self) -> None:
        """Clean up after the last message; sends what is still queued."""
        if self._queue or self._answers:
            self.flush()

    def feed(self, data: bytes, /) -> bytes:
        """Handle the messages that *data* completes; return all the answers, framed.

        Raises what :meth:`handle_message` does, after the answers until then
        have been transmitted.
        """
        try:
            messages = self._decode(data)
        except FramingError as error:
            return self._answer(error.messages, error, logging.INFO)
        return self._answer(messages)

    def end_of_input(self) -> bytes:
        """Take the end of what the client sends; return what is to be sent after it.

        A message that it has only half sent is for :meth:`handle_framing_error`.
        """
        messages: list[bytes] = []
        fault = None
        if not self._closing:
            try:
                messages = self.decoder.end()
            except FramingError as error:
                messages, fault = error.messages, error
        # The peer has left within a message, as peers do.
        answers = self._answer(messages, fault, logging.DEBUG)
        self.close()
        return answers

    @classmethod
    def message_function(cls) -> Callable[[bytes], bytes | None]:
        """:meth:`process_message`, to be called for this class's messages elsewhere.

        Raises :class:`TypeError` when the class doesn't define it, or defines a
        :meth:`handle_message` besides, which wouldn't be called.
        """
        if cls.process_message is _undefined:
            msg = (
                f"{cls.__qualname__} has no process_message(); a handle_message() belongs to a"
                " connection and can't be sent: make it a static method of that name, which"
                " takes the message alone"
            )
            raise TypeError(msg)
        if cls.handle_message is not MessageRequestHandler.handle_message:
            msg = (
                f"{cls.__qualname__} has a handle_message() of its own, which would not be called"
                " besides process_message(); what is to be done where the connection is goes"
                " into handle_answer()"
            )
            raise TypeError(msg)
        return cls.process_message

    @property
    def input_ended(self) -> bool:
        """Whether no more messages come, on a server that has them answered elsewhere."""
        return self._input_ended

    def receive_messages(self, data: bytes, /) -> list[bytes]:
        """Take *data*; return the messages that it completes, to be answered elsewhere."""
        try:
            return self._decode(data)
        except FramingError as error:
            self._input_ended = True
            self._fault = (error, logging.INFO)
            return error.messages

    def receive_end(self) -> list[bytes]:
        """Take the end of what the client sends; return the messages that it completes."""
        self._input_ended = True
        try:
            return self.decoder.end()
        except FramingError as error:
            # The peer has left within a message, as peers do.
            self._fault = (error, logging.DEBUG)
            return error.messages

    def queue_answer(self, message: bytes, answer: bytes | None, /) -> None:
        """Queue what :meth:`handle_answer` makes of *answer*.

        Raises what that does, and :class:`ValueError` when :attr:`framing` can't
        frame the answer.
        """
        answer = self.handle_answer(message, answer)
        if answer is not None:
            self.send(answer)

    def end_messages(self) -> None:
        """Take note that all messages have been answered; tell a fault that came after them."""
        if self._fault is not None:
            self._refuse(*self._fault)
        self.close()

    def _answer(
        self, messages: list[bytes], fault: FramingError | None = None, level: int = logging.NOTSET
    ) -> bytes:
        """Handle *messages*, then the *fault* behind them; return what is to be sent."""
        answers = self._answers
        handle = self.handle_message
        try:
            if len(messages) == 1 and fault is None:
                # What a client sends that waits for its answer.
                answer = handle(messages[0])
                if answer is not None:
                    if not self._queue:
                        return self._encode(answer)
                    answers.append(answer)
                messages = []
            for message in messages:
                answer = handle(message)
                if answer is not None:
                    answers.append(answer)
                if self._closing:
                    break
            else:
                if fault is not None:
                    self._refuse(fault, level)
            if answers and not self._queue:
                # The common case, in which nothing has been framed yet.
                framed = self._encode_all(answers)
                answers.clear()
                return framed
            self._frame_answers()
        except BaseException:
            # The error is worth more than one that it causes in sending, or than
            # an answer behind it that can't be framed.
            with contextlib.suppress(ValueError):
                self._frame_answers()
            with contextlib.suppress(OSError):
                self.flush()
            raise
        pieces, self._queue = self._queue, []
        return b"".join(pieces)

    def _encode_each(self, messages: list[bytes]) -> bytes:
        """All *messages*, framed one after the other."""
        return b"".join(map(self._encode, messages))

    def _frame_answers(self) -> None:
        """Frame the answers that wait; those before one that can't be are kept."""
        answers = self._answers.copy()
        self._answers.clear()
        for answer in answers:
            self._queue.append(self._encode(answer))

    def _refuse(self, fault: FramingError, level: int) -> None:
        """End the connection for a *fault* of the client's, which a record at *level* tells."""
        log.log(level, "%r broke the framing: %s", self.client_address, fault)
        self.close()
        answer = self.handle_framing_error(fault)
        if answer is not None:
            self._frame_answers()
            self._queue.append(answer)

    def _handle_stream(self) -> None:
        self.flush()
        while not self._closing:
            data = self._peer.receive()
            answers = self.feed(data) if data else self.end_of_input()
            if answers:
                self.transmit(answers)


_undefined: Final = MessageRequestHandler.process_message


def _nothing(_data: bytes, /) -> list[bytes]:
    """The decoder's part once the connection is to end."""
    return []


def _unframed(message: bytes, /) -> bytes:
    """The framing of a datagram."""
    return message
