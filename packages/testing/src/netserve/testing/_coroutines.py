"""A connection without a network, for the handler whose work is a coroutine.

Theory of operation. The client is that of a :class:`FakeConnection`: the same script,
read in the same way, so that nothing waits. What the server does between the socket
and the coroutine is done here as a server of coroutines does it: what is written leaves
in one piece when the coroutine waits next, each reading lets the other tasks have their
turn, and what goes wrong with the connection is raised by every operation from then on.

The deadlines are the server's, for such a handler has none of its own. A silent client
is over at once with the one that would pass first.
"""

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Final

from netserve.core import CoroutineHandler, DeadlineError, Deadlines
from netserve.testing._fake_connection import FakeConnection

if TYPE_CHECKING:
    from ssl import SSLObject

_CHUNK: Final = 65536
_NEVER: Final = float("inf")
_TURNS: Final = 3  # until a task that was cancelled has ended


class FakeAsyncConnection:
    """What a coroutine takes for its connection; the client is that of *socket*.

    It is an :class:`~netserve.core.AsyncConnection`. Its deadlines are the
    ``idle_timeout``, ``message_timeout`` and ``connection_timeout`` of *server*, in
    seconds; it has none where the server has no such attribute. The handler can't read
    or write *socket* itself any more: that is an :class:`AssertionError`.

    Not simulated, besides what :class:`FakeConnection` doesn't: a client that is slow to
    read, so that it is never congested.
    """

    def __init__(self, socket: FakeConnection, server: object = None) -> None:
        self.socket: FakeConnection = socket
        """The connection whose client it has."""

        socket.setblocking(False)
        socket.is_driven = True
        names = ("idle_timeout", "message_timeout", "connection_timeout")
        idle, message, whole = (getattr(server, name, None) for name in names)
        # No time passes.
        self._deadlines = Deadlines(idle, message, whole, 0.0)
        self._out: list[bytes] = []
        self._receiving = False
        self._error: Exception | None = None
        self._is_told = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} on {self.socket!r}>"

    @property
    def congested(self) -> bool:
        """False, as the client takes everything at once."""
        return False

    @property
    def ssl_object(self) -> "SSLObject | None":
        """None, as TLS isn't simulated."""
        return None

    async def receive(self, *, partial: bool = False) -> bytes:
        """The next bytes that were fed, at most 64 KiB; none at the end."""
        self._flush()
        self._check()
        if self._receiving:
            msg = "another coroutine receives on this connection already"
            raise RuntimeError(msg)
        self._receiving = True
        try:
            await asyncio.sleep(0)
        finally:
            self._receiving = False
        self._check()
        try:
            return self._take(partial=partial)
        except OSError as error:
            self._fail(error)
            self._is_told = True
            raise

    def write(self, data: bytes) -> None:
        """Have *data* sent when the coroutine waits next, joined with what was written before."""
        self._check()
        with memoryview(data) as view:
            self._out.append(view.tobytes())
        if len(self._out) == 1:
            asyncio.get_running_loop().call_soon(self._flush)

    async def drain(self) -> None:
        """Send what was written."""
        self._flush()
        self._check()

    async def serve(self, handler: CoroutineHandler) -> None:
        """Run *handler* on this connection, as a server does; raises what it raises."""
        handler.attach(self)
        try:
            await handler.run()
        finally:
            self._flush()
        if not self._is_told:
            self._check()

    def _take(self, *, partial: bool) -> bytes:
        """The next bytes of the script, unless a deadline passes before they come."""
        if partial:
            self._deadlines.message_began(0.0)
        else:
            self._deadlines.message_ended()
        left, which = self._deadlines.allowance(0.0, receiving=True)
        try:
            return self.socket.take(_CHUNK, None if left == _NEVER else left)
        except TimeoutError:
            raise DeadlineError(which, left) from None

    def _flush(self) -> None:
        """Send what was written; an error is kept for whatever the handler does next."""
        data = b"".join(self._out)
        self._out.clear()
        if data:
            try:
                self.socket.put(data)
            except Exception as error:
                # It may be one of the test's own, of its on_send.
                self._fail(error)

    def _fail(self, error: Exception) -> None:
        self._error = error
        self._out.clear()

    def _check(self) -> None:
        """Raise what has gone wrong, if anything has."""
        if self._error is not None:
            self._is_told = True
            raise self._error


def run_now(work: Coroutine[Any, Any, None]) -> list[str]:
    """Run *work* to its end, in an event loop of its own; raises what it raises.

    Returns the names of the tasks that it leaves behind, which end with the event loop.
    Raises :class:`RuntimeError` where an event loop runs already.
    """
    try:
        refuse_running_loop()
    except RuntimeError:
        work.close()
        raise
    return asyncio.run(_leaving(work))


def refuse_running_loop() -> None:
    """Raise :class:`RuntimeError` if an event loop runs in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    msg = (
        "an event loop runs in this thread, which this would block: await handle_stream_async()"
        " or handle_datagram_async(), or call it by asyncio.to_thread()"
    )
    raise RuntimeError(msg)


async def _leaving(work: Coroutine[Any, Any, None]) -> list[str]:
    """Await *work*; returns the names of the tasks that are left."""
    await work
    for _ in range(_TURNS):
        await asyncio.sleep(0)
    return sorted(task.get_name() for task in asyncio.all_tasks() - {asyncio.current_task()})
