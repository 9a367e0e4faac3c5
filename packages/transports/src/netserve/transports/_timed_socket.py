"""Blocking operations on a socket, whose every wait ends by the deadlines of its connection.

Theory of operation. A blocking operation waits for as long as its socket's
timeout says, and begins anew with the next call: a client that sends a byte a
second never meets a timeout of two. So each operation asks
:class:`~netserve.core.Deadlines` how long it may wait, sets that as the socket's
timeout if it is shorter than the program's own, and tells what it has moved.
``makefile`` reads and writes through the same methods. No thread watches.

Once a deadline has passed, every further operation raises at once: a handler that
catches the error can't go on reading.
"""

import socket as _socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from netserve.core import Deadline, DeadlineError, Deadlines
from netserve.transports._closing import undelivered_bytes

if TYPE_CHECKING:
    from typing_extensions import Buffer

_T = TypeVar("_T")


class TimedSocket(_socket.socket):
    """What the sockets with deadlines share; a subclass has the operations.

    :meth:`settimeout` keeps its meaning for each operation. What would have to
    wait beyond a deadline raises :class:`~netserve.core.DeadlineError`.
    """

    deadlines: Deadlines
    """The limits, and where the connection stands between them."""

    expired: Deadline | None = None
    """The deadline that has passed, if one has."""

    bytes_received: int = 0
    """How many bytes :meth:`recv_into` has read so far."""

    _own_timeout: float | None = None

    def settimeout(self, value: float | None) -> None:
        """Limit each operation to *value* seconds, beside the deadlines; None for no limit."""
        _socket.socket.settimeout(self, value)
        self._own_timeout = value

    def setblocking(self, flag: bool) -> None:
        """As ``settimeout(None)`` or ``settimeout(0)``."""
        self.settimeout(None if flag else 0.0)

    def gettimeout(self) -> float | None:
        """What :meth:`settimeout` was given last."""
        return self._own_timeout

    def message_began(self) -> None:
        """Note that the first bytes of the next message have been received already."""
        self.deadlines.message_began(time.monotonic())

    def message_ended(self) -> None:
        """Note that the message which is being received is complete."""
        self.deadlines.message_ended()

    def sendall(self, data: "Buffer", flags: int = 0, /) -> None:
        """As :meth:`socket.socket.sendall`; each part that gets away ends an idle time.

        The program's own timeout is one for the whole.
        """
        own = self._own_timeout
        until = None if own is None else time.monotonic() + own
        with memoryview(data) as view, view.cast("B") as left:
            sent = 0
            while sent < len(left):
                if until is not None and own:
                    # The rest of it, for this part; restored below.
                    self._own_timeout = max(until - time.monotonic(), 1e-6)
                try:
                    sent += self.send(left[sent:], flags)
                finally:
                    self._own_timeout = own

    def sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> int:
        """As :meth:`socket.socket.sendfile`, in parts that each keep the deadlines."""
        if offset:
            file.seek(offset)
        total = 0
        while count is None or total < count:
            part = file.read(65536 if count is None else min(65536, count - total))
            if not part:
                break
            self.sendall(part)
            total += len(part)
        if total and hasattr(file, "seek"):
            file.seek(offset + total)
        return total

    def _count(self, received: int) -> None:
        self.bytes_received += received

    def _receive(self, operation: Callable[..., _T], *arguments: object) -> _T:
        result = self._in_time(operation, arguments, self._own_timeout, receiving=True)
        # An empty result is the end of the input, which begins no message.
        if result:
            self.deadlines.received(time.monotonic())
        return result

    def _send(self, operation: Callable[..., _T], *arguments: object) -> _T:
        """Call *operation*, which waits for room; what is delivered meanwhile ends an idle time.

        There is room only when a good part of the buffer is free, which a slow
        reader may need longer for than it may be idle. So the wait is cut in
        slices, and between them it is looked at what is left to deliver.
        """
        idle = self.deadlines.limits[Deadline.IDLE]
        own = self._own_timeout
        if idle is None or own == 0:
            result = self._in_time(operation, arguments, own, receiving=False)
            self.deadlines.sent()
            return result
        until = None if own is None else time.monotonic() + own
        held = undelivered_bytes(self)
        while True:
            left = None if until is None else max(until - time.monotonic(), _LEAST)
            wait = idle / _SLICES if left is None else min(left, idle / _SLICES)
            try:
                result = self._in_time(operation, arguments, wait, receiving=False)
            except DeadlineError:
                raise
            except TimeoutError as error:
                if error.errno is not None or (until is not None and time.monotonic() >= until):
                    raise
                before, held = held, undelivered_bytes(self)
                if held < before:
                    self.deadlines.sent()
            else:
                self.deadlines.sent()
                return result

    def _in_time(
        self,
        operation: Callable[..., _T],
        arguments: tuple[object, ...],
        own: float | None,
        *,
        receiving: bool,
    ) -> _T:
        """Call *operation*, which may wait *own* seconds at most, and as the deadlines allow."""
        left, which = self.deadlines.allowance(time.monotonic(), receiving=receiving)
        if self.expired is not None or left <= 0:
            raise self._expire(which)
        shortened = own is None or left < own
        _socket.socket.settimeout(self, left if shortened and left != _NEVER else own)
        try:
            return operation(*arguments)
        except TimeoutError as error:
            # With an errno it is the system's ETIMEDOUT: the peer is gone.
            if error.errno is not None or not shortened:
                raise
            raise self._expire(which) from None

    def _expire(self, which: Deadline) -> DeadlineError:
        if self.expired is None:
            self.expired = which
        return DeadlineError(self.expired, self.deadlines.limits[self.expired] or 0.0)


_NEVER = float("inf")
_LEAST = 1e-6  # seconds: zero would mean not to wait at all
_SLICES = 10
