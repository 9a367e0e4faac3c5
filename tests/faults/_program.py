"""A server in a process of its own, for the fault suite; ``_harness`` starts it.

The argument is a JSON object:

* ``server``: which one, by its name in the table;
* ``folder``: where the log goes, and where the file ``armed-HOOK`` lets *HOOK* raise
  once, and ``broken-HOOK`` each time;
* ``handler``: a name of ``HANDLERS`` (default ``upper``);
* ``attributes``: what the server class has besides;
* ``bases``: names of classes here that come before the server class;
* ``trouble``: a name of ``TROUBLES``, begun and ended by SIGUSR2;
* ``log``: another file for the log;
* ``rounds``: how many servers to close while clients come, instead of serving;
* ``run``: whether to serve with ``run()``, and end at SIGTERM.

The address's port is printed as a JSON object, then, for each SIGUSR1, a report.
Signals and not threads or a socket are what it listens to, so that nothing is
measured but the server, and children are forked from one thread.
"""

import asyncio
import contextlib
import gc
import importlib
import json
import logging
import os
import resource
import signal
import socket
import socketserver
import ssl
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from netserve.transports import ProxyProtocolMixIn, TLSMixIn, server_context

MAIN = os.getpid()
NOBODY = 65534


def tell(**answer: object) -> None:
    """Print *answer* as one line."""
    os.write(1, json.dumps(answer, default=str).encode() + b"\n")


class JsonHandler(logging.Handler):
    """Appends each record to a file that is open already, children's too."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def emit(self, record: logging.LogRecord) -> None:
        """Append *record*."""
        try:
            line = json.dumps(
                {
                    "logger": record.name,
                    "level": record.levelname,
                    "message": record.getMessage(),
                    "traceback": record.exc_info is not None,
                    "duration": getattr(record, "duration", None),
                    "outcome": str(getattr(record, "outcome", "")),
                }
            )
            os.write(self._file, line.encode() + b"\n")
        except Exception:
            self.handleError(record)


# What the handlers do; ``self`` is a StreamRequestHandler of one framework or another.


def upper(self: Any) -> None:
    """Send each line back in capitals."""
    for line in self.rfile:
        self.wfile.write(line.upper())


def receive(self: Any) -> None:
    """Read all that comes, from the socket."""
    while self.request.recv(1000):
        pass


def flood(self: Any) -> None:
    """Write without end."""
    while True:
        self.wfile.write(bytes(1 << 20))


def once(self: Any) -> None:
    """Send back what comes first, and end."""
    self.request.sendall(self.request.recv(1000))


def slow(self: Any) -> None:
    """Work for as long as the number asks for, then send a long reply."""
    line = self.rfile.readline()
    time.sleep(self.server.pause * (int(line) % 10))
    self.wfile.write(line * 5000)


def endless(self: Any) -> None:
    """Reply until that fails."""
    self.rfile.readline()
    while True:
        self.wfile.write(b".")
        time.sleep(0.02)


def asleep(self: Any) -> None:
    """Heed nothing that happens to the connection."""
    self.rfile.readline()
    time.sleep(600)


def surplus(self: Any) -> None:
    """Reply to one line, and leave unread what comes after it."""
    self.rfile.readline()
    self.wfile.write(bytes(256 << 10))


def answer_elsewhere(message: bytes) -> bytes:
    """Answer in capitals; or with the process, or after a minute."""
    if message == b"pid":
        return b"%d" % os.getpid()
    if message == b"sleep":
        time.sleep(60)
    return message.upper()


def echo_datagram(request: Any, client_address: Any, server: Any) -> None:
    """Send a datagram back."""
    data, own = request
    own.sendto(data, client_address)


HANDLERS = {
    function.__name__: function
    for function in (upper, receive, flood, once, slow, endless, asleep, surplus)
}


# The same as coroutines; ``self`` is an AsyncStreamRequestHandler.


async def _upper(self: Any) -> None:
    async for line in self.rfile:
        await self.wfile.write(line.upper())


async def _receive(self: Any) -> None:
    while await self.rfile.read1(1000):
        pass


async def _flood(self: Any) -> None:
    while True:
        await self.wfile.write(bytes(1 << 20))


async def _once(self: Any) -> None:
    await self.wfile.write(await self.rfile.read1(1000))


async def _slow(self: Any) -> None:
    line = await self.rfile.readline()
    await asyncio.sleep(self.server.pause * (int(line) % 10))
    await self.wfile.write(line * 5000)


async def _endless(self: Any) -> None:
    await self.rfile.readline()
    while True:
        await self.wfile.write(b".")
        await asyncio.sleep(0.02)


async def _asleep(self: Any) -> None:
    await self.rfile.readline()
    time.sleep(600)


async def _surplus(self: Any) -> None:
    await self.rfile.readline()
    await self.wfile.write(bytes(256 << 10))


COROUTINES = {
    function.__name__[1:]: function
    for function in (_upper, _receive, _flood, _once, _slow, _endless, _asleep, _surplus)
}


class Raises:
    """Raises where a file says so: once, because that removes it, in a child too; or ever again."""

    folder: Path

    def raise_at(self, hook: str) -> None:
        """Raise if *hook* is armed."""
        with contextlib.suppress(FileNotFoundError):
            (self.folder / f"armed-{hook}").unlink()
            raise ZeroDivisionError(hook)
        if (self.folder / f"broken-{hook}").exists():
            raise ZeroDivisionError(hook)


def raising(hook: str) -> Callable[..., Any]:
    """A method that raises where it is armed, or else does what *hook* does."""

    def method(self: Any, *arguments: object) -> object:
        server = getattr(self, "server", self)
        server.raise_at(hook)
        return getattr(super(owners[hook], self), hook)(*arguments)

    return method


SERVER_HOOKS = [
    "get_request",
    "verify_request",
    "process_request",
    "finish_request",
    "shutdown_request",
    "close_request",
    "handle_error",
    "service_actions",
]
HANDLER_HOOKS = ["setup", "handle", "finish"]


class FaultyHooks(Raises):
    """The hooks of a server, each of which may raise."""


class FaultyHandler:
    """The hooks of a handler, each of which may raise."""


class Proxied(ProxyProtocolMixIn):
    """A server behind a proxy on this machine."""

    trusted_proxies = ("127.0.0.1",)


owners: dict[str, type] = {}
for _hooks, _owner in ((SERVER_HOOKS, FaultyHooks), (HANDLER_HOOKS, FaultyHandler)):
    for _hook in _hooks:
        owners[_hook] = _owner
        setattr(_owner, _hook, raising(_hook))


class FaultyLogging(logging.Filter):
    """Raises inside logging, where a handler's own care for its errors doesn't reach."""

    def __init__(self, server: Raises) -> None:
        super().__init__()
        self._server = server

    def filter(self, record: logging.LogRecord) -> bool:
        """Let *record* through, unless logging is armed."""
        self._server.raise_at("logging")
        return True


class Stillborn:
    """Whose workers end before they serve."""

    def setup_worker(self) -> None:
        """End."""
        os._exit(3)


class Counted:
    """Counts the calls of ``get_request``."""

    calls = 0

    def get_request(self) -> Any:
        """Count, and take a request."""
        self.calls += 1
        return super().get_request()  # type: ignore[misc]


class Secret(TLSMixIn):
    """Speaks TLS, with the certificate in the folder *certificates*."""

    certificates = ""

    def make_ssl_context(self) -> ssl.SSLContext:
        """Read it."""
        folder = Path(self.certificates)
        return server_context(folder / "server.pem", folder / "server.key")


class SecretListener:
    """Does so with the usual recipe: the listening socket is one of TLS."""

    certificates = ""
    socket: Any

    def server_activate(self) -> None:
        """Put TLS over it."""
        super().server_activate()  # type: ignore[misc]
        folder = Path(self.certificates)
        context = server_context(folder / "server.pem", folder / "server.key")
        self.socket = context.wrap_socket(self.socket, server_side=True)


def server_class(name: str, handler: str, bases: list[type]) -> tuple[type[Any], Any]:
    """The class for *name*, with *bases* before it, and its handler."""
    framework, _, kind = name.rpartition(" ")
    if framework:
        module = "socketserver" if framework == "stdlib" else "netserve.socketserver"
        transports = concurrency = handlers = importlib.import_module(module)
    else:
        transports = importlib.import_module("netserve.transports")
        concurrency = importlib.import_module("netserve.concurrency")
        handlers = importlib.import_module("netserve.handlers")
    if kind == "executor":
        return executing_server()
    if kind == "UDPServer":
        return type(kind, (Counted, *bases, transports.UDPServer), {}), echo_datagram
    names = [] if kind == "TCPServer" else kind.split("+")
    mixins = [getattr(concurrency, each) for each in names]
    faulty = (FaultyHandler,) if FaultyHooks in bases else ()

    awaits = kind == "AsyncioMixIn"
    base = handlers.AsyncStreamRequestHandler if awaits else handlers.StreamRequestHandler
    work = COROUTINES[handler] if awaits else HANDLERS[handler]
    working = type("Working", (base,), {"handle": work})
    handler_class = type("Handler", (*faulty, working), {})
    return type(kind, (Counted, *bases, *mixins, transports.TCPServer), {}), handler_class


def executing_server() -> tuple[type[Any], Any]:
    """A class with a pool of processes of its own, and a handler whose messages that answers."""
    from multiprocessing import get_context

    from netserve.concurrency import MultiplexingMixIn
    from netserve.handlers import MessageRequestHandler
    from netserve.transports import TCPServer

    class Working(MessageRequestHandler):
        """Answers lines elsewhere."""

        process_message = staticmethod(answer_elsewhere)

    class Executing(Counted, MultiplexingMixIn, TCPServer):
        """Two processes, which are forked from one without threads."""

        def make_executor(self) -> Executor:
            """The pool."""
            return ProcessPoolExecutor(2, mp_context=get_context("forkserver"))

    return Executing, Working


# Troubles: each yields once, and ends what it began after that.


def no_descriptors(options: dict[str, Any]) -> Any:
    """Take all descriptors that are left under the limit but ``spare`` ones."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))

    def trouble() -> Any:
        taken = []
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.dup(0))
        for _ in range(options.get("spare", 0)):
            os.close(taken.pop())
        yield
        for descriptor in taken:
            os.close(descriptor)

    return trouble


def no_processes(options: dict[str, Any]) -> Any:
    """Let the system refuse threads and processes: RLIMIT_NPROC, which doesn't bind root."""
    if os.getuid() == 0:
        os.setuid(NOBODY)
    hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]

    def trouble() -> Any:
        resource.setrlimit(resource.RLIMIT_NPROC, (0, hard))
        yield
        resource.setrlimit(resource.RLIMIT_NPROC, (hard, hard))

    return trouble


def storm(options: dict[str, Any]) -> Any:
    """Start 300 children of the program's own, which has a handler for SIGCHLD.

    ``reaper`` says what that does: count, or collect whatever has ended, or be
    none at all because the signal is ignored.
    """
    heard = 0

    def hear(number: int, frame: object) -> None:
        nonlocal heard
        heard += 1
        with contextlib.suppress(ChildProcessError):
            while options["reaper"] == "all" and os.waitpid(-1, os.WNOHANG)[0]:
                pass

    signal.signal(signal.SIGCHLD, signal.SIG_IGN if options["reaper"] == "system" else hear)

    def spawn() -> None:
        ended = stolen = 0
        for _ in range(30):
            pids = [os.posix_spawn("/bin/true", ["true"], {}) for _ in range(10)]
            for pid in pids:
                try:
                    ended += os.waitpid(pid, 0)[1] == 0
                except ChildProcessError:
                    stolen += 1
        tell(ended=ended, stolen=stolen, heard=heard)

    def trouble() -> Any:
        threading.Thread(target=spawn).start()
        yield

    return trouble


TROUBLES = {function.__name__: function for function in (no_descriptors, no_processes, storm)}


def report_on(server: Any) -> Callable[[int, object], None]:
    """A signal handler that tells what *server* has done."""

    def report(number: int, frame: object) -> None:
        stats = asdict(server.stats()) if hasattr(server, "stats") else {}
        dispatch = getattr(getattr(server, "current_loop", None), "_dispatch", None)
        flying = len(dispatch.flying) if dispatch else 0
        tell(calls=server.calls, stats=stats, flying=flying)

    return report


def toggle(trouble: Callable[[], Any]) -> Callable[[int, object], None]:
    """A signal handler that begins *trouble*, and ends it the next time."""
    state: list[Any] = []

    def switch(number: int, frame: object) -> None:
        if state:
            for _ in state.pop():
                pass
            tell(trouble="over")
        else:
            state.append(trouble())
            next(state[0])
            tell(trouble="here")

    return switch


def run(server: Any) -> None:
    """Serve until SIGTERM: with ``run()``, or by the recipe that stdlib's users follow."""
    if not isinstance(server, socketserver.BaseServer):
        server.run()
        return
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever()
    server.server_close()


def closing_raises(server: Any) -> list[RuntimeError]:
    """Close *server*; returns what that raises.

    The standard library's waits for threads that are yet to be started.
    """
    try:
        server.server_close()
    except RuntimeError as error:
        return [error]
    return []


def close_rounds(Server: type[Any], handler: object, rounds: int) -> None:
    """Serve in one thread, let another be a client, close in this one; *rounds* times."""
    raised: list[object] = []

    from netserve.core import StateError

    def note(problem: threading.ExceptHookArgs) -> None:
        # On a busy machine the server may be closed before its thread begins to serve.
        if not issubclass(problem.exc_type, StateError):
            raised.append(problem)

    threading.excepthook = note
    served = stuck = active = 0

    def visit(port: int) -> None:
        nonlocal served
        with contextlib.suppress(OSError):
            while True:
                with socket.create_connection(("127.0.0.1", port), 2) as client:
                    client.sendall(b"x")
                    served += client.recv(1) == b"x"

    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    def play(wait: float) -> None:
        nonlocal stuck, active
        server = Server(("127.0.0.1", 0), handler)
        threads = [
            threading.Thread(target=server.serve_forever, daemon=True),
            threading.Thread(target=visit, args=(server.server_address[1],), daemon=True),
        ]
        for thread in threads:
            thread.start()
        time.sleep(wait)
        raised.extend(closing_raises(server))
        for thread in threads:
            thread.join(3)
            stuck += thread.is_alive()
        # What was accepted last may have been started after the wait of server_close.
        server.server_close()
        active += server.stats().active if hasattr(server, "stats") else 0

    # Reading the folder takes one, now as then.
    before = descriptors()
    for number in range(rounds):
        play(number % 20 / 2000)
    gc.collect()
    left = descriptors() - before
    tell(served=served, raised=len(raised), stuck=stuck, active=active, descriptors=left)


def main() -> None:
    """Serve as the argument says."""
    options = json.loads(sys.argv[1])
    folder = Path(options["folder"])
    log = logging.getLogger("netserve")
    log.setLevel(logging.DEBUG)
    if options.get("log"):
        log.addHandler(logging.FileHandler(options["log"]))
    else:
        log.addHandler(JsonHandler(str(folder / "log")))
    bases = [globals()[name] for name in options.get("bases", [])]
    kind, handler = server_class(options["server"], options.get("handler", "upper"), bases)
    for name, value in options.get("attributes", {}).items():
        setattr(kind, name, value.encode() if name == "farewell" else value)
    server = kind(("127.0.0.1", 0), handler)
    if isinstance(server, Raises):
        kind.folder = folder
        logging.getLogger("netserve.server").addFilter(FaultyLogging(server))
    signal.signal(signal.SIGUSR1, report_on(server))
    if "trouble" in options:
        trouble = TROUBLES[options["trouble"]](options)
        signal.signal(signal.SIGUSR2, toggle(trouble))
    tell(port=server.server_address[1])
    if "rounds" in options:
        close_rounds(kind, handler, options["rounds"])
        return
    if options.get("run"):
        run(server)
    else:
        server.serve_forever(poll_interval=options.get("poll_interval", 0.5))


if __name__ == "__main__":
    main()
