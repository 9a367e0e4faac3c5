"""Whoever follows the tutorial gets what it shows."""

import re
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "tutorial.rst"
FILES = ROOT / "examples" / "tutorial"
PORTS = ("8000", "9100")
PAUSE = "sleep 0.05; done"

pytestmark = pytest.mark.skipif(
    any(shutil.which(tool) is None for tool in ("bash", "openssl", "curl")),
    reason="needs bash, openssl and curl",
)


def blocks() -> list[list[str]]:
    """The lines of each block with commands, in order."""
    found = re.findall(
        r"^\.\. code-block:: console\n\n((?:   .*\n|\n)+)", PAGE.read_text(), re.MULTILINE
    )
    return [[line[3:] for line in block.splitlines() if line.strip()] for block in found]


def free_ports(count: int) -> list[str]:
    """Ports that nobody has at this moment."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [str(each.getsockname()[1]) for each in held]
    finally:
        for each in held:
            each.close()


def script(lines: list[str]) -> str:
    """The commands in *lines*, as one program for bash that ends with the first that fails."""
    program = ["set -em"]
    for line in lines:
        if not line.startswith("$ "):
            continue
        command = line.removeprefix("$ ").replace("netserve/packages", f"{ROOT}/packages")
        program.append(command)
        if command.startswith("cd "):
            program.append(f"cp {FILES}/* .")
        # A reader waits until the service says that it serves, or has read its files.
        if command.endswith("&"):
            program += [
                f"until (exec 3<>/dev/tcp/127.0.0.1/{port}) 2>/dev/null; do {PAUSE}"
                for port in PORTS
            ]
        elif command.startswith("kill -HUP"):
            program.append(f"until .venv/bin/python ask.py x >/dev/null 2>&1; do {PAUSE}")
    return "\n".join(program)


@pytest.mark.timeout(300)
def test_its_commands_do_what_it_says(tmp_path: Path) -> None:
    """All of them, in a folder that is empty at first, with other ports."""
    lines = [line for block in blocks() for line in block]
    program = script(lines)
    for port, free in zip(PORTS, free_ports(len(PORTS)), strict=True):
        program = program.replace(port, free)
        lines = [line.replace(port, free) for line in lines]
    work = tmp_path / "work"
    work.mkdir()
    # Copied files must have the ports too.
    program = program.replace(
        f"cp {FILES}/* .", f"cp {FILES}/*.py {FILES}/*.toml . && " + substitution(lines)
    )
    with subprocess.Popen(
        ["bash", "-c", program],
        cwd=work,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=280)
        finally:
            process.send_signal(signal.SIGKILL)
    assert process.returncode == 0, output
    place = 0
    for line in lines:
        if not line.startswith("$ "):
            found = output.find(line, place)
            assert found >= 0, f"{line!r} isn't shown after what is before it in\n{output}"
            place = found + len(line)


def substitution(lines: list[str]) -> str:
    """The command that puts the ports of *lines* into the copied files."""
    serving = next(line for line in lines if line.startswith("serving TCP"))
    metrics = next(line for line in lines if line.startswith("serving metrics"))
    ports = [re.findall(r"127\.0\.0\.1:(\d+)", line)[0] for line in (serving, metrics)]
    pairs = " ".join(f"-e s/{old}/{new}/" for old, new in zip(PORTS, ports, strict=True))
    return f"sed -i {pairs} *.py *.toml"
