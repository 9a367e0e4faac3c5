"""The mix-in that gives each request a process."""

from typing import Protocol

from typing_extensions import TypeVar

from netserve.concurrency._children import Children
from netserve.core import ForkHooks, HookAddressT, HookRequestT, ServerMixIn, run_request

_RequestT = TypeVar("_RequestT", contravariant=True)
_AddressT = TypeVar("_AddressT", contravariant=True)


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

    def service_actions(self) -> None:
        """Collect the processes that have ended."""
        super().service_actions()
        self.collect_children()

    def process_request(
        self: ForkingHooks[HookRequestT, HookAddressT],
        request: HookRequestT,
        client_address: HookAddressT,
    ) -> None:
        """Fork a process that handles the request; raises :class:`OSError` if that fails."""
        if self.active_children is None:
            self.active_children = Children()
        self.active_children.fork(lambda: run_request(self, request, client_address))
        self.close_request(request)

    def server_close(self) -> None:
        """Close the server, then wait for the processes as :attr:`block_on_close` says."""
        super().server_close()
        self.collect_children(blocking=self.block_on_close)
