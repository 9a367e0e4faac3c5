"""The asyncio mix-in with real connections, on asyncio's event loop and on uvloop's."""

import asyncio
import contextlib
import functools
import importlib.util
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from netserve import socketserver
from netserve.concurrency import AsyncioMixIn, ForkingMixIn, ThreadingMixIn
from netserve.core import Deadline, DeadlineError, Outcome, State, StateError, Wait
from netserve.handlers import (
    AsyncDatagramRequestHandler,
    AsyncStreamRequestHandler,
    BaseRequestHandler,
    DatagramRequestHandler,
    MessageRequestHandler,
    StreamRequestHandler,
)
from netserve.transports import TCPServer, UDPServer
from tests._multiplexing import until

HOME = ("127.0.0.1", 0)
PATIENCE = 20.0

Make = Callable[..., Any]
Connect = Callable[..., socket.socket]

FACTORIES: dict[str, Any] = {"asyncio": None}
if importlib.util.find_spec("uvloop"):
    importlib.import_module("tests._uvloop")
    FACTORIES["uvloop"] = importlib.import_module("uvloop").new_event_loop


class Server(AsyncioMixIn, TCPServer):
    """Connections."""

    block_on_close = True


class DatagramServer(AsyncioMixIn, UDPServer):
    """Datagrams."""


class Upper(AsyncStreamRequestHandler):
    """Sends each line back in capitals."""

    async def handle(self) -> None:
        """Answer until the input ends."""
        async for line in self.rfile:
            await self.wfile.write(line.upper())


class UpperMessages(MessageRequestHandler):
    """Sends each message back in capitals."""

    def handle_message(self, message: bytes) -> bytes | None:
        """Answer."""
        return message.upper()


@pytest.fixture(params=FACTORIES)
def factory(request: pytest.FixtureRequest) -> Any:
    """What makes the event loop; None for asyncio's."""
    return FACTORIES[request.param]


@pytest.fixture
def make(factory: Any) -> Make:
    """A function that makes a server for a handler, with attributes of its own."""

    def make(handler: Any, base: Any = Server, **attributes: Any) -> Any:
        factories = {} if factory is None else {"loop_factory": staticmethod(factory)}
        return type("Made", (base,), {**factories, **attributes})(HOME, handler)

    return make


def received(client: socket.socket) -> bytes:
    """All that comes until the end of the connection."""
    with client.makefile("rb") as answer:
        return answer.read()


def levels(caplog: pytest.LogCaptureFixture, *names: str) -> list[str]:
    """The levels of the records, of *names* if given; asyncio's own count when they are errors."""
    return [
        record.levelname
        for record in caplog.records
        if record.levelname in (names or {"WARNING", "ERROR"})
    ]


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Record everything of ours, and the errors of asyncio."""
    with caplog.at_level(logging.DEBUG, "netserve"):
        yield


# What a connection is to a handler.


@pytest.mark.parametrize("handler", [Upper, UpperMessages])
def test_many_lines_are_answered_with_few_sends(make: Make, connect: Connect, handler: Any) -> None:
    """A client that pipelines gets all answers in order, and then the end."""
    with make(handler).background() as running:
        lines = b"".join(b"line %d\n" % number for number in range(5000))
        client = connect(running.server, lines)
        client.shutdown(socket.SHUT_WR)
        assert received(client) == lines.upper()
    stats = running.server.stats()
    assert (stats.completed + stats.drained, stats.active) == (1, 0)
    assert stats.bytes_received == len(lines)
    assert stats.bytes_sent == len(lines)


def test_hundreds_of_connections_in_one_thread(make: Make, connect: Connect) -> None:
    """They are served all at once, without a thread of their own."""
    with make(Upper).background() as running:
        clients = [connect(running.server) for _ in range(200)]
        threads = threading.active_count()
        for number, client in enumerate(clients):
            client.sendall(b"client %d\n" % number)
        for number, client in enumerate(clients):
            assert client.recv(100) == b"CLIENT %d\n" % number
        assert running.server.stats().active == 200
        assert threading.active_count() == threads
    assert running.result is not None
    assert (running.result.drained, running.result.forced) == (200, 0)


def test_answers_leave_when_the_coroutine_waits_for_anything(make: Make, connect: Connect) -> None:
    """Not only for its client: also what it writes after another wait."""

    class Late(AsyncStreamRequestHandler):
        async def handle(self) -> None:
            await self.rfile.readline()
            await self.wfile.write(b"one ")
            await asyncio.sleep(0.01)
            await self.wfile.write(b"two ")
            await self.wfile.write(b"three")
            await asyncio.sleep(PATIENCE)

    with make(Late).background(0) as running:
        client = connect(running.server, b"\n")
        heard = b""
        while len(heard) < 13:
            heard += client.recv(100)
        assert heard == b"one two three"


def test_a_client_that_doesnt_read_holds_its_handler_back(make: Make, connect: Connect) -> None:
    """What it is owed stays bounded, and arrives whole when it reads again."""
    written: list[int] = []

    class Flood(AsyncStreamRequestHandler):
        async def handle(self) -> None:
            for _ in range(500):
                size = await self.wfile.write(bytes(65536))
                written.append(size)
            await self.wfile.flush()

    with make(Flood).background() as running:
        client = connect(running.server)
        until(lambda: written)
        before = -1
        while before != len(written):
            before = len(written)
            time.sleep(0.1)
        assert before < 500
        assert len(received(client)) == 500 * 65536


def test_surplus_input_doesnt_destroy_the_reply(make: Make, connect: Connect) -> None:
    """A client that goes on sending gets the whole reply nevertheless."""

    class Once(AsyncStreamRequestHandler):
        async def handle(self) -> None:
            await self.rfile.readline()
            await self.wfile.write(bytes(200_000))

    with make(Once).background() as running:
        client = connect(running.server, b"line\n" + bytes(300_000))
        assert len(received(client)) == 200_000
        client.close()
    assert running.server.stats().failed == 0


@pytest.mark.parametrize("attributes", [{"linger_timeout": 0.05}, {"linger_bytes": 1000}])
def test_lingering_has_its_limits(make: Make, connect: Connect, attributes: dict[str, Any]) -> None:
    """In time and in bytes."""

    class Nothing(AsyncStreamRequestHandler):
        async def handle(self) -> None:
            await asyncio.sleep(0.05)

    with make(Nothing, **attributes).background() as running:
        client = connect(running.server, bytes(100_000))
        until(lambda: running.server.stats().completed)
        client.close()


def test_two_may_not_receive_at_once(make: Make, connect: Connect) -> None:
    """The second one is told; a reader and a writer are no matter."""
    told: list[str] = []

    class Both(AsyncStreamRequestHandler):
        async def handle(self) -> None:
            first = asyncio.ensure_future(self.rfile.readline())
            await asyncio.sleep(0)
            try:
                await self.connection.receive()
            except RuntimeError as error:
                told.append(str(error))
            await self.wfile.write(b"ready")
            await first
            await self.wfile.write(bytes(1 << 24))

    with make(Both).background() as running:
        client = connect(running.server)
        assert client.recv(5) == b"ready"
        client.sendall(b"\n")
        client.shutdown(socket.SHUT_WR)
        assert len(received(client)) == 1 << 24
    assert told == ["another coroutine receives on this connection already"]


def test_two_may_not_drain_at_once(make: Make, connect: Connect) -> None:
    """The second one is told."""
    told: list[str] = []

    class Both(AsyncStreamRequestHandler):
        async def handle(self) -> None:
            first = asyncio.ensure_future(self.wfile.write(bytes(1 << 24)))
            await asyncio.sleep(0)
            try:
                await self.wfile.flush()
            except RuntimeError as error:
                told.append(str(error))
            await first

    with make(Both).background() as running:
        assert len(received(connect(running.server))) == 1 << 24
    assert told == ["another coroutine drains this connection already"]


def test_a_writer_may_find_that_the_reader_waits_in_vain(
    make: Make, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    """One coroutine writes to a client that is gone while another reads from it."""
    raised: list[BaseException] = []

    class Both(AsyncStreamRequestHandler):
        async def handle(self) -> None:
            async def read() -> None:
                try:
                    await self.rfile.readline()
                except OSError as error:
                    raised.append(error)
                    raise

            reading = asyncio.ensure_future(read())
            await asyncio.sleep(0)
            self.request.shutdown(socket.SHUT_WR)
            with contextlib.suppress(OSError):
                await self.wfile.write(b"one")
                await self.wfile.flush()
            await reading

    with make(Both).background() as running:
        received(connect(running.server))
        until(lambda: running.server.stats().active == 0)
    assert [type(error) for error in raised] == [BrokenPipeError]
    assert levels(caplog, "WARNING") == []


def test_a_wait_can_be_cancelled_and_taken_up_again(make: Make, connect: Connect) -> None:
    """Asyncio's timeouts work, and lose nothing."""

    class Impatient(AsyncStreamRequestHandler):
        async def handle(self) -> None:
            while True:
                try:
                    line = await asyncio.wait_for(self.rfile.readline(), 0.02)
                except (asyncio.TimeoutError, TimeoutError):
                    await self.wfile.write(b".")
                else:
                    await self.wfile.write(line.upper())
                    return

    with make(Impatient).background() as running:
        client = connect(running.server, b"ab")
        assert client.recv(1) == b"."
        client.sendall(b"c\n")
        assert received(client).strip(b".") == b"ABC\n"


def test_input_that_nobody_awaits_stays_in_the_system(make: Make, connect: Connect) -> None:
    """It is there when the handler comes to it, and the loop is idle meanwhile."""
    go_on = threading.Event()

    class Busy(AsyncStreamRequestHandler):
        async def handle(self) -> None:
            first = await self.rfile.readline()
            await self.wfile.write(first)
            await asyncio.to_thread(go_on.wait, PATIENCE)
            await self.wfile.write(await self.rfile.readline())

    with make(Busy).background() as running:
        client = connect(running.server, b"one\n")
        assert client.recv(100) == b"one\n"
        client.sendall(b"two\n")
        before = time.thread_time(), time.process_time()
        time.sleep(0.3)
        assert time.process_time() - before[1] < 0.2
        go_on.set()
        assert client.recv(100) == b"two\n"


# How requests end.


def test_what_a_handler_raises_is_reported_once(
    make: Make, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    """One record; what it has written before arrives; the others go on."""

    class Failing(AsyncStreamRequestHandler):
        async def handle(self) -> None:
            await self.wfile.write(await self.rfile.readline())
            msg = "a bug"
            raise RuntimeError(msg)

    with make(Failing).background() as running:
        assert received(connect(running.server, b"one\n")) == b"one\n"
        assert received(connect(running.server, b"two\n")) == b"two\n"
    assert running.server.stats().failed == 2
    assert levels(caplog) == ["ERROR", "ERROR"]
    assert "RuntimeError: a bug" in caplog.text


def test_what_hooks_raise_is_reported_and_ends_nothing_else(
    make: Make, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    """close_request and handle_error too."""

    class Broken(Server):
        def handle_error(self, request: Any, client_address: Any) -> None:
            msg = "of handle_error"
            raise RuntimeError(msg)

        def close_request(self, request: Any) -> None:
            super().close_request(request)
            msg = "of close_request"
            raise RuntimeError(msg)

    class Failing(AsyncStreamRequestHandler):
        async def handle(self) -> None:
            raise ZeroDivisionError

    with make(Failing, Broken).background() as running:
        assert received(connect(running.server)) == b""
        assert received(connect(running.server)) == b""
    assert running.server.stats().failed == 2
    assert levels(caplog) == ["ERROR"] * 4


def test_a_peer_that_goes_away_is_one_debug_record(
    make: Make, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    """While the handler reads, and while it writes."""

    class Endless(AsyncStreamRequestHandler):
        async def handle(self) -> None:
            while True:
                await self.wfile.write(bytes(65536))

    for handler in (Upper, Endless, UpperMessages):
        caplog.clear()
        with make(handler).background() as running:
            client = connect(running.server, b"one\n")
            client.recv(1)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            client.close()
            until(lambda: running.server.stats().active == 0)
        assert running.server.stats().disconnected == 1
        assert levels(caplog, "DEBUG", "WARNING", "ERROR") == ["DEBUG"]


def test_a_message_handler_is_finished_whatever_happens(
    make: Make, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    """An error of its finish() is a warning beside the one that came first."""

    class Failing(MessageRequestHandler):
        def handle_message(self, message: bytes) -> bytes | None:
            raise ZeroDivisionError

        def finish(self) -> None:
            raise RuntimeError

    with make(Failing).background() as running:
        assert received(connect(running.server, b"one\n")) == b""
    assert levels(caplog) == ["WARNING", "ERROR"]


def test_messages_that_are_answered_with_much_wait_for_their_reader(
    make: Make, connect: Connect
) -> None:
    """No more is read from a client that doesn't read."""

    class Long(MessageRequestHandler):
        def setup(self) -> None:
            self.send(b"welcome")

        def handle_message(self, message: bytes) -> bytes | None:
            return message * 50_000

    with make(Long).background() as running:
        client = connect(running.server, b"x\n" * 100)
        client.shutdown(socket.SHUT_WR)
        assert len(received(client)) == 8 + 100 * 50_001


@pytest.mark.parametrize(
    ("limit", "said"), [("idle", b""), ("message", b"ha"), ("connection", b"lf")]
)
def test_deadlines_end_the_wait(
    make: Make, connect: Connect, caplog: pytest.LogCaptureFixture, limit: str, said: bytes
) -> None:
    """The handler is told, once and again, and the request has timed out."""
    told: list[DeadlineError] = []

    class Patient(AsyncStreamRequestHandler):
        async def handle(self) -> None:
            for _ in range(2):
                try:
                    await self.rfile.readline()
                except DeadlineError as error:
                    told.append(error)
            with pytest.raises(DeadlineError):
                await self.wfile.write(b"never")

    with make(Patient, **{f"{limit}_timeout": 0.05}).background() as running:
        client = connect(running.server, said)
        assert received(client) == b""
    assert running.server.stats().timed_out == 1
    assert [error.deadline for error in told] == [Deadline(limit)] * 2
    assert levels(caplog) == []


@pytest.mark.parametrize("handler", [Upper, UpperMessages])
def test_a_deadline_that_nobody_catches_is_one_record(
    make: Make, connect: Connect, caplog: pytest.LogCaptureFixture, handler: Any
) -> None:
    """Of level INFO."""
    with make(handler, idle_timeout=0.05).background() as running:
        assert received(connect(running.server)) == b""
    assert running.server.stats().timed_out == 1
    assert levels(caplog, "INFO", "WARNING", "ERROR") == ["INFO"]


def test_who_talks_in_time_meets_no_deadline(make: Make, connect: Connect) -> None:
    """A wait begins anew with each byte, and the handler's own time doesn't count."""

    class Slow(AsyncStreamRequestHandler):
        async def handle(self) -> None:
            async for line in self.rfile:
                await asyncio.sleep(0.4)
                await self.wfile.write(line)

    with make(Slow, idle_timeout=0.3, message_timeout=0.3).background() as running:
        client = connect(running.server)
        for _ in range(3):
            client.sendall(b"li")
            time.sleep(0.02)
            client.sendall(b"ne\n")
            assert client.recv(100) == b"line\n"
    assert running.server.stats().timed_out == 0


def test_a_client_that_doesnt_read_meets_the_idle_deadline(make: Make, connect: Connect) -> None:
    """Unless it reads a part now and then."""

    class Flood(AsyncStreamRequestHandler):
        async def handle(self) -> None:
            while True:
                await self.wfile.write(bytes(65536))

    with make(Flood, idle_timeout=0.1).background() as running:
        connect(running.server)
        until(lambda: running.server.stats().timed_out)


def test_limits_and_refusals_are_those_of_any_server(make: Make, connect: Connect) -> None:
    """Over the limit the next one waits, or hears the farewell."""
    with make(Upper, max_connections=1).background() as running:
        first = connect(running.server, b"one\n")
        assert first.recv(10) == b"ONE\n"
        second = connect(running.server, b"two\n")
        until(lambda: running.server._ns_told_full)
        assert running.server.stats().active == 1
        first.close()
        assert second.recv(10) == b"TWO\n"
    refusing = {"max_connections": 1, "overload": "refuse", "farewell": b"full"}
    with make(Upper, **refusing).background() as running:
        first = connect(running.server, b"one\n")
        assert first.recv(10) == b"ONE\n"
        assert received(connect(running.server)) == b"full"
    assert running.server.stats().refused == 1


def test_ended_requests_are_logged(
    make: Make, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    """With access_log, one record each."""
    with make(Upper, access_log=True).background() as running:
        client = connect(running.server, b"one\n")
        client.shutdown(socket.SHUT_WR)
        received(client)
    (record,) = [record for record in caplog.records if record.name == "netserve.access"]
    assert record.outcome in {Outcome.COMPLETED, Outcome.DRAINED}  # type: ignore[attr-defined]


# The end of the server.


@pytest.mark.parametrize("handler", [Upper, UpperMessages])
def test_a_drain_answers_what_was_sent(make: Make, connect: Connect, handler: Any) -> None:
    """Idle connections end at once."""
    with make(handler).background() as running:
        clients = [connect(running.server, b"one\n") for _ in range(20)]
        for client in clients:
            assert client.recv(10) == b"ONE\n"
        for client in clients:
            client.sendall(b"two\nhalf")
        result = running.stop(PATIENCE)
        assert (result.drained, result.forced) == (20, 0)
        for client in clients:
            assert received(client).startswith(b"TWO\n")


def test_a_task_that_outlasts_the_grace_is_cancelled(
    make: Make, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    """It can clean up, and is counted as forced."""
    cleaned: list[str] = []

    class Sleeping(AsyncStreamRequestHandler):
        async def handle(self) -> None:
            await self.wfile.write(b"ready")
            try:
                await asyncio.sleep(PATIENCE)
            finally:
                await asyncio.sleep(0)
                cleaned.append("handle")

        async def finish(self) -> None:
            await asyncio.sleep(0)
            cleaned.append("finish")

    with make(Sleeping).background() as running:
        client = connect(running.server)
        assert client.recv(10) == b"ready"
        result = running.stop(0.05)
        assert (result.drained, result.forced) == (0, 1)
        assert cleaned == ["handle", "finish"]
    assert running.server.stats().forced == 1
    assert levels(caplog, "DEBUG", "WARNING", "ERROR") == ["DEBUG"]


def test_a_task_that_doesnt_heed_its_cancellation_is_abandoned(
    make: Make, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning tells of it; stop() returns."""
    ignored: list[None] = []

    class Stubborn(AsyncStreamRequestHandler):
        async def handle(self) -> None:
            await self.wfile.write(b"ready")
            end = time.monotonic() + 0.8
            while time.monotonic() < end:
                try:
                    await asyncio.sleep(PATIENCE)
                except asyncio.CancelledError:
                    ignored.append(None)
                    with contextlib.suppress(asyncio.CancelledError):
                        await asyncio.sleep(end - time.monotonic())

    with make(Stubborn).background() as running:
        client = connect(running.server)
        assert client.recv(10) == b"ready"
        result = running.stop(0)
        assert (result.drained, result.forced) == (0, 1)
    assert ignored
    assert levels(caplog)[:1] == ["WARNING"]
    assert running.server.stats().forced == 1


def test_shutdown_leaves_no_connection_behind(
    make: Make,
    connect: Connect,
    serve: Callable[..., threading.Thread],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Without a drain the tasks are cut off, and a warning tells so; it may serve again."""
    server = make(Upper)
    thread = serve(server)
    client = connect(server, b"one\n")
    assert client.recv(10) == b"ONE\n"
    server.shutdown()
    thread.join(PATIENCE)
    assert received(client) == b""
    assert server.stats().forced == 1
    assert levels(caplog) == ["WARNING"]
    serve(server)
    client = connect(server, b"two\n")
    assert client.recv(10) == b"TWO\n"
    client.shutdown(socket.SHUT_WR)
    assert received(client) == b""
    until(lambda: server.stats().active == 0)


def test_server_close_ends_the_loop(make: Make, connect: Connect) -> None:
    """And what is in it."""
    server = make(Upper)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    client = connect(server, b"one\n")
    assert client.recv(10) == b"ONE\n"
    server.server_close()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert received(client) == b""


def test_a_task_that_was_cancelled_before_it_began_is_closed(make: Make, connect: Connect) -> None:
    """Nothing is lost: it is counted as forced, and its client sees the end."""

    class Hasty(Server):
        def process_request(self, request: Any, client_address: Any) -> None:
            super().process_request(request, client_address)
            self.current_loop._tasks[self.requests_in_progress.find(request)].cancel()  # type: ignore[union-attr]

    with make(Upper, Hasty).background() as running:
        assert received(connect(running.server)) == b""
    assert running.server.stats().forced == 1


def test_a_request_that_a_hook_has_closed_is_reported(
    make: Make, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    """It can't be run, and that is one record."""

    class Hasty(Server):
        def process_request(self, request: Any, client_address: Any) -> None:
            super().process_request(request, client_address)
            request.close()

    with make(Upper, Hasty).background() as running:
        assert received(connect(running.server)) == b""
        until(lambda: running.server.stats().active == 0)
    assert levels(caplog) == ["ERROR"]


@pytest.mark.skipif(not hasattr(asyncio.Task, "cancelling"), reason="needs CPython 3.11")
def test_a_stray_cancelled_error_is_the_handlers_bug(
    make: Make, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    """When nobody has cancelled the task it is reported."""

    class Stray(AsyncStreamRequestHandler):
        async def handle(self) -> None:
            raise asyncio.CancelledError

    with make(Stray).background() as running:
        assert received(connect(running.server)) == b""
    assert running.server.stats().failed == 1
    assert levels(caplog) == ["ERROR"]


def test_hooks_may_raise_on_a_cancellation(
    make: Make, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    """handle_error and handle_disconnect: each is one record."""

    class Broken(Server):
        def handle_error(self, request: Any, client_address: Any) -> None:
            raise RuntimeError

        def handle_disconnect(self, request: Any, client_address: Any, outcome: Outcome) -> None:
            raise RuntimeError

    class Stray(AsyncStreamRequestHandler):
        async def handle(self) -> None:
            if await self.rfile.readline():
                raise asyncio.CancelledError
            await asyncio.sleep(PATIENCE)

    with make(Stray, Broken).background() as running:
        received(connect(running.server, b"\n"))
        connect(running.server)
        until(lambda: running.server.stats().active == 1)
        running.stop(0.05)
    assert levels(caplog) == ["ERROR", "ERROR"]
    assert running.server.stats().forced >= 1


def test_system_exit_ends_the_loop(make: Make, connect: Connect) -> None:
    """It comes out of serve_forever, after the connection was closed."""

    class Leaving(AsyncStreamRequestHandler):
        async def handle(self) -> None:
            await self.rfile.readline()
            raise SystemExit(3)

    raised: list[BaseException] = []

    def serve() -> None:
        try:
            server.serve_forever()
        except SystemExit as error:
            raised.append(error)

    with make(Leaving) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        assert received(connect(server, b"\n")) == b""
        thread.join(PATIENCE)
        assert [str(error) for error in raised] == ["3"]
        assert server.state is State.STOPPED
    assert server.stats().failed == 1


def test_what_handlers_leave_in_the_event_loop_ends_with_it(make: Make, connect: Connect) -> None:
    """Tasks are cancelled, generators closed, and threads waited for."""
    ended: list[str] = []

    async def forever() -> None:
        try:
            await asyncio.sleep(PATIENCE)
        finally:
            ended.append("task")

    async def numbers() -> Any:
        try:
            yield 1
            yield 2
        finally:
            ended.append("generator")

    def block() -> None:
        time.sleep(0.2)
        ended.append("thread")

    kept: list[Any] = []

    class Leaving(AsyncStreamRequestHandler):
        async def handle(self) -> None:
            kept.append(asyncio.ensure_future(forever()))
            kept.append(numbers())
            await kept[-1].__anext__()
            kept.append(asyncio.get_running_loop().run_in_executor(None, block))

    with make(Leaving).background() as running:
        assert received(connect(running.server)) == b""
    kept.clear()
    assert sorted(ended) == ["generator", "task", "thread"]


def test_run_drains_on_a_signal(make: Make, connect: Connect) -> None:
    """As everywhere."""
    server = make(Upper)
    heard: list[bytes] = []

    def visit() -> None:
        client = connect(server, b"one\n")
        heard.append(client.recv(10))
        os.kill(os.getpid(), signal.SIGTERM)
        heard.append(received(client))

    thread = threading.Thread(target=visit)
    thread.start()
    server.run()
    thread.join(PATIENCE)
    assert heard == [b"ONE\n", b""]
    assert (server.state, server.stats().drained) == (State.CLOSED, 1)


def test_service_actions_have_their_interval(make: Make, connect: Connect) -> None:
    """An override is called, and connections are accepted meanwhile."""
    calls: list[None] = []

    class Acting(Server):
        def service_actions(self) -> None:
            calls.append(None)

    server = make(Upper, Acting)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    client = connect(server, b"one\n")
    assert client.recv(10) == b"ONE\n"
    before = len(calls)
    until(lambda: len(calls) > before + 2)
    assert server.stop(PATIENCE).drained == 1
    thread.join(PATIENCE)
    server.server_close()


def test_readers_and_timers_of_mix_ins_run_in_the_event_loop(make: Make) -> None:
    """add_reader, remove_reader and call_later do as in any loop."""
    near, far = socket.socketpair()
    called: list[str] = []

    class Watching(Server):
        def service_actions(self) -> None:
            if not called:
                called.append("first")
                self.add_reader(near.fileno(), self.read)
                self.call_later(0.01, lambda: called.append("timer"))
                self.call_later(PATIENCE, lambda: called.append("never"))

        def read(self) -> None:
            called.append(near.recv(10).decode())
            self.remove_reader(near.fileno())

    with near, far:
        server = make(Upper, Watching)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        until(lambda: "timer" in called)
        far.send(b"read")
        until(lambda: "read" in called)
        server.shutdown()
        thread.join(PATIENCE)
        server.server_close()
    assert called == ["first", "timer", "read"]


def test_stop_from_a_handler_asks_and_returns(make: Make, connect: Connect) -> None:
    """Both forms, whose caller doesn't wait for itself."""

    class Stopping(AsyncStreamRequestHandler):
        async def handle(self) -> None:
            server: Any = self.server
            if await self.rfile.readline() == b"async\n":
                await server.stop_async(PATIENCE)
            else:
                server.stop(PATIENCE)
            await self.wfile.write(b"bye")

    for word in (b"async\n", b"sync\n"):
        server = make(Stopping)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        assert received(connect(server, word)) == b"bye"
        thread.join(PATIENCE)
        assert not thread.is_alive()
        assert server.stats().drained == 1
        server.server_close()


# Datagrams.


class UpperDatagrams(AsyncDatagramRequestHandler):
    """Sends each datagram back in capitals, after a while."""

    async def handle(self) -> None:
        """Answer."""
        await asyncio.sleep(0)
        if self.packet == b"fail":
            raise ZeroDivisionError
        if self.packet == b"sleep":
            await asyncio.sleep(PATIENCE)
        if self.packet == b"exit":
            raise SystemExit
        self.wfile.write(self.packet.upper())


@pytest.mark.parametrize("handler", [UpperDatagrams, UpperMessages])
def test_datagrams_are_answered(make: Make, connect: Connect, handler: Any) -> None:
    """By a coroutine, or by a handler of messages."""
    with make(handler, DatagramServer).background() as running:
        client = connect(running.server)
        for number in range(50):
            client.send(b"datagram %d" % number)
            assert client.recv(100) == b"DATAGRAM %d" % number
    assert running.server.stats().accepted == 50


def test_a_factory_may_make_handlers_of_messages(make: Make, connect: Connect) -> None:
    """What isn't a class shows only in the end what it makes."""

    def build(request: Any, client_address: Any, server: Any) -> Any:
        return UpperMessages(request, client_address, server)

    with make(build, DatagramServer).background() as running:
        client = connect(running.server, b"one")
        assert client.recv(10) == b"ONE"
    with make(functools.partial(Upper)).background() as running:
        assert connect(running.server, b"one\n").recv(10) == b"ONE\n"


def test_a_datagram_that_fails_or_lasts_is_accounted_for(
    make: Make, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    """One record for a bug; the one that outlasts the grace is forced."""
    with make(UpperDatagrams, DatagramServer).background() as running:
        client = connect(running.server)
        client.send(b"fail")
        client.send(b"sleep")
        client.send(b"one")
        # The answer of the one that fails is empty, as it has written nothing.
        assert {client.recv(10), client.recv(10)} == {b"", b"ONE"}
        until(lambda: running.server.stats().active == 1)
        assert running.stop(0).forced == 1
    stats = running.server.stats()
    assert (stats.failed, stats.completed, stats.forced) == (1, 1, 1)
    assert levels(caplog) == ["ERROR"]


def test_system_exit_in_a_datagram_ends_the_loop(make: Make, connect: Connect) -> None:
    """As for a connection."""
    with make(UpperDatagrams, DatagramServer) as server:
        connect(server, b"exit")
        with pytest.raises(SystemExit):
            server.serve_forever()
    assert server.stats().failed == 1


# One request alone.


@pytest.mark.parametrize("handler", [Upper, UpperMessages])
def test_handle_request_serves_one_connection_to_its_end(
    make: Make, connect: Connect, handler: Any
) -> None:
    """In an event loop of its own."""
    with make(handler) as server:
        client = connect(server, b"one\ntwo\n")
        client.shutdown(socket.SHUT_WR)
        server.handle_request()
        assert received(client) == b"ONE\nTWO\n"
    assert server.stats().completed == 1


@pytest.mark.parametrize("handler", [UpperDatagrams, UpperMessages])
def test_handle_request_handles_one_datagram(make: Make, connect: Connect, handler: Any) -> None:
    """In an event loop of its own."""
    with make(handler, DatagramServer) as server:
        client = connect(server, b"one")
        server.handle_request()
        assert client.recv(10) == b"ONE"
    assert server.stats().completed == 1


def test_handle_request_reports_what_the_handler_raises(
    make: Make, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    """What was written before is sent."""

    class Failing(AsyncStreamRequestHandler):
        async def handle(self) -> None:
            await self.wfile.write(b"one")
            self.request.close()
            raise ZeroDivisionError

    with make(Failing) as server:
        client = connect(server)
        server.handle_request()
        client.close()
    assert server.stats().failed == 1
    assert levels(caplog) == ["ERROR"]


def test_blocking_calls_are_refused_in_a_running_event_loop(
    make: Make, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    """They say what to await instead."""

    async def scenario(server: Any) -> None:
        with pytest.raises(RuntimeError, match=r"serve_forever\(\) would block.*serve_async"):
            server.serve_forever()
        connect(server)
        server.handle_request()

    with make(Upper) as server:
        asyncio.run(scenario(server))
    assert "handle_request() would block" in caplog.text
    assert server.stats().failed == 1


# What is refused.


async def function(request: Any, client_address: Any, server: Any) -> None:
    """A coroutine function."""


class Plain(BaseRequestHandler):
    """Its handle is a coroutine, which its constructor doesn't await."""

    async def handle(self) -> None:  # type: ignore[override]
        """Never awaited."""


@pytest.mark.parametrize(
    "handler", [StreamRequestHandler, BaseRequestHandler, Plain, function, DatagramRequestHandler]
)
def test_handlers_of_other_kinds_are_refused(handler: Any) -> None:
    """When the server is made, with what would do."""
    with pytest.raises(TypeError, match="AsyncioMixIn takes handlers whose work is a coroutine"):
        Server(HOME, handler)


@pytest.mark.parametrize("handler", [Upper, UpperDatagrams, Plain, function])
@pytest.mark.parametrize("mixin", [None, ThreadingMixIn, ForkingMixIn])
def test_handlers_with_coroutines_are_refused_elsewhere(mixin: Any, handler: Any) -> None:
    """On servers that don't await them, with which does."""
    kind = type("Kind", (mixin, TCPServer) if mixin else (TCPServer,), {})
    with pytest.raises(TypeError, match=r"Kind doesn't await coroutines.*AsyncioMixIn"):
        kind(HOME, handler)


def test_handlers_of_the_other_transport_are_refused() -> None:
    """With the one that fits."""
    with pytest.raises(TypeError, match=r"are datagrams.*an AsyncDatagramRequestHandler does"):
        DatagramServer(HOME, Upper)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"are connections.*an AsyncStreamRequestHandler does"):
        Server(HOME, UpperDatagrams)  # type: ignore[arg-type]


def test_what_a_factory_makes_is_looked_at(
    make: Make, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    """At the first request, which has no handler then."""

    def build(request: Any, client_address: Any, server: Any) -> object:
        return function(request, client_address, server)

    with make(build).background() as running:
        assert received(connect(running.server)) == b""
    assert "AsyncioMixIn takes handlers whose work is a coroutine" in caplog.text
    with make(lambda *_: None).background() as running:
        assert received(connect(running.server)) == b""


def test_the_standard_librarys_servers_are_refused() -> None:
    """Their loop can't be replaced."""
    import socketserver as stdlib

    with pytest.raises(TypeError, match="needs the loop of netserve's servers"):
        type("Wrong", (AsyncioMixIn, stdlib.TCPServer), {})


def test_the_drop_in_modules_servers_do(connect: Connect) -> None:
    """They have the loop."""
    kind: Any = type("Kind", (AsyncioMixIn, socketserver.TCPServer), {})
    with kind(HOME, Upper).background() as running:
        assert connect(running.server, b"one\n").recv(10) == b"ONE\n"


def test_an_instance_may_have_an_event_loop_of_its_own(connect: Connect) -> None:
    """loop_factory is looked up there first."""
    made: list[asyncio.AbstractEventLoop] = []

    def factory() -> asyncio.AbstractEventLoop:
        made.append(asyncio.new_event_loop())
        return made[-1]

    server = Server(HOME, Upper)
    server.loop_factory = factory
    with server.background() as running:
        assert connect(running.server, b"one\n").recv(10) == b"ONE\n"
    assert len(made) == 1
    assert made[0].is_closed()
    assert "AsyncioLoop" in repr(server.make_loop())


# Openings.


class Opening(Server):
    """Waits for a word, and for room to send, before the handler begins."""

    patience = PATIENCE

    def open_request(self, request: Any, client_address: Any) -> Any:
        """The steps."""
        return self.steps(request)

    def steps(self, request: Any) -> Iterator[Wait]:
        """Wait for a word, answer it, and take it for the client's address."""
        end = time.monotonic() + self.patience
        yield Wait(True, float("inf"), Deadline.CONNECTION, 0)
        yield Wait(False, end, Deadline.MESSAGE, self.patience)
        word = request.recv(4)
        request.send(b"ok")
        return (word.decode(), 0)


class Named(AsyncStreamRequestHandler):
    """Tells the client's address."""

    async def handle(self) -> None:
        """Answer each line with it."""
        async for line in self.rfile:
            await self.wfile.write(self.client_address[0].encode() + line)


def test_an_opening_precedes_the_handler(make: Make, connect: Connect) -> None:
    """Its address is the one that the handler sees, and a mute peer holds up nobody."""
    with make(Named, Opening).background() as running:
        mute = connect(running.server)
        client = connect(running.server, b"name one\n")
        assert client.recv(2) == b"ok"
        assert client.recv(20) == b"name one\n"
        until(lambda: running.server.stats().active == 2)
        stopped = threading.Thread(target=lambda: running.stop(PATIENCE))
        stopped.start()
        until(lambda: running.server.state is State.DRAINING)
        # A drain leaves an opening its input.
        mute.sendall(b"late")
        assert received(mute) == b"ok"
        assert received(client) == b""
        stopped.join()


@pytest.mark.parametrize("patience", [0.05, -1])
def test_an_opening_that_takes_too_long_ends_the_connection(
    make: Make, connect: Connect, patience: float
) -> None:
    """It has timed out."""
    with make(Named, Opening, patience=patience).background() as running:
        assert received(connect(running.server)) == b""
    assert running.server.stats().timed_out == 1


# In an event loop that runs already.


def run_in(factory: Any, work: Any) -> None:
    """Run *work* in an event loop."""
    loop = asyncio.new_event_loop() if factory is None else factory()
    try:
        loop.run_until_complete(asyncio.wait_for(work, PATIENCE))
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()


@contextlib.asynccontextmanager
async def visiting(server: Any, *words: bytes) -> Any:
    """Connections of asyncio's to *server*, each of which has said a word and heard the answer."""
    async with contextlib.AsyncExitStack() as ends:
        visits = []
        for word in words:
            reader, writer = await asyncio.open_connection(*server.server_address)
            ends.callback(writer.close)
            writer.write(word)
            assert await reader.readline() == word.upper()
            visits.append((reader, writer))
        yield visits


async def settled(server: Any, state: State) -> None:
    """Return when *server* has come to *state*."""
    while server.state is not state:
        await asyncio.sleep(0.001)


def test_serving_in_an_event_loop_that_runs(factory: Any) -> None:
    """Beside other tasks of it; stop_async drains, and tells what came of it."""

    async def scenario() -> None:
        with Server(HOME, Upper) as server:
            serving = asyncio.ensure_future(server.serve_async())
            async with visiting(server, b"one\n", b"two\n") as visits:
                visits[0][1].write(b"last\n")
                with pytest.raises(StateError):
                    await server.serve_async()
                result = await server.stop_async(PATIENCE)
                assert (result.drained, result.forced) == (2, 0)
                assert await visits[0][0].read() == b"LAST\n"
                await serving
                assert server.state is State.STOPPED
            # Once more, and then from another thread.
            serving = asyncio.ensure_future(server.serve_async())
            async with visiting(server, b"three\n"):
                assert (await asyncio.to_thread(server.stop, PATIENCE)).drained == 1
                await serving
            assert (await server.stop_async(0)).drained == 0
            server.shutdown()
            with pytest.raises(ValueError, match="grace"):
                await server.stop_async(-1)

    run_in(factory, scenario())


def test_shutdown_in_the_event_loop_returns_at_once(factory: Any) -> None:
    """It asks; the tasks are cut off."""

    async def scenario() -> None:
        with Server(HOME, Upper) as server:
            serving = asyncio.ensure_future(server.serve_async())
            async with visiting(server, b"one\n") as visits:
                server.shutdown()
                await serving
                assert await visits[0][0].read() == b""
            assert server.stats().forced == 1

    run_in(factory, scenario())


def test_cancelling_the_serving_task_drains(factory: Any) -> None:
    """What is in progress comes to its end, then the cancellation goes on."""

    class Slow(Upper):
        async def finish(self) -> None:
            await asyncio.sleep(0.05)

    async def scenario() -> None:
        with Server(HOME, Slow) as server:
            serving = asyncio.ensure_future(server.serve_async())
            async with visiting(server, b"one\n") as visits:
                visits[0][1].write(b"last\n")
                serving.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await serving
                assert await visits[0][0].read() == b"LAST\n"
            stats = server.stats()
            assert (stats.state, stats.drained, stats.forced) == (State.STOPPED, 1, 0)

    run_in(factory, scenario())


def test_cancelling_it_twice_ends_the_grace(factory: Any) -> None:
    """What is left is forced."""

    class Sleeping(Upper):
        async def finish(self) -> None:
            await asyncio.sleep(PATIENCE)

    async def scenario() -> None:
        with Server(HOME, Sleeping) as server:
            serving = asyncio.ensure_future(server.serve_async())
            async with visiting(server, b"one\n"):
                serving.cancel()
                await settled(server, State.DRAINING)
                serving.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await serving
            assert server.stats().forced == 1

    run_in(factory, scenario())


def test_stop_async_asks_only_in_a_handler_of_the_same_server(factory: Any) -> None:
    """It would wait for itself."""

    class Stopping(AsyncStreamRequestHandler):
        async def handle(self) -> None:
            await self.rfile.readline()
            await self.server.stop_async(PATIENCE)
            await self.wfile.write(b"BYE\n")

    async def scenario() -> None:
        with Server(HOME, Stopping) as server:
            serving = asyncio.ensure_future(server.serve_async())
            async with visiting(server, b"bye\n"):
                await serving

    run_in(factory, scenario())


def test_a_server_of_another_thread_can_be_stopped_from_an_event_loop(factory: Any) -> None:
    """Without blocking it."""

    async def scenario() -> None:
        with Server(HOME, Upper).background() as running:
            async with visiting(running.server, b"one\n"):
                assert (await running.server.stop_async(PATIENCE)).drained == 1

    run_in(factory, scenario())


def test_the_limits_wake_the_loop(factory: Any) -> None:
    """One that waits for room is served when there is some."""

    async def scenario() -> None:
        with Server(HOME, Upper) as server:
            server.max_connections = 1
            serving = asyncio.ensure_future(server.serve_async())
            async with visiting(server, b"one\n"):
                reader, writer = await asyncio.open_connection(*server.server_address)
                writer.write(b"two\n")
                await asyncio.sleep(0.02)
                assert server.stats().active == 1
            assert await reader.readline() == b"TWO\n"
            writer.close()
            await server.stop_async(PATIENCE)
            await serving

    run_in(factory, scenario())
