"""A handler that tells what is done with it, and a server class that tells what it does.

Theory of operation. What is told goes through a pipe, because the handler may run in
a child process, which shares nothing else with the check. One write of it is one
line, and is never mixed with another's.

The handler answers lines. It can read its connection itself, take a datagram, or be
driven with messages: as the server has it.
"""

import os
import select
import socket as _socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Final, cast

from typing_extensions import Self

from netserve.core import Decoder

BIG: Final = 16 << 20
"""How many bytes "flood" is answered with: more than fit between two ends of a connection."""


class ProbeError(Exception):
    """What the probe raises when it is told to fail."""


class Told:
    """What has been told so far, by whatever thread or process: names, and how often."""

    def __init__(self) -> None:
        self._output, self._input = os.pipe()
        self._counts: Counter[str] = Counter()
        self._order: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._input)
        os.close(self._output)

    def tell(self, name: str) -> None:
        """Note that *name* has happened."""
        os.write(self._input, f"{name}\n".encode())

    def wait_for(self, name: str, count: int, patience: float) -> bool:
        """Wait until *name* has been told *count* times; false if that takes too long."""
        until = time.monotonic() + patience
        while self._counts[name] < count:
            left = until - time.monotonic()
            if left <= 0 or not self._read(left):
                return False
        return True

    def counts(self) -> Counter[str]:
        """How often each name was told."""
        while self._read(0):
            pass
        return self._counts

    def order(self) -> list[str]:
        """All names, in the order in which they were told."""
        self.counts()
        return self._order

    def _read(self, patience: float) -> bool:
        if not select.select([self._output], [], [], patience)[0]:
            return False
        for name in os.read(self._output, 1 << 16).decode().splitlines():
            self._counts[name] += 1
            self._order.append(name)
        return True


class _Lines:
    """The probe's decoder."""

    def __init__(self) -> None:
        self._held = b""

    @property
    def pending(self) -> int:
        """How much of a line is there."""
        return len(self._held)

    def decode(self, data: bytes, /) -> list[bytes]:
        """Cut."""
        *lines, self._held = (self._held + data).split(b"\n")
        return lines

    def end(self) -> list[bytes]:
        """Half a line is nothing."""
        return []


class Probe:
    """Answers each line with itself in angle brackets, and the end of input with ``bye``.

    ``fail`` raises :class:`ProbeError`, ``flood`` is answered with a great many
    bytes.
    """

    def __init__(self, told: Told, request: object, client_address: object, server: object) -> None:
        self._told = told
        self.decoder: Decoder = _Lines()
        self.closing = False
        self.transmit: Callable[[bytes], None] = _unset
        self._busy = threading.Lock()
        told.tell("made")
        if isinstance(request, tuple):
            data, socket = cast("tuple[bytes, _socket.socket]", request)
            answer = self._answer(data.rstrip(b"\n"))
            socket.sendto(answer, cast("tuple[str, int]", client_address))
            told.tell("ended")
        elif not getattr(server, "drives_messages", False):
            connection = cast("_socket.socket", request)
            self.transmit = connection.sendall
            self._serve(connection)

    def setup(self) -> None:
        """Begin."""
        self._told.tell("setup")

    def feed(self, data: bytes, /) -> bytes:
        """Answer."""
        if not self._busy.acquire(blocking=False):
            self._told.tell("two at a time")
        try:
            return b"".join(map(self._answer, self.decoder.decode(data)))
        finally:
            self._busy.release()

    def end_of_input(self) -> bytes:
        """Say bye."""
        self._told.tell("end of input")
        self.closing = True
        return b"bye\n"

    def flush(self) -> None:
        """Nothing is queued."""

    def finish(self) -> None:
        """End."""
        self._told.tell("ended")

    def _serve(self, connection: _socket.socket) -> None:
        self.setup()
        try:
            while not self.closing:
                data = connection.recv(1000)
                answer = self.feed(data) if data else self.end_of_input()
                if answer:
                    connection.sendall(answer)
        finally:
            self.finish()

    def _answer(self, line: bytes) -> bytes:
        self._told.tell(f"line {line.decode()}")
        if line == b"fail":
            raise ProbeError
        if line == b"flood":
            return b"x" * BIG
        return b"<" + line + b">\n"


def recording(server_class: type, told: Told) -> type[Any]:
    """A class derived from *server_class* that tells which of its hooks are called."""
    base: Any = server_class

    class Recording(base):  # type: ignore[misc]  # whatever class it is
        allows = True

        def verify_request(self, request: object, client_address: object) -> bool:
            return self.allows and bool(base.verify_request(self, request, client_address))

        def handle_error(self, request: object, client_address: object) -> None:
            told.tell(f"error {type(sys.exc_info()[1]).__name__}")

        def shutdown_request(self, request: object) -> None:
            told.tell("shutdown")
            base.shutdown_request(self, request)

        def close_request(self, request: object) -> None:
            told.tell("closed")
            base.close_request(self, request)

    Recording.__name__ = Recording.__qualname__ = server_class.__name__
    return Recording


def _unset(data: bytes) -> None:
    msg = f"transmit hasn't been set, and {len(data)} bytes were to be sent"
    raise AssertionError(msg)
