"""EasyNetwork: its standalone servers, which are driven like the standard library's.

A handler is a generator that lives as long as there are requests, and so is kept
for the connection.
"""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from easynetwork.protocol import BufferedStreamProtocol, DatagramProtocol
from easynetwork.serializers import StringLineSerializer
from easynetwork.servers import StandaloneTCPNetworkServer, StandaloneUDPNetworkServer
from easynetwork.servers.handlers import AsyncDatagramRequestHandler, AsyncStreamRequestHandler

from benchmarks.service import (
    BACKLOG,
    MAX_LINE,
    READ,
    THREADS,
    announce,
    arguments,
    block,
    serve_until_signal,
)


class Echo(AsyncStreamRequestHandler[str, str]):
    """Answers lines until the client closes."""

    async def handle(self, client: Any) -> AsyncGenerator[None, str]:
        """Read, answer, and so on."""
        while True:
            line = yield
            await client.send_packet(line.upper())


class Once(AsyncStreamRequestHandler[str, str]):
    """Answers one line."""

    async def handle(self, client: Any) -> AsyncGenerator[None, str]:
        """Read, answer, close."""
        line = yield
        await client.send_packet(line.upper())
        await client.aclose()


class Mix(AsyncStreamRequestHandler[str, str]):
    """Answers lines, those that block in a thread."""

    async def service_init(self, exit_stack: Any, server: Any) -> None:
        """Allow as many threads as the others have."""
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS))

    async def handle(self, client: Any) -> AsyncGenerator[None, str]:
        """Read, answer, and so on."""
        while True:
            line = yield
            if line.startswith("S"):
                await asyncio.get_running_loop().run_in_executor(None, block)
            await client.send_packet(line.upper())


class Datagrams(AsyncDatagramRequestHandler[str, str]):
    """Answers datagrams."""

    async def handle(self, client: Any) -> AsyncGenerator[None, str]:
        """Read, answer, and so on."""
        while True:
            text = yield
            await client.send_packet(text.upper())


HANDLERS: dict[str, Callable[[], AsyncStreamRequestHandler[str, str]]] = {
    "echo": Echo,
    "once": Once,
    "mix": Mix,
}


def main() -> None:
    """Serve until told to stop."""
    _, service = arguments("easynetwork")
    serializer = StringLineSerializer(limit=MAX_LINE)
    if service == "udp":
        server: Any = StandaloneUDPNetworkServer(
            "127.0.0.1", 0, DatagramProtocol(serializer), Datagrams()
        )
    else:
        server = StandaloneTCPNetworkServer(
            "127.0.0.1",
            0,
            BufferedStreamProtocol(serializer),
            HANDLERS[service](),
            backlog=BACKLOG,
            max_recv_size=READ,
            log_client_connection=False,
        )
    up = threading.Event()

    def say() -> None:
        up.wait()
        announce(server.get_addresses()[0].port)

    threading.Thread(target=say, daemon=True).start()
    serve_until_signal(lambda: server.serve_forever(is_up_event=up), server.shutdown, None)


if __name__ == "__main__":
    main()
