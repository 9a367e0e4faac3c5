"""The line that tells on a terminal what the servers do."""

import contextlib
import io
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from netserve.cli._status import StatusLine, status_text
from netserve.core import State, Stats

COMMAND = shutil.which("netserve", path=sysconfig.get_path("scripts"))
PATIENCE = 30  # seconds


def stats(accepted: int, active: int = 0, failed: int = 0) -> Stats:
    """What a server has done."""
    return Stats(
        state=State.SERVING, since=0.0, accepted=accepted, active=active,
        completed=accepted - active - failed, failed=failed, disconnected=0, timed_out=0,
        refused=0, drained=0, forced=0, exhausted=0, bytes_received=0, bytes_sent=0,
    )  # fmt: skip


def test_the_line_is_of_all_servers_together() -> None:
    """Requests a second since the last look; the others as they are."""
    before = [stats(100), stats(10)]
    now = [stats(140, active=3, failed=1), stats(20, active=2)]
    text = status_text(before, now, 2.0)
    assert text == "5 in progress, 25 requests a second, 1 failed so far"


def test_the_first_look_knows_no_rate() -> None:
    """There is nothing to compare with."""
    now = [stats(140, active=3)]
    assert status_text(now, now, 0.0) == "3 in progress, 0 requests a second, 0 failed so far"


def test_the_line_stands_below_what_is_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard error goes above it, and it is taken away at the end."""
    # Where the tests run there may be none, or one that can't go back in a line.
    monkeypatch.setenv("TERM", "xterm")
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=80)
    with StatusLine(console) as status:
        status.show([stats(1, active=1)])
        sys.stderr.write("a record\n")
        status.show([stats(2, active=2)])
    shown = screen.getvalue()
    first, record, second = (
        shown.index(text) for text in ("1 in progress", "a record", "2 in progress")
    )
    assert first < record < second


class Terminal:
    """What a *process* shows on a terminal, which is read at *ours*."""

    def __init__(self, process: "subprocess.Popen[bytes]", ours: int) -> None:
        self.process = process
        self.shown = b""
        self._ours = ours

    def read_until(self, pattern: bytes) -> None:
        """Read until *pattern* is shown."""
        while not re.search(pattern, self.shown):
            self.shown += os.read(self._ours, 1000)

    def end(self) -> None:
        """Have the process drain."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(PATIENCE) == 0


@contextlib.contextmanager
def on_a_terminal(*arguments: str, folder: Path | None = None) -> Iterator[Terminal]:
    """The command with *arguments*, in *folder*, once its line is shown."""
    assert COMMAND is not None
    ours, theirs = os.openpty()
    with subprocess.Popen(
        [COMMAND, *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm"},
    ) as process:
        os.close(theirs)
        try:
            terminal = Terminal(process, ours)
            terminal.read_until(b"0 in progress")
            yield terminal
        finally:
            process.kill()
            os.close(ours)


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs terminals")
@pytest.mark.parametrize("concurrency", ["multiplex", "fork"])
def test_a_terminal_gets_the_line_and_a_file_does_not(concurrency: str) -> None:
    """It is seen that standard error is one."""
    with on_a_terminal("echo", "--concurrency", concurrency) as terminal:
        terminal.end()


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs terminals")
@pytest.mark.parametrize("concurrency", ["threads", "fork"])
def test_a_record_of_another_process_stands_above_the_line_too(
    tmp_path: Path, concurrency: str
) -> None:
    """It takes the line's place, which then stands below it."""
    (tmp_path / "service.py").write_text("def handler(request, address, server): raise OSError(99)")
    command = ("run", "service:handler", "--unix", "socket", "--concurrency", concurrency)
    with on_a_terminal(*command, folder=tmp_path) as terminal:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE)
            while client.connect_ex(os.path.relpath(tmp_path / "socket")):
                pass
            assert client.recv(1) == b""
        terminal.read_until(rb"OSError: 99\r\n(\r\x1b\[2K)?\d in progress")
        assert re.search(rb"so far\r\x1b\[2K[-\d]+ [:,\d]+ ERROR", terminal.shown)
        terminal.end()
