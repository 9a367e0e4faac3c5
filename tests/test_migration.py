"""The programs of the migration guide answer after it as before, and end better."""

import http.client
import json
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "examples" / "migration"
PATIENCE = 30  # seconds


def count(where: str, folder: Path) -> object:
    """Words over two connections."""
    answers = []
    for words in ([b"one", b"two", b"one"], [b"one"]):
        with socket.create_connection(("127.0.0.1", int(where)), timeout=PATIENCE) as client:
            with client.makefile("rwb", buffering=0) as lines:
                for word in words:
                    lines.write(word + b"\n")
                    answers.append(lines.readline())
    return answers


def add(where: str, folder: Path) -> object:
    """Two requests on one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", int(where), timeout=PATIENCE)
    answers = []
    for path in ("/add/1/2", "/add/20/22"):
        connection.request("GET", path)
        answers.append(json.loads(connection.getresponse().read()))
    connection.close()
    return answers


def log(where: str, folder: Path) -> object:
    """Three datagrams, and the lines that they become."""
    kept = folder / "log"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(("127.0.0.1", int(where)))
        for number in range(3):
            before = kept.stat().st_size if kept.exists() else 0
            client.send(b"<13>message %d\n" % number)
            # Nothing comes back; the file tells.
            while not kept.exists() or kept.stat().st_size == before:
                pass
    return kept.read_text()


def control(where: str, folder: Path) -> object:
    """A value that is there and one that isn't, and who may ask."""
    answers: list[object] = [Path(where).stat().st_mode & 0o777]
    for name in (b"colour", b"shape"):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE)
            client.connect(where)
            client.sendall(name + b"\n")
            answers.append(client.recv(100))
    return answers


def outcome(program: str, ask: Callable[[str, Path], object]) -> tuple[object, int]:
    """What a program answers, and its status after SIGTERM."""
    with tempfile.TemporaryDirectory(prefix="ns-") as name:
        folder = Path(name)
        where = str(folder / "socket") if program.startswith("control") else "0"
        with subprocess.Popen(
            [sys.executable, str(FOLDER / program), where, str(folder / "log")],
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                assert process.stdout is not None
                answers = ask(process.stdout.readline().strip(), folder)
                process.send_signal(signal.SIGTERM)
                return answers, process.wait(PATIENCE)
            finally:
                process.kill()


@pytest.mark.parametrize(
    ("program", "ask"),
    [("counter", count), ("web", add), ("syslog", log), ("control", control)],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_ported_program_answers_as_before(
    program: str, ask: Callable[[str, Path], object]
) -> None:
    """SIGTERM kills the old one, and lets the new one end by itself."""
    before, killed = outcome(f"{program}_before.py", ask)
    after, status = outcome(f"{program}_after.py", ask)
    assert after == before
    assert (killed, status) == (-signal.SIGTERM, 0)
