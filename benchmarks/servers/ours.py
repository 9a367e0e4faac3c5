"""netserve's servers: one row for each way of running a request.

A mix-in or handler that the installed netserve doesn't have yet leaves its row
out; ``benchmarks.entries`` knows of each what it needs, and reports it absent.
"""

import asyncio
import http.server
import importlib.util
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import netserve.concurrency
import netserve.handlers
from benchmarks.application import RedisHandler, Values, WebHandler, answer_dns, serve_redis
from benchmarks.service import (
    BACKLOG,
    MAX_LINE,
    THREADS,
    answer,
    arguments,
    labour,
    serve_until_signal,
)
from netserve.concurrency import ForkingMixIn, ThreadingMixIn
from netserve.handlers import BaseRequestHandler, StreamRequestHandler
from netserve.transports import TCPServer, UDPServer


class Echo(StreamRequestHandler):
    """Answers lines until the client closes."""

    disable_nagle_algorithm = True

    def handle(self) -> None:
        """Read, answer, and so on."""
        readline, write = self.rfile.readline, self.wfile.write
        while (line := readline(MAX_LINE)).endswith(b"\n"):
            write(line.upper())


class Once(StreamRequestHandler):
    """Answers one line."""

    def handle(self) -> None:
        """Read, answer."""
        self.wfile.write(self.rfile.readline(MAX_LINE).upper())


class Mix(StreamRequestHandler):
    """Answers lines, some of them late."""

    disable_nagle_algorithm = True

    def handle(self) -> None:
        """Read, answer, and so on."""
        while (line := self.rfile.readline(MAX_LINE)).endswith(b"\n"):
            self.wfile.write(answer(line))


class Heavy(StreamRequestHandler):
    """Answers lines, each after some work."""

    disable_nagle_algorithm = True

    def handle(self) -> None:
        """Read, compute, answer, and so on."""
        while (line := self.rfile.readline(MAX_LINE)).endswith(b"\n"):
            self.wfile.write(labour(line))


class Redis(StreamRequestHandler):
    """A small Redis."""

    disable_nagle_algorithm = True
    values = Values()  # shared by all connections

    def handle(self) -> None:
        """Answer commands until the client closes."""
        serve_redis(self.rfile, self.wfile, self.values)


class Datagram(BaseRequestHandler):
    """Answers a datagram."""

    def handle(self) -> None:
        """Send it back in upper case."""
        data, answers = self.request
        answers.sendto(data.upper(), self.client_address)


class Names(BaseRequestHandler):
    """A small name server."""

    def handle(self) -> None:
        """Answer the question."""
        data, answers = self.request
        answers.sendto(answer_dns(data), self.client_address)


class Threads(ThreadingMixIn):
    """Threads that nobody waits for, as the standard library's have it here."""

    daemon_threads = True


class Forks(ForkingMixIn):
    """As many processes as the load needs; with the default of 40 it would stand still."""

    max_children = 100


HANDLERS: dict[str, Any] = {
    "echo": Echo, "once": Once, "mix": Mix, "cpu": Heavy, "resp": Redis,
    "udp": Datagram, "dns": Names, "http": WebHandler,
}  # fmt: skip

# What runs a request; the mix-ins that may be absent are looked up by name.
MIXINS: dict[str, type] = {"sync": object, "threading": Threads, "forking": Forks}
for variant, name in [("threadpool", "ThreadPoolMixIn"), ("multiplexing", "MultiplexingMixIn")]:
    if hasattr(netserve.concurrency, name):
        # As many workers as the other frameworks have for what blocks.
        MIXINS[variant] = type(name, (getattr(netserve.concurrency, name),), {"max_workers": 64})

# As many threads as the other frameworks have for what blocks.
if "multiplexing" in MIXINS:
    MIXINS["executor"] = type(
        "Executing",
        (MIXINS["multiplexing"],),
        {"make_executor": lambda _: ThreadPoolExecutor(THREADS)},
    )
# What several processes run whole: the rows that begin with prefork.
if hasattr(netserve.concurrency, "PreforkMixIn"):
    for variant in ("threadpool", "multiplexing"):
        if variant in MIXINS:
            bases: tuple[type, ...] = (netserve.concurrency.PreforkMixIn, MIXINS[variant])
            MIXINS[f"prefork-{variant}"] = type("Prefork", bases, {})

# The handler of the multiplexing server; any server runs it.
MESSAGES: dict[str, Any] = {}
if hasattr(netserve.handlers, "MessageRequestHandler"):
    MessageRequestHandler: Any = netserve.handlers.MessageRequestHandler

    class Message(MessageRequestHandler):  # type: ignore[misc] # Any, until all have the name
        """Answers one line after the other."""

        disable_nagle_algorithm = True

        def handle_message(self, message: bytes) -> bytes | None:
            """Return it in upper case."""
            return message.upper()

    class OneMessage(Message):
        """Answers one line; the server, finding no more to read, closes."""

        def handle_message(self, message: bytes) -> bytes | None:
            """Return it in upper case, as the last one."""
            self.close()
            return message.upper()

    class MixedMessage(Message):
        """Answers lines, some of them late."""

        def handle_message(self, message: bytes) -> bytes | None:
            """Return it in upper case, after blocking when it is marked."""
            return answer(message)

    class SentMessage(MessageRequestHandler):  # type: ignore[misc] # Any, as above
        """Answers one line after the other, some of them late, where an executor says."""

        @staticmethod
        def process_message(message: bytes) -> bytes | None:
            """Return it in upper case, after blocking when it is marked."""
            return answer(message)

    MESSAGES = {
        "echo": Message, "once": OneMessage, "mix": MixedMessage, "udp": Message,
        "resp": RedisHandler,
    }  # fmt: skip

    class SentHeavyMessage(MessageRequestHandler):  # type: ignore[misc] # Any, as above
        """Answers lines after some work, where an executor says."""

        @staticmethod
        def process_message(message: bytes) -> bytes | None:
            """Return it in upper case, after computing."""
            return labour(message)

    class HeavyMessage(Message):
        """Answers lines after some work."""

        def handle_message(self, message: bytes) -> bytes | None:
            """Return it in upper case, after computing."""
            return labour(message)

    MESSAGES = {
        "echo": Message, "once": OneMessage, "mix": MixedMessage, "cpu": HeavyMessage,
        "udp": Message,
    }  # fmt: skip
# The handlers of the asyncio server, on either event loop.
COROUTINES: dict[str, Any] = {}
if hasattr(netserve.handlers, "AsyncStreamRequestHandler"):
    AsyncStreamRequestHandler: Any = netserve.handlers.AsyncStreamRequestHandler
    AsyncDatagramRequestHandler: Any = netserve.handlers.AsyncDatagramRequestHandler

    class AsyncEcho(AsyncStreamRequestHandler):  # type: ignore[misc] # Any, until all have the name
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

    class AsyncDatagram(AsyncDatagramRequestHandler):  # type: ignore[misc] # as above
        """Answers a datagram."""

        async def handle(self) -> None:
            """Send it back in upper case."""
            self.wfile.write(self.packet.upper())

    # The same for all connections; as many threads as the other frameworks have.
    EXECUTOR = ThreadPoolExecutor(THREADS)
    COROUTINES = {"echo": AsyncEcho, "once": AsyncOnce, "mix": AsyncMix, "udp": AsyncDatagram}
    MIXINS["asyncio"] = netserve.concurrency.AsyncioMixIn
    if importlib.util.find_spec("uvloop") is not None:
        factory: Any = importlib.import_module("uvloop").new_event_loop
        MIXINS["uvloop"] = type("Uvloop", (MIXINS["asyncio"],), {"loop_factory": factory})


def build(variant: str, service: str) -> tuple[Any, Any]:
    """Return the server class and the handler of a row."""
    if variant in {"asyncio", "uvloop"}:
        handlers = COROUTINES
    elif variant.endswith("multiplexing"):
        handlers = MESSAGES
    elif variant == "executor":
        handlers = {"echo": SentMessage, "mix": SentMessage, "cpu": SentHeavyMessage}
    elif variant == "messages":
        handlers, variant = MESSAGES, "threading"
    else:
        handlers = HANDLERS
    mixin = MIXINS[variant]
    transport: Any = TCPServer
    if service == "http":
        transport = http.server.HTTPServer
    elif service in {"udp", "dns"}:
        transport = UDPServer
    bases = (transport,) if mixin is object else (mixin, transport)
    return type(
        "Server",
        bases,
        # The handler of messages looks for the values of a Redis on its server.
        {"request_queue_size": BACKLOG, "max_connections": None, "values": Values()},
    ), handlers[service]


def main() -> None:
    """Serve until told to stop."""
    variant, service = arguments(
        "sync", "threading", "forking", "threadpool", "messages", "multiplexing",
        "executor", "asyncio", "uvloop", "prefork-threadpool", "prefork-multiplexing",
        services=tuple(HANDLERS),
    )  # fmt: skip
    server_class, handler = build(variant, service)
    with server_class(("127.0.0.1", 0), handler) as server:
        serve_until_signal(server.serve_forever, server.shutdown, server.server_address[1])


if __name__ == "__main__":
    main()
