"""The container recipe, built and run; by ``nox -s container``.

The official image of Python may not be to be had where this runs. So its place is
taken by an image of the same name, made of Debian's packages. buildah needs neither
a daemon nor namespaces for what is done here; but it needs root, as debootstrap does.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
RECIPE = ROOT / "examples" / "deployment" / "Containerfile"
BASE = "docker.io/library/python:3.13-slim"
PATIENCE = 60
CERTIFICATES = "/etc/ssl/certs"


class Engine:
    """buildah, with all that it keeps in *folder*."""

    def __init__(self, folder: Path) -> None:
        self._command = [
            "buildah", "--root", str(folder / "storage"), "--runroot", str(folder / "run"),
            "--storage-driver", "vfs",
        ]  # fmt: skip

    def command(self, *arguments: str) -> list[str]:
        """What runs it with *arguments*."""
        return [*self._command, *arguments]

    def __call__(self, *arguments: str) -> str:
        """Run it; returns what it prints, raises when it fails."""
        done = subprocess.run(
            self.command(*arguments), check=True, stdout=subprocess.PIPE, text=True
        )
        return done.stdout.strip()


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine that has the base of the recipe."""
    for program in ("buildah", "debootstrap"):
        assert shutil.which(program), f"install {program}: apt-get install {program}"
    assert os.geteuid() == 0, "debootstrap and buildah need root here"
    folder = tmp_path_factory.mktemp("engine")
    packages = "ca-certificates,python3,python3-pip"
    tree = str(folder / "tree")
    subprocess.run(
        ["debootstrap", "--variant=minbase", f"--include={packages}", "stable", tree],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    engine = Engine(folder)
    container = engine("from", "--isolation", "chroot", "scratch")
    engine("add", container, tree, "/")
    # The official image's Python is nobody else's; Debian's has to be told so.
    engine("config", "--env", "PIP_BREAK_SYSTEM_PACKAGES=1", container)
    engine("commit", container, BASE)
    engine("rm", container)
    yield engine
    # Hundreds of megabytes, of which pytest would keep those of three runs.
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def image(engine: Engine) -> str:
    """The name of the image that the recipe makes."""
    assert f"\nFROM {BASE.rpartition('/')[2]}\n" in RECIPE.read_text()
    engine(
        "build", "--isolation", "chroot", "--pull-never", "--tag", "shout",
        # Those by which this machine knows where its packages come from.
        "--volume", f"{CERTIFICATES}:{CERTIFICATES}:ro",
        "--file", str(RECIPE), str(ROOT),
    )  # fmt: skip
    return "shout"


@contextlib.contextmanager
def running(command: list[str]) -> Iterator["subprocess.Popen[str]"]:
    """*command* as a process group, which is killed in the end if it hasn't ended."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.timeout(900)
def test_the_recipe_makes_a_service(engine: Engine, image: str) -> None:
    """It serves as nobody, tells its metrics, and drains when it gets SIGTERM."""
    made = json.loads(engine("inspect", "--type", "image", image))["OCIv1"]["config"]
    assert (made["User"], made["StopSignal"]) == ("65534", "SIGTERM")
    command = [*made["Entrypoint"], *made["Cmd"]]
    assert [command[command.index(option) + 1] for option in ("--tcp", "--metrics")] == [
        ":8000", ":9100",
    ]  # fmt: skip
    # Without a network of its own it has this machine's, whose ports may be in use.
    command = ["127.0.0.1:0" if part in {":8000", ":9100"} else part for part in command]
    container = engine("from", "--pull-never", image)
    start = engine.command("run", "--isolation", "chroot", container, "--", *command)
    with running(start) as process:
        assert process.stdout is not None
        address = process.stdout.readline().split(" on ")[1].split()[0]
        metrics = process.stdout.readline().split(" on ")[1].split()[0]
        host, port = address.split(":")
        with socket.create_connection((host, int(port)), timeout=PATIENCE) as client:
            with client.makefile("rb") as answers:
                client.sendall(b"hello\n")
                assert answers.readline() == b"alone 127.0.0.1 HELLO\n"
                with urllib.request.urlopen(metrics, timeout=PATIENCE) as scraped:
                    counted = b'netserve_server_accepted_requests_total{server="TCP on %s"} 1.0\n'
                    assert counted % address.encode() in scraped.read()
                (served,) = _servers(process.pid)
                assert Path(f"/proc/{served}").stat().st_uid == 65534
                os.kill(served, signal.SIGTERM)
                # A drain ends the input of those who are connected, once they are answered.
                assert answers.readline() == b""
        assert process.wait(PATIENCE) == 0


def _servers(ancestor: int) -> list[int]:
    """The Python processes that descend from *ancestor*."""
    listed = subprocess.run(
        ["ps", "-eo", "pid=,ppid=,comm="], check=True, capture_output=True, text=True
    ).stdout
    rows = [line.split(maxsplit=2) for line in listed.splitlines()]
    parents = {int(pid): int(parent) for pid, parent, _ in rows}

    def descends(pid: int) -> bool:
        while pid in parents and pid != ancestor:
            pid = parents[pid]
        return pid == ancestor

    return [
        int(pid)
        for pid, _, name in rows
        if name.startswith(("netserve", "python")) and descends(int(pid))
    ]
