"""The mix-in that gives each request a process.

Theory of operation. The parent forks and lets go of the request; the child runs
it and exits with its outcome. On a server of this project the parent keeps a
duplicate of the connection, through which a drain can end its input or abort it,
and the ledger's entry until the child is collected. A descriptor for the child
(:manpage:`pidfd_open(2)`) in the loop's selector tells when that is; where there
is none, the loop looks every quarter of a second. Where a connection has to be opened
before its handler begins, the child tells the parent through a pipe when it is, and
who the client is: until then a drain doesn't end its input. While ``max_children`` run, the
loop doesn't accept, and stays awake to everything else.
"""

import errno
import marshal
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from typing import Any, Final, Protocol, cast

from typing_extensions import TypeVar

from netserve.concurrency._children import Children
from netserve.concurrency._places import Board, BoardPlace
from netserve.core import (
    BaseServer,
    Entry,
    ExhaustedError,
    ForkHooks,
    HookAddressT,
    HookRequestT,
    Loop,
    Outcome,
    ServerMixIn,
    needs_no_interval,
    run_request,
)

_RequestT = TypeVar("_RequestT", contravariant=True)
_AddressT = TypeVar("_AddressT", contravariant=True)

_PAUSE: Final = 0.25  # seconds

_MOST_TOLD: Final = 4096  # bytes, which a pipe takes in one piece

_NO_DESCRIPTOR: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})


class ForkingHooks(ForkHooks[_RequestT, _AddressT], Protocol[_RequestT, _AddressT]):
    """What :class:`ForkingMixIn` needs of the class that it is mixed into, and itself."""

    active_children: Children | None


class ForkingMixIn(ServerMixIn):
    """Handles each request in a process of its own; only where the platform can fork.

    It comes before the server class: ``class Server(ForkingMixIn, TCPServer)``.
    What a handler changes in memory ends with its process. See the original
    reference, *Asynchronous Mixins*.
    """

    timeout: float | None = 300
    """How long ``handle_request`` waits before it collects children, in seconds."""

    active_children: Children | None = None
    """The ids of the processes that haven't been collected; None before the first."""

    max_children: int = 40
    """How many processes may run; with as many, the server waits until one ends."""

    block_on_close: bool = True
    """Whether ``server_close`` waits for the processes (default: yes)."""

    def collect_children(self, *, blocking: bool = False) -> None:
        """Collect the processes that have ended; if *blocking*, wait until all have.

        While there are :attr:`max_children` of them, it waits until one ends.
        """
        if self.active_children is not None:
            self.active_children.wait_until_fewer(self.max_children)
            self.active_children.collect(blocking=blocking)

    def handle_timeout(self) -> None:
        """Collect the processes that have ended."""
        super().handle_timeout()
        self.collect_children()

    @needs_no_interval
    def service_actions(self) -> None:
        """Collect the processes that have ended."""
        super().service_actions()
        if not isinstance(self, BaseServer):
            self.collect_children()
        elif self.active_children is not None:
            # Our loop doesn't accept while there are too many, and so needn't wait here.
            self.active_children.collect()
            for watch in _watches(self).copy() if self.current_loop is None else ():
                watch.look_opened()

    def may_accept(self) -> bool:
        """Whether fewer than :attr:`max_children` processes run, and the server has room."""
        children = self.active_children
        few = children is None or len(children) < self.max_children
        return few and super().may_accept()

    @contextmanager
    def _ns_serving(self) -> Generator[Loop]:
        """As everywhere, with the children watched that were started before."""
        with super()._ns_serving() as loop:
            for watch in _watches(self).copy():
                watch.begin()
            yield loop

    def process_request(
        self: ForkingHooks[HookRequestT, HookAddressT],
        request: HookRequestT,
        client_address: HookAddressT,
    ) -> None:
        """Fork a process that handles the request.

        Raises :class:`~netserve.core.ExhaustedError`, an :class:`OSError`, when
        the system can't.
        """
        if self.active_children is None:
            self.active_children = Children()
        server = cast("BaseServer[HookRequestT, HookAddressT]", self)
        entry = None
        if isinstance(self, BaseServer):
            entry = server.requests_in_progress.find(request)
        if entry is None:
            _fork(self.active_children, lambda: run_request(self, request, client_address).value)
        else:
            _fork_and_watch(server, self.active_children, entry)
        self.close_request(request)

    def request_opened(self, entry: Entry, address: HookAddressT) -> None:
        """As everywhere; in a child, the parent is told too."""
        super().request_opened(entry, address)
        tell = vars(self).pop("_tell_parent", None)
        if tell is not None:
            tell(address)

    def abandon_requests(self) -> None:
        """Kill the processes that go on although their connections were shut."""
        super().abandon_requests()
        if self.active_children is not None:
            self.active_children.kill()

    def server_close(self) -> None:
        """Close the server, then wait for the processes as :attr:`block_on_close` says."""
        super().server_close()
        self.collect_children(blocking=self.block_on_close)
        board = vars(self).pop("_board", None)
        if board is not None:
            board.close()


def _fork(
    children: Children,
    work: Callable[[], int],
    ended: Callable[[int | None], None] | None = None,
) -> int:
    try:
        return children.fork(work, ended)
    except OSError as error:
        raise ExhaustedError(error.errno, error.strerror) from error


def _fork_and_watch(
    server: BaseServer[HookRequestT, HookAddressT], children: Children, entry: Entry
) -> None:
    """Fork a child for *entry*, and see that it is ended in the ledger once that has exited."""
    report = _Report()

    def work() -> int:
        server.become_child(entry)
        vars(server)["_tell_parent"] = report.tell
        return run_request(server, entry.request, entry.address).value

    watches = _watches(server)
    mine: list[_Watch] = []

    def ended(code: int | None) -> None:
        for watch in mine:
            watches.discard(watch)
            watch.close()
        entry.outcome = _OUTCOMES.get(code, Outcome.FAILED)
        _leave_place(entry)
        server.close_duplicate(entry.handle)
        server.request_ended(entry)

    try:
        entry.handle = server.duplicate_request(entry.request)
        entry.place = _take_place(server)
        if entry.opening:
            report.open()
    except OSError as error:
        _leave_place(entry)
        _release(server, entry)
        if error.errno not in _NO_DESCRIPTOR:
            raise
        raise ExhaustedError(error.errno, error.strerror) from error
    entry.held = True
    try:
        pid = _fork(children, work, ended)
    except BaseException:
        entry.held = False
        _leave_place(entry)
        _release(server, entry)
        report.close()
        raise
    report.close_writer()
    watch = _Watch(server, children, pid, entry, report)
    watches.add(watch)
    mine.append(watch)
    if pid not in children:
        # Somebody has collected it before there was a watch to end.
        watches.discard(watch)
        watch.close()


def _release(server: BaseServer[Any, Any], entry: Entry) -> None:
    """Give up the duplicate of *entry*'s request, if there is one: no other process has it."""
    duplicate, entry.handle = entry.handle, entry.request
    if duplicate is not entry.request:
        server.close_duplicate(duplicate)


def _take_place(server: BaseServer[Any, Any]) -> BoardPlace | None:
    """Where a child of *server* is to tell its client's address, if it learns that itself."""
    if not getattr(server, "_ns_learns_address_late", False):
        return None
    board: Board | None = vars(server).get("_board")
    if board is None:
        board = Board(cast("ForkingMixIn", server).max_children)
        vars(server)["_board"] = board
    return board.take()


def _leave_place(entry: Entry) -> None:
    """Note what the child of *entry* has told in its place, if it has one, and give that up."""
    place = entry.place
    if place is not None:
        entry.read_address()
        entry.place = None
        place.release()


class _Report:
    """A pipe through which a child tells its parent that it has opened its connection."""

    def __init__(self) -> None:
        self.reader = self._writer = -1

    def open(self) -> None:
        """Make the pipe; raises :class:`OSError`."""
        self.reader, self._writer = os.pipe()
        os.set_blocking(self.reader, False)

    def tell(self, address: Any) -> None:
        """In the child: the client's address is *address*, and the handler begins."""
        told = marshal.dumps(None)
        # Otherwise it isn't made of what every program knows, and the parent keeps its own.
        with suppress(ValueError):
            told = marshal.dumps(address)
        # The parent may be gone, or have asked for no report.
        with suppress(OSError):
            os.write(self._writer, told)
        self.close()

    def hear(self) -> bytes:
        """In the parent: what was told; nothing at the end of a child that told nothing.

        Raises :class:`BlockingIOError` while that is open.
        """
        return os.read(self.reader, _MOST_TOLD)

    def close_writer(self) -> None:
        """Leave that end to the child."""
        writer, self._writer = self._writer, -1
        if writer >= 0:
            os.close(writer)

    def close(self) -> None:
        """Close what is open."""
        self.close_writer()
        reader, self.reader = self.reader, -1
        if reader >= 0:
            os.close(reader)


# Somebody else's wait for the child has kept its status from us.
_OUTCOMES: Final[dict[int | None, Outcome]] = {
    None: Outcome.COMPLETED,
    **{outcome.value: outcome for outcome in Outcome},
}


def _watches(server: object) -> "set[_Watch]":
    """What sees to the children of *server*."""
    watches: set[_Watch] = vars(server).setdefault("_watches", set())
    return watches


class _Watch:
    """Sees to it that *server*'s loop collects the child *pid* when that has ended."""

    def __init__(
        self,
        server: BaseServer[Any, Any],
        children: Children,
        pid: int,
        entry: Entry,
        report: _Report,
    ) -> None:
        self._server = server
        self._children = children
        self._pid = pid
        self._entry = entry
        self._report = report
        try:
            self._descriptor = os.pidfd_open(pid)
        except (AttributeError, OSError):
            self._descriptor = -1
        self.begin()

    def begin(self) -> None:
        """Have the loop that runs look after the child; does nothing while none does."""
        if self._report.reader >= 0:
            self._server.add_reader(self._report.reader, self.look_opened)
        if self._descriptor >= 0:
            self._server.add_reader(self._descriptor, self._look)
        else:
            self._server.call_later(_PAUSE, self._look_again)

    def close(self) -> None:
        """Watch no longer; may be called twice."""
        self._close_report()
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            self._server.remove_reader(descriptor)
            os.close(descriptor)

    def look_opened(self) -> None:
        """Take note if the child tells that it has opened its connection, or never will."""
        if self._report.reader < 0:
            return
        try:
            told = self._report.hear()
        except BlockingIOError:
            return
        self._close_report()
        if told:
            address = marshal.loads(told)
            self._server.request_opened(
                self._entry, self._entry.address if address is None else address
            )

    def _close_report(self) -> None:
        if self._report.reader >= 0:
            self._server.remove_reader(self._report.reader)
            self._report.close()

    def _look(self) -> None:
        self._children.collect_one(self._pid)

    def _look_again(self) -> None:
        self._look()
        if self._pid in self._children:
            self._server.call_later(_PAUSE, self._look_again)
