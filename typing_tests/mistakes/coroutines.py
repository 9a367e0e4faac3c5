"""Mistakes with handlers whose work is a coroutine."""

from netserve import servers
from netserve.concurrency import AsyncioMixIn, ThreadingMixIn
from netserve.core import InetAddress
from netserve.handlers import (
    AsyncDatagramRequestHandler,
    AsyncStreamRequestHandler,
    StreamRequestHandler,
)
from netserve.transports import TCPServer, UDPServer

HERE = ("127.0.0.1", 0)


class Server(AsyncioMixIn, TCPServer):
    motto = b"fast"


class Datagrams(AsyncioMixIn, UDPServer): ...


class Threading(ThreadingMixIn, TCPServer): ...


class ForServer(AsyncStreamRequestHandler[InetAddress, Server]): ...


class Upper(AsyncStreamRequestHandler): ...


class Datagram(AsyncDatagramRequestHandler): ...


# E async-handler-on-plain-server: Argument; Upper
TCPServer(HERE, Upper)

# E async-handler-on-threading-server: Argument; Upper
Threading(HERE, Upper)

# E async-handler-for-another-server: Argument; ForServer
servers.AsyncioTCPServer(HERE, ForServer)

# E async-stream-handler-on-datagram-server: Argument; Upper
Datagrams(HERE, Upper)

# E async-datagram-handler-on-stream-server: Argument; Datagram
Server(HERE, Datagram)

# E blocking-handler-on-asyncio-server: Argument; StreamRequestHandler
servers.AsyncioTCPServer(HERE, StreamRequestHandler)

# E option-of-another-asyncio-server: request_queue_size
servers.AsyncioUDPServer(HERE, Datagram, request_queue_size=5)

# E asyncio-server-option-as-text: int
servers.AsyncioTCPServer(HERE, Upper, request_queue_size="5")

# E blocking-handler-on-asyncio-mix-in: CoroutineHandler
Server(HERE, StreamRequestHandler)


class Forgets(AsyncStreamRequestHandler):
    async def handle(self) -> None:
        line = self.rfile.readline()
        # E line-that-is-not-awaited: upper
        line.upper()


class Blocks(AsyncStreamRequestHandler):
    # E handle-that-is-no-coroutine: handle
    def handle(self) -> None: ...
