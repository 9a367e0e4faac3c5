"""What the tests of the multiplexing mix-in share: servers, a handler, clients."""

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import Any, ClassVar

from typing_extensions import Self

from netserve.concurrency import MultiplexingMixIn
from netserve.handlers import Lines, MessageRequestHandler
from netserve.transports import TCPServer, UDPServer, UnixDatagramServer, UnixStreamServer

PATIENCE = 30  # seconds until a test gives up; none waits so long unless it fails

HOME = ("127.0.0.1", 0)


class Server(MultiplexingMixIn, TCPServer):
    """Serves TCP."""


class UnixServer(MultiplexingMixIn, UnixStreamServer):
    """Serves streams on a path."""


class Datagrams(MultiplexingMixIn, UDPServer):
    """Serves UDP."""


class UnixDatagrams(MultiplexingMixIn, UnixDatagramServer):
    """Serves datagrams on a path."""


class Words(MessageRequestHandler):
    """Answers in capitals; a few words make it do something else.

    What it does before and after, and who runs it, is noted in the lists of the
    class, which :func:`fresh` makes anew for each test.
    """

    framing = Lines(max_size=1 << 26)
    gate: ClassVar[threading.Event]
    inside: ClassVar[threading.Semaphore]
    began: ClassVar[list[object]]
    ended: ClassVar[list[object]]
    threads: ClassVar[list[str]]

    def setup(self) -> None:
        """Note the beginning."""
        self.began.append(self)

    def handle_message(self, message: bytes) -> bytes | None:
        """Answer, or do as told."""
        word, _, argument = message.partition(b" ")
        self.threads.append(threading.current_thread().name)
        action = getattr(self, f"do_{word.decode()}", None)
        return message.upper() if action is None else action(argument)

    def do_gate(self, argument: bytes) -> bytes:
        """Block until the test opens the gate."""
        self.inside.release()
        assert self.gate.wait(PATIENCE)
        return b"THROUGH " + argument

    def do_nap(self, argument: bytes) -> bytes:
        """Block for so many milliseconds."""
        time.sleep(int(argument) / 1000)
        return b"AWAKE"

    def do_big(self, argument: bytes) -> bytes:
        """Answer with so many bytes."""
        return b"x" * int(argument)

    def do_nothing(self, _argument: bytes) -> None:
        """Answer nothing."""

    def do_fail(self, _argument: bytes) -> bytes:
        """Raise an error."""
        msg = "of the handler"
        raise RuntimeError(msg)

    def do_quit(self, _argument: bytes) -> bytes:
        """End the connection."""
        self.close()
        return b"BYE"

    def do_exit(self, _argument: bytes) -> bytes:
        """Raise what isn't an Exception."""
        raise SystemExit

    def do_abandon(self, _argument: bytes) -> bytes:
        """Close the socket under the server."""
        assert isinstance(self.request, socket.socket)
        self.request.close()
        return b"GONE"

    def do_shutdown(self, _argument: bytes) -> bytes:
        """Tell the server to stop."""
        self.server.shutdown()
        return b"SHUT"

    def do_stop(self, _argument: bytes) -> bytes:
        """Drain the server, with this request in progress."""
        result = self.server.stop(PATIENCE)
        return f"STOPPED {result.forced}".encode()

    def finish(self) -> None:
        """Note the end."""
        self.ended.append(self)
        super().finish()


def fresh(base: type[Words] = Words) -> type[Words]:
    """A handler class like *base* with notes of its own."""

    class Fresh(base):  # type: ignore[misc,valid-type]
        gate = threading.Event()
        inside = threading.Semaphore(0)
        began: ClassVar[list[object]] = []
        ended: ClassVar[list[object]] = []
        threads: ClassVar[list[str]] = []

    return Fresh


class Client:
    """A connection, and what is received on it in lines."""

    def __init__(self, address: Any) -> None:
        family = socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX
        self.socket = socket.socket(family)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(address)
        self.file = self.socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, data: bytes) -> None:
        """Send *data*."""
        self.socket.sendall(data)

    def line(self) -> bytes:
        """The next line, without its end."""
        line = self.file.readline()
        assert line.endswith(b"\n"), line
        return line[:-1]

    def ask(self, words: bytes) -> bytes:
        """Send a line; returns the next."""
        self.send(words + b"\n")
        return self.line()

    def rest(self) -> bytes:
        """All until the end."""
        return self.file.read()

    def end(self) -> None:
        """Say that no more will be sent."""
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Leave without a word."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        """Close it."""
        self.file.close()
        self.socket.close()


def until(condition: Callable[[], object]) -> None:
    """Wait until *condition* holds."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.001)


def enter(handler: type[Words], times: int = 1) -> None:
    """Wait until so many more handlers stand before the gate."""
    for _ in range(times):
        assert handler.inside.acquire(timeout=PATIENCE)


def clients(ends: contextlib.ExitStack, server: Any, number: int) -> list[Client]:
    """So many clients of *server*, which *ends* closes."""
    return [ends.enter_context(Client(server.server_address)) for _ in range(number)]
