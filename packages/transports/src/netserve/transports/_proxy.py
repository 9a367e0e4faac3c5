"""The mix-in for servers behind a proxy that speaks the PROXY protocol.

Theory of operation. The header is an *opening* (see :mod:`netserve.core`): it is
read where the request runs, under a deadline of its own, and before anything
else, a TLS handshake included, whatever the order of the mix-ins. It is read with
the plain methods of sockets, below TLS, and no byte beyond it.

What the loop decides by the client's address it would decide by the proxy's. So
it leaves that to the opening, which does it once the address is known: who is over
``max_connections_per_peer``, or whom ``verify_request`` denies, is refused there.
"""

import errno
import ipaddress
import math
import socket as _socket
import time
from collections.abc import Generator, Sequence
from typing import Any, Final, NamedTuple, Protocol, cast
from weakref import WeakKeyDictionary

from typing_extensions import TypeVar

from netserve.core import (
    BaseServer,
    Deadline,
    Entry,
    HookAddressT,
    Opening,
    RefusedError,
    ServerMixIn,
    StreamRequest,
    Wait,
)
from netserve.transports._closing import discard
from netserve.transports._datagram import DatagramServer
from netserve.transports._proxy_header import (
    ProxyCommand,
    ProxyFamily,
    ProxyHeader,
    ProxyProtocolError,
)
from netserve.transports._proxy_parser import ProxyParser
from netserve.transports._stream import StreamServer
from netserve.transports._trusted import TrustedProxies, TrustedProxy, unmapped

_AddressT = TypeVar("_AddressT", contravariant=True)

_DONT_WAIT: Final = getattr(_socket, "MSG_DONTWAIT", 0)


class Proxied(NamedTuple):
    """What is known of a connection that came through a proxy."""

    header: ProxyHeader
    """What the proxy has said."""

    proxy_address: Any
    """The address of the proxy itself."""


class ProxiedHooks(Protocol[_AddressT]):
    """What tells which addresses the peers of a server have."""

    def verify_request(self, request: StreamRequest, client_address: _AddressT, /) -> bool:
        """Whether to process a request."""
        ...


class ProxyProtocolMixIn(ServerMixIn):
    """Learns from a proxy whose connection it is, by the PROXY protocol.

    It comes before a stream server: ``class Server(ThreadingMixIn,
    ProxyProtocolMixIn, TCPServer)``. Each connection of a trusted proxy begins
    with a header, of version 1 or 2 of HAProxy's ``proxy-protocol.txt``; the
    ``client_address`` that handlers, hooks and logs see is the one in it.

    A connection without a header, or with a bad one, is closed, with one record
    of level INFO, and no handler sees it; neither does one see a byte of any
    header.
    """

    trusted_proxies: Sequence[TrustedProxy] = ()
    """The proxies that are believed: addresses, networks, or ``"unix:"``.

    There is no default that would be right: while it is empty, the server can't
    be activated. With ``"unix:"``, all peers on a Unix domain socket are trusted.
    Another value holds for the connections that come after it was set.
    """

    proxy_timeout: float = 5.0
    """How long the header may take to arrive, in seconds (default 5).

    The protocol's section 2 asks for at least 3, time for TCP to send it again.
    """

    allow_direct_clients: bool = False
    """Whether others than trusted proxies may connect too (default: no).

    They are served under their own addresses, and nothing that they send is
    taken for a header. Whoever is trusted has to send one all the same: no
    receiver may guess whether there is one, says the protocol's section 2.
    """

    max_proxy_header: int = 4096
    """How many bytes a header of version 2 may have (default 4096).

    One of version 1 has at most 107.
    """

    _ns_learns_address_late = True

    def __init_subclass__(cls, **keywords: object) -> None:
        super().__init_subclass__(**keywords)
        stream = issubclass(cls, StreamServer) and not issubclass(cls, DatagramServer)
        if hasattr(cls, "serve_forever") and not stream:
            msg = (
                f"{cls.__qualname__}: ProxyProtocolMixIn needs a stream server of netserve's,"
                " such as TCPServer or UnixStreamServer"
            )
            raise TypeError(msg)

    def server_activate(self) -> None:
        """Listen.

        Raises :class:`ValueError` when nobody at all is trusted who could connect,
        or when one of the settings isn't possible.
        """
        family: int = cast("Any", self).socket.family
        if not self._ns_trusted.suits(family):
            kind = "'unix:'" if family not in _INTERNET else "networks such as '10.0.0.0/8'"
            msg = (
                f"{type(self).__name__}.trusted_proxies is {self.trusted_proxies!r}, so that no"
                f" proxy could connect: give it {kind}, of none but proxies that you trust"
            )
            raise ValueError(msg)
        if not 0 < self.proxy_timeout < math.inf:
            msg = f"proxy_timeout must be a number of seconds, not {self.proxy_timeout!r}"
            raise ValueError(msg)
        super().server_activate()

    def proxy_header(self, request: StreamRequest) -> ProxyHeader | None:
        """What the proxy has said of *request*; None for the request of a direct client."""
        proxied = _table(self).get(request)
        return None if proxied is None else proxied.header

    def proxy_address(
        self: ProxiedHooks[HookAddressT], request: StreamRequest
    ) -> HookAddressT | None:
        """The address of the proxy that *request* came through; None for a direct client."""
        proxied = _table(self).get(request)
        return None if proxied is None else cast("HookAddressT", proxied.proxy_address)

    def open_request(
        self, request: StreamRequest, client_address: HookAddressT
    ) -> Opening[HookAddressT]:
        """Read the header; returns the client's real address.

        Raises :class:`ProxyProtocolError` for a header that isn't one, and
        :class:`~netserve.core.RefusedError` for a peer that isn't trusted, and for
        a client over ``max_connections_per_peer`` or denied by ``verify_request``.
        """
        server = cast("BaseServer[Any, Any]", self)
        entry = server.requests_in_progress.find(request)
        address = client_address
        if self._ns_trusted.include(request.family, client_address):
            header = yield from self._ns_read_header(request, entry)
            _table(self)[request] = Proxied(header, client_address)
            address = _real_address(header, request.family, client_address)
        elif not self.allow_direct_clients:
            raise RefusedError("it is none of trusted_proxies, and only those may connect")
        if entry is not None:
            entry.learn_address(address)
            if not self._ns_admit_peer(request, address, entry):
                raise RefusedError("by max_connections_per_peer or verify_request")
        following = super().open_request(request, address)
        if following is not None:
            address = yield from following
        return address

    @property
    def _ns_trusted(self) -> TrustedProxies:
        """What :attr:`trusted_proxies` means, made anew when that is another object."""
        given = self.trusted_proxies
        made: tuple[object, TrustedProxies] | None = vars(self).get("_ns_made_trusted")
        if made is None or made[0] is not given:
            made = given, TrustedProxies(given)
            vars(self)["_ns_made_trusted"] = made
        return made[1]

    def _ns_read_header(
        self, request: StreamRequest, entry: Entry | None
    ) -> Generator[Wait, None, ProxyHeader]:
        """Read the header of *request*, and no byte more."""
        limit = self.proxy_timeout
        wait = Wait(False, time.monotonic() + limit, Deadline.PROXY, limit)
        parser = ProxyParser(self.max_proxy_header)
        own = _socket.socket.gettimeout(request)
        if own is not None or not _DONT_WAIT:
            # Python waits for as long as a timeout says before it looks at MSG_DONTWAIT.
            _socket.socket.settimeout(request, 0)
        try:
            while parser.header is None:
                try:
                    data = _socket.socket.recv(request, parser.wanted, _DONT_WAIT)
                except BlockingIOError:
                    yield wait
                    continue
                if not data:
                    _end(request, entry, parser)
                parser.feed(data)
        except ProxyProtocolError:
            # So that nothing is left to linger for: whoever sent it is told soon.
            discard(request)
            raise
        finally:
            if own is not None or not _DONT_WAIT:
                _socket.socket.settimeout(request, own)
        return parser.header


def _table(server: object) -> "WeakKeyDictionary[StreamRequest, Proxied]":
    """The connections of *server* that came through a proxy."""
    table: WeakKeyDictionary[StreamRequest, Proxied] | None = vars(server).get("_ns_proxied")
    if table is None:
        # In one step, because several threads may be the first.
        table = vars(server).setdefault("_ns_proxied", WeakKeyDictionary())
    return table


def _end(request: StreamRequest, entry: Entry | None, parser: ProxyParser) -> None:
    """Raise the right error for a connection that has ended in the middle of its header."""
    if parser.received and not (entry is not None and entry.forced):
        raise ProxyProtocolError(
            f"the connection ended after {len(parser.received)} bytes of the header,"
            f" {parser.received!r}"
        )
    # Nothing is wrong with a connection that was only tried, or was shut by a drain.
    _socket.socket.shutdown(request, _socket.SHUT_RDWR)
    raise ConnectionAbortedError(errno.ECONNABORTED, "the connection ended before its header")


def _real_address(header: ProxyHeader, family: int, own: HookAddressT) -> HookAddressT:
    """The client's address by *header*, as a server of *family* has it; *own* if it isn't told."""
    source: Any = header.source
    if header.command is ProxyCommand.LOCAL or source is None:
        return own
    real: Any = source
    if header.family is ProxyFamily.UNIX:
        # A server of another family has no such addresses (section 2.2: UNSPEC mode).
        return own if family in _INTERNET else cast("HookAddressT", real)
    if header.family is ProxyFamily.INET6:
        host = unmapped(ipaddress.ip_address(source[0]))
        real = (str(host), source[1])
    return cast("HookAddressT", (*real, 0, 0) if family == _socket.AF_INET6 else real)


_INTERNET: Final = (_socket.AF_INET, _socket.AF_INET6)
