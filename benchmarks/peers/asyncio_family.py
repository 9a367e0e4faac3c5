"""asyncio, on its own loop and on uvloop's: streams, and the Protocol below them.

A stream's idiom is a line at a time. A Protocol gets what was received, and joins
the answers to all its lines to one write; that is the fastest that asyncio has.
"""

import asyncio
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

from benchmarks.service import (
    BACKLOG,
    MAX_LINE,
    THREADS,
    StopWatch,
    announce,
    answer,
    arguments,
    cut,
    join,
)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer lines until the client closes."""
    try:
        while (line := await reader.readline()).endswith(b"\n"):
            writer.write(line.upper())
            await writer.drain()
    except (ConnectionError, ValueError):  # ValueError: a line too long
        pass
    finally:
        writer.close()


async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one line."""
    try:
        writer.write((await reader.readline()).upper())
    finally:
        writer.close()


async def mix(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer lines, those that block in a thread."""
    loop = asyncio.get_running_loop()
    try:
        while (line := await reader.readline()).endswith(b"\n"):
            if line.startswith(b"S"):
                writer.write(await loop.run_in_executor(None, answer, line))
            else:
                writer.write(line.upper())
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def mix_blocking(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer lines as the handlers of threads do, so that what blocks holds up everybody."""
    try:
        while (line := await reader.readline()).endswith(b"\n"):
            writer.write(answer(line))
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


class Echo(asyncio.Protocol):
    """Answers lines until the client closes."""

    transport: asyncio.Transport
    rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer the lines that are whole."""
        lines, self.rest = cut(self.rest + data)
        if len(self.rest) >= MAX_LINE:
            self.transport.abort()
        elif lines:
            self.transport.write(join(lines))

    def pause_writing(self) -> None:
        """Read no more from a client that doesn't read."""
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on."""
        self.transport.resume_reading()


class Once(Echo):
    """Answers one line."""

    def data_received(self, data: bytes) -> None:
        """Answer, and close once that is sent."""
        lines, self.rest = cut(self.rest + data)
        if lines:
            self.transport.write(join(lines[:1]))
            self.transport.close()


class Mix(Echo):
    """Answers lines, those that block in a thread, in their order."""

    blocked: "asyncio.Future[bytes] | None" = None

    def data_received(self, data: bytes) -> None:
        """Answer the lines up to one that blocks."""
        self.rest += data
        while self.blocked is None and b"\n" in self.rest:
            line, _, self.rest = self.rest.partition(b"\n")
            if line.startswith(b"S"):
                loop = asyncio.get_running_loop()
                self.blocked = loop.run_in_executor(None, answer, line)
                self.blocked.add_done_callback(self._go_on)
            else:
                self.transport.write(line.upper() + b"\n")

    def _go_on(self, blocked: "asyncio.Future[bytes]") -> None:
        self.blocked = None
        if self.transport.is_closing():
            return
        self.transport.write(blocked.result() + b"\n")
        self.data_received(b"")


class Datagram(asyncio.DatagramProtocol):
    """Answers datagrams."""

    transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """Send it back in upper case."""
        self.transport.sendto(data.upper(), addr)


STREAMS = {"echo": echo, "once": once, "mix": mix}
PROTOCOLS = {"echo": Echo, "once": Once, "mix": Mix}


async def serve(variant: str, service: str, watch: StopWatch) -> None:
    """Serve until told to stop."""
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(THREADS))
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGUSR1, watch.ask, stop.set)
    if service == "udp":
        transport, _ = await loop.create_datagram_endpoint(Datagram, local_addr=("127.0.0.1", 0))
        announce(transport.get_extra_info("sockname")[1])
        await stop.wait()
        transport.close()
        return
    if variant != "protocol":
        handler = mix_blocking if variant == "blocking" else STREAMS[service]
        server = await asyncio.start_server(
            handler, "127.0.0.1", 0, limit=MAX_LINE, backlog=BACKLOG
        )
    else:
        server = await loop.create_server(PROTOCOLS[service], "127.0.0.1", 0, backlog=BACKLOG)
    announce(server.sockets[0].getsockname()[1])
    await stop.wait()
    server.close()


def main() -> None:
    """Choose the loop, and run it."""
    variant, service = arguments(
        *(f"{loop}-{kind}" for loop in ("asyncio", "uvloop") for kind in ("streams", "protocol")),
        "asyncio-blocking",
    )
    name, kind = variant.split("-")
    factory: Any = asyncio.new_event_loop
    if name == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    watch = StopWatch()
    loop = factory()
    loop.run_until_complete(serve(kind, service, watch))
    watch.report()


if __name__ == "__main__":
    main()
