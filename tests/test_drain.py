"""What a drain does to what was accepted, where the state machine can't tell exactly."""

import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from netserve import socketserver
from netserve.concurrency import AsyncioMixIn, MultiplexingMixIn, ThreadingMixIn
from netserve.core import Running, State, StopResult
from netserve.handlers import (
    DatagramRequestHandler,
    MessageRequestHandler,
    StreamRequestHandler,
)
from netserve.transports import TCPServer, UDPServer

HOME = ("127.0.0.1", 0)
PATIENCE = 20.0

Connect = Callable[..., socket.socket]

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


class ThreadingTCPServer(ThreadingMixIn, TCPServer):
    """A thread for each connection."""


class ThreadingUDPServer(ThreadingMixIn, UDPServer):
    """A thread for each datagram."""


class Upper(StreamRequestHandler):
    """Sends each line back in capitals."""

    def handle(self) -> None:
        """Answer until the input ends."""
        for line in self.rfile:
            self.wfile.write(line.upper())


class Gate:
    """Holds handlers until it is opened; opened at the end of the test at the latest."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self._lock = threading.Condition()
        self.threads: list[threading.Thread] = []

    def wait(self) -> None:
        """Wait in a handler."""
        with self._lock:
            self.threads.append(threading.current_thread())
            self._lock.notify_all()
        assert self.open.wait(PATIENCE)

    def await_waiting(self, count: int) -> None:
        """Return when *count* handlers have come."""
        with self._lock:
            assert self._lock.wait_for(lambda: len(self.threads) >= count, PATIENCE)


@pytest.fixture
def gate() -> Iterator[Gate]:
    """A gate for handlers."""
    gate = Gate()
    yield gate
    gate.open.set()


def received(client: socket.socket) -> bytes:
    """All that comes until the end of the connection."""
    with client.makefile("rb") as answer:
        return answer.read()


def await_state(server: Any, *states: State) -> None:
    """Return when *server* has come to one of *states*."""
    until = time.monotonic() + PATIENCE
    while server.state not in states:
        assert time.monotonic() < until
        time.sleep(0.001)


def in_thread(function: Callable[[], Any]) -> Callable[[], Any]:
    """Call *function* in a thread; returns a function that waits for its result."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(function()), daemon=True)
    thread.start()

    def result() -> Any:
        thread.join(PATIENCE)
        assert results, "it doesn't return"
        return results[0]

    return result


@contextlib.contextmanager
def serving(server_class: Any, handler: Any, **attributes: Any) -> Iterator[Running]:
    """A server in the background, with *attributes* of its own; closed at the end."""
    made = type("Made", (server_class,), attributes)
    with made(HOME, handler).background() as running:
        yield running


def drained(server: Any, gate: Gate) -> StopResult:
    """What becomes of a drain in which the handlers go on only once it has begun."""
    stopped = in_thread(lambda: server.stop(PATIENCE))
    await_state(server, State.DRAINING)
    gate.open.set()
    return stopped()


class Held(StreamRequestHandler):
    """Waits at the server's gate before it answers a line, and reads on."""

    def handle(self) -> None:
        """Answer until the input ends."""
        for line in self.rfile:
            self.server.gate.wait()
            self.wfile.write(line.upper())


@pytest.mark.parametrize("server_class", [TCPServer, ThreadingTCPServer, socketserver.TCPServer])
def test_who_waits_in_the_backlog_is_answered(
    server_class: Any, gate: Gate, connect: Connect
) -> None:
    """All who had connected and sent their line when stop was called get their answer."""
    with serving(server_class, Held, gate=gate, max_connections=1) as running:
        server = running.server
        first = connect(server, b"first\n")
        gate.await_waiting(1)
        clients = [connect(server, b"line %d\n" % number) for number in range(5)]
        result = drained(server, gate)
        assert (result.drained, result.forced) == (6, 0)
        assert received(first) == b"FIRST\n"
        assert [received(client) for client in clients] == [
            b"LINE %d\n" % number for number in range(5)
        ]
    assert server.stats().drained == 6


def test_backlog_may_be_left_for_the_next_loop(
    gate: Gate, connect: Connect, serve: Callable[..., threading.Thread]
) -> None:
    """With drains_backlog false it is neither answered nor lost."""
    with TCPServer(HOME, Held) as server:
        server.gate = gate
        server.drains_backlog = False
        thread = serve(server)
        first = connect(server, b"first\n")
        gate.await_waiting(1)
        second = connect(server, b"second\n")
        assert drained(server, gate).drained == 1
        thread.join(PATIENCE)
        assert received(first) == b"FIRST\n"
        assert server.stats().accepted == 1
        serve(server)
        second.shutdown(socket.SHUT_WR)
        assert received(second) == b"SECOND\n"


def test_backlog_that_is_left_is_reset_when_the_server_closes(gate: Gate, connect: Connect) -> None:
    """Who isn't served learns it at once."""
    with serving(TCPServer, Held, gate=gate, drains_backlog=False) as running:
        connect(running.server, b"first\n")
        gate.await_waiting(1)
        second = connect(running.server, b"second\n")
        drained(running.server, gate)
    with pytest.raises(ConnectionResetError):
        second.recv(1)


@pytest.mark.parametrize("server_class", [TCPServer, ThreadingTCPServer])
def test_what_was_sent_before_is_read_and_answered_after(
    server_class: Any, gate: Gate, connect: Connect
) -> None:
    """A handler that is busy with the first line when the drain begins still gets the others."""
    with serving(server_class, Held, gate=gate) as running:
        client = connect(running.server, b"a\nb\nc\n")
        gate.await_waiting(1)
        result = drained(running.server, gate)
        assert received(client) == b"A\nB\nC\n"
        assert (result.drained, result.forced) == (1, 0)


def test_idle_connections_end_at_once(connect: Connect) -> None:
    """A drain of idle clients takes no part of the grace."""
    with serving(ThreadingTCPServer, Upper) as running:
        clients = [connect(running.server, b"x\n") for _ in range(20)]
        assert all(client.recv(100) == b"X\n" for client in clients)
        result = running.stop(PATIENCE)
        assert (result.drained, result.forced) == (20, 0)
        assert result.elapsed < PATIENCE / 4
        assert all(client.recv(100) == b"" for client in clients)


class Sending(StreamRequestHandler):
    """Sends for ever; the end of the input doesn't end it, the end of the connection does."""

    def handle(self) -> None:
        """Send to a client that doesn't read."""
        self.server.gate.wait()
        while True:
            self.wfile.write(bytes(65536))


@pytest.mark.parametrize("server_class", [TCPServer, ThreadingTCPServer])
def test_who_outlasts_the_grace_is_forced(server_class: Any, gate: Gate, connect: Connect) -> None:
    """Stop returns soon after the grace is over, with the handler ended and counted."""
    gate.open.set()
    with serving(server_class, Sending, gate=gate, linger_timeout=0) as running:
        connect(running.server)
        gate.await_waiting(1)
        began = time.monotonic()
        result = running.stop(0.2)
        assert 0.2 <= time.monotonic() - began < 1.5
        assert (result.drained, result.forced) == (0, 1)
    stats = running.server.stats()
    assert (stats.forced, stats.failed, stats.active) == (1, 0, 0)


class Deaf(StreamRequestHandler):
    """Heeds nothing but the gate."""

    def handle(self) -> None:
        """Wait."""
        self.server.gate.wait()


def test_who_heeds_nothing_is_abandoned(gate: Gate, connect: Connect) -> None:
    """Stop and server_close return, though a handler goes on; it is counted once."""
    with serving(ThreadingTCPServer, Deaf, gate=gate) as running:
        connect(running.server)
        gate.await_waiting(1)
        (handler,) = gate.threads
        began = time.monotonic()
        result = running.stop(0.1)
        assert time.monotonic() - began < 2
        assert (result.drained, result.forced) == (0, 1)
    assert handler.is_alive()
    gate.open.set()
    handler.join(PATIENCE)
    stats = running.server.stats()
    assert (stats.forced, stats.drained, stats.completed, stats.active) == (1, 0, 0, 0)


def test_daemon_threads_are_drained_and_forced_too(gate: Gate, connect: Connect) -> None:
    """Closing doesn't wait for them, but a drain does."""
    with serving(ThreadingTCPServer, Held, gate=gate, daemon_threads=True) as running:
        client = connect(running.server, b"x\n")
        gate.await_waiting(1)
        result = drained(running.server, gate)
        assert (result.drained, result.forced) == (1, 0)
        assert received(client) == b"X\n"


@pytest.mark.parametrize("server_class", [TCPServer, ThreadingTCPServer])
def test_a_second_stop_shortens_the_grace(server_class: Any, gate: Gate, connect: Connect) -> None:
    """Both return then, with the same counts."""
    gate.open.set()
    with serving(server_class, Sending, gate=gate, linger_timeout=0) as running:
        connect(running.server)
        gate.await_waiting(1)
        began = time.monotonic()
        first = in_thread(lambda: running.stop(PATIENCE))
        await_state(running.server, State.DRAINING)
        second = running.stop(0.1)
        assert first().forced == second.forced == 1
        assert time.monotonic() - began < PATIENCE / 4


class Slow(DatagramRequestHandler):
    """Waits at the gate before it answers."""

    def handle(self) -> None:
        """Answer."""
        self.server.gate.wait()
        self.wfile.write(self.packet.upper())


@pytest.mark.parametrize(
    "server_class", [ThreadingUDPServer, UDPServer, socketserver.ThreadingUDPServer]
)
def test_datagrams_are_answered_to_the_last(
    server_class: Any, gate: Gate, connect: Connect
) -> None:
    """Those with a handler and those in the socket's buffer: more than a stream's queue holds."""
    with serving(server_class, Slow, gate=gate) as running:
        client = connect(running.server, b"0")
        gate.await_waiting(1)
        for number in range(1, 150):
            client.sendall(b"%d" % number)
        result = drained(running.server, gate)
        assert (result.drained, result.forced) == (150, 0)
        answers = {client.recv(100) for _ in range(150)}
        assert answers == {b"%d" % number for number in range(150)}


def test_datagram_handlers_that_outlast_the_grace_are_forced(gate: Gate, connect: Connect) -> None:
    """There is nothing to shut; they are no longer waited for."""
    with serving(ThreadingUDPServer, Slow, gate=gate) as running:
        client = connect(running.server)
        for _ in range(3):
            client.sendall(b"x")
        gate.await_waiting(3)
        began = time.monotonic()
        result = running.stop(0.1)
        assert time.monotonic() - began < 2
        assert (result.drained, result.forced) == (0, 3)
        gate.open.set()
        for thread in gate.threads:
            thread.join(PATIENCE)


def test_a_handler_of_a_single_request_does_not_wait_for_itself(
    connect: Connect,
) -> None:
    """In handle_request there is no loop; a handler that stops the server still goes on."""
    results = []

    class Stopping(StreamRequestHandler):
        def handle(self) -> None:
            self.rfile.readline()
            results.append(self.server.stop(PATIENCE))
            self.wfile.write(b"stopped")

    with TCPServer(HOME, Stopping) as server:
        client = connect(server, b"x\n")
        server.handle_request()
        assert received(client) == b"stopped"
        assert results[0].forced == 0
        assert results[0].elapsed < PATIENCE / 4


@pytest.mark.parametrize("others", [0, 1])
def test_handlers_that_stop_do_not_wait_for_each_other_nor_for_room(
    others: int, connect: Connect
) -> None:
    """Several may call stop at once, also where no more than they fit in."""
    together = threading.Barrier(2)

    class Stopping(StreamRequestHandler):
        def handle(self) -> None:
            if self.rfile.readline() == b"stop\n":
                together.wait(PATIENCE)
                assert self.server.stop(PATIENCE).forced == 0
            self.wfile.write(b"done")

    with serving(ThreadingTCPServer, Stopping, max_connections=2) as running:
        clients = [connect(running.server, b"stop\n") for _ in range(2)]
        clients += [connect(running.server, b"x\n") for _ in range(others)]
        assert [received(client) for client in clients] == [b"done"] * (2 + others)
        began = time.monotonic()
        running.thread.join(PATIENCE)
        assert time.monotonic() - began < PATIENCE / 4
    stats = running.server.stats()
    assert (stats.drained, stats.forced) == (2 + others, 0)


def test_shutdown_in_a_handler_does_not_wait_for_the_drain_that_waits_for_it(
    gate: Gate, connect: Connect
) -> None:
    """It has nothing more to ask for, and returns."""

    class Shutting(StreamRequestHandler):
        def handle(self) -> None:
            self.server.gate.wait()
            self.server.shutdown()
            self.wfile.write(b"done")

    with serving(ThreadingTCPServer, Shutting, gate=gate) as running:
        client = connect(running.server)
        gate.await_waiting(1)
        result = drained(running.server, gate)
        assert (result.drained, result.forced) == (1, 0)
        assert received(client) == b"done"


def test_background_does_not_begin_while_somebody_else_serves(
    serve: Callable[..., threading.Thread],
) -> None:
    """The error is raised in the caller, before the body."""
    with TCPServer(HOME, Upper) as server:
        serve(server)
        await_state(server, State.SERVING)
        with pytest.raises(RuntimeError, match="serving"):
            with server.background():
                pytest.fail("the body was entered")


FORKING = """
import signal, sys
from netserve.concurrency import ForkingMixIn
from netserve.transports import {server}
from netserve.handlers import {handler}

class Server(ForkingMixIn, {server}):
    pass

class Handler({handler}):
    def handle(self):
        while line := self.rfile.readline():
            if line == b"hang\\n":
                signal.pause()
            self.wfile.write(line.upper())

with Server(("127.0.0.1", 0), Handler) as server:
    signal.signal(signal.SIGUSR1, lambda *_: server.stop({grace}))
    print(server.server_address[1], flush=True)
    server.serve_forever()
    stats = server.stats()
    print(stats.accepted, stats.drained, stats.forced, stats.active, flush=True)
    assert not server.active_children
"""


@contextlib.contextmanager
def forking(server: str, handler: str, grace: float) -> Iterator[tuple[Any, Any]]:
    """A process that serves with children, and its address; SIGUSR1 drains it."""
    program = FORKING.format(server=server, handler=handler, grace=grace)
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            yield process, ("127.0.0.1", int(process.stdout.readline()))
        finally:
            process.kill()


def counts(process: Any) -> list[int]:
    """What the process counted at its end."""
    output, errors = process.communicate(timeout=PATIENCE)
    assert "Warning" not in errors
    assert "Traceback" not in errors
    return [int(word) for word in output.split()]


@needs_fork
def test_children_are_drained() -> None:
    """Each is told the end of its input through the parent's hold on the connection."""
    with forking("TCPServer", "StreamRequestHandler", PATIENCE) as (process, address):
        clients = [socket.create_connection(address, PATIENCE) for _ in range(5)]
        for client in clients:
            client.sendall(b"x\n")
            assert client.recv(100) == b"X\n"
        process.send_signal(signal.SIGUSR1)
        for client in clients:
            assert client.recv(100) == b""
            client.close()
        assert counts(process) == [5, 5, 0, 0]


@needs_fork
def test_children_that_outlast_the_grace_are_killed() -> None:
    """After the moment that they are given to unwind."""
    with forking("TCPServer", "StreamRequestHandler", 0.1) as (process, address):
        with socket.create_connection(address, PATIENCE) as client:
            client.sendall(b"x\nhang\n")
            assert client.recv(100) == b"X\n"
            began = time.monotonic()
            process.send_signal(signal.SIGUSR1)
            assert counts(process) == [1, 0, 1, 0]
            assert time.monotonic() - began < 3


@needs_fork
def test_datagrams_in_children_are_answered_to_the_last() -> None:
    """The children are waited for, and what was in the buffer is taken."""
    with forking("UDPServer", "DatagramRequestHandler", PATIENCE) as (process, address):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(PATIENCE)
            client.connect(address)
            client.sendall(b"first\n")
            assert client.recv(100) == b"FIRST\n"
            for number in range(20):
                client.sendall(b"%d\n" % number)
            process.send_signal(signal.SIGUSR1)
            answers = {client.recv(100) for _ in range(20)}
            assert answers == {b"%d\n" % number for number in range(20)}
        assert counts(process)[2:] == [0, 0]


@needs_fork
def test_a_child_that_is_collected_at_once_is_not_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another thread may collect it before the fork has returned to the loop."""
    program = """
import os, threading
from netserve.concurrency import ForkingMixIn
from netserve.transports import TCPServer
import socket

class Server(ForkingMixIn, TCPServer):
    pass

fork = os.fork
server = Server(("127.0.0.1", 0), lambda *_: None)
pidfd_open = os.pidfd_open

def collected_before(pid):
    os.pidfd_open = pidfd_open
    server.active_children.collect(blocking=True)
    return pidfd_open(pid)

os.pidfd_open = collected_before
with server, socket.create_connection(server.server_address):
    server.handle_request()
    assert server.stats().active == 0, server.stats()
    assert server.stats().completed == 1
"""
    if not hasattr(os, "pidfd_open"):
        pytest.skip("needs pidfd_open")
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=PATIENCE)


def test_a_client_that_resets_is_no_failure(connect: Connect) -> None:
    """In a drain it counts among the drained, and leaves no error."""
    with serving(ThreadingTCPServer, Upper) as running:
        client = connect(running.server, b"x\n")
        assert client.recv(100) == b"X\n"
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        result = running.stop(PATIENCE)
        assert result.forced == 0
    stats = running.server.stats()
    assert stats.failed == 0
    assert stats.disconnected + stats.drained == 1


@pytest.mark.parametrize("mixin", [ThreadingMixIn, MultiplexingMixIn, AsyncioMixIn])
def test_closing_while_the_loop_looks_at_the_descriptor(mixin: type[Any]) -> None:
    """As a signal's handler may: the loop ends, also where the number is nobody's by then."""

    class Closing(mixin, TCPServer):  # type: ignore[misc]
        def fileno(self) -> int:
            number = super().fileno()
            if self.state is State.SERVING:
                self.server_close()
            return int(number)

    server = Closing(HOME, MessageRequestHandler)
    server.serve_forever()
    assert server.state is State.CLOSED
