"""Bringing one request to its end, whatever the hooks raise.

The loop, a thread, a forked child: each runs a request the same way, and none
may die of what a hook raises. These functions call the hooks of any server that
has them, and catch what falls through to the last place where it can be told
whose request it was.
"""

import logging
from typing import TypeVar

from netserve.core._protocols import RequestHooks

_RequestT = TypeVar("_RequestT")
_AddressT = TypeVar("_AddressT")

log = logging.getLogger("netserve.server")


def run_request(
    server: RequestHooks[_RequestT, _AddressT], request: _RequestT, client_address: _AddressT
) -> bool:
    """Run *request* on *server*: handler, error hook if it raised, shutdown.

    Returns whether the handler came to its end without an :class:`Exception`.
    No Exception escapes, from a hook either; a :class:`SystemExit` or
    :class:`KeyboardInterrupt` does, after the request has been shut down.
    """
    try:
        server.finish_request(request, client_address)
    except Exception:
        report_error(server, request, client_address)
        return False
    else:
        return True
    finally:
        end_request(server, request)


def report_error(
    server: RequestHooks[_RequestT, _AddressT], request: _RequestT, client_address: _AddressT
) -> None:
    """Hand the exception being handled to ``server.handle_error``.

    When that raises an :class:`Exception` itself, one record goes to the logger
    ``netserve.server``, whose traceback begins with the first error.
    """
    try:
        server.handle_error(request, client_address)
    except Exception:
        log.exception("handle_error raised for a request from %s", client_address)


def end_request(server: RequestHooks[_RequestT, _AddressT], request: _RequestT) -> None:
    """Call ``server.shutdown_request``; what it raises is logged, not passed on."""
    try:
        server.shutdown_request(request)
    except Exception:
        log.exception("shutdown_request raised; the request may be left open")
