"""The tests of the tutorial's service: of the handler alone, and over a real connection."""

from typing import Any

from shout import Shout

from netserve.servers import MultiplexingTCPServer
from netserve.testing import MessageExchange


def test_a_line_comes_back_in_capitals() -> None:
    """Also when it comes in pieces; no socket is there."""
    with MessageExchange(Shout) as exchange:
        assert exchange.feed(b"hel") == b""
        assert exchange.feed(b"lo\n") == b"HELLO\n"


def test_clients_are_served(serve: Any) -> None:
    """The same over TCP; the fixture comes with netserve-testing."""
    client = serve(MultiplexingTCPServer, Shout).connect()
    client.send(b"hello\n")
    assert client.read_line() == b"HELLO\n"
