"""The servers that are compared: one row each, and what it needs to run."""

import importlib
import importlib.util
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

TCP = frozenset({"echo", "once", "mix"})
UDP = frozenset({"udp"})
CPU = frozenset({"cpu"})
APPLICATIONS = frozenset({"http", "resp", "dns"})

UNLIMITED = 1_000_000


@dataclass(frozen=True)
class Entry:
    """A server: the program to run, with the variant to ask it for."""

    name: str
    program: str
    """The module, below ``benchmarks``."""

    variant: str
    services: frozenset[str]
    """What it can serve, as ``benchmarks.service`` describes it, and the applications."""

    needs: str = ""
    """The module, or ``module:name``, without which it is absent."""

    distribution: str = ""
    """What to install for it, whose version is reported; nothing for the standard library."""

    most: int = UNLIMITED
    """How many connections it can keep at once."""

    def absent(self) -> str | None:
        """Why it can't run here, or None if it can."""
        module, _, name = self.needs.partition(":")
        if not module:
            return None
        if importlib.util.find_spec(module) is None:
            return f"{self.distribution} is not installed"
        if name and not hasattr(importlib.import_module(module), name):
            return f"the installed {self.distribution} has no {name} yet"
        return None

    def plays(self, service: str, connections: int) -> bool:
        """Whether it can serve *service* to so many *connections* at once."""
        return service in self.services and connections <= self.most

    def version(self) -> str | None:
        """The version of its distribution, where it has one that is installed."""
        try:
            return version(self.distribution) if self.distribution else None
        except PackageNotFoundError:
            return None


def _stdlib(variant: str, services: frozenset[str], most: int = UNLIMITED) -> Entry:
    return Entry(f"stdlib-{variant}", "peers.stdlib", variant, services, most=most)


def _ours(
    variant: str, services: frozenset[str], *, most: int = UNLIMITED, needs: str = ""
) -> Entry:
    leaf = (needs or "netserve.concurrency:ThreadingMixIn").partition(":")[0].partition(".")[2]
    return Entry(
        f"netserve-{variant}", "servers.ours", variant, services,
        needs or "netserve.concurrency:ThreadingMixIn", f"netserve-{leaf}", most,
    )  # fmt: skip


def _peer(program: str, name: str, services: frozenset[str], needs: str = "") -> Entry:
    return Entry(name, f"peers.{program}", name, services, needs, needs)


ENTRIES = (
    # A synchronous server has one connection at a time; it takes part in the load
    # of short ones, which it serves one after the other.
    _stdlib("sync", TCP | UDP | {"dns"}, most=1),
    _stdlib("threading", TCP | UDP | APPLICATIONS),
    # A process for each datagram can't keep up with any load.
    _stdlib("forking", TCP | {"http", "resp"}, most=50),
    _ours("sync", TCP | UDP | {"dns"}, most=1),
    _ours("threading", TCP | CPU | UDP | APPLICATIONS),
    _ours("forking", TCP | CPU | {"http", "resp"}, most=50),
    # A connection that a handler loops over holds one of the pool's threads.
    _ours(
        "threadpool", TCP | UDP | APPLICATIONS, most=50,
        needs="netserve.concurrency:ThreadPoolMixIn",
    ),
    _ours("messages", TCP, needs="netserve.handlers:MessageRequestHandler"),
    _ours(
        "executor", frozenset({"echo", "mix"}) | CPU, needs="netserve.core:ForwardedHandler",
    ),
    _ours(
        "multiplexing", TCP | CPU | UDP | {"resp"},
        needs="netserve.concurrency:MultiplexingMixIn",
    ),
    # The same without workers, which says what it costs to be ready for handlers that block.
    _ours("inline", frozenset({"echo", "mix"}), needs="netserve.concurrency:MultiplexingMixIn"),
    _ours(
        "prefork-threadpool", TCP | CPU | UDP | APPLICATIONS, most=50,
        needs="netserve.concurrency:PreforkMixIn",
    ),
    _ours(
        "prefork-multiplexing", TCP | CPU | UDP, needs="netserve.concurrency:PreforkMixIn",
    ),
    _ours("asyncio", TCP | UDP, needs="netserve.concurrency:AsyncioMixIn"),
    _ours("uvloop", TCP | UDP, needs="uvloop"),
    _peer("asyncio_family", "asyncio-streams", TCP),
    _peer("asyncio_family", "asyncio-protocol", TCP | UDP),
    # What becomes of ordinary blocking code in a coroutine.
    _peer("asyncio_family", "asyncio-blocking", frozenset({"mix"})),
    _peer("asyncio_family", "uvloop-streams", TCP, "uvloop"),
    _peer("asyncio_family", "uvloop-protocol", TCP | UDP, "uvloop"),
    _peer("gevent_server", "gevent", TCP | UDP, "gevent"),
    _peer("twisted_server", "twisted", TCP | UDP, "twisted"),
    _peer("tornado_server", "tornado", TCP, "tornado"),
    _peer("trio_server", "trio", TCP | UDP, "trio"),
    _peer("anyio_server", "anyio", TCP | UDP, "anyio"),
    _peer("easynetwork_server", "easynetwork", TCP | UDP, "easynetwork"),
)  # fmt: skip
