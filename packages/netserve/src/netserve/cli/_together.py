"""Running several servers as one program.

Theory of operation. A server alone is run in the main thread, by its own ``run``.
Several, or one with something to be done beside it, run in the background, each in a
thread; the main thread waits for signals. It hears them through a
:class:`~netserve.core.Waker`, because a handler of signals may interrupt whatever
holds a lock. The first SIGTERM or SIGINT drains all servers at the same time, the
second ends the grace, and SIGHUP has each one reload. A server that ends by itself, because
it fails or a handler stops it, ends the others as the first signal would.

What forks does so before there are threads: a server of several processes has what forks
them forked here first. One that forks for each request is such a server too, of one process.
"""

import contextlib
import selectors
import signal
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack
from typing import Any, TypeAlias

from netserve.core import BaseServer, Running, Waker, log, sd_notify

AnyServer: TypeAlias = BaseServer[Any, Any]


def serve_together(
    servers: Sequence[AnyServer],
    grace: float | None = None,
    tick: Callable[[], None] | None = None,
    interval: float = 1.0,
) -> None:
    """Serve until SIGTERM or SIGINT, drain with *grace*, and close; in the main thread.

    *grace* is in seconds, None for each server's own. *tick* is called at once and every
    *interval* seconds, in the main thread, the first time before anything is forked.
    Raises what has ended a server's loop.
    """
    reloads = [server for server in servers if type(server).reload is not BaseServer.reload]
    heard_names = ("SIGTERM", "SIGINT", *(("SIGHUP",) if reloads else ()))
    with _heard_signals(heard_names) as (waker, heard), ExitStack() as stack:
        if tick is not None:
            # A process that is forked knows by this that there is a line to write above.
            tick()
        for server in servers:
            # Not every system has it.
            prefork: Callable[[], None] | None = getattr(server, "prefork", None)
            if prefork is not None:
                prefork()
        running = [stack.enter_context(server.background(grace)) for server in servers]
        for each in running:
            threading.Thread(
                target=_wake_at_its_end, args=(each.thread, waker), daemon=True
            ).start()
        sd_notify("READY=1")
        while not _stops(heard) and all(each.thread.is_alive() for each in running):
            _wait(waker, None if tick is None else interval)
            while "SIGHUP" in heard:
                heard.remove("SIGHUP")
                for server in reloads:
                    try:
                        server.reload()
                    except Exception:
                        log.exception("%r: reload raised", server, extra={"server": server})
            if tick is not None:
                tick()
        sd_notify("STOPPING=1")
        _drain(running, grace, waker, heard)


def _drain(
    running: Sequence[Running[Any, Any]], grace: float | None, waker: Waker, heard: list[str]
) -> None:
    """Drain all at once, and end the grace at the second signal."""

    def stop(each: Running[Any, Any], patience: float | None) -> None:
        each.stop(patience)
        waker.wake()

    def stop_all(patience: float | None) -> list[threading.Thread]:
        threads = [threading.Thread(target=stop, args=(each, patience)) for each in running]
        for thread in threads:
            thread.start()
        return threads

    threads = stop_all(grace)
    while any(thread.is_alive() for thread in threads) and _stops(heard) < 2:
        # Its last instructions come after it has woken us.
        _wait(waker, 0.05)
    if _stops(heard) > 1:
        threads += stop_all(0)
    for thread in threads:
        thread.join()


def _wake_at_its_end(thread: threading.Thread, waker: Waker) -> None:
    thread.join()
    waker.wake()


def _stops(heard: Sequence[str]) -> int:
    return len(heard) - heard.count("SIGHUP")


def _wait(waker: Waker, timeout: float | None) -> None:
    """Wait for a signal, at most *timeout* seconds."""
    with selectors.DefaultSelector() as selector:
        selector.register(waker, selectors.EVENT_READ)
        selector.select(timeout)
    waker.drain()


@contextlib.contextmanager
def _heard_signals(names: Sequence[str]) -> Generator[tuple[Waker, list[str]]]:
    """A span in which signals wake the waker, and are noted by name in the list.

    What the process was started to ignore stays ignored.
    """
    heard: list[str] = []
    with Waker() as waker:

        def hear(number: int, _frame: object) -> None:
            heard.append(signal.Signals(number).name)
            waker.wake()

        before = {
            number: previous
            for number in (getattr(signal, name) for name in names if hasattr(signal, name))
            if (previous := signal.getsignal(number)) not in {signal.SIG_IGN, None}
        }
        for number in before:
            signal.signal(number, hear)
        try:
            yield waker, heard
        finally:
            for number, previous in before.items():
                signal.signal(number, previous)
