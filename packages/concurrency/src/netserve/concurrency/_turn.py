"""What a coroutine waits in for its connection, and that wakes its task at once.

An :class:`asyncio.Future` that is done has the event loop wake the task in its
next round, one system call later. Where a callback of the loop has just read what
the task waits for, and no task runs, it may as well go on here and now: that is a
good part of the speed.

Any object may stand where a task expects a future, if it has the attribute and
the methods that tasks use (see :func:`asyncio.isfuture`).
"""

import asyncio
from collections.abc import Callable, Generator
from contextvars import Context
from typing import Any


class Turn:
    """Waited in by one task at a time, again and again: ``await turn``."""

    __slots__ = ("_asyncio_future_blocking", "_callback", "_cancelled", "_context", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._asyncio_future_blocking = False
        self._loop = loop
        self._callback: Callable[[Any], object] | None = None
        self._context: Context | None = None
        self._cancelled: tuple[Any, ...] | None = None

    @property
    def taken(self) -> bool:
        """Whether a task waits."""
        return self._callback is not None

    def __await__(self) -> Generator["Turn", None, None]:
        """Wait until :meth:`wake`."""
        self._asyncio_future_blocking = True
        yield self

    def wake(self) -> None:
        """Run the task that waits until it waits again; not from within a task."""
        callback, self._callback = self._callback, None
        if callback is not None and self._context is not None:
            self._context.run(callback, self)

    def wake_soon(self) -> bool:
        """Have the loop run the task that waits; says whether one does."""
        callback, self._callback = self._callback, None
        if callback is None:
            return False
        self._loop.call_soon(callback, self, context=self._context)
        return True

    def add_done_callback(
        self, callback: Callable[[Any], object], *, context: Context | None = None
    ) -> None:
        """Called by the task that begins to wait."""
        self._callback = callback
        self._context = context

    def cancel(self, msg: Any = None) -> bool:
        """Called by the task that is cancelled; it has the loop wake it."""
        if not self.wake_soon():
            return False
        self._cancelled = () if msg is None else (msg,)
        return True

    def result(self) -> None:
        """Called by the task that wakes; raises :class:`asyncio.CancelledError` if it is due."""
        cancelled, self._cancelled = self._cancelled, None
        if cancelled is not None:
            raise asyncio.CancelledError(*cancelled)

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The event loop, which must be the task's."""
        return self._loop
