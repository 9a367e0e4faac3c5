"""Datagrams that are too long for the server's room."""

import socket
from collections.abc import Callable

import pytest
from _harness import PATIENCE, Program, level

SIZE = 8192
COUNT = 200


def ask_in_turn(program: Program) -> tuple[int, int]:
    """Send a datagram that is too long before each good one; how many of each are answered."""
    cut = whole = 0
    with socket.socket(type=socket.SOCK_DGRAM) as client:
        client.settimeout(PATIENCE)
        client.connect(("127.0.0.1", program.port))
        for number in range(COUNT):
            client.send(b"x" * (SIZE + 1))
            client.send(b"good %d" % number)
            answer = client.recv(SIZE)
            if answer.upper() == b"X" * SIZE:
                cut += 1
                answer = client.recv(SIZE)
            whole += answer.upper() == b"GOOD %d" % number
    return cut, whole


@pytest.mark.fault("oversized datagrams")
@pytest.mark.parametrize("server", ["UDPServer", "drop-in UDPServer"])
def test_oversized_datagrams(seen: Callable[..., None], server: str) -> None:
    """They are refused, each with its record, and hold up nobody; the drop-in cuts them."""
    attributes = {"max_packet_size": SIZE}
    with Program(server, attributes=attributes) as program:
        cut, whole = ask_in_turn(program)
        stats = program.settle()["stats"]
        refused = level(program.records(), "INFO")
        loud = level(program.records(), "WARNING", "ERROR")
    with Program("stdlib UDPServer", attributes=attributes) as other:
        theirs = ask_in_turn(other)
    seen(
        server,
        f"{stats['refused']} of {COUNT} refused, {cut} answered as if whole;"
        f" {whole} of {COUNT} good ones answered",
        f"{theirs[0]} answered as if whole; {theirs[1]} good ones answered",
    )
    expected = COUNT if server == "UDPServer" else 0
    assert (stats["refused"], cut, whole) == (expected, COUNT - expected, COUNT)
    assert len([text for text in refused if "max_packet_size" in text]) == expected
    assert loud == []
