"""What a peer does wrong in TLS, as exceptions.

They stand here, though core has no TLS, because both a transport and an event loop may
speak it. Only these import :mod:`ssl`.
"""

import logging
import ssl
from typing import ClassVar

from typing_extensions import Self

from netserve.core._errors import PeerError


class TLSError(PeerError, ssl.SSLError):
    """The peer goes against TLS, or TLS has found no common ground with it.

    Its ``__cause__`` is what :mod:`ssl` raised, if that was what found it.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.reason: str = message
        self.library: str = "SSL"

    def __str__(self) -> str:
        return self.reason

    @classmethod
    def explaining(cls, what: str, error: ssl.SSLError) -> Self:
        """The exception to raise for *error*, which says that *what* is so."""
        if isinstance(error, ssl.SSLCertVerificationError):
            why = f"the client's certificate can't be verified: {error.verify_message}"
        else:
            # In its own words, without the line of C that it is from.
            why = (getattr(error, "reason", None) or str(error)).replace("_", " ").lower()
        return cls(f"{what} ({why})")


class PlainTextError(TLSError):
    """The peer doesn't speak TLS; *beginning* is what it has sent instead.

    As strangers on the open network do that all day, the record has level DEBUG.
    """

    level: ClassVar[int] = logging.DEBUG

    def __init__(self, beginning: bytes) -> None:
        super().__init__(f"the client doesn't speak TLS: it has sent {beginning[:20]!r}")
        self.beginning = beginning
