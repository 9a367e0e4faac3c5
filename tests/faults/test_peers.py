"""Clients that reset, keep silent, drip, don't read, or are too many."""

import contextlib
import selectors
import socket
import time
from collections.abc import Callable
from statistics import median

import pytest
from _harness import (
    KINDS,
    PATIENCE,
    Program,
    ask,
    collect,
    connect,
    crowd,
    level,
    ms,
    read_to_end,
    reset,
    stdlib,
)

DEADLINE = 0.5  # seconds
SLACK = 0.4  # seconds; the machine may be busy with other things


@pytest.mark.fault("1,000 resets in a row")
@pytest.mark.parametrize("server", [*KINDS, "drop-in TCPServer"])
def test_resets(seen: Callable[..., None], server: str) -> None:
    """Each is one debug record, and none a traceback; the drop-in module prints as CPython's."""
    # With a short queue, the clients would wait for room in it.
    queue = {"request_queue_size": 1024}
    with (
        Program(server, attributes=queue) as program,
        Program(stdlib(server), attributes=queue) as beside,
    ):
        for each in (program, beside):
            for _ in range(1000):
                client = connect(each.port)
                client.sendall(b"half a li")
                reset(client)
            # Whoever is in the line behind them is served after them.
            assert ask(each.port) == b"HELLO\n"
            each.settle()
        stats = program.report()["stats"]
        records = level(program.records(), "DEBUG")
        loud = level(program.records(), "INFO", "WARNING", "ERROR")
        errors, theirs = program.errors(), beside.errors()
    seen(
        server,
        f"{stats['disconnected']} disconnected, {stats['completed'] - 1} completed;"
        f" {len(records)} debug records, {errors.count('Traceback')} tracebacks",
        f"{theirs.count('Traceback')} tracebacks, {len(theirs.splitlines()):,} lines",
    )
    assert stats["accepted"] == 1001
    assert stats["disconnected"] + stats["completed"] == 1001
    assert loud == []
    if server.startswith("drop-in"):
        assert errors.count("Traceback") == stats["disconnected"]
    else:
        assert len(records) == stats["disconnected"]
        assert errors == ""


# How long 500 of them may take to be dealt with is what sets each idle_timeout.
SILENT = {
    "TCPServer": ({"idle_timeout": 0.01}, 1),
    "ThreadingMixIn": ({"idle_timeout": 0.3, "max_connections": 50}, 50),
    "ForkingMixIn": ({"idle_timeout": 0.3, "max_children": 40}, 40),
    "AsyncioMixIn": ({"idle_timeout": 0.3, "max_connections": 50}, 0),
}


@pytest.mark.fault("500 silent clients")
@pytest.mark.parametrize("server", KINDS)
def test_silent_clients(seen: Callable[..., None], server: str) -> None:
    """The honest one behind them is served, and the limit on connections holds."""
    attributes, limit = SILENT[server]
    attributes["request_queue_size"] = 1024
    with Program(server, attributes=attributes) as program:
        patience, most = surround(program)
        stats = program.report()["stats"]
    with Program(stdlib(server), attributes={"request_queue_size": 1024}) as beside:
        theirs, their_most = surround(beside, timeout=3)
    seen(
        server,
        f"served after {patience:.1f} s; at most {most} threads or children",
        (f"served after {theirs:.1f} s" if theirs else "not served in 3 s")
        + (f"; {their_most} threads or children" if their_most else ""),
    )
    assert patience is not None
    assert most <= limit + 2
    assert stats["timed_out"] == 500
    assert stats["completed"] == 1


def surround(program: Program, timeout: float = PATIENCE) -> tuple[float | None, int]:
    """Put an honest client behind 500 silent ones, until all are ended, or for *timeout* seconds.

    Returns after how many seconds it was served, if it was, and how many threads
    and children there were at most, the main thread not counted.
    """
    most = 0
    served = None
    with crowd(program.port, 500), connect(program.port) as client:
        began = time.monotonic()
        client.sendall(b"hello\n")
        client.shutdown(socket.SHUT_WR)
        client.settimeout(0.02)
        while time.monotonic() < began + timeout:
            most = max(most, program.status("Threads") - 1, len(program.children()))
            if served is None:
                with contextlib.suppress(TimeoutError):
                    assert client.recv(100) == b"HELLO\n"
                    served = time.monotonic() - began
            elif program.report()["stats"].get("active") == 0:
                break
    return served, most


@pytest.mark.fault("drip feeders")
@pytest.mark.parametrize(
    ("server", "handler"),
    # In a coroutine, what one call receives is a message, and arrives at once.
    [(kind, name) for kind in KINDS for name in ("receive", "upper")
     if (kind, name) != ("AsyncioMixIn", "receive")],
)  # fmt: skip
def test_drip_feeders(seen: Callable[..., None], server: str, handler: str) -> None:
    """A byte at a time doesn't put off the deadline of the message."""
    where = {"receive": "recv", "upper": "rfile"}[handler]
    attributes = {"message_timeout": DEADLINE, "idle_timeout": 5}
    with Program(server, handler=handler, attributes=attributes) as program:
        lives = [drip(program.port) for _ in range(5)]
        assert program.settle()["stats"]["timed_out"] == 5
        assert all("too slow" in message for message in level(program.records(), "INFO"))
        assert level(program.records(), "WARNING", "ERROR") == []
    with Program(stdlib(server), handler=handler) as beside:
        theirs = drip(beside.port, timeout=2)
    late = max(lives) - DEADLINE
    seen(
        f"{server}, in {where}",
        f"deadline of {ms(DEADLINE)}: closed after {ms(median(lives))}, {ms(late)} late at worst",
        "open after 2 s" if theirs >= 2 else f"closed after {ms(theirs)}",
    )
    assert min(lives) - DEADLINE > -0.02
    assert late < SLACK


def drip(port: int, timeout: float = PATIENCE) -> float:
    """How long a client lives that sends a byte every 20 ms, in seconds from the first."""
    with connect(port) as client, selectors.DefaultSelector() as selector:
        selector.register(client, selectors.EVENT_READ)
        began = time.monotonic()
        while time.monotonic() < began + timeout:
            try:
                client.send(b"x")
                if selector.select(0.02) and not client.recv(100):
                    break
            except ConnectionError:
                break
        return time.monotonic() - began


@pytest.mark.fault("clients that don't read")
@pytest.mark.parametrize("server", KINDS)
def test_clients_that_do_not_read(seen: Callable[..., None], server: str) -> None:
    """A reply that nobody takes ends by the idle deadline, one taken in drips by the connection's.

    The client can't see that, so that the server's record of the end is what tells.
    """
    ends = []
    for limit in ("idle_timeout", "connection_timeout"):
        attributes = {limit: DEADLINE, "access_log": True}
        with (
            Program(server, handler="flood", attributes=attributes) as program,
            connect(program.port, buffer=32768) as client,
        ):
            while not program.report()["stats"]["timed_out"]:
                if limit == "connection_timeout":
                    client.recv(20000)
                time.sleep(0.02)
            (end,) = [each for each in program.records() if each["logger"] == "netserve.access"]
            ends.append(end["duration"])
    seen(
        server,
        f"deadline of {ms(DEADLINE)}: reading nothing, closed after {ms(ends[0])};"
        f" in drips, closed after {ms(ends[1])}",
    )
    assert all(0 <= end - DEADLINE < SLACK for end in ends)


@pytest.mark.fault("200 clients for 50 places, refused")
@pytest.mark.parametrize("server", ["ThreadingMixIn", "ForkingMixIn"])
@pytest.mark.parametrize("log", ["", "/dev/full"])
def test_refusals(seen: Callable[..., None], server: str, log: str) -> None:
    """Those who are refused get the whole farewell, though they have sent a request.

    Also when there is no room on the disk for the log.
    """
    attributes = {
        "max_connections": 50,
        "max_children": 100,
        "overload": "refuse",
        "farewell": "full\n",
        "access_log": True,
    }
    with Program(server, attributes=attributes, log=log) as program:
        with crowd(program.port, 50) as admitted:
            for client in admitted:
                client.sendall(b"half a li")
            program.wait_for(lambda report: report["stats"]["active"] == 50)
            with crowd(program.port, 150) as others:
                for client in others:
                    client.sendall(b"x" * 1000 + b"\n")
                farewells = sum(reply == b"full\n" for reply in collect(others))
            for client in admitted:
                client.sendall(b"ne\n")
                client.shutdown(socket.SHUT_WR)
            replies = sum(reply == b"HALF A LINE\n" for reply in collect(admitted))
        stats = program.settle()["stats"]
        assert ask(program.port) == b"HELLO\n"
    seen(
        server + (", the log on a full disk" if log else ""),
        f"{farewells} of 150 got the whole farewell, {replies} of 50 were served",
    )
    assert farewells == 150
    assert replies == 50
    assert stats["refused"] == 150
    assert stats["completed"] == 50


@pytest.mark.fault("one peer with many connections")
@pytest.mark.parametrize("server", ["ThreadingMixIn", "ForkingMixIn"])
def test_limit_of_a_peer(seen: Callable[..., None], server: str) -> None:
    """It gets as many as one peer may have, and another peer is served beside it."""
    with Program(server, attributes={"max_connections_per_peer": 5}) as program:
        with crowd(program.port, 5):
            program.wait_for(lambda report: report["stats"]["active"] == 5)
            refused = sum(ask(program.port) == b"" for _ in range(20))
            other = sum(ask(program.port, host="127.0.0.2") == b"HELLO\n" for _ in range(20))
        program.settle()
        again = ask(program.port) == b"HELLO\n"
    seen(
        server,
        f"{refused} of 20 beyond its limit refused; {other} of 20 of the other peer served;"
        f" the first {'served' if again else 'refused'} again after that",
    )
    assert (refused, other, again) == (20, 20, True)


@pytest.mark.fault("half-received messages")
@pytest.mark.parametrize("server", ["ThreadingMixIn", "ForkingMixIn"])
def test_half_received_messages(seen: Callable[..., None], server: str) -> None:
    """They end by the deadline of the message; a client that is silent between two doesn't."""
    attributes = {"message_timeout": DEADLINE, "max_children": 60}
    with Program(server, attributes=attributes) as program:
        with connect(program.port) as silent, crowd(program.port, 50) as halves:
            silent.sendall(b"first\n")
            assert silent.recv(100) == b"FIRST\n"
            began = time.monotonic()
            for client in halves:
                client.sendall(b"half a li")
            assert set(collect(halves)) == {b""}
            elapsed = time.monotonic() - began
            time.sleep(DEADLINE)
            silent.sendall(b"second\n")
            silent.shutdown(socket.SHUT_WR)
            second = read_to_end(silent) == b"SECOND\n"
        stats = program.settle()["stats"]
    seen(
        server,
        f"50 ended after {ms(elapsed)} of {ms(DEADLINE)};"
        f" the silent one is {'served' if second else 'closed'}",
    )
    assert elapsed < DEADLINE + 2 * SLACK
    assert second
    assert (stats["timed_out"], stats["completed"]) == (50, 1)
