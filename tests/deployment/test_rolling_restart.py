"""Three replicas behind HAProxy are restarted one by one, and no request fails.

As the guide for deployment says, with the files that it shows.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.deployment._hosts import Host, namespaces, namespaces_are_allowed, processes

ROOT = Path(__file__).parent.parent.parent
FILES = ROOT / "examples" / "deployment"
NETSERVE = shutil.which("netserve", path=sysconfig.get_path("scripts"))
HAPROXY = shutil.which("haproxy", path=os.environ.get("PATH", "") + ":/usr/sbin")
NAMES = ["balancer", "r1", "r2", "r3", "client"]
PATIENCE = 30  # seconds

pytestmark = pytest.mark.skipif(HAPROXY is None, reason="needs haproxy")


class Replica:
    """One replica, which can be restarted."""

    def __init__(self, name: str, host: Host, trusted: str) -> None:
        self.name = name
        self._host = host
        self._trusted = trusted
        self._start()

    def _start(self) -> None:
        assert NETSERVE is not None
        self._process = subprocess.Popen(
            [
                *self._host.prefix, NETSERVE, "run", "--config", "shout.toml",
                "--tcp", self._host.endpoint, "--proxy-protocol", "--trusted", self._trusted,
            ],
            cwd=FILES,
            env={**os.environ, "REPLICA": self.name},
            stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        assert self._process.stdout.readline().startswith("serving TCP on ")

    def restart(self) -> None:
        """End it as a service manager would, and start it again."""
        self._process.send_signal(signal.SIGTERM)
        assert self._process.wait(PATIENCE) == 0
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._start()

    def end(self) -> None:
        """End it for good."""
        self._process.kill()
        self._process.communicate()


def tell(admin: Path, command: str) -> str:
    """What HAProxy answers to *command* on its admin socket."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(str(admin))
        connection.sendall(command.encode() + b"\n")
        return b"".join(iter(lambda: connection.recv(4096), b"")).decode()


def until(condition: Callable[[], bool], what: str) -> None:
    """Look every few milliseconds whether *condition* holds; HAProxy tells nobody by itself."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"in vain: {what}"
        time.sleep(0.02)


def fields(admin: Path, replica: str) -> dict[str, str]:
    """What HAProxy knows of a replica."""
    header, *rows = tell(admin, "show stat").strip().splitlines()
    names = header.lstrip("# ").split(",")
    for row in rows:
        values = dict(zip(names, row.split(","), strict=False))
        if (values["pxname"], values["svname"]) == ("shouts", replica):
            return values
    raise AssertionError(replica)


def until_asked(admin: Path, name: str) -> None:
    """Wait until the replica has had one more session."""
    before = int(fields(admin, name)["stot"])
    until(lambda: int(fields(admin, name)["stot"]) > before, f"sessions of {name}")


def until_up(admin: Path, name: str) -> None:
    """Wait until HAProxy takes the replica for healthy."""
    until(lambda: fields(admin, name)["status"] == "UP", f"{name} being up")


def replace(admin: Path, replica: Replica) -> None:
    """Drain a replica in HAProxy, restart it, and take it back: the steps of the guide."""
    name = replica.name
    tell(admin, f"set server shouts/{name} state drain")
    until(lambda: fields(admin, name)["scur"] == "0", f"the end of the sessions of {name}")
    replica.restart()
    tell(admin, f"set server shouts/{name} state ready")
    until_up(admin, name)


@contextlib.contextmanager
def deployed(hosts: dict[str, Host], folder: Path) -> Iterator[tuple[list[Replica], Path]]:
    """The replicas, and HAProxy in front of them."""
    admin = folder / "admin.sock"
    with contextlib.ExitStack() as stack:
        replicas = []
        for name in ("r1", "r2", "r3"):
            replicas.append(Replica(name, hosts[name], f"{hosts['balancer'].address}/32"))
            stack.callback(replicas[-1].end)
        environment = {name.upper(): hosts[name].endpoint for name in ("r1", "r2", "r3")}
        assert HAPROXY is not None
        haproxy = stack.enter_context(
            subprocess.Popen(
                [*hosts["balancer"].prefix, HAPROXY, "-db", "-q", "-f", str(FILES / "haproxy.cfg")],
                env={
                    **os.environ,
                    **environment,
                    "ADMIN_SOCKET": str(admin),
                    "FRONTEND": hosts["balancer"].endpoint,
                },
                stderr=subprocess.DEVNULL,
            )
        )
        stack.callback(haproxy.kill)
        until(admin.exists, "HAProxy's socket")
        for name in ("r1", "r2", "r3"):
            until_up(admin, name)
        yield replicas, admin


@contextlib.contextmanager
def load(host: Host, target: Host) -> Iterator[dict[str, object]]:
    """Load from *host*; the results are in the dictionary at the end."""
    results: dict[str, object] = {}
    program = ROOT / "tests" / "deployment" / "_load.py"
    with subprocess.Popen(
        [*host.prefix, sys.executable, str(program), target.address, str(target.port), "4"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        try:
            yield results
        finally:
            output, _ = process.communicate(timeout=PATIENCE)
    results.update(json.loads(output))


@pytest.mark.timeout(120)
@pytest.mark.parametrize("several_hosts", [True, False], ids=["namespaces", "processes"])
def test_a_rolling_restart_fails_no_request(several_hosts: bool) -> None:
    """Each replica is drained in HAProxy, restarted, and taken back, under constant load."""
    if several_hosts and not namespaces_are_allowed():
        pytest.skip("needs root, ip, and leave to make network namespaces")
    make = namespaces if several_hosts else processes
    # A folder with a short name, because of the path of HAProxy's socket.
    with tempfile.TemporaryDirectory(prefix="ns-") as folder, make(NAMES) as hosts:
        with deployed(hosts, Path(folder)) as (replicas, admin):
            with load(hosts["client"], hosts["balancer"]) as results:
                for replica in replicas:
                    until_asked(admin, replica.name)
                    replace(admin, replica)
                    until_asked(admin, replica.name)
    assert results["failures"] == []
    assert set(results["replicas"]) == {"r1", "r2", "r3"}
    # Not HAProxy's, which is what the replicas are connected to.
    assert results["seen"] == [hosts["client"].address]
