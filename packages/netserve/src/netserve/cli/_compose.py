"""From what was asked for to the servers: their classes, with everything refused that can't be.

Nothing is bound here. A server class is put together from the mix-in that runs the
requests, those for TLS and the PROXY protocol, and the transport; what the options
say become its attributes.
"""

import dataclasses
import importlib
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from netserve.cli._errors import Refusal
from netserve.cli._plan import Concurrency, Transport, objection, usual_concurrency
from netserve.cli._settings import Settings
from netserve.core import BaseServer

# A command's handler may be any, on any transport; whether they fit is seen before.
AnyServerClass: TypeAlias = type[BaseServer[Any, Any]]
AnyHandler: TypeAlias = Callable[..., object]

_NEEDS_STREAMS: Final = (
    "tls_cert",
    "proxy_protocol",
    "idle_timeout",
    "message_timeout",
    "connection_timeout",
    "backlog",
)

_WORKERS: Final = {
    Concurrency.POOL: "max_workers",
    Concurrency.MULTIPLEX: "max_workers",
    Concurrency.FORK: "max_children",
    Concurrency.PREFORK: "processes",
}
"""The attribute that ``--workers`` is, for each way to run requests that has workers."""

# What is an attribute of a server by the same name, or by another one.
_ATTRIBUTES: Final = {
    "max_connections": "max_connections",
    "max_connections_per_peer": "max_connections_per_peer",
    "overload": "overload",
    "idle_timeout": "idle_timeout",
    "message_timeout": "message_timeout",
    "connection_timeout": "connection_timeout",
    "handshake_timeout": "handshake_timeout",
    "backlog": "request_queue_size",
    "grace": "grace",
}


def concurrency_for(handler: AnyHandler, settings: Settings) -> Concurrency:
    """Who runs the requests: what was asked for, or else what suits *handler*."""
    return settings.concurrency or usual_concurrency(handler)


def check_settings(handler: AnyHandler, settings: Settings) -> None:
    """Raise :class:`Refusal` when the options contradict one another."""
    concurrency = concurrency_for(handler, settings)
    if settings.workers is not None and concurrency not in _WORKERS:
        several = ", ".join(each.value for each in _WORKERS)
        msg = f"--workers needs a --concurrency that has them: {several}; not {concurrency.value}"
        raise Refusal(msg)
    if settings.tls_cert is None:
        for name in ("tls_key", "tls_client_ca", "handshake_timeout"):
            if getattr(settings, name) is not None:
                raise Refusal(f"{_option(name)} needs --tls-cert, the certificate to serve with")
    if settings.trusted and not settings.proxy_protocol:
        raise Refusal("--trusted needs --proxy-protocol, which it says from whom to believe")
    if settings.proxy_protocol and not settings.trusted:
        raise Refusal("--proxy-protocol needs --trusted, the networks of the proxies to believe")


def check_transport(handler: AnyHandler, settings: Settings, transport: Transport) -> None:
    """Raise :class:`Refusal` when *handler*, or an option, doesn't suit *transport*."""
    concurrency = concurrency_for(handler, settings)
    why = objection(handler, transport, concurrency)
    if why is not None:
        raise Refusal(why)
    if not transport.streams:
        for name in _NEEDS_STREAMS:
            if getattr(settings, name):
                msg = f"{_option(name)} is for connections, and --{transport.value} has none"
                raise Refusal(msg)


def server_class(
    handler: AnyHandler,
    settings: Settings,
    transport: Transport,
    extra: dict[str, Any],
    *,
    beside: bool,
) -> AnyServerClass:
    """The class that serves *transport* as *settings* say, with the attributes *extra* besides.

    *beside* says whether it is to be served in a thread, beside others.
    """
    # Not all of these exist everywhere.
    mixins: Any = importlib.import_module("netserve.concurrency")
    transports: Any = importlib.import_module("netserve.transports")
    chosen = concurrency_for(handler, settings)
    attributes = {**_attributes(chosen, settings), **extra}
    bases: list[Any] = []
    inner = chosen
    if chosen is Concurrency.PREFORK:
        bases.append(mixins.PreforkMixIn)
        inner = usual_concurrency(handler)
    elif chosen is Concurrency.FORK and beside:
        # Nothing may fork beside threads: what does so gets a process that has none.
        bases.append(mixins.PreforkMixIn)
        attributes["processes"] = 1
    bases.append(getattr(mixins, _MIXINS[inner]))
    if settings.proxy_protocol:
        bases.append(transports.ProxyProtocolMixIn)
    if settings.tls_cert is not None:
        bases.append(transports.TLSMixIn)
    bases.append(getattr(transports, _SERVERS[transport]))
    return type(f"{chosen.name.title()}Server", tuple(bases), attributes)


_MIXINS: Final = {
    Concurrency.THREADS: "ThreadingMixIn",
    Concurrency.POOL: "ThreadPoolMixIn",
    Concurrency.FORK: "ForkingMixIn",
    Concurrency.MULTIPLEX: "MultiplexingMixIn",
    Concurrency.ASYNCIO: "AsyncioMixIn",
}

_SERVERS: Final = {
    Transport.TCP: "TCPServer",
    Transport.UDP: "UDPServer",
    Transport.UNIX: "UnixStreamServer",
    Transport.UNIX_DATAGRAM: "UnixDatagramServer",
}


def _attributes(chosen: Concurrency, settings: Settings) -> dict[str, Any]:
    """The class attributes that the options are."""
    said = dataclasses.asdict(settings)
    attributes = {
        there: said[here] for here, there in _ATTRIBUTES.items() if said[here] is not None
    }
    if settings.workers is not None:
        attributes[_WORKERS[chosen]] = settings.workers
    attributes["access_log"] = settings.access_log
    if settings.proxy_protocol:
        attributes["trusted_proxies"] = tuple(settings.trusted)
    return attributes


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")
