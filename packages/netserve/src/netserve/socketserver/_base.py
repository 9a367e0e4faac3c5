"""CPython's ways that core doesn't share, for the servers of the drop-in module."""

import sys
import traceback

from netserve.core import AddressT, RequestT, State
from netserve.core import BaseServer as CoreServer


class BaseServer(CoreServer[RequestT, AddressT]):
    """The loop and the hooks of all servers, with CPython's choices.

    *RequestHandlerClass* isn't looked at before the first request, and what it
    raises is printed on standard error.
    """

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

    def _check_handler(self, handler: object) -> None:
        # Programs pass None, or data, where they override finish_request.
        pass

    def _move(self, following: State, operation: str) -> None:
        # Programs replace the socket of a closed server and serve on.
        if (self._state, following) == (State.CLOSED, State.SERVING) and self.fileno() >= 0:
            self._state = State.BOUND
        super()._move(following, operation)

    # The name that CPython's flag has outside its class: programs set it to
    # stop the loop without waiting for it.
    @property
    def __shutdown_request(self) -> bool:  # pyright: ignore[reportUnusedFunction]  # used by name
        return self._stop_requested

    @__shutdown_request.setter
    def __shutdown_request(self, requested: bool) -> None:
        if requested:
            self._request_stop()
        else:
            self._stop_requested = False
