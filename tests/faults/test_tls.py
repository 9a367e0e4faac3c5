"""Clients that say nothing where TLS would begin; new certificates under load."""

import contextlib
import os
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from _harness import PATIENCE, Program, crowd, level, ms, stdlib

from tests._tls import NAME, Authority, Client

MUTE = 50


@pytest.mark.fault("50 clients that are mute before the handshake")
@pytest.mark.parametrize("server", ["ThreadingMixIn", "ForkingMixIn", "ThreadPoolMixIn"])
def test_mute_clients(seen: Callable[..., None], tmp_path: Path, server: str) -> None:
    """The next client is served at once, and each mute one ends at the deadline."""
    authority = Authority(tmp_path)
    authority.issue("server")
    attributes = {
        "certificates": str(tmp_path),
        "handshake_timeout": 2.0,
        "max_children": 64,
        "max_workers": 64,
        "request_queue_size": 1024,
    }
    with Program(server, bases=["Secret"], attributes=attributes) as program:
        with crowd(program.port, MUTE):
            program.wait_for(lambda report: report["stats"].get("active") == MUTE)
            patience = visit(program.port, authority.client(), PATIENCE)
            program.settle()
        stats = program.report()["stats"]
        loud = level(program.records(), "WARNING", "ERROR")
    theirs = None
    if server != "ThreadPoolMixIn":
        with Program(stdlib(server), bases=["SecretListener"], attributes=attributes) as beside:
            with crowd(beside.port, MUTE):
                theirs = visit(beside.port, authority.client(), 3)
    assert patience is not None
    seen(
        server,
        f"served after {ms(patience)}; {stats['timed_out']} timed out",
        ""
        if server == "ThreadPoolMixIn"
        else f"served after {ms(theirs)}"
        if theirs
        else "not served in 3 s",
    )
    assert stats["timed_out"] == MUTE
    assert stats["completed"] == 1
    assert patience < 2.0
    assert loud == []


def visit(port: int, context: ssl.SSLContext, timeout: float) -> float | None:
    """How long a client waits for its reply, in seconds; None if longer than *timeout*."""
    began = time.monotonic()
    with socket.socket() as plain, contextlib.suppress(TimeoutError):
        plain.settimeout(timeout)
        plain.connect(("127.0.0.1", port))
        with context.wrap_socket(plain, server_hostname=NAME) as client:
            client.sendall(b"hello\n")
            assert client.recv(100) == b"HELLO\n"
            waited = time.monotonic() - began
            client.unwrap().close()
            return waited
    return None


@pytest.mark.fault("new certificates under load")
@pytest.mark.parametrize("server", ["ThreadingMixIn", "ForkingMixIn"])
def test_reload(seen: Callable[..., None], tmp_path: Path, server: str) -> None:
    """SIGHUP comes again and again while clients do: no handshake fails, none gets a mixture."""
    authority = Authority(tmp_path)
    authority.issue("server", NAME, "round-0.example")
    context = authority.client()
    names: list[str] = []
    failures: list[BaseException] = []
    over = threading.Event()

    def come(port: int) -> None:
        try:
            while not over.is_set():
                with Client(("127.0.0.1", port), context) as client:
                    names.append(str(client.tls.getpeercert()))
                    client.sendall(b"hello\n")
                    assert client.recv(100) == b"HELLO\n"
                    client.end()
                    assert client.recv(100) == b""
        except BaseException as error:
            failures.append(error)

    attributes = {"certificates": str(tmp_path)}
    with Program(server, bases=["Secret"], attributes=attributes, run=True) as program:
        threads = [threading.Thread(target=come, args=(program.port,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for number in range(1, 21):
            until = time.monotonic() + PATIENCE
            before = len(names)
            while len(names) < before + 5 and not failures and time.monotonic() < until:
                time.sleep(0.001)
            authority.issue("server", NAME, f"round-{number}.example")
            os.kill(program.pid, signal.SIGHUP)
            program.wait_for(
                lambda _report, number=number: (
                    sum("were read now" in told for told in level(program.records(), "INFO"))
                    == number
                )
            )
        before = len(names)
        while len(names) < before + 5 and not failures and time.monotonic() < until:
            time.sleep(0.001)
        over.set()
        for thread in threads:
            thread.join()
        stats = program.report()["stats"]
    seen(server, f"{len(names)} handshakes, 20 certificates, {len(failures)} failures")
    assert failures == []
    assert "round-20.example" in names[-1]
    assert stats["failed"] == 0
