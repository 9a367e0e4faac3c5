"""Datagrams that were received together, brought to their ends one after the other.

Theory of operation. What a server does for each of its requests costs more than a
datagram's handler. For a batch most of that is done once: one entry of the ledger
stands for all its datagrams, and hooks that nobody overrides aren't called. What is
left for each is :meth:`Batch.run`, a generator, because its step is the cheapest
call that Python has. A datagram that is refused, whose handler raises, or that
another thread takes over, is split off, gets an entry of its own, and goes the
ordinary way.

A batch that *collects* keeps the answers that handlers would send last, and sends
them with one call. Whoever runs it must see to it that no handler blocks the others'
answers for long; :meth:`Batch.hand_over` is for that. It may be called while the
thread that runs the batch sits in a handler: both take from the same queues, whose
steps are atomic.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final, Protocol

from netserve.core import (
    Entry,
    Ledger,
    Outcome,
    TruncatedDatagram,
    end_request,
    log,
    report_error,
    run_request,
)


class BatchServer(Protocol):
    """What a batch needs of its server."""

    @property
    def requests_in_progress(self) -> Ledger:
        """The table of the requests."""
        ...

    def verify_truncated(self, request: Any, client_address: Any, /) -> bool:
        """Whether to process a part of a datagram."""
        ...

    def verify_request(self, request: Any, client_address: Any, /) -> bool:
        """Whether to process a request."""
        ...

    def finish_request(self, request: Any, client_address: Any, /) -> None:
        """Run the handler."""

    def handle_error(self, request: Any, client_address: Any, /) -> None:
        """Report an error."""

    def shutdown_request(self, request: Any, /) -> None:
        """End a request."""

    def request_ended(self, entry: Entry, /) -> None:
        """End a request in the ledger."""

    def send_together(self, answers: "list[Answer]", /) -> int:
        """Send *answers*; returns how many were sent before one failed."""
        ...


Answer = tuple[Any, bytes, Any]
"""A request, its answer, and the client's address."""


class Batch:
    """The *requests* of *server*, each with its client's address.

    *size* is that of all their datagrams, in bytes; *collects* says whether answers
    may be kept at all.
    """

    __slots__ = (
        "_collects", "_entry", "_ledger", "_sending", "_server", "_waiting", "answers", "collector",
    )  # fmt: skip

    def __init__(
        self, server: BatchServer, requests: list[tuple[Any, Any]], size: int, *, collects: bool
    ) -> None:
        self._server = server
        self._collects = collects
        self._waiting = deque(requests)
        self.answers: deque[Answer] = deque()
        """What is kept for :meth:`send_answers`; the collector appends to it."""
        self._sending = threading.Lock()
        self.collector: int | None = None
        """The thread whose handlers' answers are kept; None for none."""
        self._ledger = ledger = server.requests_in_progress
        # Not for this object, which has the entry: such a circle would be garbage to collect.
        self._entry = ledger.begin(requests, requests[0][1], len(requests), received=size)
        self._entry.thread = threading.get_ident()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} with {len(self._waiting)} waiting>"

    def collect(self) -> None:
        """Keep from now on the answers of handlers that the calling thread runs."""
        if self._collects:
            self.collector = threading.get_ident()

    def run(self) -> Iterator[None]:
        """Run the requests that haven't begun, one in each step of the iterator."""
        waiting, server = self._waiting, self._server
        verify, finish = server.verify_request, server.finish_request
        while waiting:
            try:
                request, address = waiting.popleft()
            except IndexError:
                # Another thread has taken it over in between.
                return
            try:
                whole = not isinstance(request, TruncatedDatagram)
                if (whole or server.verify_truncated(request, address)) and (
                    verify(request, address)
                ):
                    finish(request, address)
                else:
                    self._end(self._split(request, address), Outcome.REFUSED)
            except Exception:
                self._fail(self._split(request, address))
            except BaseException:
                self._end(self._split(request, address), Outcome.FAILED)
                raise
            yield

    def end(self) -> None:
        """Send the answers, and end what was run; those not run, for want of their turn, fail."""
        self.collector = None
        if self.answers:
            self.send_answers()
        if self._waiting:
            left = len(self._waiting)
            # The thread ends with what a handler has raised.
            log.error("%r: %d datagrams were taken and never handled", self._server, left)
            while self._waiting:
                self._end(self._split(*self._waiting.popleft()), Outcome.FAILED)
        self._server.request_ended(self._entry)

    def hand_over(self, run: Callable[[Callable[[], object]], object]) -> None:
        """Have *run* run each request that hasn't begun, and send the answers until now."""
        self.collector = None
        self.send_answers()
        while True:
            try:
                entry = self._split(*self._waiting.popleft())
            except IndexError:
                return
            try:
                run(partial(self._run, entry))
            except Exception:
                self._fail(entry)

    def send_answers(self) -> None:
        """Send what was kept."""
        if not self.answers:
            return
        with self._sending:
            answers = [self.answers.popleft() for _ in range(len(self.answers))]
            while answers:
                sent = self._server.send_together(answers[:_TOGETHER]) if len(answers) > 1 else 0
                del answers[:sent]
                if answers and not sent:
                    self._send_alone(*answers.pop(0))

    def _send_alone(self, request: Any, answer: bytes, address: Any) -> None:
        """Send an answer in the ordinary way, which says what is wrong with it."""
        try:
            request[1].sendto(answer, address)
        except (ConnectionError, FileNotFoundError) as error:
            log.debug("%r has left: %s", address, error)
        except Exception:
            self._fail(self._split(request, address))

    def _admit(self, request: Any, address: Any) -> bool:
        whole = not isinstance(request, TruncatedDatagram)
        return (whole or self._server.verify_truncated(request, address)) and (
            self._server.verify_request(request, address)
        )

    def _split(self, request: Any, address: Any) -> Entry:
        """The entry of a request that goes its own way from now on."""
        entry = self._ledger.split(self._entry, request, address)
        entry.thread = threading.get_ident()
        return entry

    def _run(self, entry: Entry) -> None:
        """Run a request that was split off, in whichever thread."""
        try:
            admitted = self._admit(entry.request, entry.address)
        except Exception:
            self._fail(entry)
            return
        if admitted:
            run_request(self._server, entry.request, entry.address)
        else:
            self._end(entry, Outcome.REFUSED)

    def _fail(self, entry: Entry) -> None:
        """End a request that was split off, for the exception being handled."""
        self._end(entry, report_error(self._server, entry.request, entry.address))

    def _end(self, entry: Entry, outcome: Outcome) -> None:
        """End a request that was split off."""
        entry.outcome = outcome
        end_request(self._server, entry.request)
        self._server.request_ended(entry)


# How many answers one call is asked to send.
_TOGETHER: Final = 64
