"""What a service is to be: transports, ways to run requests, and which handlers fit them.

Everything here is decided from names and classes, before anything is bound, so that
nonsense is refused with a sentence that says what would be right.
"""

import enum
import inspect
from dataclasses import dataclass
from typing import Final


class Transport(enum.Enum):
    """Where requests come from; the value is the option of the command."""

    TCP = "tcp"
    UDP = "udp"
    UNIX = "unix"
    UNIX_DATAGRAM = "unix-datagram"

    @property
    def streams(self) -> bool:
        """Whether its requests are connections; otherwise they are datagrams."""
        return self in {Transport.TCP, Transport.UNIX}


class Concurrency(enum.Enum):
    """Who runs a request; the value is what the option ``--concurrency`` takes."""

    THREADS = "threads"
    POOL = "pool"
    FORK = "fork"
    PREFORK = "prefork"
    MULTIPLEX = "multiplex"
    ASYNCIO = "asyncio"


class Kind(enum.Enum):
    """What sort of handler one is; the value says so in words."""

    MESSAGE = "a handler of messages"
    ASYNC_STREAM = "a handler of connections with async def handle"
    ASYNC_DATAGRAM = "a handler of datagrams with async def handle"
    STREAM = "a handler that reads a connection as a file"
    DATAGRAM = "a handler of datagrams"
    OTHER = "a callable of request, client_address and server"


_BLOCKING: Final = frozenset(
    {Concurrency.THREADS, Concurrency.POOL, Concurrency.FORK, Concurrency.PREFORK}
)
_ASYNC: Final = frozenset({Concurrency.ASYNCIO, Concurrency.PREFORK})


@dataclass(frozen=True)
class _Abilities:
    """Where handlers of one kind can run."""

    streams: bool
    datagrams: bool
    concurrency: frozenset[Concurrency]
    usual: Concurrency
    """What runs them unless the user says otherwise."""


ABILITIES: Final = {
    Kind.MESSAGE: _Abilities(True, True, frozenset(Concurrency), Concurrency.MULTIPLEX),
    Kind.ASYNC_STREAM: _Abilities(True, False, _ASYNC, Concurrency.ASYNCIO),
    Kind.ASYNC_DATAGRAM: _Abilities(False, True, _ASYNC, Concurrency.ASYNCIO),
    Kind.STREAM: _Abilities(True, False, _BLOCKING, Concurrency.THREADS),
    Kind.DATAGRAM: _Abilities(False, True, _BLOCKING, Concurrency.THREADS),
    Kind.OTHER: _Abilities(True, True, _BLOCKING, Concurrency.THREADS),
}
"""For each kind of handler, where it can run."""

# By the names of the classes that handlers derive from, so that the standard
# library's count too and nothing has to be imported to tell.
_BASES: Final = (
    ("AsyncStreamRequestHandler", Kind.ASYNC_STREAM),
    ("AsyncDatagramRequestHandler", Kind.ASYNC_DATAGRAM),
    ("StreamRequestHandler", Kind.STREAM),
    ("DatagramRequestHandler", Kind.DATAGRAM),
)


def kind_of(handler: object) -> Kind:
    """What sort of handler *handler*, a class or another callable, is."""
    if hasattr(handler, "handle_message") and hasattr(handler, "feed"):
        return Kind.MESSAGE
    if isinstance(handler, type):
        bases = {base.__name__ for base in inspect.getmro(handler)}
        for name, kind in _BASES:
            if name in bases:
                return kind
    return Kind.OTHER


def usual_concurrency(handler: object) -> Concurrency:
    """Who runs the requests of *handler* unless the user says otherwise."""
    return ABILITIES[kind_of(handler)].usual


def objection(handler: object, transport: Transport, concurrency: Concurrency) -> str | None:
    """Why *handler* can't run on *transport* with *concurrency*; None when it can."""
    kind = kind_of(handler)
    can = ABILITIES[kind]
    if transport.streams and not can.streams:
        return f"{kind.value} doesn't take the connections of --{transport.value}"
    if not transport.streams and not can.datagrams:
        return f"{kind.value} doesn't take the datagrams of --{transport.value}"
    if concurrency not in can.concurrency:
        fitting = " or ".join(each.value for each in Concurrency if each in can.concurrency)
        return f"{kind.value} can't run with --concurrency {concurrency.value}; choose {fitting}"
    return None
