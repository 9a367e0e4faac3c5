"""The handler of connections under TLS, which knows who the client is."""

from typing import TYPE_CHECKING, Protocol, cast

from typing_extensions import TypeVar

from netserve.core import StreamRequest
from netserve.handlers._base import AddressT
from netserve.handlers._stream import StreamRequestHandler

if TYPE_CHECKING:
    import ssl


class SpeaksTLS(Protocol):
    """A server whose connections are under TLS, as with ``netserve.transports.TLSMixIn``."""

    @property
    def handshake_timeout(self) -> float | None:
        """How long a handshake may take, in seconds."""
        ...

    def make_ssl_context(self) -> "ssl.SSLContext":
        """What is spoken, and with which certificate."""
        ...


TLSServerT = TypeVar("TLSServerT", bound=SpeaksTLS, default=SpeaksTLS)


class TLSRequestHandler(StreamRequestHandler[AddressT, TLSServerT, "ssl.SSLSocket"]):
    """A :class:`StreamRequestHandler` whose connection is an :class:`ssl.SSLSocket`.

    So ``self.request`` has ``getpeercert()``, ``selected_alpn_protocol()`` and
    ``version()``. It is for servers with ``netserve.transports.TLSMixIn``. The
    type parameters are those of the client's address, which is ``Any`` unless
    given, and the server, which is :class:`SpeaksTLS`.

    Raises :class:`TypeError` when the connection isn't under TLS.
    """

    def __init__(
        self, request: StreamRequest, client_address: AddressT, server: TLSServerT
    ) -> None:
        if not hasattr(request, "getpeercert"):
            msg = (
                f"{type(self).__name__} is for connections under TLS: put"
                f" netserve.transports.TLSMixIn before the server class of {server!r}"
            )
            raise TypeError(msg)
        super().__init__(cast("ssl.SSLSocket", request), client_address, server)
