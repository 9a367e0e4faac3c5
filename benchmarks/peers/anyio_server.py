"""anyio on asyncio: a task for each connection, which answers what was received at once."""

import contextlib
import signal

import anyio
import anyio.abc
import anyio.to_thread

from benchmarks.service import (
    BACKLOG,
    MAX_LINE,
    READ,
    THREADS,
    StopWatch,
    announce,
    answer,
    arguments,
    cut,
    join,
)


async def echo(stream: anyio.abc.SocketStream) -> None:
    """Answer lines until the client closes."""
    rest = b""
    async for data in stream:
        lines, rest = cut(rest + data)
        if len(rest) >= MAX_LINE:
            return
        if lines:
            await stream.send(join(lines))


async def once(stream: anyio.abc.SocketStream) -> None:
    """Answer one line."""
    data = b""
    while b"\n" not in data:
        data += await stream.receive(READ)
    await stream.send(join(cut(data)[0][:1]))


async def mix(stream: anyio.abc.SocketStream) -> None:
    """Answer lines, those that block in a thread."""
    rest = b""
    async for data in stream:
        lines, rest = cut(rest + data)
        for line in lines:
            reply = line.upper()
            if line.startswith(b"S"):
                reply = await anyio.to_thread.run_sync(answer, line)
            await stream.send(reply + b"\n")


async def datagrams(socket: anyio.abc.UDPSocket) -> None:
    """Answer datagrams."""
    async for data, address in socket:
        await socket.sendto(data.upper(), *address)


async def guarded(stream: anyio.abc.SocketStream, service: str) -> None:
    """Serve a connection; that the client leaves is no error."""
    async with stream:
        with contextlib.suppress(anyio.BrokenResourceError, anyio.EndOfStream):
            await {"echo": echo, "once": once, "mix": mix}[service](stream)


async def serve(service: str, watch: StopWatch) -> None:
    """Serve until told to stop."""
    anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
    async with anyio.create_task_group() as group:
        if service == "udp":
            socket = await anyio.create_udp_socket(local_host="127.0.0.1")
            group.start_soon(datagrams, socket)
            port = socket.extra(anyio.abc.SocketAttribute.local_port)
        else:
            listener = await anyio.create_tcp_listener(
                local_host="127.0.0.1", local_port=0, backlog=BACKLOG
            )
            group.start_soon(listener.serve, lambda stream: guarded(stream, service))
            port = listener.extra(anyio.abc.SocketAttribute.local_port)
        with anyio.open_signal_receiver(signal.SIGUSR1) as signals:
            announce(port)
            async for _ in signals:
                watch.ask(group.cancel_scope.cancel)


def main() -> None:
    """Run the loop."""
    _, service = arguments("anyio")
    watch = StopWatch()
    anyio.run(serve, service, watch)
    watch.report()


if __name__ == "__main__":
    main()
