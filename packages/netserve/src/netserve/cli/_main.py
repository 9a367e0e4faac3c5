"""The command's entry point and its subcommands."""

import dataclasses
from pathlib import Path
from typing import Any

import click

from netserve.cli._check import report
from netserve.cli._load import load_handler
from netserve.cli._plan import Concurrency
from netserve.cli._reload import reloads
from netserve.cli._run import run_service
from netserve.cli._services import Echo, file_handler
from netserve.cli._settings import RefusingCommand, ServiceCommand, Settings, service_options


@click.group(
    context_settings={
        "help_option_names": ["-h", "--help"],
        "auto_envvar_prefix": "NETSERVE",
        "max_content_width": 100,
    }
)
@click.version_option(package_name="netserve")
def main() -> None:
    """Network servers from handlers.

    A handler is a class, or another callable, that handles a request; this runs it
    on any transport, with any way to run requests:

    \b
        $ netserve run service:Handler --tcp 127.0.0.1:8000 --concurrency pool

    Each option can also be given in the environment, as NETSERVE_RUN_WORKERS for
    --workers of netserve run, and in a file; see --config of each command.
    """


@main.command(cls=ServiceCommand)
@click.argument("handler", metavar="MODULE:HANDLER")
@service_options
def run(handler: str, **options: Any) -> None:
    """Serve a handler until SIGTERM or Ctrl-C.

    MODULE:HANDLER is the name of a module and of a handler in it. The current
    folder is searched first. Several listeners are served at once:

    \b
        $ netserve run service:Echo --tcp :8000 --unix /run/echo.sock --workers 8

    The first SIGTERM or Ctrl-C lets requests in progress come to their end, for
    --grace seconds; the second ends them.
    """
    settings = Settings(**options)
    if not reloads(settings):
        run_service(load_handler(handler), settings)


@main.command(cls=RefusingCommand)
@click.argument("handler", metavar="MODULE:HANDLER")
def check(handler: str) -> None:
    """Say on which transports, and with which --concurrency, a handler can run.

    And why it can't on the others.
    """
    for line in report(handler, load_handler(handler)):
        click.echo(line)


@main.command(cls=ServiceCommand)
@service_options
def echo(**options: Any) -> None:
    """Serve an upper-casing echo until SIGTERM or Ctrl-C.

    Each line that a client sends over a connection comes back in capitals, and each
    datagram. Unless told where, it listens on a port of 127.0.0.1 that is free. The
    address is printed once clients can connect:

    \b
        $ netserve echo --tcp 127.0.0.1:9999
        serving TCP on 127.0.0.1:9999 until Ctrl-C

    \b
        $ echo hello | nc -N 127.0.0.1 9999
        HELLO
    """
    _serve_ready_made(Echo, Settings(**options))


@main.command(cls=ServiceCommand)
@click.argument(
    "folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=".",
    metavar="DIR",
)
@service_options
def http(folder: Path, **options: Any) -> None:
    """Serve the files in DIR over HTTP until SIGTERM or Ctrl-C.

    The handler is the standard library's; the server has a pool of threads, limits,
    and TLS if there is a --tls-cert. Everything in DIR can be read by whoever can
    connect:

    \b
        $ netserve http site --tcp 127.0.0.1:8000
    """
    settings = Settings(**options)
    settings = dataclasses.replace(
        settings,
        concurrency=settings.concurrency or Concurrency.POOL,
        # Clients that stay would keep the threads of the pool.
        idle_timeout=settings.idle_timeout or 15.0,
    )
    _serve_ready_made(file_handler(folder), settings)


def _serve_ready_made(handler: Any, settings: Settings) -> None:
    if reloads(settings):
        return
    if not (settings.named_listeners or settings.systemd):
        settings = dataclasses.replace(settings, tcp=("127.0.0.1:0",))
    run_service(handler, settings)
