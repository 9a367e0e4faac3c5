"""trio: a task for each connection, which answers what was received at once."""

import signal

import trio

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


async def echo(stream: trio.SocketStream) -> None:
    """Answer lines until the client closes."""
    rest = b""
    while data := await stream.receive_some(READ):
        lines, rest = cut(rest + data)
        if len(rest) >= MAX_LINE:
            return
        if lines:
            await stream.send_all(join(lines))


async def once(stream: trio.SocketStream) -> None:
    """Answer one line."""
    data = bytes(await stream.receive_some(READ))
    while data and b"\n" not in data:
        data += await stream.receive_some(READ)
    await stream.send_all(join(cut(data)[0][:1]))


async def mix(stream: trio.SocketStream) -> None:
    """Answer lines, those that block in a thread."""
    limit = trio.to_thread.current_default_thread_limiter()
    rest = b""
    while data := await stream.receive_some(READ):
        lines, rest = cut(rest + data)
        for line in lines:
            reply = line.upper()
            if line.startswith(b"S"):
                reply = await trio.to_thread.run_sync(answer, line, limiter=limit)
            await stream.send_all(reply + b"\n")


async def datagrams(socket: trio.socket.SocketType) -> None:
    """Answer datagrams."""
    while True:
        data, address = await socket.recvfrom(READ)
        await socket.sendto(data.upper(), address)


async def guarded(stream: trio.SocketStream, service: str) -> None:
    """Serve a connection; that the client resets it is no error."""
    try:
        await {"echo": echo, "once": once, "mix": mix}[service](stream)
    except trio.BrokenResourceError:
        pass
    finally:
        await trio.aclose_forcefully(stream) if service != "once" else await stream.aclose()


async def serve(service: str, watch: StopWatch) -> None:
    """Serve until told to stop."""
    trio.to_thread.current_default_thread_limiter().total_tokens = THREADS
    async with trio.open_nursery() as nursery:
        if service == "udp":
            socket = trio.socket.socket(type=trio.socket.SOCK_DGRAM)
            await socket.bind(("127.0.0.1", 0))
            nursery.start_soon(datagrams, socket)
            port = socket.getsockname()[1]
        else:
            listeners = await trio.open_tcp_listeners(0, host="127.0.0.1", backlog=BACKLOG)
            nursery.start_soon(
                trio.serve_listeners, lambda stream: guarded(stream, service), listeners
            )
            port = listeners[0].socket.getsockname()[1]
        with trio.open_signal_receiver(signal.SIGUSR1) as signals:
            announce(port)
            async for _ in signals:
                watch.ask(nursery.cancel_scope.cancel)


def main() -> None:
    """Run the loop."""
    _, service = arguments("trio")
    watch = StopWatch()
    trio.run(serve, service, watch)
    watch.report()


if __name__ == "__main__":
    main()
