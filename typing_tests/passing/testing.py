"""Tests of servers: what the fixture gives, the fakes, and the checks."""

import socketserver

from typing_extensions import assert_type

from netserve import servers
from netserve.concurrency import ThreadPoolMixIn
from netserve.core import AsyncConnection, Framing
from netserve.handlers import (
    AsyncDatagramRequestHandler,
    AsyncReader,
    AsyncStreamRequestHandler,
    Lines,
    MessageRequestHandler,
    StreamRequestHandler,
)
from netserve.testing import (
    DatagramClient,
    FakeAsyncConnection,
    FakeConnection,
    MessageExchange,
    Serve,
    Service,
    StreamClient,
    check_framing,
    check_handler,
    check_mixin,
    check_server,
    handle_datagram,
    handle_datagram_async,
    handle_stream,
    handle_stream_async,
    serving,
)
from netserve.transports import TCPServer


class Upper(StreamRequestHandler):
    def handle(self) -> None:
        self.wfile.write(self.rfile.readline().upper())


class Slow(AsyncStreamRequestHandler):
    async def handle(self) -> None:
        await self.wfile.write(await self.rfile.readline())


class SlowDatagram(AsyncDatagramRequestHandler):
    async def handle(self) -> None:
        self.wfile.write(self.packet)


class Message(MessageRequestHandler):
    def handle_message(self, message: bytes) -> bytes | None:
        return message


def test_ours(serve: Serve) -> None:
    service = serve(servers.ThreadingTCPServer(("127.0.0.1", 0), Upper), grace=1)
    assert_type(service, Service[servers.ThreadingTCPServer])
    assert_type(service.server, servers.ThreadingTCPServer)
    assert_type(service.connect(), StreamClient)
    assert_type(service.datagram_client(), DatagramClient)
    assert_type(service.port, int)
    assert_type(service.take_failures(), list[BaseException])


def test_a_class(serve: Serve) -> None:
    with serve(servers.ThreadingTCPServer, Upper).connect() as client:
        assert_type(client.read_line(), bytes)
    serve(socketserver.ThreadingTCPServer, Upper, ("127.0.0.1", 0))
    with serving(socketserver.UDPServer, print) as service:
        assert_type(service.take_failures(), list[BaseException])


def test_fakes() -> None:
    assert_type(handle_stream(Upper, [b"one", b"two"]), bytes)
    assert_type(handle_datagram(Message, b"one"), list[bytes])
    with MessageExchange(Message) as exchange:
        assert_type(exchange.feed(b"one\n"), bytes)


async def test_coroutines() -> None:
    assert_type(await handle_stream_async(Slow, [b"one"], client_address="/client"), bytes)
    assert_type(await handle_datagram_async(SlowDatagram, b"one"), list[bytes])
    connection: AsyncConnection = FakeAsyncConnection(FakeConnection(b"one"))
    assert_type(await AsyncReader(connection).readline(), bytes)


def test_a_script() -> None:
    connection = FakeConnection(b"one")
    connection.pause()
    assert_type(handle_stream(Slow, connection), bytes)
    assert_type(handle_datagram(SlowDatagram, b"one"), list[bytes])


def test_contracts() -> None:
    framing: Framing = Lines()
    check_framing(framing, [b"one"], malformed=[b"two"])
    check_handler(Upper, b"one\n", answer=b"ONE\n")
    check_handler(Slow, b"one\n")
    check_mixin(ThreadPoolMixIn)
    check_server(TCPServer, ("127.0.0.1", 0))
