"""How a stream of bytes carries messages.

A framing is a rule, such as *a message ends with a newline*; a decoder applies it
to one stream. Neither does any I/O: bytes go in as they arrive, in whatever
pieces, and messages come out as they are complete. So the same framing serves a
thread that blocks in ``recv``, an event loop, and a test without a socket.
"""

from typing import Protocol


class Decoder(Protocol):
    """Cuts one stream of bytes into messages.

    Guaranteed: the messages are the same in whatever pieces the bytes come, and
    no more is held than the longest message that the framing allows, with its
    framing, and what one call has brought. Not guaranteed: anything after an
    error, so the decoder must not be used then; nor that two threads may use it
    at once.
    """

    @property
    def pending(self) -> int:
        """How many bytes are held of a message that isn't complete."""
        ...

    def decode(self, data: bytes, /) -> list[bytes]:
        """Take the next bytes of the stream; return the messages that they complete.

        The messages are in order and without their framing; there may be none.
        Raises :class:`FramingError` when *data* goes against the framing, or a
        message is longer than it allows, as soon as that is certain. The error
        has the messages that were complete before the fault.
        """
        ...

    def end(self) -> list[bytes]:
        """Take the end of the stream; return the messages that it completes.

        Raises :class:`FramingError` when it comes within a message, and the
        framing doesn't let it end one. The error says how many bytes are held.
        """
        ...


class Framing(Protocol):
    """A rule by which streams carry messages.

    Guaranteed: what :meth:`encode` returns, a decoder gives back. One framing
    may serve any number of streams, and threads, at once.
    """

    def decoder(self) -> Decoder:
        """A new decoder, for one stream."""
        ...

    def encode(self, message: bytes, /) -> bytes:
        """*message* with its framing, as it is sent.

        Raises :class:`ValueError`, which says why, when it can't be framed: for
        one, when it is too long, or contains what would end it.
        """
        ...
