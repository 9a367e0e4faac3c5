"""A connection without a network, for the handler of a stream.

Theory of operation. What the client sends is a script: pieces of bytes, waits,
and how it ends. The handler reads it as it comes to it, in the test's own thread,
and nothing ever waits: where a real connection would let time pass, this one
raises at once what that would lead to, a :class:`TimeoutError` where the handler
has set a timeout and :class:`StarvedError` where it would wait for ever.
"""

import errno
import socket as _socket
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NoReturn, cast

from netserve.testing._errors import StarvedError

if TYPE_CHECKING:
    from typing_extensions import Buffer

_ENOUGH: Final = 1000
"""How often a handler may find that the client sends no more, before that is a loop without end."""


class FakeConnection(_socket.socket):
    """What a handler takes for the socket of a connection; the test is its client.

    :meth:`feed` what the client sends, make a handler with it as the request, and
    look at :attr:`sent`. It is a :class:`socket.socket` for ``isinstance`` and for
    type checkers, and has no descriptor.

    Not simulated: time, so that timeouts pass at once or not at all; full buffers,
    so that sending never blocks; descriptors, so that ``fileno`` is -1 and a
    selector refuses it; TLS; options, which are noted in :attr:`options` and have
    no effect. Methods that aren't here raise :class:`NotImplementedError`.
    """

    def __init__(
        self, data: bytes = b"", *, peer: object = ("127.0.0.1", 50000), family: int | None = None
    ) -> None:
        # The base's constructor isn't called: it would open a real socket.
        self._io_refs = 0
        self._closed = False
        self._script: deque[bytes | Exception] = deque()
        self._peer = peer
        self._kind = _family_of(peer) if family is None else family
        self._timeout: float | None = None
        self._input_ended = self._output_ended = False
        self._lost = False
        self._vain = 0

        self.is_driven = False
        """Whether a server moves the bytes, so that the handler must not."""

        self.sent: bytes = b""
        """All that the handler has sent so far."""

        self.on_send: Callable[[bytes], None] | None = None
        """Called with each piece that is sent: for a client that answers, with :meth:`feed`."""

        self.options: dict[tuple[int, int], object] = {}
        """The values that ``setsockopt`` was called with, by level and option."""

        self.feed(data)

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{len(self._script)} pieces to be read"
        return f"<{type(self).__name__} of {self._peer!r}, {state}>"

    def __del__(self) -> None:
        # There is nothing to warn of.
        pass

    # What the test does, as the client.

    def feed(self, data: bytes) -> None:
        """Send *data*, which the handler receives in one piece unless it reads less at once."""
        if data:
            self._script.append(data)

    def feed_pieces(self, data: bytes, size: int = 1) -> None:
        """Send *data* in pieces of *size* bytes each (default 1)."""
        for start in range(0, len(data), size):
            self.feed(data[start : start + size])

    def pause(self) -> None:
        """Send nothing for longer than the handler's timeout.

        Its next read raises :class:`TimeoutError`, once; without a timeout, it
        notices nothing. For a handler with a coroutine it is longer than the
        server's deadlines: its next operations raise
        :class:`~netserve.core.DeadlineError`.
        """
        self._script.append(TimeoutError("timed out"))

    def end(self) -> None:
        """Send no more (a half-close); the handler can still send."""
        self._script.append(EOFError())

    def reset(self) -> None:
        """Reset the connection, after what was fed before.

        From then on reading and sending raise :class:`ConnectionResetError` and
        :class:`BrokenPipeError`.
        """
        self._script.append(ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"))

    @property
    def input_ended(self) -> bool:
        """Whether the handler has shut its reading side."""
        return self._input_ended

    @property
    def output_ended(self) -> bool:
        """Whether the handler has ended its output, by ``shutdown`` or by closing."""
        return self._output_ended or self._closed

    # What the handler does, as with any socket.

    @property
    def family(self) -> int:  # type: ignore[override]  # an enum's member where there is one
        """The address family that the client's address belongs to."""
        return self._kind

    @property
    def type(self) -> int:  # type: ignore[override]  # as above
        """A stream."""
        return _socket.SOCK_STREAM

    @property
    def proto(self) -> int:
        """The family's default."""
        return 0

    @property
    def timeout(self) -> float | None:
        """The timeout that was set, in seconds."""
        return self._timeout

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """The next bytes that were fed, at most *bufsize*; none at the end."""
        self._check_driver()
        return self.take(bufsize, self._timeout, peeks=bool(flags & _socket.MSG_PEEK))

    def recv_into(self, buffer: "Buffer", nbytes: int = 0, flags: int = 0) -> int:
        """As :meth:`recv`, into *buffer*; returns how many bytes."""
        with memoryview(buffer).cast("B") as view:
            data = self.recv(nbytes or view.nbytes, flags)
            view[: len(data)] = data
        return len(data)

    def send(self, data: "Buffer", flags: int = 0, /) -> int:
        """Send all of *data*."""
        self._check_driver()
        with memoryview(data) as view:
            piece = view.tobytes()
        self.put(piece)
        return len(piece)

    def sendall(self, data: "Buffer", flags: int = 0, /) -> None:
        """Send all of *data*."""
        self.send(data, flags)

    def shutdown(self, how: int, /) -> None:
        """End the input, the output, or both."""
        self._check_open()
        self._input_ended |= how in {_socket.SHUT_RD, _socket.SHUT_RDWR}
        self._output_ended |= how in {_socket.SHUT_WR, _socket.SHUT_RDWR}

    def settimeout(self, value: float | None, /) -> None:
        """Note the timeout, which says what a read raises that finds nothing."""
        self._timeout = value

    def gettimeout(self) -> float | None:
        """The timeout that was set, in seconds."""
        return self._timeout

    def setblocking(self, flag: bool, /) -> None:
        """As ``settimeout(None)`` or ``settimeout(0)``."""
        self._timeout = None if flag else 0.0

    def getblocking(self) -> bool:
        """Whether the timeout is other than 0."""
        return self._timeout != 0

    def setsockopt(self, level: int, optname: int, value: object, *_: object) -> None:
        """Note the option in :attr:`options`."""
        self.options[level, optname] = value

    def getsockopt(self, level: int, optname: int, *_: object) -> int:  # type: ignore[override]  # overloaded there
        """The number that the option was set to; 0 unless it was."""
        value = self.options.get((level, optname), 0)
        return int(value) if isinstance(value, int) else 0

    def getpeername(self) -> object:
        """The client's address."""
        if self._lost:
            raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")
        return self._peer

    def getsockname(self) -> object:
        """An address of the loopback, in the form of the client's."""
        if isinstance(self._peer, tuple):
            return ("::1", 1, 0, 0) if self._kind == _socket.AF_INET6 else ("127.0.0.1", 1)
        return "/server"

    def fileno(self) -> int:
        """-1, as there is no descriptor."""
        return -1

    def close(self) -> None:
        """Close; the test can still look at what was sent."""
        self._closed = True

    def detach(self) -> int:
        """Not simulated."""
        self._refuse("detach")

    def dup(self) -> NoReturn:
        """Not simulated."""
        self._refuse("dup")

    def accept(self) -> NoReturn:
        """Not simulated: this is a connection."""
        self._refuse("accept")

    def bind(self, address: object, /) -> NoReturn:
        """Not simulated: this is a connection."""
        self._refuse("bind")

    def connect(self, address: object, /) -> NoReturn:
        """Not simulated: this is a connection."""
        self._refuse("connect")

    def connect_ex(self, address: object, /) -> NoReturn:
        """Not simulated: this is a connection."""
        self._refuse("connect_ex")

    def listen(self, backlog: int = 0, /) -> NoReturn:
        """Not simulated: this is a connection."""
        self._refuse("listen")

    def recvfrom(self, *_: object) -> NoReturn:
        """Not simulated."""
        self._refuse("recvfrom")

    def recvfrom_into(self, buffer: "Buffer", nbytes: int = 0, flags: int = 0) -> NoReturn:
        """Not simulated."""
        self._refuse("recvfrom_into")

    def recvmsg(self, *_: object) -> NoReturn:
        """Not simulated."""
        self._refuse("recvmsg")

    def recvmsg_into(self, *_: object) -> NoReturn:
        """Not simulated."""
        self._refuse("recvmsg_into")

    def sendto(self, *_: object) -> NoReturn:
        """Not simulated."""
        self._refuse("sendto")

    def sendmsg(self, *_: object) -> NoReturn:
        """Not simulated."""
        self._refuse("sendmsg")

    def sendfile(self, *_: object, **__: object) -> NoReturn:
        """Not simulated."""
        self._refuse("sendfile")

    # What the handler does, or the server in its place.

    def take(self, size: int, timeout: float | None, *, peeks: bool = False) -> bytes:
        """The next bytes that were fed, at most *size*; none at the end.

        *timeout* is for how long one would wait for them, in seconds; None: for ever.
        With *peeks* they stay there.
        """
        piece = self._next_piece(timeout)
        rest = piece if peeks else piece[size:]
        if rest:
            self._script.appendleft(rest)
        return piece[:size]

    def put(self, data: bytes) -> None:
        """Send *data*."""
        self._check_open()
        if self._output_ended or self._lost:
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")
        self.sent += data
        if self.on_send is not None:
            self.on_send(data)

    def _next_piece(self, timeout: float | None) -> bytes:
        """The bytes that come next, taken from the script; none at the end."""
        self._check_open()
        while True:
            if self._input_ended:
                return self._find_the_end()
            if not self._script:
                self._starve(timeout)
            step = self._script.popleft()
            if isinstance(step, bytes):
                return step
            if isinstance(step, TimeoutError):
                if timeout is not None:
                    raise step
            elif isinstance(step, EOFError):
                self._script.appendleft(step)
                return self._find_the_end()
            else:
                self._script.appendleft(step)
                self._lost = True
                self._find_the_end()
                raise step

    def _find_the_end(self) -> bytes:
        self._vain += 1
        if self._vain > _ENOUGH:
            msg = f"the handler went on reading: it has found the end {_ENOUGH} times"
            raise StarvedError(msg)
        return b""

    def _starve(self, timeout: float | None) -> NoReturn:
        if timeout == 0:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        if timeout is not None:
            msg = "timed out"
            raise TimeoutError(msg)
        msg = "the handler waits for more input: feed() it, or tell it the end() of input"
        raise StarvedError(msg)

    def _check_open(self) -> None:
        if self._closed:
            raise OSError(errno.EBADF, "Bad file descriptor")

    def _check_driver(self) -> None:
        if self.is_driven:
            msg = "a handler with a coroutine does no I/O of its own, but through its connection"
            raise AssertionError(msg)

    def _refuse(self, name: str) -> NoReturn:
        msg = f"{type(self).__name__} doesn't simulate {name}(): use a real connection"
        raise NotImplementedError(msg)


def _family_of(address: object) -> int:
    """The family that *address* has the form of."""
    if isinstance(address, tuple):
        host = str(cast("tuple[object, ...]", address)[0])
        return _socket.AF_INET6 if ":" in host else _socket.AF_INET
    return getattr(_socket, "AF_UNIX", _socket.AF_INET)
