"""A server that answers each line with itself in capitals, in a coroutine for each connection.

Run ``python async_server.py``, then ``python message_client.py "hello world" bye``.
"""

import argparse
import contextlib

from netserve.concurrency import AsyncioMixIn
from netserve.core import InetAddress, LineTooLongError
from netserve.handlers import AsyncStreamRequestHandler
from netserve.transports import TCPServer


class Server(AsyncioMixIn, TCPServer):
    """A task of asyncio's event loop for each connection."""


class UpperCaseHandler(AsyncStreamRequestHandler[InetAddress, Server]):
    """Made once for each connection."""

    max_line_size = 1000

    async def handle(self) -> None:
        """Answer each line until the client has no more."""
        try:
            async for line in self.rfile:
                print(f"{self.client_address[0]} wrote: {line.decode().rstrip()}")
                await self.wfile.write(line.upper())
                if line == b"bye\n":
                    break
        except LineTooLongError as error:
            # Say why the connection ends.
            await self.wfile.write(f"{error}\n".encode())


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=9999, help="0 takes one that is free")
    port: int = parser.parse_args().port
    with Server(("localhost", port), UpperCaseHandler) as server:
        host, port = server.server_address
        print(f"serving on {host}:{port} until Ctrl-C", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()


if __name__ == "__main__":
    main()
