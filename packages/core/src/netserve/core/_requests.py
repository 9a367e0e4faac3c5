"""Bringing one request to its end, whatever the hooks raise.

The loop, a thread, a forked child: each runs a request the same way, and none
may die of what a hook raises. These functions call the hooks of any server that
has them, and catch what falls through to the last place where it can be told
whose request it was. A server of this project has its ledger kept besides.
"""

import sys
import threading
from typing import TypeVar, cast

from netserve.core._logs import log
from netserve.core._outcome import Outcome
from netserve.core._protocols import RequestHooks
from netserve.core._supervision import Supervision, expired

_RequestT = TypeVar("_RequestT")
_AddressT = TypeVar("_AddressT")


def run_request(
    server: RequestHooks[_RequestT, _AddressT], request: _RequestT, client_address: _AddressT
) -> Outcome:
    """Run *request* on *server*: handler, error hook if it raised, shutdown.

    Returns how it ended: COMPLETED when the handler returned; otherwise what
    the error means. No :class:`Exception` escapes, from a hook either; a
    :class:`SystemExit` or :class:`KeyboardInterrupt` does, after the request has
    been shut down.
    """
    supervision = server if isinstance(server, Supervision) else None
    entry = None if supervision is None else supervision.requests_in_progress.find(request)
    if entry is not None:
        entry.thread = threading.get_ident()
    outcome = Outcome.FAILED
    try:
        if supervision is not None and supervision.opens_requests:
            client_address = supervision.open_and_wait(request, client_address)
        server.finish_request(request, client_address)
    except Exception:
        if entry is not None:
            # An opening may know it better by now.
            client_address = entry.address
        outcome = report_error(server, request, client_address)
    else:
        # Some handlers catch the timeout themselves.
        outcome = Outcome.COMPLETED if expired(request) is None else Outcome.TIMED_OUT
    finally:
        if entry is not None:
            entry.outcome = outcome
        end_request(server, request)
        if supervision is not None and entry is not None:
            supervision.request_ended(entry)
    return outcome


def report_error(
    server: RequestHooks[_RequestT, _AddressT], request: _RequestT, client_address: _AddressT
) -> Outcome:
    """Report the exception being handled, and return what it means for *request*.

    A server of this project decides between ``handle_error`` and
    ``handle_disconnect``; of another, ``handle_error`` is called. When a hook
    raises an :class:`Exception` itself, one record goes to the logger
    ``netserve.server``, whose traceback begins with the first error.
    """
    try:
        error = sys.exc_info()[1]
        if isinstance(server, Supervision) and error is not None:
            supervision = cast("Supervision[_RequestT, _AddressT]", server)
            return supervision.report_request_error(error, request, client_address)
        server.handle_error(request, client_address)
    except Exception:
        log.exception("handle_error raised for a request from %s", client_address)
    return Outcome.FAILED


def end_request(server: RequestHooks[_RequestT, _AddressT], request: _RequestT) -> None:
    """Call ``server.shutdown_request``; what it raises is logged, not passed on."""
    try:
        server.shutdown_request(request)
    except Exception:
        log.exception("shutdown_request raised; the request may be left open")
