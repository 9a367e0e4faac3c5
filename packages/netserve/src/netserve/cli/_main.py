"""The command's entry point and its subcommands."""

import contextlib
import signal
from collections.abc import Generator
from typing import cast

import click
from click.core import ParameterSource

from netserve.cli._echo import AnyServer, internet_server, unix_server


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="netserve")
def main() -> None:
    """Network servers from handlers."""


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    show_default=True,
    help="Port to listen on; 0 takes one that is free.",
)
@click.option("--udp", is_flag=True, help="Serve datagrams instead of connections.")
@click.option(
    "--unix",
    "path",
    type=click.Path(),
    help="Serve on this Unix domain socket instead of a port; it is removed at the end.",
)
@click.pass_context
def echo(context: click.Context, host: str, port: int, udp: bool, path: str | None) -> None:
    r"""Serve an upper-casing echo until Ctrl-C.

    Each line that a client sends over a connection comes back in capitals; with
    --udp, each datagram. The address is printed once clients can connect:

    \b
        $ netserve echo --port 9999
        serving TCP on 127.0.0.1:9999 until Ctrl-C

    \b
        $ echo hello | nc -N 127.0.0.1 9999
        HELLO
    """
    chosen = [
        f"--{name}"
        for name in ("host", "port")
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    ]
    if path is not None and chosen:
        raise click.UsageError(f"--unix takes no {' and no '.join(chosen)}: choose one of the two")
    with contextlib.ExitStack() as stack:
        try:
            if path is not None:
                server = unix_server(path, datagrams=udp)
            else:
                server = internet_server(host, port, datagrams=udp)
        except (OSError, ImportError) as error:
            raise click.ClickException(getattr(error, "strerror", None) or str(error)) from error
        stack.enter_context(server)
        stack.enter_context(_stopped_by_signals(server))
        click.echo(f"serving {_describe(server.server_address, udp)} until Ctrl-C")
        server.serve_forever()


@contextlib.contextmanager
def _stopped_by_signals(server: AnyServer) -> Generator[None]:
    """A span in which SIGINT (Ctrl-C) and SIGTERM drain *server* and end its loop.

    A handler rather than KeyboardInterrupt, which may be raised where it is
    lost. What the process was started to ignore stays ignored.
    """
    heard = {
        number: previous
        for number in (signal.SIGINT, signal.SIGTERM)
        if (previous := signal.getsignal(number)) is not signal.SIG_IGN
    }
    for number in heard:
        signal.signal(number, lambda _number, _frame: server.stop())
    try:
        yield
    finally:
        for number, previous in heard.items():
            signal.signal(number, previous)


def _describe(address: object, datagrams: bool) -> str:
    """The transport and *address*, as one reads them: ``TCP on 127.0.0.1:9999``."""
    if isinstance(address, tuple):
        host, port, *_ = cast("tuple[object, ...]", address)
        return f"{'UDP' if datagrams else 'TCP'} on {host}:{port}"
    return f"Unix {'datagrams' if datagrams else 'stream'} on {address}"
