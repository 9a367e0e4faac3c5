"""Handlers whose work is a coroutine: the order of their methods, and their errors."""

import asyncio
import logging
import socket
from typing import Any

import pytest

from netserve.core import CoroutineHandler, is_coroutine_handler
from netserve.handlers import (
    AsyncDatagramRequestHandler,
    AsyncRequestHandler,
    AsyncStreamRequestHandler,
    BaseRequestHandler,
)


class Noting(AsyncRequestHandler[Any, Any, Any]):
    """Notes what is called, and raises where its request says so."""

    def __init__(self, *failing: str) -> None:
        super().__init__(failing, "client", "server")
        self.calls: list[str] = []

    def note(self, name: str) -> None:
        """Note *name*, or raise."""
        self.calls.append(name)
        if name in self.request:
            raise RuntimeError(name)

    async def setup(self) -> None:
        """Note it, later."""
        await asyncio.sleep(0)
        self.note("setup")

    async def handle(self) -> None:
        """Note it, later."""
        await asyncio.sleep(0)
        self.note("handle")

    def finish(self) -> None:
        """Note it, at once."""
        self.note("finish")


def test_methods_come_in_order_coroutines_or_not() -> None:
    """setup, handle, finish."""
    handler = Noting()
    asyncio.run(handler.run())
    assert handler.calls == ["setup", "handle", "finish"]
    assert (handler.client_address, handler.server) == ("client", "server")


@pytest.mark.parametrize(
    ("failing", "calls", "raised"),
    [
        (["setup"], ["setup"], "setup"),
        (["handle"], ["setup", "handle", "finish"], "handle"),
        (["finish"], ["setup", "handle", "finish"], "finish"),
        (["handle", "finish"], ["setup", "handle", "finish"], "handle"),
    ],
)
def test_finish_comes_after_setup_whatever_handle_does(
    failing: list[str], calls: list[str], raised: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The first error goes on; a second one is a warning."""
    handler = Noting(*failing)
    with caplog.at_level(logging.DEBUG, "netserve.server"):
        with pytest.raises(RuntimeError, match=raised):
            asyncio.run(handler.run())
    assert handler.calls == calls
    assert [record.levelname for record in caplog.records] == ["WARNING"] * (len(failing) - 1)


def test_a_handler_does_nothing_by_itself() -> None:
    """All methods may be left out."""
    asyncio.run(AsyncRequestHandler[Any, Any, Any](None, None, None).run())


def test_a_handler_of_datagrams_takes_no_connection() -> None:
    """It says so, with its name."""
    with socket.socket(type=socket.SOCK_DGRAM) as own:
        handler = AsyncDatagramRequestHandler[Any, Any]((b"", own), None, None)
        with pytest.raises(TypeError, match="AsyncDatagramRequestHandler handles no connections"):
            handler.attach(None)  # type: ignore[arg-type]


def test_stream_handler_applies_its_options() -> None:
    """TCP_NODELAY, where it is asked for, and a limit for lines."""

    class Quick(AsyncStreamRequestHandler):
        disable_nagle_algorithm = True

    with socket.socket() as request:
        slow = AsyncStreamRequestHandler[Any, Any](request, None, None)
        slow.attach(None)  # type: ignore[arg-type]
        assert not request.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        Quick(request, None, None).attach(None)  # type: ignore[arg-type]
        assert request.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert isinstance(slow, CoroutineHandler)


def test_datagram_handler_answers_what_was_written() -> None:
    """One datagram, an empty one too; more by send()."""

    class Twice(AsyncDatagramRequestHandler):
        async def handle(self) -> None:
            await self.send(b"first")
            self.wfile.write(self.rfile.read().upper())

    with socket.socket(type=socket.SOCK_DGRAM) as own, socket.socket(type=socket.SOCK_DGRAM) as to:
        to.bind(("127.0.0.1", 0))
        to.settimeout(5)
        asyncio.run(Twice((b"second", own), to.getsockname(), None).run())
        assert [to.recv(100), to.recv(100)] == [b"first", b"SECOND"]


class Full:
    """A socket that has room for a datagram the third time, or a client that has left."""

    def __init__(self, *errors: type[OSError]) -> None:
        self.errors = list(errors)
        self.sent: list[tuple[Any, ...]] = []

    def sendto(self, *arguments: Any) -> None:
        """Raise what comes next, or note it."""
        if self.errors:
            raise self.errors.pop(0)
        self.sent.append(arguments)


def test_a_datagram_waits_for_room() -> None:
    """It is tried again until it goes."""
    own = Full(BlockingIOError, BlockingIOError)
    handler = AsyncDatagramRequestHandler[Any, Any]((b"", own), "client", None)  # type: ignore[arg-type]
    asyncio.run(handler.send(b"answer"))
    assert own.sent == [(b"answer", socket.MSG_DONTWAIT, "client")]


@pytest.mark.parametrize("error", [ConnectionRefusedError, FileNotFoundError])
def test_a_client_that_has_left_is_one_record(
    error: type[OSError], caplog: pytest.LogCaptureFixture
) -> None:
    """Of level DEBUG, and no error."""
    handler = AsyncDatagramRequestHandler[Any, Any]((b"", Full(error)), "client", None)  # type: ignore[arg-type]
    with caplog.at_level(logging.DEBUG, "netserve.server"):
        asyncio.run(handler.run())
    assert [record.levelname for record in caplog.records] == ["DEBUG"]


def test_who_handles_with_coroutines_can_be_told() -> None:
    """By handle, or because it is a coroutine function itself."""

    async def function(request: object, client_address: object, server: object) -> None: ...

    class Own(BaseRequestHandler):
        async def handle(self) -> None:  # type: ignore[override]
            """Never awaited."""

    assert is_coroutine_handler(AsyncStreamRequestHandler)
    assert is_coroutine_handler(function)
    assert is_coroutine_handler(Own)
    assert not is_coroutine_handler(BaseRequestHandler)
    assert not is_coroutine_handler(print)
