"""A connection under TLS, whose handshake and whose every wait are in our hands.

Theory of operation. TLS itself does no I/O here: an :class:`ssl.SSLObject` turns
what has come in into plain text, and plain text into what is to go out, between
two buffers (:class:`ssl.MemoryBIO`). What moves the bytes between the buffers and
the socket is this class, and so

* the handshake is a generator that never blocks (see ``netserve.core._opening``);
* every wait keeps the deadlines of the connection, as on a plain socket;
* one receiving takes all that is there, so that nothing waits in a buffer of
  TLS's while a selector waits for the socket;
* the end of the stream is what it is: the peer's ``close_notify``, the end that a
  drain has put to the input here, or a connection that has broken off.

To everybody else it is an :class:`ssl.SSLSocket`. What was encrypted and hasn't
left waits in the *backlog*, before all else. A lock keeps the two threads of a
program that receives in one and sends in another out of each other's way.
"""

import errno
import socket as _socket
import ssl
import threading
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NoReturn

from typing_extensions import Self

from netserve.core import Deadline, Deadlines, PlainTextError, TLSError, TruncatedError, Wait
from netserve.transports._closing import input_ended_by_peer
from netserve.transports._timed_socket import TimedSocket

if TYPE_CHECKING:
    from typing_extensions import Buffer

_CHUNK: Final = 65536
_RECORD: Final = 16384  # bytes, the most that one record carries (RFC 8446, section 5.1)
_MOST_UNASKED: Final = 65536

# The first byte of a client's first record (RFC 8446, section 5.1).
_HANDSHAKE: Final = 22

_NEVER: Final = float("inf")


class TLSConnection(TimedSocket, ssl.SSLSocket):
    """A connected stream socket under TLS, on the server's side.

    It is an :class:`ssl.SSLSocket` whose methods do what that class documents,
    except where they say otherwise. It comes to be with :meth:`adopt`, and is of
    use after :meth:`opening`.
    """

    is_broken_off: bool = False
    """Whether the peer has ended the connection without ``close_notify``."""

    is_whole: bool = True
    """Whether what was sent is all there was to send; else no ``close_notify`` says so."""

    close_timeout: float = 5.0
    """How long :meth:`shutdown` waits for room to send ``close_notify``, in seconds."""

    def __init__(self, connection: _socket.socket, deadlines: Deadlines) -> None:
        own = connection.gettimeout()
        # SSLSocket has no constructor of its own that could be called.
        _socket.socket.__init__(
            self, connection.family, connection.type, connection.proto, connection.detach()
        )
        self.deadlines = deadlines
        self.settimeout(own)
        self.server_side = True
        self.server_hostname: str | None = None
        self._object: ssl.SSLObject | None = None
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._backlog = b""
        self._accepted = 0
        self._input_shut = False
        self._input_ended = False
        self._fault: TLSError | None = None
        self._said_goodbye = False

    @classmethod
    def adopt(cls, connection: _socket.socket, deadlines: Deadlines) -> Self:
        """Take over the descriptor of *connection*, which is left closed."""
        return cls(connection, deadlines)

    def opening(
        self, context: ssl.SSLContext, timeout: float | None
    ) -> Generator[Wait, None, None]:
        """The handshake with *context*, in *timeout* seconds, None for any time.

        It never blocks, and yields where it would. Raises :class:`TLSError`
        when the handshake fails, and what the socket does.
        """
        until = _NEVER if timeout is None else time.monotonic() + timeout
        reading = Wait(False, until, Deadline.HANDSHAKE, timeout or 0.0)
        writing = reading._replace(writing=True)
        own = self._own_timeout
        self.settimeout(0)
        tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        greeted = False
        while True:
            done = self._shake_hands(tls)
            self._backlog += self._outgoing.read()
            while self._backlog:
                try:
                    self._push_now()
                except BlockingIOError:
                    yield writing
            if done:
                break
            try:
                data = _socket.socket.recv(self, _CHUNK)
            except BlockingIOError:
                yield reading
                continue
            if not data:
                self.is_broken_off = True
                msg = "the client left in the handshake of TLS"
                raise ConnectionResetError(errno.ECONNRESET, msg)
            if not greeted and data[0] != _HANDSHAKE:
                raise PlainTextError(data)
            greeted = True
            self._incoming.write(data)
        self._object = tls
        self.settimeout(own)

    def _shake_hands(self, tls: ssl.SSLObject) -> bool:
        """Go on with the handshake; whether it is over."""
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError as error:
            # The peer is told why, as far as that is possible at once.
            self._backlog += self._outgoing.read()
            with suppress(OSError):
                self._push_now()
            raise TLSError.explaining("the handshake of TLS failed", error) from error
        return True

    @property
    def _tls(self) -> ssl.SSLObject:
        if self._object is None:
            msg = "TLS begins with the handshake, and there has been none on this connection"
            raise ValueError(msg)
        return self._object

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """Receive at most *buflen* bytes; none at the end, which the peer has announced.

        Returns all that is there, up to *buflen*. Raises
        :class:`~netserve.core.TruncatedError` when the connection ends without
        such an announcement (``close_notify``, :rfc:`8446`, section 6.1), and
        :class:`TLSError` for what TLS doesn't allow.
        """
        _refuse_flags(flags)
        own = self._own_timeout
        until = None if own is None else time.monotonic() + own
        waited = False
        while True:
            with self._lock:
                data = self._decrypt(buflen)
                asked = self._outgoing.pending
            if asked:
                self._answer()
            if data is not None:
                if data and not waited:
                    self.deadlines.received(time.monotonic())
                return data
            waited = True
            if until is not None and own:
                # The rest of it, for this part; restored below.
                self._own_timeout = max(until - time.monotonic(), _LEAST)
            try:
                raw = self._receive(_socket.socket.recv, self, _CHUNK)
            except BlockingIOError:
                raise ssl.SSLWantReadError(ssl.SSL_ERROR_WANT_READ, "nothing is there") from None
            finally:
                self._own_timeout = own
            if not raw:
                return self._end()
            with self._lock:
                self._incoming.write(raw)

    def _decrypt(self, size: int) -> bytes | None:
        """At most *size* bytes of what has come in; none at the end, None if more must come."""
        tls = self._tls
        parts: list[bytes] = []
        left = size
        while left > 0 and not self._input_ended and self._fault is None:
            try:
                part = tls.read(left)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLZeroReturnError:
                part = b""
            except ssl.SSLError as error:
                self._fault = TLSError.explaining("the connection isn't one of TLS any more", error)
                self._fault.__cause__ = error
                break
            if not part:
                self._input_ended = True
                break
            parts.append(part)
            left -= len(part)
            if not (self._incoming.pending or tls.pending()):
                break
        if parts:
            # What came behind them is told next time.
            return b"".join(parts)
        if self._fault is not None:
            self.is_whole = False
            raise self._fault
        return b"" if self._input_ended or size <= 0 else None

    def _end(self) -> bytes:
        """The end of the input; raises unless it was put there on this side."""
        if self._input_shut or not input_ended_by_peer(self):
            return b""
        self.is_broken_off = True
        msg = "the connection broke off: what has come may not be all that was sent"
        raise TruncatedError(msg)

    def _answer(self) -> None:
        """Send what TLS itself has to say, after a receiving; what can't be sent now, later."""
        # A thread that is sending takes it along with what it sends next.
        if not self._sending.acquire(blocking=False):
            return
        try:
            with self._lock:
                self._backlog += self._outgoing.read()
            if len(self._backlog) > _MOST_UNASKED:
                msg = "the client asks and asks, and takes no answer"
                raise TLSError(msg)
            with suppress(BlockingIOError):
                self._push()
        finally:
            self._sending.release()

    def send(self, data: "Buffer", flags: int = 0) -> int:
        """Send the first part of *data*; returns how long it was.

        When it would block, and may not, it raises :class:`ssl.SSLWantWriteError`,
        and is to be called again with the same data.
        """
        _refuse_flags(flags)
        if self._said_goodbye:
            raise BrokenPipeError(errno.EPIPE, "the sending side of the connection is shut")
        with self._sending, memoryview(data) as view, view.cast("B") as whole:
            try:
                if not self._accepted:
                    self._push()
                    part = whole[:_RECORD]
                    if part:
                        with self._lock:
                            self._encrypt(part)
                    self._accepted = len(part)
                self._push()
            except BlockingIOError:
                raise ssl.SSLWantWriteError(ssl.SSL_ERROR_WANT_WRITE, "there is no room") from None
            except BaseException:
                # What is left of it goes before all else; what follows is something new.
                self._accepted = 0
                raise
            accepted, self._accepted = self._accepted, 0
            return accepted

    def _encrypt(self, part: memoryview) -> None:
        try:
            self._tls.write(part)
        except ssl.SSLError as error:
            raise TLSError.explaining("the connection isn't one of TLS any more", error) from error
        self._backlog += self._outgoing.read()

    def _push(self) -> None:
        """Send the backlog, and keep the deadlines; raises what keeps it from being sent."""
        while self._backlog:
            sent = self._send(_socket.socket.send, self, self._backlog)
            self._backlog = self._backlog[sent:]

    def _push_now(self) -> None:
        """Send the backlog, where no deadline counts but the socket's timeout."""
        while self._backlog:
            sent = _socket.socket.send(self, self._backlog)
            self._backlog = self._backlog[sent:]

    def recv_into(self, buffer: "Buffer", nbytes: int | None = None, flags: int = 0) -> int:
        """As :meth:`recv`, into *buffer*; returns how many bytes."""
        with memoryview(buffer) as view, view.cast("B") as whole:
            data = self.recv(nbytes or len(whole), flags)
            whole[: len(data)] = data
        self._count(len(data))
        return len(data)

    def read(self, len: int = 1024, buffer: Any = None) -> Any:  # noqa: A002  # its name there
        """As :meth:`recv`, or with a *buffer* as :meth:`recv_into`."""
        return self.recv(len) if buffer is None else self.recv_into(buffer, len)

    def write(self, data: "Buffer") -> int:
        """As :meth:`send`."""
        return self.send(data)

    def pending(self) -> int:
        """How many bytes have been received and not been returned, encrypted ones included.

        The end of the stream, or a fault in it, counts as one.
        """
        with self._lock:
            held = self._tls.pending() + self._incoming.pending
        return held + (self._input_ended or self._fault is not None)

    def shutdown(self, how: int) -> None:
        """Shut the connection in one direction, or both at once.

        Before the sending side alone is shut, ``close_notify`` is sent, which
        tells the peer that it has everything; where the socket doesn't block and
        there is no room for it, :class:`BlockingIOError` is raised. To shut both
        sides at once is to break off.
        """
        if how == _socket.SHUT_WR:
            self._say_goodbye()
        else:
            # Known before anybody wakes up.
            self._input_shut = True
        _socket.socket.shutdown(self, how)

    def _say_goodbye(self) -> None:
        """Send ``close_notify``, unless what was sent isn't the whole."""
        if self._object is None or not self.is_whole or self.expired is not None:
            return
        blocks = self._own_timeout != 0
        patience = self.close_timeout if blocks else 0.0
        # Another thread may be sending still.
        if not self._sending.acquire(timeout=patience):
            return
        try:
            if not self._said_goodbye:
                self._said_goodbye = True
                # The peer's own needn't have come.
                with self._lock, suppress(OSError):
                    self._object.unwrap()
                self._backlog += self._outgoing.read()
            _socket.socket.settimeout(self, patience)
            try:
                self._push_now()
            except OSError:
                # The peer takes nothing any more; or it is asked again when it does.
                if not blocks:
                    raise
        finally:
            self._sending.release()

    def unwrap(self) -> _socket.socket:
        """Send ``close_notify``, and wait for the peer's; returns this socket, of no more use."""
        self._say_goodbye()
        while self.recv(_CHUNK):
            pass
        return self

    def do_handshake(self, block: bool = False) -> None:
        """Do nothing after the handshake, which is done by :meth:`opening`."""
        _ = self._tls


def _forward(name: str) -> None:
    """Let the method *name* of :class:`ssl.SSLSocket` answer for the connection."""

    def method(self: TLSConnection, *args: Any, **keywords: Any) -> Any:
        return getattr(self._tls, name)(*args, **keywords)

    _put(name, method)


def _forward_attribute(name: str) -> None:
    """Let the attribute *name* of :class:`ssl.SSLSocket` be what TLS says it is."""

    def get(self: TLSConnection) -> Any:
        return getattr(self._tls, name)

    def put(self: TLSConnection, value: Any) -> None:
        setattr(self._tls, name, value)

    setattr(TLSConnection, name, property(get, put, doc=f"As :attr:`ssl.SSLSocket.{name}`."))


def _refuse(name: str) -> None:
    """Let the method *name* of a socket be none of a connection under TLS."""

    def method(self: TLSConnection, *_args: Any, **_keywords: Any) -> NoReturn:
        msg = f"a connection under TLS has no {name}(): it would go past TLS"
        raise NotImplementedError(msg)

    _put(name, method)


def _put(name: str, method: Callable[..., Any]) -> None:
    method.__name__ = name
    method.__qualname__ = f"{TLSConnection.__name__}.{name}"
    method.__doc__ = f"As :meth:`ssl.SSLSocket.{name}`."
    setattr(TLSConnection, name, method)


for _name in (
    "cipher",
    "compression",
    "get_channel_binding",
    "get_unverified_chain",
    "get_verified_chain",
    "getpeercert",
    "selected_alpn_protocol",
    "shared_ciphers",
    "verify_client_post_handshake",
    "version",
):
    if hasattr(ssl.SSLObject, _name):
        _forward(_name)

for _name in ("context", "session", "session_reused"):
    _forward_attribute(_name)

for _name in (
    "accept",
    "connect",
    "connect_ex",
    "dup",
    "recvfrom",
    "recvfrom_into",
    "recvmsg",
    "recvmsg_into",
    "sendmsg",
    "sendto",
):
    _refuse(_name)


def _refuse_flags(flags: int) -> None:
    if flags:
        msg = f"a connection under TLS has no flags, not {flags!r}"
        raise ValueError(msg)


_LEAST: Final = 1e-6  # seconds: zero would mean not to wait at all
