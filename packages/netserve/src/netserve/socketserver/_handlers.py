"""The handler of datagrams with CPython's way of answering."""

from typing import Any

from typing_extensions import TypeVar

from netserve import handlers

AddressT = TypeVar("AddressT", default=Any)
ServerT = TypeVar("ServerT", default=Any)


class DatagramRequestHandler(handlers.DatagramRequestHandler[AddressT, ServerT]):
    """Gives ``handle`` the datagram to read, and sends what it wrote as the answer."""

    def finish(self) -> None:
        """Send what was written to ``wfile``: an empty datagram if nothing was.

        As with the class of ``netserve.handlers``, that the client has left is one
        DEBUG record, and that it has no address an error.
        """
        self._ns_answer(self.wfile.getvalue())
