"""What is measured: each cell is one kind of load, and the figures that it yields."""

from dataclasses import dataclass
from fnmatch import fnmatchcase

TCP_BASELINE = "stdlib-threading"
UDP_BASELINE = "stdlib-sync"
CPU_BASELINE = "netserve-multiplexing"
"""One process, to which several are compared."""

REFERENCE = "uvloop-protocol"
"""The fastest peer that there is, to which every row is compared besides."""


@dataclass(frozen=True)
class Figure:
    """One figure of a cell: where it stands in a sample, its unit, and which way is good."""

    key: str
    unit: str
    less_is_better: bool = False


RATE = Figure("rate", "1/s")


@dataclass(frozen=True)
class Cell:
    """A kind of load."""

    name: str
    service: str
    """What the server has to serve."""

    tool: str
    """What puts the load on it: ``loadgen``, ``idle``, ``stop``, or another program."""

    options: tuple[str, ...] = ()
    """For the tool; the port and the duration are added."""

    connections: int = 1
    """How many the server must be able to keep at once."""

    figures: tuple[Figure, ...] = (RATE,)
    baseline: str = TCP_BASELINE
    package: str = ""
    """The Debian package that has the tool, where it isn't this project's own."""


def _echo(connections: int, size: int, depth: int) -> Cell:
    options = ("echo", "-n", str(connections), "-s", str(size), "-d", str(depth))
    name = f"echo-{connections}-{size}-{depth}"
    return Cell(name, "echo", "loadgen", options, connections)


CELLS = (
    *(
        _echo(connections, size, depth)
        for connections in (1, 50, 500, 5000)
        for size in (64, 4096)
        for depth in (1, 16)
    ),
    Cell(
        "connect-50", "once", "loadgen", ("connect", "-n", "50"),
        figures=(RATE, Figure("cpu_us", "us CPU", less_is_better=True)),
    ),
    *(
        Cell(
            f"udp-{sockets}", "udp", "loadgen", ("udp", "-n", str(sockets)), baseline=UDP_BASELINE
        )
        for sockets in (1, 50)
    ),
    *(
        Cell(
            f"idle-{connections}", "echo", "idle", ("idle", "-n", str(connections)), connections,
            (Figure("kib", "KiB", less_is_better=True),),
        )
        for connections in (1000, 10000)
    ),
    Cell("stop", "echo", "stop", figures=(Figure("ms", "ms", less_is_better=True),)),
    Cell("mix-50", "mix", "loadgen", ("mix", "-n", "50", "-x", "0.1"), 50),
    Cell("cpu-50", "cpu", "loadgen", ("echo", "-n", "50", "-s", "64", "-d", "1"), 50,
         baseline=CPU_BASELINE),
    Cell("http-50", "http", "wrk", ("-t1", "-c50"), 50, package="wrk"),
    Cell(
        "redis-50", "resp", "redis-benchmark",
        ("-h", "127.0.0.1", "-c", "50", "-t", "ping_mbulk,set,get", "--csv"), 50,
        package="redis-tools",
    ),
    Cell(
        "dns-50", "dns", "dnsperf", ("-s", "127.0.0.1", "-c", "50", "-q", "50", "-T", "1"),
        baseline=UDP_BASELINE, package="dnsperf",
    ),
)  # fmt: skip

QUICK = (
    "echo-1-64-1", "echo-50-64-*", "echo-500-64-1", "echo-50-4096-1",
    "idle-1000", "stop", "*-50",
)  # fmt: skip


def chosen(names: list[str], patterns: list[str]) -> list[str]:
    """Those of *names* that match one of *patterns*, as a shell's; all, without a pattern.

    Raises :class:`ValueError` for a pattern that matches nothing, which is a typing error.
    """
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            msg = f"nothing is called {pattern!r}; there are {', '.join(names)}"
            raise ValueError(msg)
    return [
        name
        for name in names
        if not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)
    ]
