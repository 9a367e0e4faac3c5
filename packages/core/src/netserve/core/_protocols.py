"""What a mix-in or an engine may ask of a server.

A Protocol names the hooks of the original reference's *Server Objects* that a
caller relies on, so that a mix-in composes with every class that has them: this
project's servers, the standard library's, or one's own. Parameters are
positional-only, so that an override may name them as it likes, and the type
variables are contravariant, so that a server for any request fits a server for
one.
"""

from typing import Protocol

from typing_extensions import TypeVar

_RequestT = TypeVar("_RequestT", contravariant=True)
_AddressT = TypeVar("_AddressT", contravariant=True)


class RequestHooks(Protocol[_RequestT, _AddressT]):
    """The hooks that bring one accepted request to its end.

    Guaranteed: each may be called from any thread, or from a forked child,
    once a request. Not guaranteed: that the server is still listening, or that
    the peer is still there.
    """

    def finish_request(self, request: _RequestT, client_address: _AddressT, /) -> None:
        """Run the handler on *request*; raises whatever the handler raises."""

    def handle_error(self, request: _RequestT, client_address: _AddressT, /) -> None:
        """Report the exception that is being handled; should not raise."""

    def shutdown_request(self, request: _RequestT, /) -> None:
        """End *request* towards the peer, then close it; should not raise."""


class ForkHooks(RequestHooks[_RequestT, _AddressT], Protocol[_RequestT, _AddressT]):
    """The hooks for a request that another process brings to its end."""

    def close_request(self, request: _RequestT, /) -> None:
        """Let go of this process's hold on *request*, and tell the peer nothing."""
