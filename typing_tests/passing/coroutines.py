"""Handlers with coroutines, the servers that await them, and an event loop of one's own."""

import asyncio

from typing_extensions import assert_type

from netserve import servers
from netserve.concurrency import AsyncioMixIn
from netserve.core import (
    AsyncConnection,
    CoroutineHandler,
    CoroutineServer,
    InetAddress,
    StopResult,
    UnixAddress,
    is_coroutine_handler,
)
from netserve.handlers import (
    AsyncDatagramRequestHandler,
    AsyncReader,
    AsyncStreamRequestHandler,
    AsyncWriter,
    MessageRequestHandler,
)
from netserve.transports import TCPServer, UDPServer, UnixStreamServer

HERE = ("127.0.0.1", 0)


class Server(AsyncioMixIn, TCPServer):
    motto = b"fast"
    loop_factory = asyncio.new_event_loop


class Datagrams(AsyncioMixIn, UDPServer): ...


class OnUnix(AsyncioMixIn, UnixStreamServer): ...


class Bare(AsyncStreamRequestHandler):
    async def handle(self) -> None:
        assert_type(self.rfile, AsyncReader)
        assert_type(self.wfile, AsyncWriter)
        assert_type(self.connection, AsyncConnection)
        assert_type(self.server, CoroutineServer)
        assert_type(await self.rfile.readline(), bytes)
        assert_type(await self.connection.receive(partial=True), bytes)
        assert_type(await self.wfile.write(b""), int)
        async for line in self.rfile:
            assert_type(line, bytes)
        assert_type(await self.server.stop_async(), StopResult)
        if self.connection.ssl_object is not None:
            self.connection.ssl_object.getpeercert()


class Typed(AsyncStreamRequestHandler[InetAddress, Server]):
    def setup(self) -> None: ...

    async def handle(self) -> None:
        assert_type(self.client_address, InetAddress)
        assert_type(self.server.motto, bytes)

    async def finish(self) -> None: ...


class Unix(AsyncStreamRequestHandler[UnixAddress]):
    async def handle(self) -> None:
        assert_type(self.client_address, UnixAddress)


class Datagram(AsyncDatagramRequestHandler):
    async def handle(self) -> None:
        assert_type(self.packet, bytes)
        await self.send(b"")


class Upper(MessageRequestHandler):
    def handle_message(self, message: bytes) -> bytes | None:
        return message.upper()


async def serve(server: Server) -> None:
    assert_type(await server.serve_async(), None)
    assert_type(await server.stop_async(1.0), StopResult)


def make_servers(handler: CoroutineHandler) -> None:
    Server(HERE, Bare)
    Server(HERE, Typed)
    Server(HERE, Upper)
    Datagrams(HERE, Datagram)
    OnUnix("socket", Unix)
    servers.AsyncioTCPServer(HERE, Bare)
    servers.AsyncioTCPServer(HERE, Upper)
    servers.AsyncioUDPServer(HERE, Datagram)
    servers.AsyncioUnixStreamServer("socket", Unix)
    servers.AsyncioUnixDatagramServer("socket", Datagram)
    servers.AsyncioTCPServer(HERE, Upper, request_queue_size=5, dual_stack=None)
    servers.AsyncioUDPServer(HERE, Datagram, False, allow_reuse_port=True)
    servers.AsyncioUnixStreamServer("socket", Unix, socket_mode=0o600, request_queue_size=5)
    servers.AsyncioUnixDatagramServer("socket", Datagram, socket_owner="nobody")
    assert_type(is_coroutine_handler(Bare), bool)
