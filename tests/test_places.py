"""Servers that serve many clients at once, on IPv6, on both families, and on given sockets."""

import socket
from typing import Any

import pytest

from netserve import servers
from netserve.handlers import Lines, MessageRequestHandler

PATIENCE = 20

pytestmark = pytest.mark.skipif(not socket.has_ipv6, reason="there is no IPv6")

KINDS = [
    f"{mixin}{transport}Server"
    for mixin in ("Threading", "ThreadPool", "Multiplexing")
    for transport in ("TCP", "UDP")
]


class Whoami(MessageRequestHandler[Any, Any]):
    """Answers with the host of the client."""

    framing = Lines()

    def handle_message(self, message: bytes) -> bytes:
        """Answer."""
        return str(self.client_address[0]).encode()


def ask(kind: str, address: tuple[str, int]) -> str:
    """What the server of *kind* at *address* answers."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    socket_type = socket.SOCK_DGRAM if "UDP" in kind else socket.SOCK_STREAM
    with socket.socket(family, socket_type) as client:
        client.settimeout(PATIENCE)
        client.connect(address)
        client.send(b"who am I?\n")
        return client.recv(100).decode().strip()


@pytest.mark.parametrize("kind", KINDS)
def test_clients_of_both_families_have_plain_addresses(kind: str) -> None:
    """Whoever runs the requests, and the answer finds its way."""
    server = getattr(servers, kind)(("::", 0), Whoami, dual_stack=True)
    with server.background() as running:
        port = running.address[1]
        assert ask(kind, ("127.0.0.1", port)) == "127.0.0.1"
        assert ask(kind, ("::1", port)) == "::1"


@pytest.mark.parametrize("kind", KINDS)
def test_a_given_socket_is_served(kind: str) -> None:
    """By a server whose constructor is its own, too."""
    socket_type = socket.SOCK_DGRAM if "UDP" in kind else socket.SOCK_STREAM
    given = socket.socket(socket.AF_INET6, socket_type)
    given.bind(("::1", 0))
    with getattr(servers, kind).from_socket(given, Whoami).background() as running:
        assert ask(kind, running.address) == "::1"
