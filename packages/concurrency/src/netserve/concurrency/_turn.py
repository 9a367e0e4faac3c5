"""What a coroutine waits in for its connection, and that wakes its task at once.

An :class:`asyncio.Future` that is done has the event loop wake the task in its
next round, one system call later. Where a callback of the loop has just read what
the task waits for, and no task runs, it may as well go on here and now: that is a
good part of the speed.

Any object may stand where a task expects a future, if it has the attributes and
the methods that tasks use (see :func:`asyncio.isfuture`). What a task calls in each
wait is a part of the cost. So there is no ``get_loop``, as a task is content with
``_loop``; ``_asyncio_future_blocking``, by which a task tells what is waited in, is
set anew where the task takes notice, not in a call of its own; and a task that goes
on is shown a real future, which is done, since to ask that for its result takes no call.
"""

import asyncio
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Any


class Turn:
    """Waited in by one task at a time, again and again.

    That is done in a generator, by ``yield turn``; see :func:`types.coroutine`.
    """

    __slots__ = ("_asyncio_future_blocking", "_cancelled", "_context", "_done", "_loop", "taken_by")

    _context: Context

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._asyncio_future_blocking = True
        self._loop = loop
        self._done = loop.create_future()
        self._done.set_result(None)
        self._cancelled: tuple[Any, ...] | None = None
        self.taken_by: Callable[[Any], object] | None = None
        """What the task that waits is woken by; None while none does."""

    def wake(self) -> None:
        """Run the task that waits until it waits again; not from within a task."""
        callback, self.taken_by = self.taken_by, None
        if callback is not None:
            self._context.run(callback, self._done)

    def wake_soon(self) -> bool:
        """Have the loop run the task that waits; says whether one does."""
        callback, self.taken_by = self.taken_by, None
        if callback is None:
            return False
        self._loop.call_soon(callback, self, context=self._context)
        return True

    def add_done_callback(
        self, callback: Callable[[Any], object], /, *, context: Context | None = None
    ) -> None:
        """Called by the task that begins to wait."""
        self.taken_by = callback
        # The task has cleared it.
        self._asyncio_future_blocking = True
        self._context = copy_context() if context is None else context

    def cancel(self, msg: Any = None) -> bool:
        """Called by the task that is cancelled; it has the loop wake it."""
        if not self.wake_soon():
            return False
        self._cancelled = () if msg is None else (msg,)
        return True

    def result(self) -> None:
        """Called by the task that :meth:`wake_soon` wakes.

        Raises :class:`asyncio.CancelledError` if that is due.
        """
        cancelled, self._cancelled = self._cancelled, None
        if cancelled is not None:
            raise asyncio.CancelledError(*cancelled)
