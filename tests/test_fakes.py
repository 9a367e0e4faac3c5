"""A handler does on the fakes what it does on a real server."""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from netserve.core import BaseServer, DeadlineError, LineTooLongError
from netserve.handlers import (
    AsyncDatagramRequestHandler,
    AsyncStreamRequestHandler,
    DatagramRequestHandler,
    MessageRequestHandler,
    StreamRequestHandler,
)
from netserve.servers import (
    AsyncioTCPServer,
    AsyncioUDPServer,
    ThreadingTCPServer,
    ThreadingUDPServer,
)
from netserve.testing import (
    FakeConnection,
    FakeServer,
    handle_datagram,
    handle_datagram_async,
    handle_stream,
    handle_stream_async,
    serving,
)


class Calculator(AsyncStreamRequestHandler):
    """Adds the numbers of each line; greets, counts, and says bye."""

    max_line_size = 40

    async def setup(self) -> None:
        """Greet."""
        await self.wfile.write(b"hello\n")

    async def handle(self) -> None:
        """Answer."""
        count = 0
        async for line in self.rfile:
            if line == b"raw\n":
                size = int(await self.rfile.readline())
                await self.wfile.write(b"<%s>\n" % await self.rfile.read(size))
                continue
            if line == b"quit\n":
                break
            count += 1
            await asyncio.sleep(0)
            await self.wfile.write(b"%d: %d\n" % (count, sum(map(int, line.split()))))

    async def finish(self) -> None:
        """Say bye."""
        await self.wfile.write(b"bye\n")


class Blocking(StreamRequestHandler):
    """The same without coroutines."""

    max_line_size = 40

    def setup(self) -> None:
        """Greet."""
        super().setup()
        self.wfile.write(b"hello\n")

    def handle(self) -> None:
        """Answer."""
        count = 0
        for line in self.rfile:
            if line == b"raw\n":
                size = int(self.rfile.readline())
                self.wfile.write(b"<%s>\n" % self.rfile.read(size))
                continue
            if line == b"quit\n":
                break
            count += 1
            self.wfile.write(b"%d: %d\n" % (count, sum(map(int, line.split()))))

    def finish(self) -> None:
        """Say bye."""
        self.wfile.write(b"bye\n")
        super().finish()


class Messages(MessageRequestHandler):
    """A handler of messages."""

    def handle_message(self, message: bytes) -> bytes | None:
        """Answer some."""
        if message == b"quit":
            self.close()
        if message == b"3 x":
            raise ValueError(message)
        return message[::-1] if b"raw" not in message else None


class Shout(DatagramRequestHandler):
    """A handler of datagrams."""

    def handle(self) -> None:
        """Answer."""
        self.wfile.write(self.packet.upper())


class ShoutTwice(AsyncDatagramRequestHandler):
    """Sends two datagrams for one, or none at all, in a coroutine."""

    async def handle(self) -> None:
        """Answer."""
        await self.send(self.rfile.read(3))
        await asyncio.sleep(0)
        self.wfile.write(self.packet.upper())


SCRIPTS = {
    "nothing": b"",
    "lines": b"1 2\n3 4\n",
    "half": b"1 2\n3 4",
    "raw": b"raw\n8\nabc\nd\n\n!1 1\n",
    "short": b"raw\n8\nabc",
    "quit": b"1\nquit\n2\n",
    "too long": b"1\n" + b"1 " * 50 + b"\n",
    "broken": b"1\n3 x\n",
}

STREAMS: list[tuple[type[BaseServer[Any, Any]], Any]] = [
    (AsyncioTCPServer, Calculator),
    (ThreadingTCPServer, Blocking),
    (AsyncioTCPServer, Messages),
    (ThreadingTCPServer, Messages),
]


def caught(call: Callable[[], Any]) -> list[type[Exception]]:
    """What *call* raises."""
    try:
        call()
    except Exception as error:
        return [type(error)]
    return []


@pytest.mark.parametrize(("server_class", "handler"), STREAMS)
@pytest.mark.parametrize("name", SCRIPTS)
def test_a_stream(
    server_class: Any, handler: Any, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The client gets the same, and the same is raised."""
    caplog.set_level(logging.INFO)
    data = SCRIPTS[name]
    pieces = FakeConnection()
    pieces.feed_pieces(data)
    fakes = [FakeConnection(data), pieces, FakeConnection(data)]
    runs = [handle_stream, handle_stream, lambda *given: asyncio.run(handle_stream_async(*given))]
    with serving(server_class, handler) as service, service.connect() as client:
        client.send(data)
        client.end()
        answer = client.read_all()
        service.server.stop()
        failures = [type(error) for error in service.take_failures()]
    # A peer's fault is one record, and not told to handle_error.
    peers = [record for record in caplog.records if "max_line_size" in record.getMessage()]
    for fake, run in zip(fakes, runs, strict=True):
        fake.end()
        raised = caught(partial(run, handler, fake))
        assert fake.sent == answer
        assert raised == (failures or [LineTooLongError] * len(peers))


@pytest.mark.parametrize(
    ("server_class", "handler", "packet", "count"),
    [
        (AsyncioUDPServer, ShoutTwice, b"hello", 2),
        (AsyncioUDPServer, ShoutTwice, b"", 2),
        (ThreadingUDPServer, Shout, b"hello", 1),
    ],
)
def test_a_datagram(server_class: Any, handler: Any, packet: bytes, count: int) -> None:
    """The client gets the same datagrams, in the same order."""
    with serving(server_class, handler) as service:
        client = service.datagram_client()
        client.send(packet)
        answers = [client.receive() for _ in range(count)]
    assert handle_datagram(handler, packet) == answers
    assert asyncio.run(handle_datagram_async(handler, packet)) == answers


@pytest.mark.parametrize("sent", [b"", b"1 2\n", b"1 2"])
def test_a_deadline(sent: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """The same one passes, after the same answers; the handler can't say bye any more."""

    class Impatient(AsyncioTCPServer):
        idle_timeout = 0.5 if not sent.endswith(b"2") else 30
        message_timeout = 0.25

    passed: list[str] = []

    class Noting(Calculator):
        async def handle(self) -> None:
            try:
                await super().handle()
            except DeadlineError as error:
                passed.append(str(error))
                raise

    caplog.set_level(logging.INFO)
    with serving(Impatient, Noting) as service, service.connect() as client:
        client.send(sent)
        answer = client.read_all()
    connection = FakeConnection(sent)
    connection.pause()
    server = FakeServer(idle_timeout=Impatient.idle_timeout, message_timeout=0.25)
    with pytest.raises(DeadlineError) as raised:
        handle_stream(Noting, connection, server=server)
    assert connection.sent == answer
    assert passed == [str(raised.value)] * 2
