"""SIGTERM and SIGINT as requests to stop, SIGHUP to reload, for a server's main program."""

import contextlib
import signal
import threading
from collections.abc import Callable, Generator


@contextlib.contextmanager
def heard_signals(
    asked: Callable[[int], None], reload: Callable[[], object] | None = None
) -> Generator[None]:
    """A span in which SIGTERM and SIGINT call *asked* with 1, then 2, and SIGHUP *reload*.

    Both run in the main thread between two instructions of whatever runs
    there, and must not block. After the second signal to stop, and at the end
    of the span, the old handlers are back; a third signal does what it did
    before. What the process was started to ignore stays ignored (see
    :manpage:`nohup(1)`), except SIGHUP, which is then no end of the terminal any
    more. Without *reload*, SIGHUP is left alone.

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
    hangup = None if reload is None else getattr(signal, "SIGHUP", None)
    old_hangup = None if hangup is None else signal.getsignal(hangup)
    times = 0

    def restore() -> None:
        for number, previous in heard.items():
            signal.signal(number, previous)
        if hangup is not None and old_hangup is not None:
            signal.signal(hangup, old_hangup)

    def hear(_number: int, _frame: object) -> None:
        nonlocal times
        times += 1
        if times > 1:
            restore()
        asked(times)

    def hear_hangup(_number: int, _frame: object) -> None:
        assert reload is not None
        reload()

    for number in heard:
        signal.signal(number, hear)
    if hangup is not None and old_hangup is not None:
        signal.signal(hangup, hear_hangup)
    try:
        yield
    finally:
        restore()
