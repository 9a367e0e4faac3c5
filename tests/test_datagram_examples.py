"""The name server and the syslog server in ``examples``, with the clients of other projects."""

import contextlib
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.tools import read_dnsperf

EXAMPLES = Path(__file__).parent.parent / "examples"

needs_dig = pytest.mark.skipif(shutil.which("dig") is None, reason="needs dig")
needs_logger = pytest.mark.skipif(shutil.which("logger") is None, reason="needs logger")


class Example:
    """A program in ``examples`` that serves on a port of its own."""

    def __init__(self, name: str, *arguments: str) -> None:
        # The port that UDP has chosen may be another's over TCP.
        for _ in range(20):
            self.process = subprocess.Popen(
                [sys.executable, "-u", "-W", "error", EXAMPLES / name, "--port", "0", *arguments],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            assert self.process.stdout is not None
            address = self.process.stdout.readline()
            said = re.fullmatch(r"serving on 127\.0\.0\.1:(\d+).* until Ctrl-C\n", address)
            if said:
                break
            errors = self.process.communicate()[1]
            assert "Address already in use" in errors, address + errors
        assert said
        self.port = said[1]

    def stop(self) -> str:
        """End it as Ctrl-C does, once its last server is there; returns what it printed."""
        with socket.create_connection(("127.0.0.1", int(self.port)), 60) as client:
            client.shutdown(socket.SHUT_WR)
            assert client.recv(1) == b""
        self.process.send_signal(signal.SIGINT)
        output, errors = self.process.communicate(timeout=60)
        assert (self.process.returncode, errors) == (0, "")
        return output


@contextlib.contextmanager
def example(name: str, *arguments: str) -> Iterator[Example]:
    """Run an example for the time of a ``with`` statement."""
    started = Example(name, *arguments)
    with started.process:
        try:
            yield started
        finally:
            started.process.kill()


def dig(port: str, *question: str) -> str:
    """What dig prints of the answer."""
    command = ["dig", "@127.0.0.1", "-p", port, "+tries=3", "+time=20", *question]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@needs_dig
@pytest.mark.parametrize("transport", ["+notcp", "+tcp"])
def test_dig_gets_addresses_over_udp_and_tcp(transport: str) -> None:
    """Those of the kind that it asks for, and the status of a name that isn't there."""
    with example("dns_responder.py") as server:
        old = dig(server.port, transport, "+short", "WWW.example.test", "A")
        new = dig(server.port, transport, "+short", "www.example.test", "AAAA")
        none = dig(server.port, transport, "nobody.example.test")
        kind = dig(server.port, transport, "+opcode=STATUS", "www.example.test")
        assert server.stop() == ""
    assert (old, new) == ("192.0.2.1\n", "2001:db8::1\n")
    assert "status: NXDOMAIN" in none
    assert "status: NOTIMP" in kind


@needs_dig
def test_dig_turns_to_tcp_for_what_a_datagram_does_not_hold() -> None:
    """The answer over UDP says that it is truncated, and the same port answers over TCP."""
    with example("dns_responder.py") as server:
        whole = dig(server.port, "+short", "many.example.test", "A")
        cut = dig(server.port, "+ignore", "many.example.test", "A")
        server.stop()
    assert whole.split() == [f"192.0.2.{number}" for number in range(1, 101)]
    assert re.search(r"flags:[^;]* tc[ ;]", cut)


@pytest.mark.skipif(shutil.which("dnsperf") is None, reason="needs dnsperf")
def test_dnsperf_loses_no_query(tmp_path: Path) -> None:
    """50 clients ask as fast as they get answers; each is answered, and rightly."""
    questions = tmp_path / "questions"
    questions.write_text("www.example.test A\nwww.example.test AAAA\n")
    with example("dns_responder.py") as server:
        command = ["dnsperf", "-s", "127.0.0.1", "-p", server.port, "-d", str(questions)]
        done = subprocess.run(
            [*command, "-c", "50", "-q", "50", "-T", "1", "-n", "500", "-t", "20"],
            capture_output=True,
            text=True,
            check=True,
        )
        server.stop()
    result = read_dnsperf(done.stdout)
    assert result.get("errors") == 0, done.stdout
    assert "Queries completed:    1000 (100.00%)" in done.stdout


@pytest.mark.parametrize(
    ("query", "answer"),
    [
        (b"short", None),
        (b"\0\7\x80\0\0\1\0\0\0\0\0\0\0\0\1\0\1", None),
        (b"\0\7\0\0\0\2\0\0\0\0\0\0\0\0\1\0\1", b"\0\7\x84\1" + bytes(8)),
        (b"\0\7\0\0\0\1\0\0\0\0\0\0\xc0\x0c\0\1\0\1", b"\0\7\x84\1" + bytes(8)),
        (b"\0\7\0\0\0\1\0\0\0\0\0\0\3www", b"\0\7\x84\1" + bytes(8)),
        (b"\0\7\0\0\0\1\0\0\0\0\0\0\3www\0\0", b"\0\7\x84\1" + bytes(8)),
    ],
    ids=["short", "an-answer", "two-questions", "a-reference", "cut-in-the-name", "cut-after-it"],
)
def test_what_is_no_query_is_refused_or_passed_over(query: bytes, answer: bytes | None) -> None:
    """A malformed question is a format error; what can't be told from an answer gets none."""
    with (
        example("dns_responder.py") as server,
        socket.socket(type=socket.SOCK_DGRAM) as client,
    ):
        client.settimeout(20)
        client.connect(("127.0.0.1", int(server.port)))
        client.send(query)
        # Its answer would come before this one's.
        client.send(b"\1\1\x08\0" + bytes(8))
        first = client.recv(600)
        if answer is None:
            assert first == b"\1\1\x8c\4" + bytes(8)
        else:
            assert {first, client.recv(600)} == {answer, b"\1\1\x8c\4" + bytes(8)}
        server.stop()


@needs_logger
def test_logger_is_heard_over_udp_tcp_and_a_unix_socket(short_folder: Path) -> None:
    """Each message is one line, with its priority in words."""
    path = short_folder / "log.sock"
    with example("syslog_receiver.py", "--path", str(path)) as server:
        remote = ["--server", "127.0.0.1", "--port", server.port]
        for number, where in enumerate(
            [[*remote, "--udp"], [*remote, "--tcp"], ["--socket", str(path)]]
        ):
            subprocess.run(
                ["logger", *where, "--priority", "local3.warning", f"message {number}"], check=True
            )
        with socket.socket(type=socket.SOCK_DGRAM) as client:
            client.sendto(b"no priority\x1b[2J", ("127.0.0.1", int(server.port)))
            client.sendto(b"<999>beyond", ("127.0.0.1", int(server.port)))
        lines = server.stop().splitlines()
    assert len(lines) == 5
    for number, transport in enumerate(["datagram", "stream", "datagram"]):
        (line,) = (line for line in lines if f"message {number}" in line)
        assert line.startswith(f"{transport} local3.warning ")
    assert r"datagram user.notice 'no priority\x1b[2J'" in lines
    assert "datagram user.notice '<999>beyond'" in lines
