"""From the settings of a service to its end."""

import ssl
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, cast

import click

from netserve.cli._compose import (
    AnyHandler,
    AnyServerClass,
    check_settings,
    check_transport,
    server_class,
)
from netserve.cli._errors import Refusal
from netserve.cli._listeners import Listener, internet_address, listeners
from netserve.cli._logging import set_up_logging
from netserve.cli._plan import Transport
from netserve.cli._settings import Settings
from netserve.cli._together import AnyServer, serve_together

_SHOWN = {
    Transport.TCP: "TCP on {}",
    Transport.UDP: "UDP on {}",
    Transport.UNIX: "Unix stream on {}",
    Transport.UNIX_DATAGRAM: "Unix datagrams on {}",
}


def run_service(handler: AnyHandler, settings: Settings) -> None:
    """Serve *handler* as *settings* say, until SIGTERM or Ctrl-C.

    Raises :class:`Refusal` before anything is bound when they make no sense, and
    :class:`click.ClickException` when an address can't be bound.
    """
    check_settings(handler, settings)
    wanted = list(listeners(settings))
    if not wanted:
        msg = "there is nothing to listen on: give --tcp HOST:PORT, for instance"
        raise Refusal(msg)
    for listener in wanted:
        check_transport(handler, settings, listener.transport)
    extra = _tls_attributes(settings)
    metrics = None if settings.metrics is None else internet_address("--metrics", settings.metrics)
    if metrics is not None:
        _import_metrics()
    # A single server with nothing to be done beside it has the main thread to itself.
    beside = len(wanted) > 1 or metrics is not None or sys.stderr.isatty()
    set_up_logging(settings.log_level, settings.log_format, access=settings.access_log)
    with ExitStack() as stack:
        servers: dict[str, AnyServer] = {}
        for listener in wanted:
            made = server_class(handler, settings, listener.transport, extra, beside=beside)
            server = stack.enter_context(_bind(listener, made, handler))
            name = _SHOWN[listener.transport].format(_written(server.server_address))
            servers[name] = server
            click.echo(f"serving {name} until Ctrl-C")
        every = list(servers.values())
        if metrics is not None:
            endpoint = stack.enter_context(_bind_metrics(metrics, servers))
            click.echo(f"serving metrics on http://{_written(endpoint.server_address)}/metrics")
            every.append(endpoint)
        if beside:
            _serve_together(every, len(servers), settings)
        else:
            every[0].run(settings.grace)


def _serve_together(servers: Sequence[AnyServer], counted: int, settings: Settings) -> None:
    """Serve until told to stop; the first *counted* servers are those that the status tells of."""
    if not sys.stderr.isatty():
        serve_together(servers, settings.grace)
        return
    # Where there is no terminal, the command starts faster without these.
    from rich.console import Console

    from netserve.cli._status import INTERVAL, StatusLine

    with StatusLine(Console(stderr=True)) as status:
        # Logs go to the terminal above the line from now on.
        set_up_logging(settings.log_level, settings.log_format, access=settings.access_log)

        def tick() -> None:
            status.show([server.stats() for server in servers[:counted]])

        serve_together(servers, settings.grace, tick, INTERVAL)


def _bind(listener: Listener, made: AnyServerClass, handler: AnyHandler) -> AnyServer:
    """Make the server; raises :class:`click.ClickException` when its address can't be bound."""
    cls = cast("Any", made)
    try:
        if listener.given is not None:
            return cast("AnyServer", cls.from_socket(listener.given, handler))
        return cast("AnyServer", cls(listener.address, handler))
    except OSError as error:
        raise click.ClickException(error.strerror or str(error)) from error
    except (TypeError, ValueError) as error:
        raise Refusal(str(error)) from error


def _bind_metrics(address: tuple[str, int], servers: dict[str, AnyServer]) -> AnyServer:
    from netserve.metrics import MetricsServer

    try:
        return MetricsServer(address, servers)
    except OSError as error:
        raise click.ClickException(error.strerror or str(error)) from error


def _import_metrics() -> None:
    try:
        import netserve.metrics as _  # noqa: F401  # whether it can be imported
    except ImportError as error:
        raise Refusal(f"--metrics: {error}") from error


def _tls_attributes(settings: Settings) -> dict[str, Any]:
    """What makes the context of the certificate that was given, and makes it anew for SIGHUP."""
    certificate = settings.tls_cert
    if certificate is None:
        return {}

    def make_ssl_context(_server: object) -> ssl.SSLContext:
        from netserve.transports import server_context

        return server_context(certificate, settings.tls_key, client_ca=settings.tls_client_ca)

    try:
        make_ssl_context(None)
    except (OSError, ValueError) as error:
        msg = f"--tls-cert: {error}"
        raise Refusal(msg) from error
    return {"make_ssl_context": make_ssl_context}


def _written(address: object) -> str:
    """*address* as one reads it: ``127.0.0.1:9999``, ``[::1]:9999``, a path, ``@name``."""
    if isinstance(address, tuple):
        host, port, *_ = cast("tuple[object, ...]", address)
        return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
    if isinstance(address, bytes):
        return address.decode(errors="replace").replace("\0", "@", 1)
    return str(address)
