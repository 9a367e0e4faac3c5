"""The loop of the asyncio mix-in: a wait of the server's is a run of an event loop.

Theory of operation. The lifecycle of a server waits, looks, and waits again, here
as everywhere. In each wait the event loop runs: it watches the connections, and
runs the tasks of the requests. A wait ends when somebody wakes the loop, for a stop
or because a request has ended that others wait for; connections are accepted within
it. So under load the waits are few, and cost next to nothing.

``serve_forever`` runs an event loop of its own. In ``serve_async`` the event loop
is the caller's, and a wait is awaited. Nothing is made before the loop is entered.
"""

import asyncio
import contextlib
import os
import selectors
from collections.abc import Callable, Coroutine
from functools import partial
from types import TracebackType
from typing import Any, Final, Protocol, TypeVar

from typing_extensions import Self

from netserve.concurrency._outbox import Outbox
from netserve.core import Entry, Loop, Waker, log

_T = TypeVar("_T")

# It needs no descriptor of its own.
_Selector: Final[type[selectors.BaseSelector]] = getattr(
    selectors, "PollSelector", selectors.SelectSelector
)

_UNWIND: Final = 0.5  # seconds, for a cancelled task to come to its end


class _Listener(Protocol):
    def fileno(self) -> int: ...


class AsyncioServer(Protocol):
    """What the loop needs of the server that waits in it."""

    @property
    def block_on_close(self) -> bool:
        """Whether to wait for what runs in the event loop's executor."""
        ...

    def prepare_wait(self) -> None:
        """Listen in the wait that comes, or not."""

    def take_requests(self) -> None:
        """Take the requests that wait."""

    def drop_request(self, entry: Entry, /) -> None:
        """Close a request that no task will."""


class AsyncioLoop(Loop):
    """Waits for *server* in an event loop, and has the tasks of its requests.

    The event loop is *running*, which is somebody else's, or else one that *factory*
    makes, which ends with this.
    """

    event_loop: asyncio.AbstractEventLoop
    """The event loop, once this is entered."""

    outbox: Outbox
    """What its connections send through, likewise."""

    def __init__(
        self,
        server: AsyncioServer,
        factory: Callable[[], asyncio.AbstractEventLoop],
        running: asyncio.AbstractEventLoop | None,
    ) -> None:
        super().__init__()
        self._server = server
        self._factory = factory
        self._running = running
        self._tasks: dict[Entry, asyncio.Task[None]] = {}
        self._handles: set[asyncio.TimerHandle] = set()
        self._over: asyncio.Future[bool] | None = None
        self._accepts = False
        self._listens_on = self._watched = -1
        self._abandoned = False
        self.ended = asyncio.Event()
        """Set when this is left; to be awaited in the event loop."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self._tasks)}>"

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            if self._running is None:
                self.event_loop = self._factory()
                stack.callback(self._close_event_loop)
            else:
                self.event_loop = self._running
            self.outbox = Outbox(self.event_loop)
            self._waker = stack.enter_context(Waker())
            self.event_loop.add_reader(self._waker.fileno(), self._attend_waker)
            stack.callback(self.event_loop.remove_reader, self._waker.fileno())
            # Somebody else's event loop has its own way with signals.
            self.may_sleep = self._running is not None or stack.enter_context(
                self._waker.woken_by_signals()
            )
            self._ends = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.listen(None)
        for handle in self._handles:
            handle.cancel()
        self.ended.set()
        super().__exit__(kind, error, traceback)

    @property
    def busy(self) -> bool:
        """Whether a task runs, right now."""
        return asyncio.current_task(self.event_loop) is not None

    def listen(self, listener: _Listener | None) -> None:
        """As for :meth:`netserve.core.Loop.listen`."""
        descriptor = -1 if listener is None else listener.fileno()
        if descriptor != self._listens_on:
            if self._listens_on >= 0:
                self._unwatch()
            self._listens_on = descriptor
            if descriptor >= 0:
                self._watch(descriptor)
        if listener is not None and descriptor < 0:
            msg = f"{listener!r} is closed"
            raise ValueError(msg)

    def add_reader(self, descriptor: int, callback: Callable[[], None]) -> None:
        """As for :meth:`netserve.core.Loop.add_reader`."""
        self.release(descriptor)
        self.event_loop.add_reader(descriptor, self._call, callback)

    def remove_reader(self, descriptor: int) -> None:
        """As for :meth:`netserve.core.Loop.remove_reader`."""
        self.event_loop.remove_reader(descriptor)

    def call_later(self, delay: float, callback: Callable[[], None]) -> None:
        """As for :meth:`netserve.core.Loop.call_later`."""

        def due() -> None:
            self._handles.discard(handle)
            self._call(callback)

        handle = self.event_loop.call_later(delay, due)
        self._handles.add(handle)

    def wait(self, timeout: float | None) -> bool:
        """As for :meth:`netserve.core.Loop.wait`; *timeout* is in seconds.

        Raises :class:`RuntimeError` when the event loop is somebody else's, and runs.
        """
        if self._running is not None:
            msg = (
                "serve_forever() would block the event loop that runs in this thread:"
                " await serve_async() instead"
            )
            raise RuntimeError(msg)
        return self.run(self.wait_async(timeout))

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run the event loop until *work* is done; returns its result."""
        task = self.event_loop.create_task(work)
        try:
            return self.event_loop.run_until_complete(task)
        except BaseException:
            # Also what another task or a signal's handler has raised, which ends the run.
            task.cancel()
            raise

    async def wait_async(self, timeout: float | None) -> bool:
        """As :meth:`wait`, in the event loop."""
        if timeout is not None and timeout <= 0:
            # Whether timers or descriptors come first isn't the same in all event loops.
            await asyncio.sleep(0)
            return self._is_ready()
        self._over = self.event_loop.create_future()
        # Nobody needs to look in between.
        self._accepts = timeout is None
        timer = None
        if timeout is not None:
            timer = self.event_loop.call_later(timeout, self._end_wait)
        try:
            return await self._over
        finally:
            self._over = None
            if timer is not None:
                timer.cancel()

    def outlives(self, task: "asyncio.Task[Any] | None") -> bool:
        """Whether *task* may wait for the end of this."""
        return self._running is not None and task not in self._tasks.values()

    def release(self, descriptor: int) -> None:
        """See that nothing is known of *descriptor*, which is a new one."""
        if descriptor == self._listens_on:
            # The listener had this number, and has been closed.
            self.listen(None)

    def start(self, entry: Entry, work: Coroutine[Any, Any, None]) -> None:
        """Have a task do *work*, which brings *entry* to its end."""
        task = self.event_loop.create_task(work)
        self._tasks[entry] = task
        task.add_done_callback(partial(self._finish, entry))

    def cancel(self, entry: Entry) -> None:
        """Cancel the task of *entry*, from any thread."""
        with contextlib.suppress(RuntimeError):
            self.event_loop.call_soon_threadsafe(self._cancel, entry)

    def abandon(self) -> None:
        """Wait for nothing at the end: there are tasks that don't heed their cancellation."""
        self._abandoned = True

    async def end_tasks(self) -> None:
        """Cancel what is left of the tasks, and let them come to their end."""
        left = self._tasks.copy()
        if not left:
            return
        if not self._abandoned:
            log.warning(
                "%r: %d requests were in progress when the loop ended;"
                " stop() lets them end themselves",
                self._server,
                len(left),
                extra={"server": self._server},
            )
        for entry, task in left.items():
            entry.forced = True
            task.cancel()
        await asyncio.wait(left.values(), timeout=_UNWIND)

    def _watch(self, descriptor: int) -> None:
        """Watch the listener at *descriptor*, and leave it as it is otherwise."""
        if isinstance(self.event_loop, asyncio.BaseEventLoop):
            self._watched = descriptor
            self.event_loop.add_reader(descriptor, self._attend_listener)
            return
        # uvloop ends the process when what it is to watch was closed before its next
        # wait, as server_close may do at any time; so it has a descriptor of its own.
        self._watched = os.dup(descriptor)
        # It has that not block, and so the listener; but a handler of datagrams, which
        # answers on it, relies on that.
        blocks = os.get_blocking(descriptor)
        self.event_loop.add_reader(self._watched, self._attend_listener)
        os.set_blocking(descriptor, blocks)

    def _unwatch(self) -> None:
        """Watch the listener no more."""
        self.event_loop.remove_reader(self._watched)
        if self._watched != self._listens_on:
            os.close(self._watched)

    def _call(self, callback: Callable[[], None]) -> None:
        """Call *callback*, then let the server look."""
        callback()
        self._end_wait()

    def _attend_waker(self) -> None:
        self._waker.drain()
        self._end_wait()

    def _attend_listener(self) -> None:
        if self._accepts and self._over is not None:
            self._server.take_requests()
            self._server.prepare_wait()
        else:
            self._end_wait(ready=True)

    def _end_wait(self, *, ready: bool = False) -> None:
        if self._over is not None and not self._over.done():
            self._over.set_result(ready)

    def _is_ready(self) -> bool:
        """Whether the listener is ready, without a wait."""
        if self._listens_on < 0:
            return False
        with _Selector() as selector:
            selector.register(self._listens_on, selectors.EVENT_READ)
            return bool(selector.select(0))

    def _cancel(self, entry: Entry) -> None:
        # It may have ended meanwhile.
        with contextlib.suppress(KeyError):
            self._tasks[entry].cancel()

    def _finish(self, entry: Entry, task: asyncio.Task[None]) -> None:
        del self._tasks[entry]
        # A SystemExit or its like has ended the event loop's run, and is known.
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Exception):
            log.error("%r: %r couldn't be run", self._server, entry, exc_info=error)
        # One that was cancelled before it began has ended nothing.
        self._server.drop_request(entry)

    def _close_event_loop(self) -> None:
        """End the event loop, with all that handlers have left in it."""
        loop = self.event_loop
        try:
            loop.run_until_complete(self.end_tasks())
            others = asyncio.all_tasks(loop)
            for task in others:
                task.cancel()
            if others:
                loop.run_until_complete(asyncio.wait(others, timeout=_UNWIND))
            loop.run_until_complete(loop.shutdown_asyncgens())
            if self._server.block_on_close and not self._abandoned:
                loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            loop.close()
