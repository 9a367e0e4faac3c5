"""Every mix-in on every server with every handler that makes sense, with a real client each."""

import http.client
import importlib.util
import json
import os
import socket
import subprocess
import sys
import tempfile
import xmlrpc.client
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

pytestmark = pytest.mark.skipif(
    not (hasattr(os, "fork") and hasattr(socket, "AF_UNIX")), reason="needs fork and AF_UNIX"
)

# What runs a request, by the mix-in: the server's own thread, another, a child process.
MIXINS = {
    "": "main",
    "netserve.concurrency:ThreadingMixIn": "thread",
    "netserve.concurrency:ForkingMixIn": "child",
    "socketserver:ThreadingMixIn": "thread",
    "socketserver:ForkingMixIn": "child",
    "netserve.socketserver:ThreadingMixIn": "thread",
    "netserve.socketserver:ForkingMixIn": "child",
    "netserve.concurrency:PreforkMixIn": "child",
    "netserve.concurrency:PreforkMixIn netserve.concurrency:ThreadPoolMixIn": "child",
    "netserve.concurrency:PreforkMixIn socketserver:ThreadingMixIn": "child",
    "netserve.concurrency:PreforkMixIn socketserver:ForkingMixIn": "child",
}

# These await their handlers.
AWAITING = {
    "netserve.concurrency:AsyncioMixIn": "main",
    "netserve.concurrency:PreforkMixIn netserve.concurrency:AsyncioMixIn": "child",
    **({"_uvloop:UvloopMixIn": "main"} if importlib.util.find_spec("uvloop") else {}),
}

FOUR = ["netserve.transports", "socketserver", "netserve.socketserver"]
STREAM_SERVERS = [
    f"{module}:{name}" for module in FOUR for name in ("TCPServer", "UnixStreamServer")
]
DATAGRAM_SERVERS = [
    f"{module}:{name}" for module in FOUR for name in ("UDPServer", "UnixDatagramServer")
]
STREAM_HANDLERS = ["function", "base", "stream", "stdlib-base", "stdlib-stream", "files"]
DATAGRAM_HANDLERS = ["function", "base", "datagram", "stdlib-base", "stdlib-datagram"]
HANDLERS = {
    **dict.fromkeys(STREAM_SERVERS, STREAM_HANDLERS),
    **dict.fromkeys(DATAGRAM_SERVERS, DATAGRAM_HANDLERS),
    "http.server:HTTPServer": STREAM_HANDLERS,
    "xmlrpc.server:SimpleXMLRPCServer": ["xmlrpc"],
    "wsgiref.simple_server:WSGIServer": ["wsgi"],
}

READY_MADE = [
    f"{mixin}{server}"
    for mixin in ("Threading", "Forking")
    for server in ("TCPServer", "UDPServer", "UnixStreamServer", "UnixDatagramServer")
]


class Combination(NamedTuple):
    """The classes to mix, the handler, who must be found to run a request, and where it is."""

    bases: list[str]
    handler: str
    runner: str
    place: str = "usual"


def combinations() -> Iterator[Any]:
    """Each combination, as a parameter of the test."""
    for mixin, runner in MIXINS.items():
        for server, names in HANDLERS.items():
            for name in names:
                bases = [*mixin.split(), server]
                yield pytest.param(Combination(bases, name, runner), id="-".join([*bases, name]))
    for ready_made in READY_MADE:
        runner = "thread" if ready_made.startswith("Threading") else "child"
        server = f"netserve.socketserver:{ready_made}"
        for name in DATAGRAM_HANDLERS if is_datagram(server) else STREAM_HANDLERS:
            yield pytest.param(Combination([server], name, runner), id=f"{server}-{name}")


def placed() -> Iterator[Any]:
    """Other places than an address of IPv4 or a path of one's own; for coroutines, these too."""
    for mixin, runner in {**MIXINS, **AWAITING}.items():
        awaits = mixin in AWAITING
        for server in ("TCPServer", "UDPServer", "UnixStreamServer", "UnixDatagramServer"):
            name = f"netserve.transports:{server}"
            bases = [*mixin.split(), name]
            places = ("inherited",) if "Unix" in server else ("ipv6", "dual", "inherited")
            for place in ("usual", *places) if awaits else places:
                handler = "datagram" if is_datagram(server) else "stream"
                handler = f"async-{handler}" if awaits else handler
                combination = Combination(bases, handler, runner, place)
                yield pytest.param(combination, id="-".join([*bases, handler, place]))


def is_datagram(server: str) -> bool:
    """Whether the class of this name serves datagrams."""
    return "UDP" in server or "Datagram" in server


class ServerProcess:
    """The process that serves, one combination after the other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        log = folder / "stderr"
        with log.open("wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "error", Path(__file__).with_name("_serve.py")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                cwd=folder,
            )
        self.errors = log.open()
        self.idle = True

    def start(self, combination: Combination) -> Any:
        """Have it serve *combination*; returns the address to connect to."""
        assert self.process.stdin is not None
        self.idle = False
        order = combination._asdict()
        del order["runner"]
        print(json.dumps(order), file=self.process.stdin, flush=True)
        address = self._answer()
        return str(self.folder / address) if isinstance(address, str) else tuple(address)

    def stop(self) -> None:
        """Have it stop; it must have left nothing behind and printed no error."""
        self.process.terminate()
        left = self._answer()
        assert left == {}
        assert self.errors.read() == ""
        self.idle = True

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.errors.read()
        return json.loads(line)

    def end(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
        self.errors.close()


@pytest.fixture(scope="module")
def processes() -> Iterator[Callable[[str], ServerProcess]]:
    """A process for the servers that fork and one for the others.

    A thread that has ended for Python may not have for the system, which then
    counts it, and Python warns of forking beside it.
    """
    with tempfile.TemporaryDirectory(prefix="ns-") as name:
        running: dict[bool, ServerProcess] = {}

        def process(runner: str) -> ServerProcess:
            forks = runner == "child"
            if forks in running and not running[forks].idle:
                # The test before has failed; the next one begins afresh.
                running.pop(forks).end()
            if forks not in running:
                folder = Path(name, str(forks))
                folder.mkdir(exist_ok=True)
                (folder / "file.txt").write_text("HELLO")
                running[forks] = ServerProcess(folder)
            return running[forks]

        # Before the first test begins, so that they aren't taken for left behind.
        process("main")
        process("child")
        yield process
        for server_process in running.values():
            server_process.end()


def family(address: Any) -> int:
    """The family of *address*."""
    if isinstance(address, str):
        return socket.AF_UNIX
    return socket.AF_INET6 if ":" in address[0] else socket.AF_INET


def connect(address: Any) -> socket.socket:
    """A connection to *address*."""
    client = socket.socket(family(address))
    client.connect(address)
    return client


def ask_stream(address: Any) -> str:
    """Say hello on a connection; returns all that comes back."""
    with connect(address) as client:
        client.sendall(b"hello\n")
        with client.makefile() as answer:
            return answer.read()


def ask_datagram(address: Any) -> str:
    """Say hello in a datagram; returns the one that comes back."""
    with tempfile.TemporaryDirectory(prefix="ns-") as folder:
        with socket.socket(family(address), socket.SOCK_DGRAM) as client:
            client.bind(f"{folder}/client" if isinstance(address, str) else (address[0], 0))
            client.sendto(b"hello\n", address)
            return client.recv(1024).decode()


def ask_files(address: Any) -> str:
    """Get the file over HTTP; returns its text and who ran the handler."""
    client = http.client.HTTPConnection("localhost")
    client.sock = connect(address)
    client.request("GET", "/file.txt")
    with client.getresponse() as response:
        return f"{response.read().decode()} in {response.headers['X-Ran-In']}"


def ask_wsgi(address: Any) -> str:
    """Get what the WSGI application answers to the path."""
    client = http.client.HTTPConnection(*address)
    client.request("GET", "/hello")
    with client.getresponse() as response:
        return response.read().decode().removeprefix("/")


def ask_xmlrpc(address: Any) -> str:
    """Call the function that the server has registered."""
    host, port = address
    with xmlrpc.client.ServerProxy(f"http://{host}:{port}") as proxy:
        return str(proxy.reply("hello"))


@pytest.mark.parametrize("combination", [*combinations(), *placed()])
def test_combination_answers_a_real_client(
    processes: Callable[[str], ServerProcess], combination: Combination
) -> None:
    """The client gets its answer, from whom the mix-in says, and nothing is left behind."""
    clients = {"files": ask_files, "wsgi": ask_wsgi, "xmlrpc": ask_xmlrpc}
    ask = ask_datagram if is_datagram(combination.bases[-1]) else ask_stream
    process = processes(combination.runner)
    address = process.start(combination)
    if combination.place == "dual":
        assert address[0] == "::"
        address = ("127.0.0.1", address[1])
    answer = clients.get(combination.handler, ask)(address)
    process.stop()
    assert answer == f"HELLO in {combination.runner}"
