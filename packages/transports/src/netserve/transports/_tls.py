"""The mix-in that puts TLS under a stream server."""

import ssl
from collections.abc import Generator, Iterable
from os import PathLike
from pathlib import Path
from typing import Any, Final, NoReturn

from netserve.core import (
    BaseServer,
    Deadlines,
    HookAddressT,
    Opening,
    Outcome,
    ServerMixIn,
    StreamRequest,
    Wait,
    log,
)
from netserve.transports._datagram import DatagramServer
from netserve.transports._tls_connection import TLSConnection

_TOO_OLD: Final = {
    ssl.TLSVersion.SSLv3: ssl.OP_NO_SSLv3,
    ssl.TLSVersion.TLSv1: ssl.OP_NO_TLSv1,
    ssl.TLSVersion.TLSv1_1: ssl.OP_NO_TLSv1_1,
}


class TLSMixIn(ServerMixIn):
    """Lets a stream server speak TLS (:rfc:`8446`) with its clients.

    It comes before the server class, on either side of the mix-in that says who
    runs a request: ``class Server(ThreadingMixIn, TLSMixIn, TCPServer)``. It
    needs :attr:`ssl_context`, or :meth:`make_ssl_context`.

    The handshake is made where the request runs, never where connections are
    accepted, and has :attr:`handshake_timeout`. The request that a handler gets
    is an :class:`ssl.SSLSocket`.
    """

    ssl_context: ssl.SSLContext | None = None
    """What is spoken, and with which certificate; None, the default: :meth:`make_ssl_context`.

    It must be for servers, and allow nothing older than TLS 1.2
    (:rfc:`8996`). Another one may be put in its place at any time: it holds for
    the handshakes that begin from then on.
    """

    handshake_timeout: float | None = 10.0
    """How long a handshake may take, in seconds (default 10); None: for ever."""

    _ns_speaks_plainly: bool = False

    _ns_checked_context: ssl.SSLContext | None = None

    def __init_subclass__(cls, **keywords: object) -> None:
        super().__init_subclass__(**keywords)
        bases = cls.__mro__
        if hasattr(cls, "serve_forever") and (BaseServer not in bases or DatagramServer in bases):
            msg = (
                f"{cls.__qualname__}: TLSMixIn is for netserve's servers of streams, such as"
                " netserve.transports.TCPServer"
            )
            raise TypeError(msg)

    def make_ssl_context(self) -> ssl.SSLContext:
        """A new context, with certificates as they are now; an override makes it.

        Called when the server is activated without :attr:`ssl_context`, and by
        :meth:`reload_certificates`. Here it raises :class:`TypeError`.
        """
        msg = (
            f"{type(self).__name__} needs a certificate: set ssl_context, for one to"
            ' server_context("cert.pem", "key.pem"), or define make_ssl_context()'
        )
        raise TypeError(msg)

    def reload_certificates(self) -> None:
        """Put what :meth:`make_ssl_context` makes now in place of :attr:`ssl_context`.

        Connections that are there live on as they are. What is raised in the
        making is passed on, and changes nothing. May be called from any thread.
        """
        self.ssl_context = self._ns_usable(self.make_ssl_context())
        log.info("%r: new connections get the certificates that were read now", self)

    def reload(self) -> None:
        """Call :meth:`reload_certificates`, if :meth:`make_ssl_context` is defined."""
        super().reload()
        if getattr(self.make_ssl_context, "__func__", None) is TLSMixIn.make_ssl_context:
            log.warning("%r: reload() needs make_ssl_context() to read certificates again", self)
        else:
            self.reload_certificates()

    def server_activate(self) -> None:
        """Listen, if there is a context that will do.

        Raises :class:`TypeError` without one, and :class:`ValueError` for one
        that is for clients, or allows what is older than TLS 1.2.
        """
        self._ns_context()
        super().server_activate()

    def open_request(
        self, request: StreamRequest, client_address: HookAddressT
    ) -> Opening[HookAddressT] | None:
        """What comes before TLS, such as a header of a proxy's, then the handshake."""
        before = super().open_request(request, client_address)
        if not isinstance(request, TLSConnection):
            return before
        return self._ns_open(request, client_address, before)

    def _ns_open(
        self,
        request: TLSConnection,
        client_address: HookAddressT,
        before: Opening[HookAddressT] | None,
    ) -> Generator[Wait, None, HookAddressT]:
        if before is not None:
            client_address = yield from before
        yield from request.opening(self._ns_context(), self.handshake_timeout)
        return client_address

    def report_request_error(
        self, error: BaseException, request: StreamRequest, client_address: object
    ) -> Outcome:
        """As everywhere; the client isn't told that it has got everything."""
        if isinstance(request, TLSConnection):
            request.is_whole = False
        return super().report_request_error(error, request, client_address)

    def handle_error(self, request: StreamRequest, client_address: object) -> None:
        """As everywhere; the client isn't told that it has got everything."""
        # For who calls it directly, as the standard library's mix-ins do.
        if isinstance(request, TLSConnection):
            request.is_whole = False
        # Were it known of every class behind a mix-in, checkers wouldn't know its types.
        following: Any = super()
        following.handle_error(request, client_address)

    def _ns_take(self, request: StreamRequest) -> StreamRequest:
        accepted = super()._ns_take(request)
        # A loop that has a TLS of its own, as asyncio, is given the plain connection.
        if getattr(self, "speaks_tls_itself", False):
            return accepted
        deadlines = getattr(accepted, "deadlines", None) or Deadlines(None, None, None, 0.0)
        connection = TLSConnection.adopt(accepted, deadlines)
        connection.close_timeout = getattr(self, "linger_timeout", connection.close_timeout)
        return connection

    def _ns_context(self) -> ssl.SSLContext:
        """The context for the next handshake."""
        context = self.ssl_context
        if context is None:
            context = self.ssl_context = self.make_ssl_context()
        return context if context is self._ns_checked_context else self._ns_usable(context)

    def _ns_usable(self, context: ssl.SSLContext) -> ssl.SSLContext:
        """*context*, if a server may use it; remembers that."""
        check(context, type(self).__name__)
        self._ns_checked_context = context
        return context


def check(context: object, owner: str) -> None:
    """Say what is wrong with *context*, if anything is, for a server of the class *owner*.

    Raises :class:`TypeError` and :class:`ValueError`.
    """
    if not isinstance(context, ssl.SSLContext):
        msg = f"{owner}.ssl_context must be an ssl.SSLContext, not {context!r}"
        raise TypeError(msg)
    if context.protocol == ssl.PROTOCOL_TLS_CLIENT:
        msg = (
            f"{owner}.ssl_context is for clients: make one for servers with"
            ' server_context("cert.pem", "key.pem") or ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)'
        )
        raise ValueError(msg)
    least = context.minimum_version
    allowed = [
        version.name
        for version, forbidden in _TOO_OLD.items()
        # A special value below all stands for whatever the library supports.
        if least <= version and not context.options & forbidden
    ]
    if allowed:
        msg = (
            f"{owner}.ssl_context allows {', '.join(allowed)}, which have been given up"
            " (RFC 8996): set its minimum_version to ssl.TLSVersion.TLSv1_2"
        )
        raise ValueError(msg)


def server_context(
    certfile: str | PathLike[str],
    keyfile: str | PathLike[str] | None = None,
    *,
    password: str | bytes | None = None,
    client_ca: str | PathLike[str] | None = None,
    alpn: Iterable[str] = (),
) -> ssl.SSLContext:
    """A context for a server: TLS 1.2 and later, with the certificate in *certfile*.

    *certfile* is a PEM file with the server's certificate and those that lead to
    its authority; the private key is in *keyfile* (default: in *certfile* too),
    encrypted if *password* is given. With *client_ca*, a PEM file of
    authorities, each client must have a certificate of one of them. *alpn* are
    the names of the protocols that the server speaks, the best first
    (:rfc:`7301`); none by default.

    Raises :class:`OSError` for a file that can't be read, and
    :class:`ValueError` for one that holds something else.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    for path in (certfile, keyfile, client_ca):
        if path is not None:
            # What ssl raises doesn't name the file.
            Path(path).open("rb").close()
    try:
        context.load_cert_chain(certfile, keyfile, _ask if password is None else password)
    except ssl.SSLError as error:
        key = "its key" if keyfile is None else f"the key {str(keyfile)!r}"
        msg = (
            f"can't use the certificate {str(certfile)!r} with {key} ({error.reason or error}):"
            " both must be in PEM form, and belong together"
        )
        raise ValueError(msg) from error
    if client_ca is not None:
        try:
            context.load_verify_locations(client_ca)
        except ssl.SSLError as error:
            msg = (
                f"can't use the authorities {str(client_ca)!r} ({error.reason or error}): give PEM"
            )
            raise ValueError(msg) from error
        context.verify_mode = ssl.CERT_REQUIRED
    protocols = list(alpn)
    if protocols:
        context.set_alpn_protocols(protocols)
    return context


def _ask() -> NoReturn:
    """In place of the question that ssl would ask on the terminal."""
    msg = "the private key is encrypted: give its password"
    raise ValueError(msg)
