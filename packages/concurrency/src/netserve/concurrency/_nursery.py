"""A small process whose only work is to fork worker processes.

Theory of operation. To fork beside other threads is to copy locks that nobody will
release, and Python warns of it. But a server has threads: in ``background`` it is a
thread itself. So a process is forked before there are any, which never has a thread of
its own, and forks the workers, now and whenever one has to be replaced. The server's
process tells it what to do, and hears what has become of it.

Two pairs of sockets connect them. Orders go through the first one; its end tells the
nursery that the server's process is gone, and the server that the nursery is.
Through the second one come reports, of the nursery and of the workers themselves; its
end tells each worker that the server's process is gone, whatever the nursery does. A
message is a dozen bytes, which the system takes whole or not at all.

SIGTERM and SIGINT for the whole process group, from a service manager or from
Ctrl-C, are the business of the server's process, which then tells the others.
"""

import contextlib
import os
import selectors
import signal
import socket
import struct
import time
from collections.abc import Callable, Generator
from functools import partial
from typing import ClassVar, Final, NamedTuple, TypeAlias

from netserve.concurrency._children import Children
from netserve.core import Waker

_MESSAGE: Final = struct.Struct("=cii")

_FORK: Final = b"F"
_SIGNAL: Final = b"S"

# What the terminal, or a service manager, may send to all processes at once.
SHARED_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

Work: TypeAlias = Callable[[int, socket.socket], int]
"""What a worker does: it gets its slot and the socket for reports, and returns its exit status."""


class News(NamedTuple):
    """One message from the nursery or a worker."""

    kind: bytes
    """One of the constants below."""

    slot: int
    value: int
    """The process id, the exit status, or an error's number, as *kind* asks."""


FORKED: Final = b"f"
"""From the nursery: the worker of this slot has this process id."""

UNBORN: Final = b"u"
"""From the nursery: the worker couldn't be forked, for the error of this number."""

ENDED: Final = b"e"
"""From the nursery: the worker has ended, with this status, or minus the signal's number."""

READY: Final = b"r"
"""From a worker: it serves, with this process id; perhaps before the nursery says so."""

LEFT: Final = b"l"
"""From a worker: its loop has ended."""


def report(wire: socket.socket, kind: bytes, slot: int, value: int = 0) -> None:
    """Send *kind* and *value* about the worker of *slot* to the server's process."""
    # It may be gone.
    with contextlib.suppress(OSError):
        wire.sendall(_MESSAGE.pack(kind, slot, value))


class Nursery:
    """The process that forks workers, as the server's process sees it.

    *work* is what each worker does. When this process ends, the workers are told to
    end, by SIGTERM, and those that are left after *patience* seconds are killed.

    Raises :class:`OSError` when the system can't fork.
    """

    _in_use: ClassVar[set[socket.socket]] = set()
    """The server's ends of all nurseries, which a nursery that is forked later inherits."""

    def __init__(self, work: Work, patience: float) -> None:
        self._children = Children()
        with contextlib.ExitStack() as others, contextlib.ExitStack() as ours:
            self._control, control = socket.socketpair()
            ours.callback(self._control.close)
            others.callback(control.close)
            self._wire, wire = socket.socketpair()
            ours.callback(self._wire.close)
            others.callback(wire.close)
            mine = (self._control, self._wire)
            of_parent = (*mine, *self._in_use)
            with signals_held():
                self._children.fork(partial(_tend, control, wire, of_parent, work, patience))
            ours.pop_all()
        self._in_use.update(mine)
        for each in mine:
            each.setblocking(False)
        self._heard = b""
        self.lost = False
        """Whether the process has ended before its time."""

    def descriptors(self) -> tuple[int, int]:
        """What becomes readable when there is news."""
        return self._control.fileno(), self._wire.fileno()

    def start(self, slot: int) -> None:
        """Have a worker forked."""
        self._order(_FORK, slot, 0)

    def signal(self, slot: int, number: int) -> None:
        """Have the signal *number* sent to the worker of *slot*, if it is there."""
        self._order(_SIGNAL, slot, number)

    def news(self) -> list[News]:
        """What has been reported since the last call."""
        with contextlib.suppress(BlockingIOError):
            # It never says anything there.
            if not self._control.recv(1):
                self.lost = True
        with contextlib.suppress(BlockingIOError):
            while part := self._wire.recv(4096):
                self._heard += part
        whole = len(self._heard) // _MESSAGE.size * _MESSAGE.size
        news, self._heard = self._heard[:whole], self._heard[whole:]
        return [News(*message) for message in _MESSAGE.iter_unpack(news)]

    def close(self) -> None:
        """Tell the process to end, and wait until it has: until its workers have."""
        for each in (self._control, self._wire):
            self._in_use.discard(each)
            # Whatever else the program has forked since may hold it open.
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._children.collect(blocking=True)

    def _order(self, kind: bytes, slot: int, value: int) -> None:
        try:
            self._control.sendall(_MESSAGE.pack(kind, slot, value))
        except OSError:
            self.lost = True


@contextlib.contextmanager
def signals_held() -> Generator[None]:
    """A span in which none of the shared signals comes, for a fork: the child is to hear them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SHARED_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _tend(
    control: socket.socket,
    wire: socket.socket,
    of_parent: tuple[socket.socket, ...],
    work: Work,
    patience: float,
) -> int:
    """Fork workers, and collect them, until the server's process lets go."""
    for each in of_parent:
        each.close()
    # The program may have one, for a loop of its own.
    signal.set_wakeup_fd(-1)
    for number in SHARED_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, _hear)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (*SHARED_SIGNALS, signal.SIGCHLD))
    with Waker() as waker, waker.woken_by_signals():
        _Tending(control, wire, waker, work).run(patience)
    return 0


def _hear(_number: int, _frame: object) -> None:
    """Wake the loop."""


class _Tending:
    """The nursery's own loop."""

    def __init__(
        self, control: socket.socket, wire: socket.socket, waker: Waker, work: Work
    ) -> None:
        self._control = control
        self._wire = wire
        self._waker = waker
        self._work = work
        self._children = Children()
        self._pids: dict[int, int] = {}
        self._orders = b""

    def run(self, patience: float) -> None:
        with selectors.PollSelector() as selector:
            selector.register(self._control, selectors.EVENT_READ)
            selector.register(self._waker, selectors.EVENT_READ)
            while self._obey(selector.select()):
                self._collect()
            selector.unregister(self._control)
            self._end_all(selector, time.monotonic() + patience)
        self._children.kill()

    def _end_all(self, selector: selectors.BaseSelector, until: float) -> None:
        """Tell all workers to end, and wait until they have."""
        for pid in self._children:
            os.kill(pid, signal.SIGTERM)
        self._collect()
        while self._children and (left := until - time.monotonic()) > 0:
            selector.select(left)
            self._collect()

    def _collect(self) -> None:
        self._waker.drain()
        self._children.collect()

    def _obey(self, ready: list[tuple[selectors.SelectorKey, int]]) -> bool:
        """Do what was ordered; false when there will be no more orders."""
        if not any(key.fileobj is self._control for key, _ in ready):
            return True
        part = self._control.recv(4096)
        self._orders += part
        while len(self._orders) >= _MESSAGE.size:
            kind, slot, value = _MESSAGE.unpack_from(self._orders)
            self._orders = self._orders[_MESSAGE.size :]
            if kind == _FORK:
                self._fork(slot)
            elif slot in self._pids:
                os.kill(self._pids[slot], value)
        return bool(part)

    def _fork(self, slot: int) -> None:
        try:
            with signals_held():
                pid = self._children.fork(partial(self._hatch, slot), partial(self._ended, slot))
        except OSError as error:
            report(self._wire, UNBORN, slot, error.errno or 0)
        else:
            self._pids[slot] = pid
            report(self._wire, FORKED, slot, pid)

    def _ended(self, slot: int, status: int | None) -> None:
        del self._pids[slot]
        report(self._wire, ENDED, slot, status or 0)

    def _hatch(self, slot: int) -> int:
        """Do the work, in the worker."""
        self._waker.forget_signals()
        self._waker.close()
        self._control.close()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        return self._work(slot, self._wire)
