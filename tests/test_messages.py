"""One handler of messages on every server with every mix-in, with a real client each.

The handler is ``messages`` of ``_serve.py``, which serves in a process of its own.
A mix-in, a module of servers, or a kind of server more is a line more in a table
below.
"""

import contextlib
import importlib.util
import json
import os
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests._tls import Authority, Client

pytestmark = pytest.mark.skipif(
    not (hasattr(os, "fork") and hasattr(socket, "AF_UNIX")), reason="needs fork and AF_UNIX"
)

PATIENCE = 20

PREFORK = "netserve.concurrency:PreforkMixIn"
# One of the tests' own, in the folder of ``_serve.py``.
UVLOOP = ["_uvloop:UvloopMixIn"] if importlib.util.find_spec("uvloop") else []

MIXINS = [
    "",
    "netserve.concurrency:ThreadingMixIn",
    "netserve.concurrency:ForkingMixIn",
    "netserve.concurrency:ThreadPoolMixIn",
    "netserve.concurrency:MultiplexingMixIn",
    "__main__:ExecutorMixIn",
    "netserve.concurrency:AsyncioMixIn",
    *UVLOOP,
    "socketserver:ThreadingMixIn",
    "socketserver:ForkingMixIn",
    PREFORK,
    f"{PREFORK} netserve.concurrency:ThreadingMixIn",
    f"{PREFORK} netserve.concurrency:ForkingMixIn",
    f"{PREFORK} netserve.concurrency:ThreadPoolMixIn",
    f"{PREFORK} netserve.concurrency:MultiplexingMixIn",
]
LOOPS = ("MultiplexingMixIn", "ExecutorMixIn", "AsyncioMixIn", "UvloopMixIn")
MODULES = ["netserve.transports", "netserve.socketserver", "socketserver"]
STREAM_SERVERS = ["TCPServer", "UnixStreamServer"]
DATAGRAM_SERVERS = ["UDPServer", "UnixDatagramServer"]


class Talk(NamedTuple):
    """What a client of a stream says, and must hear."""

    turns: list[tuple[bytes, bytes]]
    """What is sent, and what must be received before the next turn."""

    last: bytes = b""
    """What must be received after the client's end of sending, or the server's."""

    step: int = 10_000
    """In pieces of how many bytes it is sent."""

    ended_by_server: bool = False
    """Whether the server ends the connection, and not the client."""

    words: str = ""
    """What must be in the server's records; empty for none."""
    whole: bool = True
    """Whether the server tells, where it can, that the client has heard everything."""


LINES = [b"line %d\n" % number for number in range(16)]
FAULT = "a line is longer than the maximum of 1000 bytes"

TALKS = {
    "one": Talk([(b"hello\n", b"HELLO\n")]),
    "in-turns": Talk([(line, line.upper()) for line in LINES]),
    "pipelined": Talk([(b"".join(LINES), b"".join(LINES).upper())]),
    "byte-by-byte": Talk([(b"one\ntwo\n", b"ONE\nTWO\n")], step=1),
    "no-answer": Talk([(b"one\nnothing\ntwo\n", b"ONE\nTWO\n"), (b"nothing\n", b"")]),
    "two-answers": Talk([(b"one\ntwice\ntwo\n", b"ONE\nFIRST\nTWICE\nTWO\n")]),
    "nothing-said": Talk([]),
    "half-a-message": Talk(
        [(b"one\nhalf", b"ONE\n")],
        last=b"! the stream ended within a message, 4 bytes after its beginning",
    ),
    "closed": Talk([(b"one\nquit\ntwo\n", b"ONE\nQUIT\n")], ended_by_server=True),
    "malformed": Talk(
        [(b"one\n" + b"x" * 1001, f"ONE\n! {FAULT}".encode())],
        ended_by_server=True,
        words=f"broke the framing: {FAULT}",
    ),
    "failing": Talk(
        [(b"one\nfail\ntwo\n", b"ONE\n")],
        ended_by_server=True,
        words="RuntimeError: of the handler",
        whole=False,
    ),
}


class Volley(NamedTuple):
    """The datagrams that a client sends at once, and those that it must receive."""

    sent: list[bytes]
    received: list[bytes]
    words: str = ""
    named: bool = True
    """Whether the client has an address, which on a Unix socket it may not."""


VOLLEYS = {
    "one": Volley([b"hello"], [b"HELLO"]),
    "lines-are-no-matter": Volley([b"one\ntwo\n"], [b"ONE\nTWO\n"]),
    "long": Volley([b"x" * 2000], [b"X" * 2000]),
    "empty": Volley([b""], [b""]),
    "many": Volley(LINES, [line.upper() for line in LINES]),
    "no-answer": Volley([b"nothing"] * 3, []),
    "two-answers": Volley([b"twice"], [b"FIRST", b"TWICE"]),
    "closed": Volley([b"quit", b"one"], [b"ONE", b"QUIT"]),
    "failing": Volley([b"fail", b"one"], [b"ONE"], words="RuntimeError: of the handler"),
    "unnamed": Volley([b"one"], [], words="has no address to answer to", named=False),
    "unnamed-no-answer": Volley([b"nothing"], [], named=False),
}


class Server:
    """The process that serves, one combination after the other."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        with (folder / "stderr").open("wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "error", Path(__file__).with_name("_serve.py")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                cwd=folder,
            )
        self.errors = (folder / "stderr").open()
        self.idle = True

    def start(self, bases: list[str]) -> Any:
        """Have it serve messages on a mix of *bases*; returns the address to connect to."""
        assert self.process.stdin is not None
        self.idle = False
        # What is answered elsewhere is a function of the message.
        handler = "sent-messages" if "Executor" in bases[0] else "messages"
        print(json.dumps({"bases": bases, "handler": handler}), file=self.process.stdin)
        self.process.stdin.flush()
        address = self._answer()
        return str(self.folder / address) if isinstance(address, str) else tuple(address)

    def stop(self) -> str:
        """Have it stop, with nothing left behind; returns what it has recorded."""
        self.process.terminate()
        assert self._answer() == {}
        self.idle = True
        return self.errors.read()

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
def servers() -> Iterator[Callable[[list[str]], Server]]:
    """A process for the servers that fork and one for the others, as in ``test_composition``."""
    with tempfile.TemporaryDirectory(prefix="ns-") as name:
        Authority(Path(name)).issue("server")
        running: list[Server] = []
        current: dict[bool, Server] = {}

        def server(bases: list[str]) -> Server:
            forks = any("Forking" in base or base == PREFORK for base in bases)
            if forks not in current or not current[forks].idle:
                # The first one, or the test before has failed.
                current[forks] = Server(Path(name, str(len(running))))
                running.append(current[forks])
            return current[forks]

        # Before the first test begins, so that they aren't taken for left behind.
        server(MIXINS[0:1])
        server(["Forking"])
        yield server
        for each in running:
            each.end()


def combinations(classes: list[str], below: str = "") -> list[Any]:
    """Each mix-in on each of the server *classes* of each module that it is for.

    *below* is another mix-in between the two, for servers that aren't the
    standard library's.
    """
    mixed = [
        [*mixin.split(), *filter(None, [below]), f"{module}:{name}"]
        for mixin in MIXINS
        for module in MODULES
        for name in classes
        # The standard library's loop serves one request after the other.
        if not ((below or mixin.endswith(LOOPS)) and module == "socketserver")
    ]
    return [pytest.param(bases, id="-".join(bases)) for bases in mixed]


def family(address: Any) -> int:
    """The address family of *address*."""
    return socket.AF_UNIX if isinstance(address, str) else socket.AF_INET


def receive(client: "socket.socket | Client", size: int) -> bytes:
    """Exactly *size* bytes, or fewer at the end."""
    received = b""
    while len(received) < size and (data := client.recv(size - len(received))):
        received += data
    return received


def say(address: Any, talk: Talk) -> Iterator[tuple[bytes, bytes]]:
    """Have *talk*; what is heard and what should be, by and by."""
    with socket.socket(family(address)) as client:
        client.settimeout(PATIENCE)
        client.connect(address)
        if client.family == socket.AF_INET:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        for sent, expected in talk.turns:
            for start in range(0, len(sent), talk.step):
                client.sendall(sent[start : start + talk.step])
            yield receive(client, len(expected)), expected
        if not talk.ended_by_server:
            client.shutdown(socket.SHUT_WR)
        yield receive(client, 10_000), talk.last


def say_secretly(address: Any, talk: Talk, context: ssl.SSLContext) -> Iterator[tuple[Any, Any]]:
    """As :func:`say`, under TLS; at last, whether the server has told that it was all."""
    with Client(address, context) as client:
        for sent, expected in talk.turns:
            for start in range(0, len(sent), talk.step):
                client.sendall(sent[start : start + talk.step])
            yield receive(client, len(expected)), expected
        if not talk.ended_by_server:
            client.end()
        yield receive(client, 10_000), talk.last
        yield client.whole, talk.whole


@contextlib.contextmanager
def datagram_client(address: Any, *, named: bool = True) -> Iterator[socket.socket]:
    """A socket to send datagrams to *address*, with an address of its own if *named*."""
    with tempfile.TemporaryDirectory(prefix="ns-") as folder:
        with socket.socket(family(address), socket.SOCK_DGRAM) as client:
            client.settimeout(PATIENCE)
            if named:
                client.bind(f"{folder}/client" if isinstance(address, str) else ("127.0.0.1", 0))
            yield client


@pytest.mark.parametrize("talk", TALKS.values(), ids=TALKS)
@pytest.mark.parametrize("bases", combinations(STREAM_SERVERS))
def test_messages_on_a_stream(
    servers: Callable[[list[str]], Server], bases: list[str], talk: Talk
) -> None:
    """The client hears what it should and then the end, and the records tell the faults."""
    server = servers(bases)
    for heard, expected in say(server.start(bases), talk):
        assert heard == expected
    check_records(server.stop(), talk.words)


@pytest.mark.parametrize("talk", TALKS.values(), ids=TALKS)
@pytest.mark.parametrize("bases", combinations(STREAM_SERVERS, "netserve.transports:TLSMixIn"))
def test_messages_under_tls(
    servers: Callable[[list[str]], Server], bases: list[str], talk: Talk
) -> None:
    """The same, under TLS; and the client can tell whether it has heard everything."""
    server = servers(bases)
    address = server.start(bases)
    context = ssl.create_default_context(cafile=str(server.folder.parent / "ca.pem"))
    for heard, expected in say_secretly(address, talk, context):
        assert heard == expected
    check_records(server.stop(), talk.words)


@pytest.mark.parametrize(
    ("bases", "volley"),
    [
        pytest.param(*bases.values, volley, id=f"{bases.id}-{name}")
        for bases in combinations(DATAGRAM_SERVERS)
        for name, volley in VOLLEYS.items()
        # A sender on the Internet always has an address.
        if volley.named or "Unix" in str(bases.id)
    ],
)
def test_messages_in_datagrams(
    servers: Callable[[list[str]], Server], bases: list[str], volley: Volley
) -> None:
    """The client receives what it should and no more, and the records tell the faults."""
    server = servers(bases)
    address = server.start(bases)
    with datagram_client(address, named=volley.named) as client:
        for datagram in volley.sent:
            client.sendto(datagram, address)
        received = [client.recv(10_000) for _ in volley.received]
        # Its answer shows that the datagrams before it have been taken.
        with datagram_client(address) as other:
            other.sendto(b"end", address)
            assert other.recv(100) == b"END"
        check_records(server.stop(), volley.words)
        client.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.recv(10_000)
    # Those of threads and processes may overtake each other.
    assert sorted(received) == sorted(volley.received)


def check_records(records: str, words: str) -> None:
    """The *words* are in the records; or there are none."""
    assert words in records
    assert bool(words) == bool(records)
