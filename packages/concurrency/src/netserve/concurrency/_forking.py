"""The mix-in that gives each request a process.

Theory of operation. The parent forks and lets go of the request; the child runs
it and exits with its outcome. On a server of this project the parent keeps a
duplicate of the connection, through which a drain can end its input or abort it,
and the ledger's entry until the child is collected; ``_child_watch`` tells when that is.
Where a connection has to be opened
before its handler begins, the child tells the parent through a pipe when it is, and
who the client is: until then a drain doesn't end its input. While ``max_children`` run, the
loop doesn't accept, and stays awake to everything else.

To fork costs by the memory that parent and child write to afterwards, as the system
copies each page then: to look at an object is to write to its count of references. So
what is done for each child is little, and touches few objects.
"""

import errno
import marshal
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from typing_extensions import TypeVar

from netserve.concurrency._child_watch import ChildWatch
from netserve.concurrency._children import Children
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

if TYPE_CHECKING:
    from netserve.concurrency._places import Board, BoardPlace

_RequestT = TypeVar("_RequestT", contravariant=True)
_AddressT = TypeVar("_AddressT", contravariant=True)

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
        """Collect the processes that have ended, where no loop of this project's does."""
        super().service_actions()
        if not isinstance(self, BaseServer):
            self.collect_children()
        elif self.current_loop is None and self.active_children is not None:
            self.active_children.collect()
            for child in _opening(self).copy():
                child.look_opened()

    def may_accept(self) -> bool:
        """Whether fewer than :attr:`max_children` processes run, and the server has room."""
        children = self.active_children
        few = children is None or len(children) < self.max_children
        return few and super().may_accept()

    @contextmanager
    def _ns_serving(self) -> Generator[Loop]:
        """As everywhere, with the children watched that were started before."""
        with super()._ns_serving() as loop:
            watch: ChildWatch | None = vars(self).get("_watch")
            if watch is not None:
                watch.begin()
            for child in _opening(self):
                child.await_opened()
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
        watch: ChildWatch | None = vars(self).get("_watch")
        if watch is not None:
            # Kept, for a child that the loop forks at this moment.
            watch.close()


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
    try:
        child = _Child(server, _watch(server, children), entry)
    except OSError as error:
        _leave_place(entry)
        _release(server, entry)
        if error.errno not in _NO_DESCRIPTOR:
            raise
        raise ExhaustedError(error.errno, error.strerror) from error
    entry.held = True
    try:
        pid = _fork(children, child.work, child.ended)
    except BaseException:
        entry.held = False
        child.forget()
        _leave_place(entry)
        _release(server, entry)
        raise
    child.begin(pid)


def _watch(server: BaseServer[Any, Any], children: Children) -> ChildWatch:
    """What tells *server* of the ends of *children*; raises :class:`OSError`."""
    watch: ChildWatch | None = vars(server).get("_watch")
    if watch is None:
        watch = vars(server)["_watch"] = ChildWatch(server, children)
        watch.begin()
    return watch


def _release(server: BaseServer[Any, Any], entry: Entry) -> None:
    """Give up the duplicate of *entry*'s request, if there is one: no other process has it."""
    duplicate, entry.handle = entry.handle, entry.request
    if duplicate is not entry.request:
        server.close_duplicate(duplicate)


def _take_place(server: BaseServer[Any, Any]) -> "BoardPlace | None":
    """Where a child of *server* is to tell its client's address, if it learns that itself."""
    if not getattr(server, "_ns_learns_address_late", False):
        return None
    board: Board | None = vars(server).get("_board")
    if board is None:
        from netserve.concurrency import _places

        board = _places.Board(cast("ForkingMixIn", server).max_children)
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
    """A pipe through which a child tells its parent that it has opened its connection.

    To make it raises :class:`OSError`.
    """

    def __init__(self) -> None:
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
        """Close what is open; once."""
        self.close_writer()
        os.close(self.reader)


# Somebody else's wait for the child has kept its status from us.
_OUTCOMES: Final[dict[int | None, Outcome]] = {
    None: Outcome.COMPLETED,
    **{outcome.value: outcome for outcome in Outcome},
}


def _opening(server: object) -> "set[_Child]":
    """The children of *server* that are yet to open their connections."""
    opening: set[_Child] = vars(server).setdefault("_opening", set())
    return opening


def _handles(server: object) -> set[int]:
    """The descriptors of the duplicates that *server* keeps of its children's connections."""
    handles: set[int] = vars(server).setdefault("_handles", set())
    return handles


class _Child:
    """A process of *server*'s that runs *entry*, as its parent sees it.

    To make it raises :class:`OSError` where the system has no descriptors left.
    """

    __slots__ = ("_entry", "_handle", "_pid", "_report", "_server", "_watch")

    def __init__(self, server: BaseServer[Any, Any], watch: ChildWatch, entry: Entry) -> None:
        self._server = server
        self._watch = watch
        self._entry = entry
        self._pid = 0
        self._handle = -1
        self._report: _Report | None = None
        entry.handle = server.duplicate_request(entry.request)
        if entry.handle is not entry.request:
            self._handle = entry.handle.fileno()
            _handles(server).add(self._handle)
        try:
            entry.place = _take_place(server)
            if entry.opening:
                self._report = _Report()
        except BaseException:
            self.forget()
            raise

    def work(self) -> int:
        """In the child: run the request; returns the exit status."""
        server, entry = self._server, self._entry
        handles = _handles(server)
        handles.discard(self._handle)
        # Other children's connections end with those, not with this one.
        for handle in handles:
            os.close(handle)
        handles.clear()
        server.become_child(entry)
        if self._report is not None:
            vars(server)["_tell_parent"] = self._report.tell
        return run_request(server, entry.request, entry.address).value

    def begin(self, pid: int) -> None:
        """In the parent: watch the child, which is *pid*, unless it has been collected."""
        if self._report is not None:
            self._report.close_writer()
            _opening(self._server).add(self)
            self.await_opened()
        self._pid = pid
        self._watch.add(pid)
        if pid not in self._watch.children:
            # Somebody was faster, when there was nothing to forget.
            self.forget()

    def ended(self, code: int | None) -> None:
        """In the parent: the child has ended, with the exit status *code* if that is known."""
        server, entry = self._server, self._entry
        entry.outcome = _OUTCOMES.get(code, Outcome.FAILED)
        self.forget()
        _leave_place(entry)
        entry.traffic = server.request_traffic(entry.handle)
        server.close_duplicate(entry.handle)
        server.request_ended(entry)

    def forget(self) -> None:
        """Watch the child no longer; may be called twice."""
        self._watch.remove(self._pid)
        if self._handle >= 0:
            _handles(self._server).discard(self._handle)
            self._handle = -1
        if self._report is not None:
            self._close_report(self._report)

    def await_opened(self) -> None:
        """Have the loop that runs, if one does, hear what the child, which is opening, tells."""
        assert self._report is not None
        self._server.add_reader(self._report.reader, self.look_opened)

    def look_opened(self) -> None:
        """Take note if the child tells that it has opened its connection, or never will."""
        report = self._report
        if report is None:
            return
        try:
            told = report.hear()
        except BlockingIOError:
            return
        self._close_report(report)
        if told:
            address = marshal.loads(told)
            self._server.request_opened(
                self._entry, self._entry.address if address is None else address
            )

    def _close_report(self, report: _Report) -> None:
        self._report = None
        _opening(self._server).discard(self)
        self._server.remove_reader(report.reader)
        report.close()
