"""The executor of a server, and whether a handler's work can be sent to one.

A server is given an executor, which is its owner's to shut down; or it makes one
itself, shuts it down, and makes another when it breaks.
"""

import inspect
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, ThreadPoolExecutor

MessageFunction = Callable[[bytes], "bytes | None"]
"""What is sent: it answers a message."""


class Executors:
    """The executor of a server: *given*, or else what *make* makes, when it is needed."""

    def __init__(self, given: Executor | None, make: Callable[[], Executor | None]) -> None:
        self.given = given
        """What the server was given."""

        self._make = make
        self._lock = threading.RLock()
        self._own: Executor | None = None
        self._ending: list[threading.Thread] = []
        self.is_closed = False
        """Whether the server is closed."""

        self.in_use = False
        """Whether a loop uses them, at whose end they are closed if the server is."""

    @property
    def owns(self) -> bool:
        """Whether the executor is this server's own."""
        return self.given is None

    def get(self) -> Executor:
        """The executor; raises :class:`RuntimeError` when there is none to be had."""
        with self._lock:
            if self.given is not None:
                return self.given
            if self._own is None and not self.is_closed:
                self._own = self._make()
            if self._own is None:
                msg = "make_executor() has made none, or the server is closed"
                raise RuntimeError(msg)
            return self._own

    def discard(self, broken: Executor) -> None:
        """Do without *broken* from now on, if it is an own one; the next is made when needed."""
        with self._lock:
            if broken is not self._own:
                return
            self._own = None
            # In a thread, because its last worker may be slow to end.
            thread = threading.Thread(target=broken.shutdown, name="netserve.executor")
            thread.start()
            self._ending = [each for each in self._ending if each.is_alive()]
            self._ending.append(thread)

    def abandon(self) -> None:
        """Wait no longer for what an own executor does."""
        own = self._take()
        if own is not None:
            own.shutdown(wait=False)

    def close(self, *, wait: bool) -> None:
        """Shut an own executor down, and make no more; with *wait*, wait for its work."""
        self.is_closed = True
        own = self._take()
        if own is not None:
            own.shutdown(wait=wait)
        for thread in self._ending if wait else ():
            thread.join()

    def _take(self) -> Executor | None:
        with self._lock:
            own, self._own = self._own, None
            return own


def is_broken(executor: Executor) -> bool:
    """Whether *executor* takes no more work because it is broken."""
    try:
        # The error of a job may also come from another executor, which its work used.
        executor.submit(_nothing)
    except BrokenExecutor:
        return True
    except Exception:
        return False
    return False


def _nothing() -> None:
    """The work that shows whether there is somebody to do it."""


def sendable_function(handler: object, executor: Executor | None) -> MessageFunction:
    """The function of *handler* that answers messages, which *executor* can run.

    *executor* is None where it isn't known yet. Raises :class:`TypeError`, which
    says why, when the work of *handler* can't be sent.
    """
    reason = _why_not_a_class(handler)
    if reason is not None:
        msg = f"an executor can't be sent the messages of {handler!r}: {reason}"
        raise TypeError(msg)
    get: Callable[[], MessageFunction] = handler.message_function  # type: ignore[attr-defined]  # was looked up
    function = get()
    reason = _why_not_a_function_of_a_message(function)
    # Threads share their memory, and are sent nothing.
    if reason is None and not isinstance(executor, ThreadPoolExecutor):
        reason = _why_not_picklable(function)
    if reason is not None:
        msg = f"an executor can't be sent process_message of {handler!r}: {reason}"
        raise TypeError(msg)
    return function


def _why_not_a_class(handler: object) -> str | None:
    if not isinstance(handler, type):
        return "what it makes shows only in the end; name the handler class itself"
    if not hasattr(handler, "feed"):
        return "it takes no messages, as a MessageRequestHandler does"
    if not hasattr(handler, "message_function"):
        return "it has no message_function(), which says what to send"
    return None


def _why_not_a_function_of_a_message(function: MessageFunction) -> str | None:
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        return "it is a coroutine function, and executors run plain ones"
    try:
        inspect.signature(function).bind(b"")
    except TypeError:
        return "it can't be called with a message alone; it must be a static method"
    except ValueError:
        # One written in C may not tell.
        pass
    return None


def _why_not_picklable(function: MessageFunction) -> str | None:
    try:
        pickle.dumps(function)
    except Exception as error:
        return (
            f"it can't be pickled ({error}); workers find it by its module and name,"
            " which a lambda or a class inside a function doesn't have"
        )
    return None
