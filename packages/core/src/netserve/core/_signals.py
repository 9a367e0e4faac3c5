"""SIGTERM and SIGINT as requests to stop, for the main program of a server."""

import contextlib
import signal
import threading
from collections.abc import Callable, Generator


@contextlib.contextmanager
def stop_signals(asked: Callable[[int], None]) -> Generator[None]:
    """A span in which SIGTERM and SIGINT call *asked* with 1, then 2.

    *asked* runs in the main thread between two instructions of whatever runs
    there, and must not block. After the second signal, and at the end of the
    span, the old handlers are back; a third signal does what it did before.
    What the process was started to ignore stays ignored (see
    :manpage:`nohup(1)`).

    Raises :class:`RuntimeError` outside the main thread, where Python allows no
    handlers.
    """
    if threading.current_thread() is not threading.main_thread():
        msg = "signals are heard in the main thread alone: call run() there, or background()"
        raise RuntimeError(msg)
    heard = {
        number: previous
        for number in (signal.SIGTERM, signal.SIGINT)
        # None is a handler that isn't Python's, and couldn't be put back.
        if (previous := signal.getsignal(number)) not in {signal.SIG_IGN, None}
    }
    times = 0

    def restore() -> None:
        for number, previous in heard.items():
            signal.signal(number, previous)

    def hear(_number: int, _frame: object) -> None:
        nonlocal times
        times += 1
        if times > 1:
            restore()
        asked(times)

    for number in heard:
        signal.signal(number, hear)
    try:
        yield
    finally:
        restore()
