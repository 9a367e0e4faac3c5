"""A connection under TLS whose messages an executor answers: the one, and the other."""

import ssl

from netserve.concurrency._dispatch import Dispatch
from netserve.concurrency._executing import ExecutingConnection, Owner
from netserve.concurrency._tls_connection import TLSConnection
from netserve.core import Entry, ForwardedHandler


class ExecutingTLSConnection(TLSConnection, ExecutingConnection):
    """A connected stream under TLS whose messages are answered elsewhere."""

    __slots__ = ()

    def __init__(
        self,
        socket: ssl.SSLSocket,
        handler: ForwardedHandler,
        entry: Entry,
        dispatch: Dispatch[Owner],
    ) -> None:
        ExecutingConnection.__init__(self, socket, handler, entry, dispatch)
        self.speak_tls(socket)
