"""What the server programs share: the work, the limits, and how they are stopped.

Every program serves one of these services on a port that it chooses:

``echo``  lines, each answered in upper case, until the client closes
``once``  one line, answered in upper case, and the server closes
``mix``   as ``echo``, but a line that begins with ``S`` is answered after 20 ms,
          for which a blocking call stands, such as one to a database
``cpu``   as ``echo``, but each line is answered after 200 us of computing
``udp``   datagrams, each answered in upper case

It prints ``PORT n`` once it listens. SIGUSR1 makes it stop its loop its own way;
it then prints ``STOPPED ms``, the time from the signal to the loop's end.
"""

import argparse
import ctypes
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence

MAX_LINE = 65536
"""Bytes of the longest line that a server takes, the line feed included."""

READ = 65536
"""Bytes that a server reads at once."""

BACKLOG = 1024
"""How many connections wait to be accepted."""

PAUSE = 0.02
"""Seconds for which a marked line of the service ``mix`` blocks."""

WORK = 0.0002
"""Seconds of the processor for which a line of the service ``cpu`` is worked on."""

THREADS = 64
"""How many blocking calls an event loop hands to threads at once."""

_PR_SET_PDEATHSIG = 1  # of <sys/prctl.h>


def block() -> None:
    """Do what a handler of the service ``mix`` blocks in."""
    time.sleep(PAUSE)


def answer(line: bytes) -> bytes:
    """Return the answer to *line*, after blocking when it is marked."""
    if line.startswith(b"S"):
        block()
    return line.upper()


def labour(line: bytes) -> bytes:
    """Return the answer to *line* after computing for some time.

    The time is the thread's own, so that it is work, however busy the machine is.
    """
    until = time.thread_time() + WORK
    while time.thread_time() < until:
        pass
    return line.upper()


def cut(data: bytes) -> tuple[list[bytes], bytes]:
    """Cut *data* in lines without their line feeds, and what follows the last one."""
    *lines, rest = data.split(b"\n")
    return lines, rest


def join(lines: list[bytes]) -> bytes:
    """Join the upper-cased *lines*, each with its line feed, to be written at once."""
    answers = [line.upper() for line in lines]
    answers.append(b"")
    return b"\n".join(answers)


def arguments(
    *variants: str, services: Sequence[str] = ("echo", "once", "mix", "udp")
) -> tuple[str, str]:
    """Read the command line: which of *variants* to run, and which service."""
    parser = argparse.ArgumentParser()
    parser.add_argument("variant", choices=variants)
    parser.add_argument("service", choices=services)
    chosen = parser.parse_args()
    return chosen.variant, chosen.service


def announce(port: int) -> None:
    """Say that the server listens on *port*; from now on it ends with whoever started it."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    print("PORT", port, flush=True)


class StopWatch:
    """The time from when a stop was asked for to when the loop has ended."""

    def __init__(self) -> None:
        self._asked: float | None = None

    def ask(self, stop: Callable[[], object]) -> None:
        """Begin, and ask for the stop by calling *stop*."""
        self._asked = time.perf_counter()
        stop()

    def report(self) -> None:
        """End, and print the time."""
        ended = time.perf_counter()
        if self._asked is None:
            sys.exit("the loop ended before it was asked to")
        print("STOPPED", round((ended - self._asked) * 1000, 4), flush=True)


def serve_until_signal(
    serve: Callable[[], object], stop: Callable[[], object], port: int | None
) -> None:
    """Announce *port*, and call *serve*, which returns after SIGUSR1 has called *stop*.

    A *port* of None is announced later, by the caller. *stop* has a thread of its
    own, because the standard library's ``shutdown`` waits for the loop.
    """
    watch = StopWatch()

    def stop_soon(*_: object) -> None:
        watch.ask(threading.Thread(target=stop).start)

    signal.signal(signal.SIGUSR1, stop_soon)
    if port is not None:
        announce(port)
    serve()
    watch.report()
