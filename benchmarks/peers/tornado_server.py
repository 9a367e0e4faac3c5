"""Tornado: a TCPServer whose coroutine reads a line at a time."""

import asyncio
import signal
from concurrent.futures import ThreadPoolExecutor

from tornado.iostream import IOStream, StreamClosedError
from tornado.tcpserver import TCPServer

from benchmarks.service import (
    BACKLOG,
    MAX_LINE,
    THREADS,
    StopWatch,
    announce,
    answer,
    arguments,
)


class Lines(TCPServer):
    """Answers lines."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    async def handle_stream(self, stream: IOStream, address: object) -> None:
        """Answer until the client closes, or one line."""
        stream.set_nodelay(True)
        loop = asyncio.get_running_loop()
        try:
            while True:
                line = await stream.read_until(b"\n", max_bytes=MAX_LINE)
                if self._service == "mix" and line.startswith(b"S"):
                    line = await loop.run_in_executor(None, answer, line)
                await stream.write(line.upper())
                if self._service == "once":
                    break
        except StreamClosedError:
            pass
        stream.close()


async def serve(service: str, watch: StopWatch) -> None:
    """Serve until told to stop."""
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(THREADS))
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGUSR1, watch.ask, stop.set)
    server = Lines(service)
    server.listen(0, "127.0.0.1", backlog=BACKLOG)
    (listener,) = server._sockets.values()  # the port that the system chose
    announce(listener.getsockname()[1])
    await stop.wait()
    server.stop()


def main() -> None:
    """Run the loop."""
    _, service = arguments("tornado", services=("echo", "once", "mix"))
    watch = StopWatch()
    asyncio.run(serve(service, watch))
    watch.report()


if __name__ == "__main__":
    main()
