"""CPython's ways that core doesn't share, for the servers of the drop-in module."""

import sys
import traceback
from typing import TYPE_CHECKING

from netserve.core import AddressT, Outcome, RequestT, State
from netserve.core import BaseServer as CoreServer


class _GivesWay:
    """A property that an attribute of the instance takes precedence over."""

    def __init__(self, wrapped: property) -> None:
        self._wrapped = wrapped
        self.__doc__ = wrapped.__doc__

    def __get__(self, instance: object, owner: type[object]) -> object:
        return self if instance is None else self._wrapped.__get__(instance, owner)


class BaseServer(CoreServer[RequestT, AddressT]):
    """The loop and the hooks of all servers, with CPython's choices.

    *RequestHandlerClass* isn't looked at before the first request, and what it
    raises is printed on standard error. No limit is set.
    """

    requests_per_wait = 1
    max_connections: int | None = None

    def handle_error(self, request: RequestT, client_address: AddressT) -> None:
        """Print the traceback of the exception being handled on standard error."""
        rule = "-" * 40
        print(rule, file=sys.stderr)
        print(
            "Exception occurred during processing of request from",
            client_address,
            file=sys.stderr,
        )
        traceback.print_exc()
        print(rule, file=sys.stderr)

    def handle_disconnect(
        self, request: RequestT, client_address: AddressT, outcome: Outcome
    ) -> None:
        """Call :meth:`handle_error`: in CPython a peer that went away is an error like any other.

        Programs override that to leave it out.
        """
        self.handle_error(request, client_address)

    def _ns_check_handler(self, handler: object) -> None:
        # Programs pass None, or data, where they override finish_request.
        pass

    def _ns_move(self, following: State, operation: str) -> None:
        # Programs replace the socket of a closed server and serve on.
        if (self._ns_state, following) == (State.CLOSED, State.SERVING) and self.fileno() >= 0:
            self._ns_state = State.BOUND
        super()._ns_move(following, operation)

    if not TYPE_CHECKING:
        # Programs have attributes of this name, so that it gives way to theirs.
        state = _GivesWay(CoreServer.state)

    # The name that CPython's flag has outside its class: programs set it to
    # stop the loop without waiting for it.
    @property
    def __shutdown_request(self) -> bool:  # pyright: ignore[reportUnusedFunction]  # used by name
        return self._ns_stop_requested

    @__shutdown_request.setter
    def __shutdown_request(self, requested: bool) -> None:
        if requested:
            self._ns_request_stop()
        else:
            self._ns_stop_requested = False
