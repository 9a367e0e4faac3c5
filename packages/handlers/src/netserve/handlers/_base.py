"""The base of handler classes: three methods around one request."""

from typing import Any, Generic

from typing_extensions import TypeVar

from netserve.core import log

RequestT = TypeVar("RequestT", default=Any)
AddressT = TypeVar("AddressT", default=Any)
ServerT = TypeVar("ServerT", default=Any)


class BaseRequestHandler(Generic[RequestT, AddressT, ServerT]):
    """Handles one request: an instance is made for each, and its making handles it.

    Derive from it and define :meth:`handle`. The constructor calls
    :meth:`setup`, then :meth:`handle`, then :meth:`finish`; the last also when
    :meth:`handle` raised, but not when :meth:`setup` did. When both raise, the
    first error goes on, and the one of :meth:`finish` is a warning on the logger
    ``netserve.server``.

    The type parameters are those of the request, the client's address and the
    server; each is ``Any`` unless given.

    See the original reference, *RequestHandler Objects*.
    """

    request: RequestT
    """A connected socket on a stream server; (data, socket) on a datagram server."""

    client_address: AddressT
    """The client's address, in the form of the server's family."""

    server: ServerT
    """The server that took the request."""

    def __init__(self, request: RequestT, client_address: AddressT, server: ServerT) -> None:
        self.request = request
        self.client_address = client_address
        self.server = server
        self.setup()
        try:
            self.handle()
        except BaseException:
            try:
                self.finish()
            except Exception:
                # The first error says what went wrong; this is most often its consequence.
                log.warning("%r: finish() raised after handle()", self, exc_info=True)
            raise
        self.finish()

    def setup(self) -> None:
        """Prepare for :meth:`handle`; does nothing here."""

    def handle(self) -> None:
        """Do all that the request needs; does nothing here."""

    def finish(self) -> None:
        """Clean up after :meth:`handle`; does nothing here."""
