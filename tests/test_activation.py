"""The documented service, as systemd starts it: its units, its socket, what it tells."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROGRAM = ROOT / "examples" / "activated.py"
PATIENCE = 20


def ask(address: tuple[str, int]) -> bytes:
    """What the service answers."""
    with socket.create_connection(address, PATIENCE) as client:
        client.sendall(b"hello\n")
        return client.recv(100)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_the_units_are_valid(short_folder: Path) -> None:
    """The system has nothing to say about them, but that a program is elsewhere on this machine."""
    for unit in (ROOT / "docs" / "units").iterdir():
        text = unit.read_text().replace("/usr/bin/python3", os.path.realpath(sys.executable))
        (short_folder / unit.name).write_text(text)
    names = ["upper.socket", "upper.service"]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *names],
        cwd=short_folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    about_them = [line for line in done.stderr.splitlines() if "upper" in line]
    assert (done.returncode, about_them) == (0, []), done.stderr


@pytest.mark.skipif(
    shutil.which("systemd-socket-activate") is None, reason="needs systemd-socket-activate"
)
def test_the_service_is_activated_and_tells_its_state(short_folder: Path) -> None:
    """It serves the connection that started it, says when it is ready and when it stops."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = free.getsockname()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(PATIENCE)
        manager.bind(str(short_folder / "notify"))
        with subprocess.Popen(
            [
                "systemd-socket-activate",
                f"--listen=127.0.0.1:{address[1]}",
                "--fdname=upper",
                "-E",
                f"PYTHONPATH={os.pathsep.join(filter(None, sys.path))}",
                "-E",
                f"NOTIFY_SOCKET={short_folder / 'notify'}",
                sys.executable,
                *["-W", "error", str(PROGRAM)],
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as service:
            try:
                assert service.stdout is not None
                assert service.stderr is not None
                assert "Listening on" in service.stderr.readline()
                assert ask(address) == b"HELLO\n"
                assert service.stdout.readline() == f"serving on 127.0.0.1:{address[1]}\n"
                assert manager.recv(100) == b"READY=1"
                service.send_signal(signal.SIGTERM)
                assert manager.recv(100) == b"STOPPING=1"
                assert service.wait(PATIENCE) == 0
            finally:
                service.kill()


def test_without_systemd_the_service_opens_its_own_socket() -> None:
    """The same program, from a shell."""
    with subprocess.Popen(
        [sys.executable, "-W", "error", PROGRAM], stdout=subprocess.PIPE, text=True
    ) as service:
        try:
            assert service.stdout is not None
            said = re.fullmatch(r"serving on 127\.0\.0\.1:(\d+)\n", service.stdout.readline())
            assert said
            assert ask(("127.0.0.1", int(said[1]))) == b"HELLO\n"
            service.send_signal(signal.SIGTERM)
            assert service.wait(PATIENCE) == 0
        finally:
            service.kill()
