"""The options that all services share, and the file that may hold them.

What the command line says goes before the environment (``NETSERVE_RUN_WORKERS``
for ``--workers`` of ``netserve run``), that before the file of ``--config``, and
that before the defaults. The names are the same everywhere.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from netserve.cli._errors import Refusal
from netserve.cli._plan import Concurrency

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_CommandT = TypeVar("_CommandT", bound=Callable[..., object])

_SECONDS: Final = click.FloatRange(min=0, min_open=True)
_COUNT: Final = click.IntRange(min=1)
_FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)


@dataclass(frozen=True)
class Settings:
    """What the options of a service say; None is what wasn't said."""

    tcp: Sequence[str] = ()
    udp: Sequence[str] = ()
    unix: Sequence[str] = ()
    unix_datagram: Sequence[str] = ()
    fd: Sequence[int] = ()
    systemd: bool = False
    concurrency: Concurrency | None = None
    workers: int | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    proxy_protocol: bool = False
    trusted: Sequence[str] = ()
    max_connections: int | None = None
    max_connections_per_peer: int | None = None
    overload: str | None = None
    backlog: int | None = None
    idle_timeout: float | None = None
    message_timeout: float | None = None
    connection_timeout: float | None = None
    handshake_timeout: float | None = None
    grace: float | None = None
    access_log: bool = False
    log_level: str = "info"
    log_format: str = "text"
    metrics: str | None = None
    reload: bool = False

    @property
    def named_listeners(self) -> int:
        """How many listeners were asked for by name, those of systemd apart."""
        asked = (self.tcp, self.udp, self.unix, self.unix_datagram, self.fd)
        return sum(map(len, asked))


def _chosen_concurrency(
    _context: click.Context, _parameter: click.Parameter, value: str | None
) -> Concurrency | None:
    return None if value is None else Concurrency(value)


def _read_config(
    context: click.Context, _parameter: click.Parameter, path: Path | None
) -> Path | None:
    """Make what the file says the defaults of the other options."""
    if path is None:
        return None
    try:
        said = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        msg = f"{path} isn't TOML: {error}"
        raise Refusal(msg) from error
    known = {
        parameter.name: parameter
        for parameter in context.command.params
        if parameter.name not in {"config", "help"}
    }
    defaults: dict[str, Any] = {}
    for key, value in said.items():
        name = key.replace("-", "_")
        if name not in known:
            names = ", ".join(sorted(str(each).replace("_", "-") for each in known))
            msg = f"{path} says {key!r}, which is none of the options: {names}"
            raise Refusal(msg)
        several = known[name].multiple if isinstance(known[name], click.Option) else False
        defaults[name] = [value] if several and not isinstance(value, list) else value
    context.default_map = {**(context.default_map or {}), **defaults}
    return path


_LISTENERS: Final = (
    click.option(
        "--tcp", multiple=True, metavar="HOST:PORT",
        help="Serve connections on this address, such as 127.0.0.1:8000, [::1]:8000 or :8000;"
        " port 0 takes one that is free. May be given several times, as may the next four.",
    ),
    click.option(
        "--udp", multiple=True, metavar="HOST:PORT", help="Serve datagrams on this address."
    ),
    click.option(
        "--unix", multiple=True, metavar="PATH",
        help="Serve connections on this Unix domain socket; @NAME is an abstract one.",
    ),
    click.option(
        "--unix-datagram", multiple=True, metavar="PATH",
        help="Serve datagrams on this Unix domain socket.",
    ),
    click.option(
        "--fd", multiple=True, type=click.IntRange(min=0), metavar="N",
        help="Serve the bound socket that this process has inherited as descriptor N.",
    ),
    click.option(
        "--systemd", is_flag=True, help="Serve the sockets that systemd has passed on."
    ),
)  # fmt: skip

_CONCURRENCY: Final = (
    click.option(
        "--concurrency",
        type=click.Choice([each.value for each in Concurrency]),
        callback=_chosen_concurrency,
        help="Who runs a request: a thread each, a bounded pool of threads, a process each,"
        " processes that each run the whole server, one thread for all connections, or asyncio."
        " Unless given, what suits the handler: multiplex for handlers of messages, asyncio for"
        " async ones, threads for the others.",
    ),
    click.option(
        "--workers", type=_COUNT, metavar="N",
        help="How many threads (pool, multiplex) or processes (fork, prefork) each listener may"
        " have.",
    ),
)  # fmt: skip

_SECURITY: Final = (
    click.option("--tls-cert", type=_FILE, metavar="FILE", help="Serve TLS with this certificate."),
    click.option(
        "--tls-key", type=_FILE, metavar="FILE",
        help="The certificate's key, where it isn't in the same file.",
    ),
    click.option(
        "--tls-client-ca", type=_FILE, metavar="FILE",
        help="Ask clients for a certificate that one of these authorities has signed.",
    ),
    click.option(
        "--handshake-timeout", type=_SECONDS, metavar="SECONDS",
        help="How long a client may take for the TLS handshake.",
    ),
    click.option(
        "--proxy-protocol", is_flag=True,
        help="Expect the PROXY protocol, version 1 or 2, from the proxies that are --trusted.",
    ),
    click.option(
        "--trusted", multiple=True, metavar="NETWORK",
        help="A network of proxies, such as 10.0.0.0/8. May be given several times.",
    ),
)  # fmt: skip

_LIMITS: Final = (
    click.option(
        "--max-connections", type=_COUNT, metavar="N",
        help="How many requests may be in progress on each listener.",
    ),
    click.option(
        "--max-connections-per-peer", type=_COUNT, metavar="N",
        help="How many of them one client may have.",
    ),
    click.option(
        "--overload", type=click.Choice(["wait", "refuse"]),
        help="Whether more than --max-connections wait in the backlog, or are refused.",
    ),
    click.option(
        "--backlog", type=_COUNT, metavar="N", help="How many connections the system keeps waiting."
    ),
    click.option(
        "--idle-timeout", type=_SECONDS, metavar="SECONDS",
        help="How long a connection may be silent.",
    ),
    click.option(
        "--message-timeout", type=_SECONDS, metavar="SECONDS",
        help="How long a message may take to arrive.",
    ),
    click.option(
        "--connection-timeout", type=_SECONDS, metavar="SECONDS",
        help="How long a connection may last.",
    ),
    click.option(
        "--grace", type=click.FloatRange(min=0), metavar="SECONDS",
        help="How long requests in progress may go on after SIGTERM or Ctrl-C.",
    ),
)  # fmt: skip

_OPERATION: Final = (
    click.option(
        "--log-level", type=click.Choice(["debug", "info", "warning", "error"]),
        default="info", show_default=True, help="What to log, on standard error.",
    ),
    click.option(
        "--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True,
        help="Lines to read, or an object a line.",
    ),
    click.option("--access-log", is_flag=True, help="Log each ended request."),
    click.option(
        "--metrics", metavar="HOST:PORT",
        help="Serve metrics for Prometheus here. Needs the extra [metrics].",
    ),
    click.option(
        "--reload", is_flag=True,
        help="For development: start anew when a file below this folder changes."
        " Needs the extra [reload].",
    ),
    click.option(
        "--config", type=_FILE, metavar="FILE", is_eager=True, callback=_read_config,
        expose_value=False,
        help="A TOML file with these options, by the same names; what is given here goes first.",
    ),
)  # fmt: skip


_GROUPS: Final = {
    "Where to listen": _LISTENERS,
    "Who runs a request": _CONCURRENCY,
    "TLS and proxies": _SECURITY,
    "Limits": _LIMITS,
    "Operation": _OPERATION,
}


def service_options(command: _CommandT) -> _CommandT:
    """Give *command* all the options of :class:`Settings`."""
    for option in reversed([option for group in _GROUPS.values() for option in group]):
        command = option(command)
    return command


class RefusingCommand(click.Command):
    """A command that refuses in one sentence what it can't make sense of."""

    def make_context(self, *arguments: Any, **extra: Any) -> click.Context:
        """As click does, but for the refusal."""
        try:
            return super().make_context(*arguments, **extra)
        except click.UsageError as error:
            raise Refusal(error.format_message()) from error


class ServiceCommand(RefusingCommand):
    """A command with :func:`service_options`, whose help has them in groups."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, group by group, and then those of every command."""
        records = [
            record
            for parameter in self.get_params(ctx)
            if isinstance(parameter, click.Option)
            and (record := parameter.get_help_record(ctx)) is not None
        ]
        for title, group in _GROUPS.items():
            here, records = records[: len(group)], records[len(group) :]
            with formatter.section(title):
                formatter.write_dl(here)
        with formatter.section("Help"):
            formatter.write_dl(records)
