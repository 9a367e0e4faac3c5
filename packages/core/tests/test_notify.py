"""What systemd is told, on a real socket."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading

import pytest

from netserve.core import sd_notify

pytestmark = pytest.mark.skipif(
    not hasattr(socket, "AF_UNIX"), reason="there are no Unix domain sockets"
)

PATIENCE = 20

abstract = pytest.param(
    "abstract", marks=pytest.mark.skipif(sys.platform != "linux", reason="Linux has them")
)


@pytest.fixture
def manager(short_folder, monkeypatch, request):
    """The socket of the manager, at a path or with an abstract name."""
    path = str(short_folder / "notify")
    if getattr(request, "param", "path") == "abstract":
        path = f"@netserve-notify-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.settimeout(PATIENCE)
        listening.bind(path.replace("@", "\0"))
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        yield listening


@pytest.mark.parametrize("manager", ["path", abstract], indirect=True)
def test_a_state_is_one_datagram(manager):
    """At a path or an abstract name."""
    assert sd_notify("STATUS=bereit für alles\nREADY=1") is True
    assert manager.recv(100).decode() == "STATUS=bereit für alles\nREADY=1"


@pytest.mark.parametrize("value", [None, ""])
def test_without_a_manager_nothing_is_told(monkeypatch, caplog, value):
    """And nothing logged."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    if value is not None:
        monkeypatch.setenv("NOTIFY_SOCKET", value)
    assert sd_notify("READY=1") is False
    assert not caplog.records


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("/nowhere/at/all", "No such file"),
        ("vsock:2:1234", "neither a path nor an abstract name"),
        ("/" + "x" * 200, "path too long"),
    ],
)
def test_what_goes_wrong_is_a_warning(monkeypatch, caplog, value, words):
    """The service goes on."""
    monkeypatch.setenv("NOTIFY_SOCKET", value)
    assert sd_notify("READY=1") is False
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert f"can't tell 'READY=1' to NOTIFY_SOCKET={value}" in record.getMessage()
    assert words in record.getMessage()


def test_a_manager_that_does_not_listen_holds_up_nobody(manager, caplog):
    """Its queue is full, and sending to it doesn't block."""
    while sd_notify("STATUS=waiting"):
        pass
    assert "NOTIFY_SOCKET" in caplog.records[0].getMessage()


def test_a_platform_without_such_sockets_is_a_warning(monkeypatch, caplog):
    """There is no systemd, but a variable of that name."""
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/notify")
    monkeypatch.delattr(socket, "AF_UNIX")
    assert sd_notify("READY=1") is False
    assert "AF_UNIX" in caplog.records[0].getMessage()


PROGRAM = """
import os, sys
from netserve.core import BaseServer

class Idle(BaseServer):
    def __init__(self):
        super().__init__("nowhere", print)
        self.reading, self.writing = os.pipe()

    def fileno(self):
        return self.reading

    def server_activate(self):
        print("listening", flush=True)

    def server_close(self):
        super().server_close()
        for descriptor in (self.reading, self.writing):
            os.close(descriptor)

server = Idle()
if sys.argv[1:] == ["shutdown"]:
    server.shutdown()
server.run()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such signal")
@pytest.mark.parametrize("end", ["SIGTERM", "twice", "shutdown"])
def test_a_program_tells_when_it_is_ready_and_when_it_stops(manager, end):
    """Ready once it listens; stopping once, by whatever it is ended."""
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", PROGRAM, end], stdout=subprocess.PIPE
    ) as program:
        try:
            assert manager.recv(100) == b"READY=1"
            assert program.stdout.readline() == b"listening\n"
            if end != "shutdown":
                program.send_signal(signal.SIGTERM)
            assert manager.recv(100) == b"STOPPING=1"
            if end == "twice":
                with contextlib.suppress(ProcessLookupError):
                    program.send_signal(signal.SIGTERM)
            program.wait(PATIENCE)
        finally:
            program.kill()
    manager.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.recv(100)


def test_a_server_in_a_thread_tells_nothing(manager, exchange):
    """It isn't the service; the main program is."""
    before = threading.active_count()
    with exchange.background():
        assert threading.active_count() == before + 1
    manager.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.recv(100)
