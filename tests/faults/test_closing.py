"""A reply arrives whole, although the client has sent more than was read."""

import time
from collections.abc import Callable

import pytest
from _harness import KINDS, Program, connect, stdlib

REPLY = 256 << 10  # bytes, as the handler sends them


@pytest.mark.fault("surplus input and a slow reader")
@pytest.mark.parametrize("server", KINDS)
def test_surplus(seen: Callable[..., None], server: str) -> None:
    """The close doesn't reset the connection before the client has read everything."""
    with Program(server, handler="surplus") as program:
        whole = sum(read_slowly(program.port) for _ in range(20))
        stats = program.settle()["stats"]
    with Program(stdlib(server), handler="surplus") as beside:
        theirs = sum(read_slowly(beside.port) for _ in range(20))
    seen(server, f"{whole} of 20 replies whole", f"{theirs} of 20")
    assert whole == 20
    assert stats["completed"] == 20


def read_slowly(port: int) -> bool:
    """Send more than the server reads, and read in small steps; whether all came."""
    received = 0
    with connect(port, buffer=16384) as client:
        client.sendall(b"line\n" + bytes(100_000))
        try:
            while part := client.recv(16384):
                received += len(part)
                time.sleep(0.005)
        except ConnectionResetError:
            pass
    return received == REPLY
