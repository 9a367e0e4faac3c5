"""The mix-in that gives each request a thread."""

from typing import Protocol

from typing_extensions import TypeVar

from netserve.concurrency._threads import RequestThread, ThreadGroup
from netserve.core import (
    ExhaustedError,
    HookAddressT,
    HookRequestT,
    RequestHooks,
    ServerMixIn,
    run_request,
)

_RequestT = TypeVar("_RequestT", contravariant=True)
_AddressT = TypeVar("_AddressT", contravariant=True)


class ThreadingHooks(RequestHooks[_RequestT, _AddressT], Protocol[_RequestT, _AddressT]):
    """What :class:`ThreadingMixIn` needs of the class that it is mixed into, and itself."""

    daemon_threads: bool
    block_on_close: bool

    @property
    def request_threads(self) -> ThreadGroup:
        """The threads that closing waits for."""
        ...

    def process_request_thread(self, request: _RequestT, client_address: _AddressT, /) -> None:
        """Bring the request to its end, in its thread."""


class ThreadingMixIn(ServerMixIn):
    """Handles each request in a thread of its own.

    It comes before the server class: ``class Server(ThreadingMixIn, TCPServer)``.
    See the original reference, *Asynchronous Mixins*.
    """

    daemon_threads: bool = False
    """Whether the threads are daemons, which end with the main thread (default: no)."""

    block_on_close: bool = True
    """Whether ``server_close`` waits for the threads that aren't daemons (default: yes)."""

    # Not a cached_property: pyright doesn't take one for the property of the Protocol.
    @property
    def request_threads(self) -> ThreadGroup:
        """The threads that ``server_close`` waits for."""
        group: ThreadGroup | None = vars(self).get("_request_threads")
        if group is None:
            # In one step, because the loop and server_close may both be the first.
            group = vars(self).setdefault("_request_threads", ThreadGroup())
        return group

    def process_request(
        self: ThreadingHooks[HookRequestT, HookAddressT],
        request: HookRequestT,
        client_address: HookAddressT,
    ) -> None:
        """Start a thread that runs :meth:`process_request_thread`.

        Raises :class:`~netserve.core.ExhaustedError`, a :class:`RuntimeError`,
        when the system can't start one.
        """
        thread = RequestThread(
            self.process_request_thread, (request, client_address), daemon=self.daemon_threads
        )
        try:
            if self.block_on_close:
                self.request_threads.start(thread)
            else:
                thread.start()
        except RuntimeError as error:
            raise ExhaustedError(str(error)) from error

    def process_request_thread(
        self: RequestHooks[HookRequestT, HookAddressT],
        request: HookRequestT,
        client_address: HookAddressT,
    ) -> None:
        """Run the handler, report what it raises, and shut the request down."""
        run_request(self, request, client_address)

    def abandon_requests(self) -> None:
        """Wait no longer for the threads: those that are left don't heed their request's end."""
        super().abandon_requests()
        self.request_threads.forget()

    def server_close(self) -> None:
        """Close the server, then wait for the threads as :attr:`block_on_close` says."""
        super().server_close()
        self.request_threads.join()
