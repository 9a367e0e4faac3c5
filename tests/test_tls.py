"""Servers under TLS with every mix-in, and clients that others have written."""

import contextlib
import http.server
import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from netserve.concurrency import (
    AsyncioMixIn,
    MultiplexingMixIn,
    ThreadingMixIn,
    ThreadPoolMixIn,
)
from netserve.core import DeadlineError, LineTooLongError, Outcome, TruncatedError
from netserve.handlers import Lines, MessageRequestHandler, TLSRequestHandler
from netserve.transports import TCPServer, TLSMixIn, server_context
from tests._tls import NAME, PATIENCE, Authority, Client

HERE = ("127.0.0.1", 0)
MIXINS = [
    "ThreadingMixIn",
    "ForkingMixIn",
    "ThreadPoolMixIn",
    "MultiplexingMixIn",
    "AsyncioMixIn",
    *(["tests._uvloop:UvloopMixIn"] if importlib.util.find_spec("uvloop") else []),
]
KINDS = ["", *MIXINS]

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority with a certificate for the server, in files."""
    authority = Authority(tmp_path_factory.mktemp("tls"))
    authority.issue("server")
    return authority


class Program:
    """A server in a process of its own; see ``_tls_program``."""

    def __init__(
        self, folder: Path, kind: str, *, client_ca: bool = False, **attributes: Any
    ) -> None:
        given = {
            "bases": [kind if ":" in kind else f"netserve.concurrency:{kind}"] if kind else [],
            "folder": str(folder),
            "client_ca": client_ca,
            "attributes": attributes,
        }
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "tests._tls_program", json.dumps(given)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parent.parent,
        )
        self.draining = False
        assert self.process.stdout is not None
        self.address = ("127.0.0.1", int(self.process.stdout.readline()))

    def hear(self, words: str) -> str:
        """Wait for a record with *words*."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if words in line:
                return line
        raise AssertionError(words)

    def hear_end(self) -> None:
        """Wait until a request is counted; only with ``access_log``."""
        assert self.process.stderr is not None
        assert any(re.search(r"\) \w+ in [\d.]+ s$", line) for line in self.process.stderr)

    def drain(self) -> None:
        """Have it begin to stop."""
        self.draining = True
        self.process.terminate()

    def stop(self) -> tuple[dict[str, Any], list[str]]:
        """Have it stop; returns its statistics and the records that nobody has heard."""
        if not self.draining:
            self.drain()
        out, errors = self.process.communicate(timeout=PATIENCE)
        return json.loads(out), errors.splitlines()


@pytest.fixture
def start(authority: Authority) -> Iterator[Callable[..., Program]]:
    """A function that starts a program with the mix-in that it is given."""
    with contextlib.ExitStack() as ends:

        def started(kind: str, folder: Path = authority.folder, **options: Any) -> Program:
            program = Program(folder, kind, **options)
            ends.enter_context(program.process)
            ends.callback(program.process.kill)
            return program

        yield started


def openssl(address: Any, *options: Any, say: str = "", expect: int | None = 0) -> str:
    """What ``openssl s_client`` prints when it says *say* to *address*."""
    done = subprocess.run(
        ["openssl", "s_client", "-connect", f"{address[0]}:{address[1]}", *map(str, options)],
        input=say,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert expect is None or done.returncode == expect, done.stdout
    return done.stdout


def tally(stats: dict[str, Any]) -> dict[str, int]:
    """The counts of *stats* that aren't zero, for which the sum holds.

    What came to its end in the drain is counted as completed: the client may have
    its answer a moment before.
    """
    counts = {outcome.name.lower(): stats[outcome.name.lower()] for outcome in Outcome}
    assert stats["accepted"] == stats["active"] + sum(counts.values())
    counts["completed"] += counts.pop("drained")
    return {name: count for name, count in counts.items() if count}


def records(lines: list[str]) -> list[str]:
    """The *lines* that the server has recorded about clients, without address and traceback."""
    return [line for line in lines if "127.0.0.1" in line]


@pytest.mark.parametrize("kind", KINDS)
def test_a_client_of_pythons_ssl_is_served(
    start: Callable[..., Program], authority: Authority, kind: str
) -> None:
    """In small and in large, until both have told that they have sent everything."""
    program = start(kind)
    large = b"x" * 1_000_000 + b"\n"
    with (
        socket.create_connection(program.address, PATIENCE) as plain,
        authority.client().wrap_socket(
            plain, server_hostname=NAME, suppress_ragged_eofs=False
        ) as client,
    ):
        client.sendall(b"hello\n")
        assert client.recv(100) == b"HELLO\n"
        # In one thread: OpenSSL doesn't let two use a connection. No answer begins before the end.
        client.sendall(large)
        received = 0
        while received < len(large):
            received += len(client.recv(1 << 20))
        assert received == len(large)
        client.unwrap().close()
    stats, lines = program.stop()
    assert tally(stats) == {"completed": 1}
    assert records(lines) == []


@needs_openssl
@pytest.mark.parametrize("kind", KINDS)
def test_openssl_is_served(start: Callable[..., Program], authority: Authority, kind: str) -> None:
    """It verifies the certificate by name, finds a common protocol, and has its answer."""
    program = start(kind)
    options = ("-CAfile", authority.bundle, "-verify_return_error", "-verify_hostname", NAME)
    for version in ("-tls1_2", "-tls1_3"):
        printed = openssl(
            program.address,
            *options,
            *("-servername", NAME, "-alpn", "none,echo", "-ign_eof", version),
            say="hello\nprotocol\nquit\n",
        )
        assert "ALPN protocol: echo" in printed
        assert "HELLO\n'echo'\nQUIT\n" in printed
        assert "unexpected eof" not in printed
    stats, lines = program.stop()
    assert tally(stats) == {"completed": 2}
    assert records(lines) == []


@needs_openssl
@pytest.mark.parametrize("kind", KINDS)
def test_tls_1_1_is_refused(start: Callable[..., Program], kind: str) -> None:
    """The client is told so, with one record and no traceback."""
    program = start(kind)
    printed = openssl(
        program.address, "-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0", say="hello\n", expect=1
    )
    assert "alert protocol version" in printed
    line = program.hear("handshake of TLS failed")
    assert line.startswith("INFO: ")
    assert "unsupported protocol" in line
    stats, lines = program.stop()
    assert tally(stats) == {"failed": 1}
    assert records(lines) == []


@needs_openssl
@pytest.mark.parametrize("kind", KINDS)
def test_client_certificates(
    start: Callable[..., Program], authority: Authority, kind: str
) -> None:
    """With one, the handler knows who it is; without, the handler never hears of it."""
    program = start(kind, client_ca=True)
    certificate, key = authority.issue("client", "someone.example")
    printed = openssl(
        program.address,
        *("-CAfile", authority.bundle, "-cert", certificate, "-key", key, "-ign_eof"),
        say="who\nquit\n",
    )
    assert "('DNS', 'someone.example')" in printed
    printed = openssl(program.address, "-ign_eof", say="who\n", expect=None)
    assert "alert certificate required" in printed
    line = program.hear("handshake of TLS failed")
    assert line.startswith("INFO: ")
    assert "peer did not return a certificate" in line
    stats, lines = program.stop()
    assert tally(stats) == {"completed": 1, "failed": 1}
    assert records(lines) == []


@needs_curl
@pytest.mark.parametrize("mixin", [ThreadingMixIn, ThreadPoolMixIn])
def test_curl_is_served_by_the_standard_librarys_handler(
    authority: Authority, tmp_path: Path, mixin: Any
) -> None:
    """Files over HTTPS, with the handler of ``http.server``."""
    (tmp_path / "file").write_bytes(os.urandom(500_000))

    class Files(http.server.SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(tmp_path))

        def log_message(self, *_args: object) -> None:
            """Say nothing."""

    class Server(mixin, TLSMixIn, TCPServer):  # type: ignore[misc]  # a parameter
        ssl_context = server_context(*authority.files)

    with Server(HERE, Files).background() as running:
        done = subprocess.run(
            [
                *("curl", "--silent", "--show-error", "--noproxy", "*", "--cacert"),
                *(str(authority.bundle), "--resolve", f"{NAME}:{running.address[1]}:127.0.0.1"),
                *("-o", str(tmp_path / "copy"), f"https://{NAME}:{running.address[1]}/file"),
            ],
            check=False,
            capture_output=True,
            timeout=PATIENCE,
        )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "copy").read_bytes() == (tmp_path / "file").read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_plain_text_is_one_debug_record(
    start: Callable[..., Program], authority: Authority, kind: str
) -> None:
    """The connection is closed, and not reset; the next client is served."""
    program = start(kind)
    with socket.create_connection(program.address, PATIENCE) as plain:
        plain.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert plain.recv(100) == b""
    line = program.hear("doesn't speak TLS")
    assert line.startswith("DEBUG: ")
    assert "b'GET / HTTP/1.0" in line
    with Client(program.address, authority.client()) as client:
        client.sendall(b"quit\n")
        assert client.recv(100) == b"QUIT\n"
        assert client.recv(100) == b""
    stats, lines = program.stop()
    assert tally(stats) == {"completed": 1, "failed": 1}
    assert records(lines) == []


@pytest.mark.parametrize("kind", KINDS)
def test_failed_handshakes_are_one_record_each(
    start: Callable[..., Program], authority: Authority, tmp_path: Path, kind: str
) -> None:
    """A client that doesn't trust the certificate, one that leaves, and one that is mute."""
    program = start(kind, handshake_timeout=0.3, access_log=True)
    stranger = Authority(tmp_path)
    with pytest.raises(ssl.SSLCertVerificationError):
        Client(program.address, stranger.client()).sendall(b"")
    first = program.hear("127.0.0.1")
    program.hear_end()
    with socket.create_connection(program.address, PATIENCE) as leaving:
        leaving.sendall(b"\x16\x03\x01")
    second = program.hear("127.0.0.1")
    program.hear_end()
    with socket.create_connection(program.address, PATIENCE) as mute:
        assert mute.recv(100) == b""
    third = program.hear("127.0.0.1")
    program.hear_end()
    assert first.startswith(("INFO: ", "DEBUG: "))
    assert second.startswith("DEBUG: ")
    assert "went away" in second
    assert "left in the handshake" in second
    assert third.startswith("INFO: ")
    assert "the handshake deadline of 0.3 s has passed" in third
    stats, lines = program.stop()
    ends = tally(stats)
    assert ends.pop("timed_out") == 1
    assert ends in ({"failed": 1, "disconnected": 1}, {"disconnected": 2})
    assert records(lines) == []


@pytest.mark.parametrize("kind", MIXINS)
def test_mute_clients_hold_up_nobody(
    start: Callable[..., Program], authority: Authority, kind: str
) -> None:
    """Fifty say nothing, and the next one is served while they are there."""
    limits = {"max_workers": 64, "max_children": 64, "handshake_timeout": PATIENCE, "grace": 0.1}
    program = start(kind, access_log=True, **limits)
    with contextlib.ExitStack() as mute:
        for _ in range(50):
            mute.enter_context(socket.create_connection(program.address, PATIENCE))
        began = time.monotonic()
        with Client(program.address, authority.client()) as client:
            client.sendall(b"quit\n")
            assert client.recv(100) == b"QUIT\n"
        assert time.monotonic() - began < PATIENCE / 2
        program.hear_end()
        stats, _ = program.stop()
    assert stats["forced"] == 50
    assert tally(stats) == {"forced": 50, "completed": 1}


@pytest.mark.parametrize("kind", KINDS)
def test_a_drain_ends_the_input_and_takes_the_reply(
    start: Callable[..., Program], authority: Authority, kind: str
) -> None:
    """An idle connection ends as one that is whole; and so does a busy one, with its answer."""
    program = start(kind)
    with contextlib.ExitStack() as clients:
        # The loop of a server without a mix-in serves one.
        for word in [b"slow"] if not kind else [b"hello", b"slow"]:
            client = clients.enter_context(Client(program.address, authority.client()))
            client.sendall(word + b"\n")
            if word == b"hello":
                assert client.recv(100) == b"HELLO\n"
                idle = client
        # As many bytes as go with the first record of the answer have been read.
        time.sleep(0.2)
        program.drain()
        assert client.recv(100) == b"SLOW\n"
        assert client.recv(100) == b""
        assert client.whole
        if kind:
            assert idle.recv(100) == b""
            assert idle.whole
    stats, lines = program.stop()
    assert tally(stats) == {"completed": 2 if kind else 1}
    assert records(lines) == []


@pytest.mark.parametrize("kind", MIXINS)
def test_a_drain_lets_a_handshake_finish(
    start: Callable[..., Program], authority: Authority, kind: str
) -> None:
    """It is begun before, and goes on after; then the input ends."""
    program = start(kind)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = authority.client().wrap_bio(incoming, outgoing, server_hostname=NAME)
    with socket.create_connection(program.address, PATIENCE) as plain:
        with pytest.raises(ssl.SSLWantReadError):
            tls.do_handshake()
        hello = outgoing.read()
        plain.sendall(hello[:50])
        with Client(program.address, authority.client()) as other:
            other.sendall(b"hello\n")
            assert other.recv(100) == b"HELLO\n"
            # This one's input ends with the drain, which has then begun.
            program.drain()
            assert other.recv(100) == b""
        plain.sendall(hello[50:])
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                data = plain.recv(65536)
                assert data
                incoming.write(data)
        plain.sendall(outgoing.read())
        while data := plain.recv(65536):
            incoming.write(data)
        with contextlib.suppress(ssl.SSLZeroReturnError):
            assert tls.read(100) == b""
    stats, lines = program.stop()
    assert tally(stats) == {"completed": 2}
    assert records(lines) == []


@pytest.mark.parametrize("kind", KINDS)
def test_sighup_reads_the_certificate_again(
    start: Callable[..., Program], tmp_path: Path, kind: str
) -> None:
    """Old connections live on, new ones get the new certificate, and no handshake fails."""
    authority = Authority(tmp_path)
    authority.issue("server", NAME, "first.example")
    program = start(kind, tmp_path)
    context = authority.client()
    with contextlib.ExitStack() as stack:
        # It is served, and so hears signals.
        with Client(program.address, context) as client:
            client.sendall(b"quit\n")
            assert client.recv(100) == b"QUIT\n"
        old = stack.enter_context(Client(program.address, context)) if kind else None
        if old is not None:
            assert "first.example" in str(old.tls.getpeercert())
        for number in range(5):
            authority.issue("server", NAME, f"number-{number}.example")
            program.process.send_signal(signal.SIGHUP)
            program.hear("were read now")
            with Client(program.address, context) as client:
                assert f"number-{number}.example" in str(client.tls.getpeercert())
                client.sendall(b"quit\n")
                assert client.recv(100) == b"QUIT\n"
        (tmp_path / "server.pem").write_text("nonsense")
        program.process.send_signal(signal.SIGHUP)
        assert "with a traceback" in program.hear("reload raised")
        with Client(program.address, context) as client:
            assert "number-4.example" in str(client.tls.getpeercert())
            client.sendall(b"quit\n")
            assert client.recv(100) == b"QUIT\n"
        if old is not None:
            old.sendall(b"hello\n")
            assert old.recv(100) == b"HELLO\n"
            old.end()
            assert old.recv(100) == b""
    stats, _ = program.stop()
    assert tally(stats) == {"completed": 8 if kind else 7}


def serving(authority: Authority, handler: Any, *mixins: Any, **attributes: Any) -> Any:
    """A server of this process for *handler*, with *mixins* and *attributes*."""
    context = server_context(*authority.files)
    bases = (*mixins, TLSMixIn, TCPServer)
    return type("Server", bases, {"ssl_context": context, **attributes})(HERE, handler)


class Notes:
    """What a handler has seen."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.ended = threading.Event()


def noting(notes: Notes, work: Callable[[Any], Any], **attributes: Any) -> Any:
    """A handler class that notes what *work* returns or raises."""

    class Handler(TLSRequestHandler):
        def handle(self) -> None:
            try:
                notes.seen.append(work(self))
            except BaseException as error:
                notes.seen.append(error)
                raise
            finally:
                notes.ended.set()

    for name, value in attributes.items():
        setattr(Handler, name, value)
    return Handler


@pytest.mark.parametrize("mixins", [(ThreadingMixIn,), (ThreadPoolMixIn,), ()])
def test_a_stream_that_breaks_off_is_no_end(authority: Authority, mixins: Any) -> None:
    """The handler's read raises, where the client has closed without close_notify."""
    notes = Notes()
    server = serving(authority, noting(notes, lambda self: self.rfile.read()), *mixins)
    with server.background() as running:
        with Client(running.address, authority.client()) as client:
            client.sendall(b"the first half")
            client.socket.shutdown(socket.SHUT_WR)
            assert client.recv(100) == b""
        assert notes.ended.wait(PATIENCE)
    (error,) = notes.seen
    assert isinstance(error, TruncatedError)
    assert "broke off" in str(error)
    stats = server.stats()
    assert stats.disconnected + stats.drained == 1


@pytest.mark.parametrize("mixin", [MultiplexingMixIn, AsyncioMixIn])
def test_a_stream_that_breaks_off_is_no_end_for_messages_either(
    authority: Authority, mixin: Any
) -> None:
    """The handler isn't told that the stream has ended, and cleans up nevertheless."""
    ends: list[str] = []
    finished = threading.Event()

    class Handler(MessageRequestHandler):
        framing = Lines()

        def handle_message(self, message: bytes) -> bytes:
            return message

        def end_of_input(self) -> bytes:
            ends.append("end")
            return super().end_of_input()

        def finish(self) -> None:
            super().finish()
            finished.set()

    server = serving(authority, Handler, mixin)
    with server.background() as running:
        with Client(running.address, authority.client()) as client:
            client.sendall(b"hello\nhalf")
            client.socket.shutdown(socket.SHUT_WR)
            assert client.recv(100) == b"hello\n"
            assert client.recv(100) == b""
        assert finished.wait(PATIENCE)
    assert ends == []
    assert server.stats().disconnected + server.stats().drained == 1


@pytest.mark.parametrize("which", ["idle", "message", "connection"])
@pytest.mark.parametrize("mixin", [ThreadingMixIn, MultiplexingMixIn, AsyncioMixIn])
def test_deadlines_hold_under_tls(authority: Authority, which: str, mixin: Any) -> None:
    """Each of the three ends a connection whose client is too slow, once."""
    notes = Notes()
    handler: Any = noting(notes, lambda self: self.rfile.readline())
    if mixin is not ThreadingMixIn:
        handler = MessageRequestHandler
    server = serving(authority, handler, mixin, **{f"{which}_timeout": 0.3})
    with server.background() as running, Client(running.address, authority.client()) as client:
        stopped = threading.Event()

        def drip() -> None:
            with contextlib.suppress(OSError, ssl.SSLError):
                while not stopped.wait(0.05):
                    client.sendall(b"x")

        drips = threading.Thread(target=drip)
        if which != "idle":
            drips.start()
        # The end, or a reset because of what it sends meanwhile.
        with contextlib.suppress(ConnectionError):
            assert client.recv(100) == b""
        assert not client.whole
        stopped.set()
        if which != "idle":
            drips.join()
    if mixin is ThreadingMixIn:
        (error,) = notes.seen
        assert isinstance(error, DeadlineError)
        assert error.deadline.value == which
    assert server.stats().timed_out == 1


def test_lines_have_their_limit_under_tls(authority: Authority) -> None:
    """A line that is too long is refused, as on a plain connection."""
    notes = Notes()
    handler = noting(notes, lambda self: self.rfile.readline(), max_line_size=100)
    with serving(authority, handler, ThreadingMixIn, idle_timeout=PATIENCE).background() as running:
        with Client(running.address, authority.client()) as client:
            client.sendall(b"x" * 1000 + b"\n")
            assert client.recv(100) == b""
            assert not client.whole
    assert isinstance(notes.seen[0], LineTooLongError)


@pytest.mark.parametrize("mixin", [ThreadingMixIn, ThreadPoolMixIn])
def test_a_reply_is_delivered_whole_although_input_is_unread(
    authority: Authority, mixin: Any
) -> None:
    """A client that sends more than the handler reads has its answer, and its end."""
    reply = b"y" * 2_000_000
    handler = noting(Notes(), lambda self: self.wfile.write(reply))
    with serving(authority, handler, mixin).background() as running:
        with Client(running.address, authority.client()) as client:
            client.sendall(b"x" * 100_000)
            received = b""
            while data := client.recv(1 << 20):
                received += data
            assert received == reply
            assert client.whole


@pytest.mark.parametrize("mixin", [ThreadingMixIn, AsyncioMixIn])
def test_certificates_reload_under_load(tmp_path: Path, mixin: Any) -> None:
    """Handshakes go on all the time, and none fails; each has the old or the new certificate."""
    own = Authority(tmp_path)
    own.issue("server", NAME, "round-0.example")

    class Server(mixin, TLSMixIn, TCPServer):  # type: ignore[misc]  # a parameter
        def make_ssl_context(self) -> ssl.SSLContext:
            return server_context(*own.files)

    failures: list[BaseException] = []
    names: list[str] = []
    over = threading.Event()

    def visit(address: Any) -> None:
        try:
            while not over.is_set():
                with Client(address, context) as client:
                    client.sendall(b"hello\n")
                    assert client.recv(100) == b"HELLO\n"
                    names.append(str(client.tls.getpeercert()))
        except BaseException as error:
            failures.append(error)

    class Upper(MessageRequestHandler):
        def handle_message(self, message: bytes) -> bytes:
            self.close()
            return message.upper()

    context = own.client()
    with Server(HERE, Upper).background() as running:
        threads = [threading.Thread(target=visit, args=(running.address,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for number in range(1, 11):
            own.issue("server", NAME, f"round-{number}.example")
            running.server.reload_certificates()
            seen = len(names)
            until = time.monotonic() + PATIENCE
            while len(names) < seen + 8 and not failures and time.monotonic() < until:
                time.sleep(0.001)
        over.set()
        for thread in threads:
            thread.join()
    assert failures == []
    assert "round-10.example" in names[-1]
    assert len({name for name in names if "round-" in name}) >= 10
    assert running.server.stats().failed == 0


def test_names_choose_the_certificate(authority: Authority, tmp_path: Path) -> None:
    """The callback of ssl's own for SNI is called, and may put another context in place."""
    other = server_context(*authority.issue("other", NAME, "other.example"))
    server = serving(authority, noting(Notes(), lambda self: self.request.context), ThreadingMixIn)
    asked: list[str] = []

    def choose(connection: ssl.SSLObject, name: str, _context: ssl.SSLContext) -> None:
        asked.append(name)
        connection.context = other

    server.ssl_context.sni_callback = choose
    with server.background() as running:
        with Client(running.address, authority.client()) as client:
            assert "other.example" in str(client.tls.getpeercert())
    assert asked == [NAME]
