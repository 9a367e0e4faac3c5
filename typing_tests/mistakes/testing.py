"""Mistakes in tests of servers."""

from netserve import servers
from netserve.handlers import AsyncReader, Lines, MessageRequestHandler
from netserve.testing import (
    FakeConnection,
    Serve,
    check_framing,
    check_mixin,
    handle_stream,
    handle_stream_async,
)


class Upper(MessageRequestHandler):
    def handle_message(self, message: bytes) -> bytes | None:
        return message.upper()


def test_upper(serve: Serve) -> None:
    client = serve(servers.ThreadingTCPServer(("127.0.0.1", 0), Upper)).connect()
    # E client-sends-text: rgument; bytes
    client.send("hello")

    # E served-is-no-server: Servable
    # E served-is-no-server (mypy): No overload; __call__
    serve(3)


# E fed-text: rgument; bytes
handle_stream(Upper, "hello")

# E socket-awaited: rgument; FakeConnection
AsyncReader(FakeConnection(b"hello"))


async def test_in_a_loop() -> None:
    # E fed-text-in-a-loop: rgument; bytes
    await handle_stream_async(Upper, "hello")

    # E answer-not-awaited: startswith
    handle_stream_async(Upper, b"hello").startswith(b"H")


# E framing-class-checked: rgument; Framing
check_framing(Lines)

# E mixin-instance-checked: rgument; type
check_mixin(3)
