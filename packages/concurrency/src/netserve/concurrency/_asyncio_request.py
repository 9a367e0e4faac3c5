"""The task of one request: what precedes its handler, the handler, the end.

It is for the event loop what ``run_request`` is for a thread: nothing that a hook
or a handler raises escapes it, and the request is ended whatever happens. A task
that is cancelled has been cut off, at the end of a drain or with the event loop.
"""

import asyncio
import contextlib
import socket as _socket
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol, cast

from netserve.concurrency._asyncio_connection import Connection
from netserve.concurrency._outbox import Outbox
from netserve.concurrency._tls import TLS
from netserve.core import (
    CoroutineHandler,
    Deadline,
    DeadlineError,
    Entry,
    Ledger,
    MessageHandler,
    Opening,
    Outcome,
    Wait,
    end_request,
    log,
    report_error,
)

# After these, the connection is closed without more ado.
_ABRUPT: Final = frozenset({Outcome.DISCONNECTED, Outcome.FORCED, Outcome.TIMED_OUT})


class TaskServer(Protocol):
    """What the task of a request needs of its server."""

    @property
    def requests_in_progress(self) -> Ledger:
        """The table of the requests."""
        ...

    def open_request(self, request: Any, client_address: Any, /) -> Opening[Any] | None:
        """What has to happen before the handler begins."""

    def request_opened(self, entry: Entry, address: Any, /) -> None:
        """Note that it has happened."""

    def make_handler(
        self, request: Any, client_address: Any, /
    ) -> CoroutineHandler | MessageHandler:
        """Make the handler of a request."""
        ...

    def finish_request(self, request: Any, client_address: Any, /) -> None:
        """Not called; part of what reporting an error asks for."""

    def handle_error(self, request: Any, client_address: Any, /) -> None:
        """Report an error."""

    def handle_disconnect(self, request: Any, client_address: Any, outcome: Outcome, /) -> None:
        """Report that a request was ended under its handler."""

    def shutdown_request(self, request: Any, /) -> None:
        """End a request, and close it."""

    def close_request(self, request: Any, /) -> None:
        """Close a request."""

    def request_ended(self, entry: Entry, /) -> None:
        """End a request in the ledger."""

    def has_unread_input(self, request: Any, /) -> bool:
        """Whether a request holds input that nobody has read."""
        ...


async def serve_stream(server: TaskServer, entry: Entry, outbox: Outbox) -> None:
    """Bring the connection of *entry* to its end; it sends through *outbox*."""
    request: _socket.socket = entry.request
    connection = connect(outbox, server, request, entry.since)
    entry.outcome = None
    try:
        await _open(outbox.loop, server, connection, entry)
        await begin_handler(server, connection, entry.address)
        await connection.wait_sent()
    except asyncio.CancelledError:
        entry.outcome = _report_cancellation(server, entry)
    except Exception:
        entry.outcome = report_error(server, request, entry.address)
    except GeneratorExit:
        # It is thrown away, unfinished, with the event loop.
        entry.outcome = Outcome.FORCED
        raise
    except BaseException:
        entry.outcome = Outcome.FAILED
        raise
    else:
        entry.outcome = Outcome.COMPLETED
    finally:
        if connection.expired is not None:
            # Some handlers catch the error themselves.
            entry.outcome = Outcome.TIMED_OUT
        try:
            if entry.outcome not in _ABRUPT:
                # Else no close_notify tells the client that this was all.
                whole = entry.outcome is Outcome.COMPLETED
                await _part(server, connection, whole=whole)
        except (OSError, asyncio.CancelledError):
            # The peer has left, or was given up.
            pass
        finally:
            connection.stop()
            close(server, entry)


async def serve_datagram(server: TaskServer, entry: Entry) -> None:
    """Handle the datagram of *entry*."""
    try:
        handler = server.make_handler(entry.request, entry.address)
        # One of messages has done its work already.
        if hasattr(handler, "run"):
            await cast("CoroutineHandler", handler).run()
    except asyncio.CancelledError:
        entry.outcome = _report_cancellation(server, entry)
    except Exception:
        entry.outcome = report_error(server, entry.request, entry.address)
    except BaseException:
        entry.outcome = Outcome.FAILED
        raise
    finally:
        end_request(server, entry.request)
        server.request_ended(entry)


def begin_handler(
    server: TaskServer, connection: Connection, address: Any
) -> Coroutine[Any, Any, None]:
    """Make the handler of *connection*; returns its work."""
    handler = server.make_handler(connection.socket, address)
    if hasattr(handler, "run"):
        coroutines = cast("CoroutineHandler", handler)
        coroutines.attach(connection)
        return coroutines.run()
    return _drive(connection, handler)


def connect(outbox: Outbox, server: object, request: _socket.socket, since: float) -> Connection:
    """The connection of *request*, which sends through *outbox*, with the limits of *server*."""
    request.setblocking(False)
    names = ("idle_timeout", "message_timeout", "connection_timeout")
    idle, message, whole = (getattr(server, name, None) for name in names)
    return Connection(outbox, request, (idle, message, whole), since)


def close(server: TaskServer, entry: Entry) -> None:
    """Close the request of *entry*, and end it."""
    try:
        server.close_request(entry.request)
    except Exception:
        log.exception("close_request raised; the request may be left open")
    server.request_ended(entry)


async def begin_tls(server: TaskServer, connection: Connection) -> None:
    """Do the handshake of TLS, if the server has it."""
    context = getattr(server, "ssl_context", None)
    if context is not None:
        timeout: float | None = getattr(server, "handshake_timeout", None)
        ledger = server.requests_in_progress
        connection.tls = TLS(connection, context, lambda: ledger.draining)
        await _in_time(connection, connection.tls.shake_hands, timeout)


async def _open(
    loop: asyncio.AbstractEventLoop, server: TaskServer, connection: Connection, entry: Entry
) -> None:
    """Do what precedes the handler; a drain leaves the connection its input meanwhile."""
    opening = server.open_request(entry.request, entry.address)
    if opening is None and getattr(server, "ssl_context", None) is None:
        return
    entry.opening = True
    address = entry.address
    if opening is not None:
        address = await _see_through(loop, opening, entry.request.fileno())
    await begin_tls(server, connection)
    server.request_opened(entry, address)


async def _see_through(
    loop: asyncio.AbstractEventLoop, opening: Opening[Any], descriptor: int
) -> Any:
    """Run *opening* to its end; returns the client's address."""
    try:
        while True:
            wait = next(opening)
            if not await _await(loop, descriptor, wait):
                raise DeadlineError(wait.deadline, wait.limit)
    except StopIteration as end:
        return end.value
    finally:
        opening.close()


async def _await(loop: asyncio.AbstractEventLoop, descriptor: int, wait: Wait) -> bool:
    """Wait as *wait* says; false when its time is over."""
    left = wait.until - time.monotonic()
    if left <= 0:
        return False
    over: asyncio.Future[bool] = loop.create_future()
    timer = None if left == float("inf") else loop.call_later(left, _settle, over, False)
    add, remove = loop.add_reader, loop.remove_reader
    if wait.writing:
        add, remove = loop.add_writer, loop.remove_writer
    add(descriptor, _settle, over, True)
    try:
        return await over
    finally:
        remove(descriptor)
        if timer is not None:
            timer.cancel()


def _settle(future: "asyncio.Future[bool]", result: bool) -> None:
    if not future.done():
        future.set_result(result)


async def _in_time(connection: Connection, step: Callable[[], Any], timeout: float | None) -> None:
    """Take *step*, the handshake, in at most *timeout* seconds."""
    if timeout is None:
        await step()
        return
    loop = asyncio.get_running_loop()
    timer = loop.call_later(timeout, connection.expire, Deadline.HANDSHAKE, timeout)
    try:
        await step()
    finally:
        timer.cancel()


async def _drive(connection: Connection, handler: MessageHandler) -> None:
    """Hand the messages of *connection* to *handler*, and send its answers."""

    def transmit(data: bytes) -> None:
        # If the client has left, the next receiving will tell.
        with contextlib.suppress(OSError):
            connection.write(data)

    handler.transmit = transmit
    if connection.tls is not None and hasattr(handler, "ssl_object"):
        cast("Any", handler).ssl_object = connection.ssl_object
    handler.setup()
    decoder = handler.decoder
    try:
        handler.flush()
        while not handler.closing:
            data = await connection.receive(partial=bool(decoder.pending))
            answers = handler.feed(data) if data else handler.end_of_input()
            if answers:
                connection.write(answers)
            if connection.congested:
                await connection.drain()
    except BaseException:
        try:
            handler.finish()
        except Exception:
            # The first error says what went wrong.
            log.warning("%r: finish() raised at the end", handler, exc_info=True)
        raise
    else:
        handler.finish()
    finally:
        # They know each other, and would stay until the garbage is collected.
        handler.transmit = _send_nothing


def _send_nothing(_data: bytes) -> None:
    """What a handler sends through once its connection is closed."""


def _report_cancellation(server: TaskServer, entry: Entry) -> Outcome:
    """Report the CancelledError being handled; returns what it means."""
    task = cast("asyncio.Task[None]", asyncio.current_task())
    if not entry.forced and sys.version_info >= (3, 11) and not task.cancelling():
        # Nobody has cancelled the task: the handler has let one go that isn't its own.
        try:
            server.handle_error(entry.request, entry.address)
        except Exception:
            log.exception("handle_error raised for a request from %s", entry.address)
        return Outcome.FAILED
    try:
        server.handle_disconnect(entry.request, entry.address, Outcome.FORCED)
    except Exception:
        log.exception("handle_disconnect raised for a request from %s", entry.address)
    return Outcome.FORCED


async def _part(server: TaskServer, connection: Connection, *, whole: bool) -> None:
    """Send what is left, tell the client whether it was all, and let it take everything."""
    await connection.wait_sent()
    if connection.tls is not None and whole:
        connection.tls.say_goodbye()
        await connection.wait_sent()
    connection.socket.shutdown(_socket.SHUT_WR)
    limit: int = getattr(server, "linger_bytes", 0)
    timeout: float = getattr(server, "linger_timeout", 0.0)
    if timeout <= 0 or connection.input_ended or not server.has_unread_input(connection.socket):
        return
    surplus = 0
    given_up = TimeoutError("the client hasn't closed in time")
    timer = asyncio.get_running_loop().call_later(timeout, connection.fail, given_up)
    try:
        while surplus < limit:
            data = await connection.receive_raw()
            if not data:
                break
            surplus += len(data)
    finally:
        timer.cancel()
