"""Servers run, tell what they use, and end."""

import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.processes import (
    TICK,
    Cores,
    Server,
    ServerError,
    busy_seconds,
    cpu_seconds,
    memory_kib,
    own_seconds,
    read_line,
    server_command,
    tree,
)


def alive(pid: int) -> bool:
    """Whether there is such a process."""
    return Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize("program", ["peers.stdlib", "servers.ours"])
def test_a_server_says_its_port_and_how_long_it_took_to_stop(program: str) -> None:
    """And is gone after the span."""
    with Server(server_command(program, "threading", "echo")) as server:
        assert server.port > 0
        assert alive(server.pid)
        assert cpu_seconds(server.pid) > 0
        assert memory_kib(server.pid) > 1000
        assert 0 <= server.stop() < 5000
    assert not alive(server.pid)


def test_a_program_that_says_nothing_is_no_server() -> None:
    """It is reported with its command, and nothing of it is left."""
    with pytest.raises(ServerError, match="didn't say PORT"):
        Server([sys.executable, "-c", "pass"])


def test_what_a_server_has_started_ends_with_it() -> None:
    """Its whole group does."""
    program = (
        "import subprocess, time; child = subprocess.Popen(['sleep', '60']);"
        "print('PORT', child.pid, flush=True); time.sleep(60)"
    )
    with Server([sys.executable, "-c", program]) as server:
        child = server.port
        assert set(tree(server.pid)) == {server.pid, child}
        assert alive(child)
    assert ends(child)


def test_processor_time_is_shared_out() -> None:
    """What this process uses is its own, and part of all."""
    everybody, own = busy_seconds(), own_seconds()
    until = time.process_time() + 0.1
    while time.process_time() < until:
        pass
    used = own_seconds() - own
    assert used > 0.1 - 2.5 / TICK  # rounded at both ends
    # Each is rounded to a tick, and all are a sum of four.
    assert busy_seconds() - everybody > used - 4.5 / TICK


def test_a_line_that_never_ends_isnt_waited_for() -> None:
    """What there is of it comes back."""
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as file, os.fdopen(writer, "wb", buffering=0) as output:
        output.write(b"PORT 1\nPOR")
        assert read_line(file, 5) == "PORT 1\n"
        assert read_line(file, 0.01) == "POR"
        output.close()
        assert read_line(file, 5) == ""


@pytest.mark.skipif(shutil.which("taskset") is None, reason="needs taskset")
def test_cores_are_shared_as_asked() -> None:
    """Two need two."""
    assert Cores.named("two", [0, 1, 2]) == Cores("0", "2")
    assert Cores.named("one", [0, 1]) == Cores("1", "1")
    assert Cores.named("free", [0, 1]) == Cores(None, "1")
    with pytest.raises(ValueError, match="--cores one"):
        Cores.named("two", [0])


def test_a_server_ends_with_whoever_started_it() -> None:
    """Even when that is killed, and so can't end it."""
    starter = (
        "import sys; from benchmarks.processes import Server, server_command;"
        "server = Server(server_command('peers.stdlib', 'sync', 'echo'));"
        "print(server.pid, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", starter], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        pid = int(read_line(process.stdout, 20))
        process.kill()
        process.wait()
        assert ends(pid)


def ends(pid: int) -> bool:
    """Whether the process *pid* ends within five seconds."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], 5)[0])
    finally:
        os.close(descriptor)
