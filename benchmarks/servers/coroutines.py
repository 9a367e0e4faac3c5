"""netserve's servers of coroutines, on either event loop."""

import asyncio
import importlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks.service import MAX_LINE, THREADS, answer
from netserve.concurrency import AsyncioMixIn
from netserve.handlers import AsyncDatagramRequestHandler, AsyncStreamRequestHandler

# The same for all connections; as many threads as the other frameworks have.
EXECUTOR = ThreadPoolExecutor(THREADS)


class AsyncEcho(AsyncStreamRequestHandler):
    """Answers lines until the client closes."""

    max_line_size = MAX_LINE

    async def handle(self) -> None:
        """Read, answer, and so on."""
        readline, write = self.rfile.readline, self.wfile.write
        while (line := await readline()).endswith(b"\n"):
            await write(line.upper())


class AsyncOnce(AsyncEcho):
    """Answers one line."""

    async def handle(self) -> None:
        """Read, answer."""
        await self.wfile.write((await self.rfile.readline()).upper())


class AsyncMix(AsyncEcho):
    """Answers lines, those that block in a thread."""

    async def handle(self) -> None:
        """Read, answer, and so on."""
        loop = asyncio.get_running_loop()
        loop.set_default_executor(EXECUTOR)
        while (line := await self.rfile.readline()).endswith(b"\n"):
            if line.startswith(b"S"):
                await self.wfile.write(await loop.run_in_executor(None, answer, line))
            else:
                await self.wfile.write(line.upper())


class AsyncDatagram(AsyncDatagramRequestHandler):
    """Answers a datagram."""

    async def handle(self) -> None:
        """Send it back in upper case."""
        self.wfile.write(self.packet.upper())


HANDLERS: dict[str, type] = {
    "echo": AsyncEcho, "once": AsyncOnce, "mix": AsyncMix, "udp": AsyncDatagram,
}  # fmt: skip


def build(variant: str, service: str) -> tuple[tuple[type, ...], Any]:
    """Return the mix-ins and the handler of a row."""
    if variant == "asyncio":
        return (AsyncioMixIn,), HANDLERS[service]
    factory: Any = importlib.import_module("uvloop").new_event_loop
    return (type("Uvloop", (AsyncioMixIn,), {"loop_factory": factory}),), HANDLERS[service]
