"""What a server of this project knows of its requests, beyond the original's hooks.

The ledger, and the hooks with which the core reaches into a request that a
handler is busy with: to end its input, to abort it, to ask whether its peer is
still there. A transport says what these mean on its sockets; here they do
nothing, which is right for requests that have no connection.
"""

import errno
import logging
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from typing import Final, Generic

from netserve.core._deadlines import Deadline
from netserve.core._errors import DeadlineError, PeerError, RefusedError
from netserve.core._ledger import Entry, Ledger
from netserve.core._logs import access_log, log
from netserve.core._opening import Opening, finish_opening
from netserve.core._outcome import Outcome
from netserve.core._types import AddressT, RequestT

# What an operation on a connection raises once the peer, or the way to it, is gone.
_GONE: Final = frozenset(
    {
        errno.EPIPE,
        errno.ECONNRESET,
        errno.ECONNABORTED,
        errno.ENOTCONN,
        errno.ESHUTDOWN,
        errno.ETIMEDOUT,
        errno.EHOSTUNREACH,
        errno.ENETUNREACH,
    }
)

_ENDINGS: Final = {
    Outcome.DISCONNECTED: (logging.DEBUG, "%r: %s went away (%s)"),
    Outcome.FORCED: (logging.DEBUG, "%r: %s was cut off when the grace was over (%s)"),
    Outcome.TIMED_OUT: (logging.INFO, "%r: %s was too slow (%s)"),
    Outcome.REFUSED: (logging.INFO, "%r: %s was refused (%s)"),
    Outcome.FAILED: (logging.INFO, "%r: %s sent what isn't allowed (%s)"),
}


class Supervision(Generic[RequestT, AddressT]):
    """The requests in progress, and the hooks that reach into them."""

    # Private names begin with _ns_ here and in all servers and mix-ins: programs
    # derive from these, and have a _lock or a _state of their own.

    server_address: AddressT
    """The address that the server listens on, once it is bound."""

    access_log: bool = False
    """Whether each ended request is an INFO record on ``netserve.access`` (default: no)."""

    @cached_property
    def _ns_ledger(self) -> Ledger:
        return Ledger()

    @property
    def requests_in_progress(self) -> Ledger:
        """The table of the requests that were taken and haven't ended."""
        return self._ns_ledger

    def open_request(self, request: RequestT, client_address: AddressT) -> Opening[AddressT] | None:
        """What has to happen on *request* before its handler may begin; None, here, for nothing.

        An override returns a generator that never blocks, and yields a
        :class:`~netserve.core.Wait` where it has to wait for the peer. It returns
        the address that the handler is to see. What it raises ends the request,
        as if the handler had raised it. Called where the request runs: in its
        thread or process, or in the loop that has many connections.
        """
        return None

    def end_input(self, request: RequestT) -> None:
        """Let the handler of *request* read to the end of what is there, and no further.

        Called in a drain, while a handler may be blocked in reading. What
        :class:`OSError` it raises is passed over: the peer may have left.
        """

    def abort_request(self, request: RequestT) -> None:
        """End *request* in both directions, under the handler that is busy with it.

        Called when the grace of a drain is over; an :class:`OSError` is passed
        over.
        """

    def duplicate_request(self, request: RequestT) -> RequestT:
        """A second hold on *request*, to reach it when another process has it.

        :meth:`end_input` and :meth:`abort_request` are called with it. Here it is
        the request itself.
        """
        return request

    def close_duplicate(self, duplicate: RequestT) -> None:
        """Release what :meth:`duplicate_request` gave; the peer must notice nothing."""

    def request_traffic(self, request: RequestT) -> tuple[int, int]:
        """How many bytes *request* has received and sent; zeros, as here, where it isn't known."""
        return 0, 0

    def is_connected(self, request: RequestT) -> bool:
        """Whether the peer of *request* is still there, as far as this side knows.

        It tells the end of this connection from that of another which the
        handler uses. A request without a connection has nothing to end: true.
        """
        return True

    def has_unread_input(self, request: RequestT) -> bool:
        """Whether *request* holds input that no handler has read.

        To close it then would destroy what its peer hasn't taken yet.
        """
        return False

    def handle_disconnect(
        self, request: RequestT, client_address: AddressT, outcome: Outcome
    ) -> None:
        """Report that the peer ended *request* under its handler: one record, no traceback.

        Called while the error is being handled that the handler let go. With
        the *outcome* DISCONNECTED or FORCED the record has level DEBUG; with
        TIMED_OUT, or REFUSED in its opening, level INFO; with FAILED, after a
        :class:`PeerError`, its :attr:`~PeerError.level`, which is INFO unless the
        error says otherwise.
        """
        level, message = _ENDINGS[outcome]
        error = sys.exc_info()[1]
        if isinstance(error, PeerError):
            level = error.level
        extra = self._ns_extra(self._ns_ledger.find(request), client_address)
        log.log(level, message, self, client_address, error, extra=extra)

    def classify_error(self, error: BaseException, request: RequestT) -> Outcome:
        """What *error*, which the handler of *request* let go, means for it."""
        entry = self._ns_ledger.find(request)
        if isinstance(error, RefusedError):
            return Outcome.REFUSED
        if isinstance(error, DeadlineError) or expired(request) is not None:
            return Outcome.TIMED_OUT
        if isinstance(error, OSError) and error.errno in _GONE and not self.is_connected(request):
            return Outcome.FORCED if entry is not None and entry.forced else Outcome.DISCONNECTED
        return Outcome.FAILED

    def report_request_error(
        self, error: BaseException, request: RequestT, client_address: AddressT
    ) -> Outcome:
        """Hand *error*, which is being handled, to the hook that it is for.

        Returns what it means for *request*.
        """
        outcome = self.classify_error(error, request)
        if outcome is Outcome.FAILED and not isinstance(error, PeerError):
            self.handle_error(request, client_address)
        else:
            self.handle_disconnect(request, client_address, outcome)
        return outcome

    def handle_error(self, request: RequestT, client_address: AddressT) -> None:
        """Report the exception being handled: one record on ``netserve.server``.

        Called when the handler, or a hook that serves the request, has raised
        an :class:`Exception`, unless that is the peer's doing: then
        :meth:`handle_disconnect` is called. The record has level ERROR and the
        traceback, and the attributes ``server``, ``peer``, ``handler`` and
        ``duration`` (seconds).
        """
        log.exception(
            "%r: an error while processing a request from %s",
            self,
            client_address,
            extra=self._ns_extra(self._ns_ledger.find(request), client_address),
        )

    def open_and_wait(self, request: RequestT, client_address: AddressT) -> AddressT:
        """See :meth:`open_request` through, and block meanwhile.

        Returns the address that the handler is to see.
        """
        opening = self.open_request(request, client_address)
        address = client_address
        if opening is not None:
            address = finish_opening(opening, _descriptor(request))
        entry = self._ns_ledger.find(request)
        if entry is not None and entry.opening:
            self.request_opened(entry, address)
        return address

    @cached_property
    def opens_requests(self) -> bool:
        """Whether requests may have an opening: whether :meth:`open_request` is overridden.

        A request of such a server is marked as being opened from the moment that
        it is taken, until :meth:`request_opened` is called for it.
        """
        return type(self).open_request is not Supervision.open_request

    def request_opened(self, entry: Entry, address: AddressT) -> None:
        """Note that *entry*'s opening is over, and that its client's address is *address*.

        Whoever runs a request calls it before the handler begins, also when
        there was nothing to open.
        """
        entry.address = address
        entry.opening = False
        if self._ns_ledger.draining:
            # The drain has left it alone until now.
            with suppress(OSError):
                self.end_input(entry.handle)

    def request_ended(self, entry: Entry, outcome: Outcome = Outcome.COMPLETED) -> None:
        """End *entry* in the ledger, with its own outcome or else *outcome*.

        Harmless when it has ended already.
        """
        if self._ns_ledger.end(entry, outcome) and self.access_log and entry.outcome is not None:
            access_log.info(
                "%s %s in %.6f s",
                entry.address,
                entry.outcome.name.lower(),
                entry.duration,
                extra={**self._ns_extra(entry, entry.address), "outcome": entry.outcome},
            )

    def request_closed(self, request: RequestT) -> None:
        """Note that *request* is closed in this process; ends it unless somebody holds it."""
        entry = self._ns_ledger.find(request)
        if entry is not None and not entry.held:
            self.request_ended(entry)

    def _ns_extra(self, entry: Entry | None, client_address: object) -> dict[str, object]:
        return {
            "server": self,
            "peer": client_address,
            "handler": getattr(self, "RequestHandlerClass", None),
            "duration": None if entry is None else entry.duration,
        }


def _descriptor(request: object) -> int:
    """The descriptor of a connection."""
    fileno: Callable[[], int] = request.fileno  # type: ignore[attr-defined]  # only streams open
    return fileno()


def expired(request: object) -> Deadline | None:
    """The deadline of *request* that has passed, if its socket keeps any."""
    passed = getattr(request, "expired", None)
    return passed if isinstance(passed, Deadline) else None
