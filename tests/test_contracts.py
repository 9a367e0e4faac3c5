"""Our own packages keep the contracts that others are checked against."""

import logging
from typing import Any

import pytest

from netserve import concurrency, handlers, servers, transports
from netserve.core import DatagramRequest, FramingError, StreamRequest
from netserve.testing import check_framing, check_handler, check_mixin, check_server

FRAMINGS = [
    (handlers.Lines(), [], [b"x" * 65537, b"half a line"]),
    (handlers.Lines(b"\r\n", max_size=100), [], [b"x" * 101 + b"\r\n"]),
    (handlers.Lines(max_size=300, tolerate_cr=True), [], [b"x" * 301]),
    (handlers.Lines(b"aab"), [b"aa", b"ba"], []),
    (handlers.LengthPrefixed(), [], [b"\0\1\0\1"]),
    (handlers.LengthPrefixed(1, "little"), [b"x" * 255], [b"\5hell"]),
    (handlers.LengthPrefixed(8, max_size=1000), [], [b"\xff" * 8]),
    (handlers.FixedSize(5), [b"hello", b"world"], [b"four"]),
    (handlers.Netstrings(), [], [b"5-hello,", b"5:hello!", b"05:hello,", b"5:hell"]),
]

MIXINS = [
    (concurrency.ThreadingMixIn, True),
    (concurrency.ForkingMixIn, True),
    (concurrency.ThreadPoolMixIn, True),
    (concurrency.MultiplexingMixIn, False),  # it needs a loop of ours, and says so
]

TRANSPORTS = [
    transports.TCPServer,
    transports.UDPServer,
    transports.UnixStreamServer,
    transports.UnixDatagramServer,
]


class Upper(handlers.MessageRequestHandler):
    """A handler of messages."""

    framing = handlers.Lines(max_size=1000)

    def handle_message(self, message: bytes) -> bytes | None:
        """Answer in several ways."""
        if message == b"twice":
            self.send(b"FIRST")
        if message == b"bye":
            self.close()
        return None if message == b"nothing" else message.upper()

    def handle_framing_error(self, error: FramingError) -> bytes | None:
        """Tell."""
        return b"? "


class Stream(handlers.StreamRequestHandler):
    """A handler of streams."""

    max_line_size = 1000

    def handle(self) -> None:
        """Answer each line."""
        for line in self.rfile:
            self.wfile.write(line.upper())


class Datagram(handlers.DatagramRequestHandler):
    """A handler of datagrams."""

    def handle(self) -> None:
        """Answer."""
        self.wfile.write(self.packet.upper())


class Coroutine(handlers.AsyncStreamRequestHandler):
    """A handler of streams whose work is a coroutine."""

    max_line_size = 1000

    async def handle(self) -> None:
        """Answer each line."""
        async for line in self.rfile:
            await self.wfile.write(line.upper())


class DatagramCoroutine(handlers.AsyncDatagramRequestHandler):
    """A handler of datagrams whose work is a coroutine."""

    async def handle(self) -> None:
        """Answer."""
        self.wfile.write(self.packet.upper())


class Base(handlers.BaseRequestHandler[StreamRequest | DatagramRequest]):
    """A handler that does its own I/O."""

    def handle(self) -> None:
        """Answer."""
        if isinstance(self.request, tuple):
            self.request[1].sendto(self.request[0].upper(), self.client_address)
        else:
            while data := self.request.recv(100):
                self.request.sendall(data.upper())


@pytest.mark.parametrize(("framing", "messages", "malformed"), FRAMINGS, ids=repr)
def test_framing(framing: Any, messages: list[bytes], malformed: list[bytes]) -> None:
    """Each framing, and its decoder."""
    check_framing(framing, messages, malformed=malformed)


@pytest.mark.parametrize("handler", [Upper, Stream, Coroutine, Base])
def test_handler_of_streams(handler: Any) -> None:
    """Each base class of handlers that takes connections."""
    check_handler(handler, b"hello\n" + b"x" * 100 + b"\n", answer=b"HELLO\n" + b"X" * 100 + b"\n")


@pytest.mark.parametrize("handler", [Upper, Datagram, DatagramCoroutine, Base])
def test_handler_of_datagrams(handler: Any) -> None:
    """Each base class of handlers that takes datagrams."""
    check_handler(handler, b"hello", answer=b"HELLO", datagram=True)


def test_handler_of_messages() -> None:
    """Driven, it answers the same: several times, not at all, and until it ends the connection."""
    check_handler(Upper, b"twice\nnothing\nx\nbye\n", answer=b"FIRST\nTWICE\nX\nBYE\n")


@pytest.mark.parametrize(("mixin", "stdlib"), MIXINS)
def test_mixin(mixin: type, stdlib: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Each mix-in, in front of our servers and of the standard library's."""
    check_mixin(mixin, stdlib=stdlib)
    assert warnings(caplog) == []


@pytest.mark.parametrize("server", TRANSPORTS)
def test_transport(server: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Each transport by itself."""
    check_server(server)
    assert warnings(caplog) == []


@pytest.mark.parametrize("name", servers.__all__)
def test_ready_made_server(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """Each transport with each mix-in."""
    check_server(getattr(servers, name))
    assert warnings(caplog) == []


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What a server has complained of."""
    return [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]
