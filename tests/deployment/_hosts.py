"""The hosts of a deployment: network namespaces where that is allowed, else this machine.

A namespace has addresses of its own, and so an address in a log is that of a host. They
are connected by a bridge in the namespace of the load balancer. Nothing reaches them from
outside, and they are gone at the end.
"""

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

_NETWORK = "10.213.77"


@dataclass(frozen=True)
class Host:
    """One host: how to run a program on it, and where it is reached."""

    prefix: list[str]
    address: str
    port: int

    @property
    def endpoint(self) -> str:
        """Its address and port, as a configuration has them."""
        return f"{self.address}:{self.port}"


@contextlib.contextmanager
def namespaces(names: list[str]) -> Iterator[dict[str, Host]]:
    """A namespace for each of *names*, the first of which connects the others."""
    tag = f"ns{os.getpid()}"
    hub = f"{tag}-{names[0]}"
    with contextlib.ExitStack() as stack:
        for name in names:
            _ip("netns", "add", f"{tag}-{name}")
            stack.callback(_ip, "netns", "del", f"{tag}-{name}")
            _ip("-n", f"{tag}-{name}", "link", "set", "lo", "up")
        _ip("-n", hub, "link", "add", "bridge", "type", "bridge")
        _ip("-n", hub, "addr", "add", f"{_NETWORK}.1/24", "dev", "bridge")
        _ip("-n", hub, "link", "set", "bridge", "up")
        hosts = {names[0]: Host(_within(hub), f"{_NETWORK}.1", 8000)}
        for number, name in enumerate(names[1:], start=2):
            there = f"{tag}-{name}"
            _ip("-n", hub, "link", "add", f"to-{name}", "type", "veth",
                "peer", "name", "eth0", "netns", there)  # fmt: skip
            _ip("-n", hub, "link", "set", f"to-{name}", "master", "bridge", "up")
            _ip("-n", there, "addr", "add", f"{_NETWORK}.{number}/24", "dev", "eth0")
            _ip("-n", there, "link", "set", "eth0", "up")
            hosts[name] = Host(_within(there), f"{_NETWORK}.{number}", 8000)
        yield hosts


@contextlib.contextmanager
def processes(names: list[str]) -> Iterator[dict[str, Host]]:
    """All of *names* on this machine, each with a port of its own."""
    with contextlib.ExitStack() as stack:
        holders = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in names]
        ports = [holder.getsockname()[1] for holder in holders]
    yield {name: Host([], "127.0.0.1", port) for name, port in zip(names, ports, strict=True)}


def namespaces_are_allowed() -> bool:
    """Whether this process may make namespaces and connect them."""
    if os.geteuid() or shutil.which("ip") is None:
        return False
    try:
        with namespaces(["hub", "leaf"]):
            return True
    except subprocess.CalledProcessError:
        return False


def _within(namespace: str) -> list[str]:
    return ["ip", "netns", "exec", namespace]


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
