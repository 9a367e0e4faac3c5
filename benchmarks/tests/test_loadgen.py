"""The load generator finds what a server does wrong."""

import json
import shutil
import socketserver
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")


@pytest.fixture(scope="module")
def loadgen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, compiled without a warning."""
    program = tmp_path_factory.mktemp("loadgen") / "loadgen"
    source = Path(__file__).parent.parent / "loadgen.c"
    command = ["cc", "-O2", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-o"]
    subprocess.run([*command, str(program), str(source)], check=True)
    return program


class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Threads that are waited for."""

    request_queue_size = 50

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: the generator closes what it gives up."""


@contextmanager
def serving(reply: Callable[[bytes], bytes], *, lines: int = 1_000_000) -> Iterator[int]:
    """The port of a server that answers so many *lines* of a connection with *reply*."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            for _, line in zip(range(lines), self.rfile, strict=False):
                self.wfile.write(reply(line))

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def run(loadgen: Path, port: int, *options: str) -> dict[str, Any]:
    """The generator's line."""
    done = subprocess.run(
        [str(loadgen), *options, "-p", str(port)],
        input="",
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


QUICK = ("-t", "0.1", "-w", "0.02")


@pytest.mark.parametrize(
    "options",
    [
        ("echo", "-n", "3", "-d", "1"),
        ("echo", "-n", "2", "-d", "16", "-s", "4096"),
        ("mix", "-n", "3", "-d", "4", "-x", "0.5"),
    ],
)
def test_upper_case_is_right(loadgen: Path, options: tuple[str, ...]) -> None:
    """However many requests are under way, and however long they are."""
    with serving(bytes.upper) as port:
        answer = run(loadgen, port, *options, *QUICK)
    assert answer["requests_with_warmup"] > answer["requests"] > 0
    assert answer["errors"] == 0
    assert answer["p99_us"] >= answer["p50_us"] > 0


def test_a_share_of_the_requests_is_marked(loadgen: Path) -> None:
    """Every tenth, of all connections together."""
    seen = []

    def reply(line: bytes) -> bytes:
        seen.append(line[:1])
        return line.upper()

    with serving(reply) as port:
        run(loadgen, port, "mix", "-n", "2", "-x", "0.1", *QUICK)
    assert set(seen) == {b"a", b"S"}
    assert seen.count(b"S") == pytest.approx(len(seen) / 10, abs=2)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda line: line,
        lambda line: line.upper()[:-2] + b"\n",
        lambda line: line.upper() * 2,
        lambda line: line.upper().replace(b"Z", b"z"),
    ],
)
def test_a_wrong_reply_is_an_error(loadgen: Path, wrong: Callable[[bytes], bytes]) -> None:
    """In case, in length, in number, in one byte."""
    replies = 0

    def reply(line: bytes) -> bytes:
        nonlocal replies
        replies += 1
        # The first one belongs to the set-up, which would not go on.
        return wrong(line) if replies > 1 else line.upper()

    with serving(reply) as port:
        answer = run(loadgen, port, "echo", "-n", "1", *QUICK)
    assert answer["errors"] == 1


def test_a_close_is_an_error_on_a_connection_that_stays(loadgen: Path) -> None:
    """And expected after the one reply of a short one."""
    with serving(bytes.upper, lines=1) as port:
        assert run(loadgen, port, "echo", "-n", "2", *QUICK)["errors"] == 2
        answer = run(loadgen, port, "connect", "-n", "4", *QUICK)
    assert answer["errors"] == 0
    assert answer["requests"] > 0


def test_a_short_connection_without_a_reply_is_an_error(loadgen: Path) -> None:
    """The close alone is no answer."""
    with serving(bytes.upper, lines=0) as port:
        answer = run(loadgen, port, "connect", "-n", "2", *QUICK)
    assert answer["errors"] > 0
    assert answer["requests_with_warmup"] == 0


def test_lost_datagrams_are_sent_again(loadgen: Path) -> None:
    """And counted; the one that comes is counted once."""
    seen: dict[bytes, int] = {}

    class Handler(socketserver.DatagramRequestHandler):
        def handle(self) -> None:
            seen[self.packet] = seen.get(self.packet, 0) + 1

        def finish(self) -> None:
            if not self.packet.startswith(b"000000000000003 ") or seen[self.packet] > 1:
                self.socket.sendto(self.packet.upper(), self.client_address)

    with socketserver.UDPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        port = server.server_address[1]
        answer = run(loadgen, port, "udp", "-n", "1", "-t", "0.4", "-w", "0")
        server.shutdown()
        thread.join()
    assert answer["resent"] == 1
    assert answer["errors"] == 0
    assert len(seen) - 1 <= answer["requests_with_warmup"] <= len(seen)


def test_idle_connections_have_been_answered_once(loadgen: Path) -> None:
    """They are let go when standard input ends."""
    with serving(bytes.upper) as port:
        answer = run(loadgen, port, "idle", "-n", "5")
    assert answer["requests_with_warmup"] == 5


@pytest.mark.parametrize("options", [("-n", "20000"), ("-s", "5"), ("-t", "61"), ("-d", "65")])
def test_load_is_bounded(loadgen: Path, options: tuple[str, ...]) -> None:
    """Nothing is sent that was asked for beyond the bounds."""
    assert "out of bounds" in run(loadgen, 9, "echo", *options)["failed"]
