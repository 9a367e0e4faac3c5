"""Handlers that block, on the multiplexing mix-in: the monitor, the pool, the hand-over."""

import contextlib
import logging
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from netserve.concurrency import _multiplexer
from netserve.core import State
from tests._multiplexing import (
    HOME,
    PATIENCE,
    Client,
    Server,
    Words,
    clients,
    enter,
    fresh,
    until,
)


@pytest.fixture
def handler() -> Iterator[type[Words]]:
    """A handler class, whose gate is open at the latest when the test has ended."""
    made = fresh()
    yield made
    made.gate.set()


@pytest.fixture
def server(handler: type[Words]) -> Iterator[Any]:
    """A server that is served."""
    with served(handler) as server:
        yield server


@contextlib.contextmanager
def served(handler: type[Words], **attributes: Any) -> Iterator[Any]:
    """A server that is served meanwhile, with the *attributes*."""
    server: Any = type("Server", (Server,), attributes)(HOME, handler)
    thread = threading.Thread(target=server.serve_forever, name="the loop")
    thread.start()
    until(lambda: server.current_loop is not None)
    try:
        yield server
    finally:
        handler.gate.set()
        server.shutdown()
        thread.join(PATIENCE)
        assert not thread.is_alive()
        server.server_close()
        until(lambda: not server.stats().active)


def test_a_blocking_handler_holds_up_nobody(server: Any, handler: type[Words]) -> None:
    """Another thread takes over, and the pool; later the loop runs handlers itself again."""
    with contextlib.ExitStack() as ends:
        stuck, *others = clients(ends, server, 20)
        stuck.send(b"gate a\n")
        enter(handler)
        for client in others:
            assert client.ask(b"hello") == b"HELLO"
        assert server.current_loop.pooled
        assert handler.threads[0] == "the loop"
        assert not {"the loop", "netserve.monitor"} & set(handler.threads[1:])
        handler.gate.set()
        assert stuck.line() == b"THROUGH a"
        assert stuck.ask(b"hello") == b"HELLO"
        until(lambda: not server.current_loop.pooled)
        handler.threads.clear()
        assert stuck.ask(b"hello") == b"HELLO"
        assert handler.threads == ["the loop"]


def test_many_handlers_block_at_a_time(server: Any, handler: type[Words]) -> None:
    """As many as there may be threads, and one in the loop."""
    with contextlib.ExitStack() as ends:
        several = clients(ends, server, 20)
        for number, client in enumerate(several):
            client.send(b"gate %d\nlast\n" % number)
        enter(handler, 20)
        handler.gate.set()
        for number, client in enumerate(several):
            assert client.line() == b"THROUGH %d" % number
            assert client.line() == b"LAST"
        assert len(set(handler.threads)) <= server.max_workers + 1


def test_messages_for_a_stuck_handler_wait(server: Any, handler: type[Words]) -> None:
    """In order, whoever leads: also when its descriptor is reported meanwhile."""
    with Client(server.server_address) as stuck, Client(server.server_address) as other:
        stuck.send(b"gate a\n")
        enter(handler)
        assert other.ask(b"hello") == b"HELLO"
        stuck.send(b"one\ntwo\n")
        connection = server.current_loop._current
        until(lambda: connection.armed == _multiplexer.UNREGISTERED)
        assert other.ask(b"hello") == b"HELLO"
        handler.gate.set()
        assert [stuck.line() for _ in range(3)] == [b"THROUGH a", b"ONE", b"TWO"]


def test_a_client_resets_while_a_worker_has_it(server: Any, handler: type[Words]) -> None:
    """An error is reported whether it is watched for or not; the worker comes to its end."""
    with contextlib.ExitStack() as ends:
        first, second, third = clients(ends, server, 3)
        for client in (first, second):
            client.send(b"gate\n")
            enter(handler)
        first.reset()
        second.reset()
        until(
            lambda: all(
                each.armed == _multiplexer.UNREGISTERED
                for each in server.current_loop._connections.values()
                if each.owned
            )
        )
        assert third.ask(b"hello") == b"HELLO"
        handler.gate.set()
        until(lambda: server.stats().disconnected == 2)


def test_nothing_happens_while_a_handler_blocks(
    handler: type[Words], monkeypatch: pytest.MonkeyPatch
) -> None:
    """For longer than the pool stays in use; then the stand-in goes on with it."""
    monkeypatch.setattr(_multiplexer, "_POOLED", 0.02)
    with served(handler) as server, contextlib.ExitStack() as ends:
        stuck, other = clients(ends, server, 2)
        assert other.ask(b"hello") == b"HELLO"
        stuck.send(b"gate\n")
        enter(handler)
        loop = server.current_loop
        until(lambda: loop._deposed and not loop.pooled)
        assert other.ask(b"hello") == b"HELLO"
        assert "netserve.monitor" not in handler.threads
        with Client(server.server_address) as new:
            until(lambda: not loop.pooled)
            assert new.ask(b"hello") == b"HELLO"
        handler.gate.set()
        assert stuck.line() == b"THROUGH "


def test_setup_may_block(handler: type[Words]) -> None:
    """Also of the first connection, and after a time in which nothing happened."""

    class Slow(handler):  # type: ignore[misc,valid-type]
        def setup(self) -> None:
            super().setup()
            if len(self.began) % 2:
                self.do_gate(b"")

    with served(Slow) as server, contextlib.ExitStack() as ends:
        for _ in range(2):
            (slow,) = clients(ends, server, 1)
            enter(handler)
            (quick,) = clients(ends, server, 1)
            assert quick.ask(b"hello") == b"HELLO"
            Slow.gate.set()
            assert slow.ask(b"hello") == b"HELLO"
            Slow.gate = threading.Event()
            until(lambda: not server.current_loop._watching)
        until(lambda: not server.current_loop.pooled)


def test_setup_in_a_worker(server: Any, handler: type[Words]) -> None:
    """A connection that comes while the pool is in use begins there."""
    server.current_loop._pooled_until = time.monotonic() + PATIENCE
    with Client(server.server_address) as client:
        assert client.ask(b"hello") == b"HELLO"
        assert "the loop" not in handler.threads


@pytest.mark.parametrize("word", [b"fail", b"exit"])
def test_what_a_handler_raises_in_a_worker(server: Any, handler: type[Words], word: bytes) -> None:
    """Ends its connection, behind the answers, and not the worker."""
    server.current_loop._pooled_until = time.monotonic() + PATIENCE
    for _ in range(2):
        with Client(server.server_address) as client:
            client.send(b"one\n" + word + b"\ntwo\n")
            assert client.rest() == b"ONE\n"
    until(lambda: server.stats().failed == 2)
    assert len(handler.ended) == 2


@pytest.mark.parametrize("where", ["setup", "handle_message"])
def test_system_exit_in_a_worker(handler: type[Words], where: str) -> None:
    """It ends the connection; in setup, without a call of finish."""

    def leave(self: Any, message: bytes = b"") -> None:
        raise SystemExit

    with served(type("Leaving", (handler,), {where: leave})) as server:
        server.current_loop._pooled_until = time.monotonic() + PATIENCE
        for _ in range(2):
            with Client(server.server_address) as client:
                client.send(b"one\n")
                assert client.rest() == b""
        until(lambda: server.stats().failed == 2)
        assert len(handler.ended) == (0 if where == "setup" else 2)


def test_a_stop_while_the_loop_is_stuck(handler: type[Words]) -> None:
    """The drain is carried out when the handler has ended, and loses nothing."""
    with served(handler) as server, contextlib.ExitStack() as ends:
        stuck, other = clients(ends, server, 2)
        stuck.send(b"gate\n")
        enter(handler)
        assert other.ask(b"hello") == b"HELLO"
        opener = threading.Timer(0.2, handler.gate.set)
        opener.start()
        result = server.stop(PATIENCE)
        opener.join()
        assert (result.drained, result.forced) == (2, 0)
        assert result.elapsed < PATIENCE / 2
        assert stuck.rest() == b"THROUGH \n"
        assert other.rest() == b""


def test_a_drain_finds_who_waits_behind_a_handler_that_blocks(handler: type[Words]) -> None:
    """It is served, although the loop is stood in for in the very wait that is to find it."""
    late: list[Client] = []

    def may_accept(server: Any) -> bool:
        if server.state is State.DRAINING and not late:
            for words in (b"gate a\n", b"hello\n"):
                late.append(ends.enter_context(Client(server.server_address)))
                late[-1].send(words)
        return Server.may_accept(server)

    with served(handler, may_accept=may_accept) as server, contextlib.ExitStack() as ends:
        loop = server.current_loop
        stopping = threading.Thread(target=server.stop, args=(PATIENCE,))
        stopping.start()
        enter(handler)
        until(lambda: loop.runs_in(loop._leader))
        handler.gate.set()
        stopping.join()
        assert [client.rest() for client in late] == [b"THROUGH a\n", b"HELLO\n"]


@pytest.mark.parametrize("stuck", [1, 2])
def test_a_handler_that_ignores_the_end(
    handler: type[Words], caplog: pytest.LogCaptureFixture, stuck: int
) -> None:
    """Is abandoned after the grace, whether the loop runs it or a worker."""
    with served(handler) as server, contextlib.ExitStack() as ends:
        for client in clients(ends, server, stuck):
            client.send(b"gate\n")
            enter(handler)
        result = server.stop(0.05)
        assert result.forced == stuck
        assert "went on after the grace" in caplog.text


def test_no_thread_can_be_started(
    server: Any, handler: type[Words], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then the loop runs the handlers, however long they take."""
    with contextlib.ExitStack() as ends:
        first, second = clients(ends, server, 2)
        assert first.ask(b"hello") == b"HELLO"
        assert second.ask(b"hello") == b"HELLO"
        with monkeypatch.context() as patch:

            def start(thread: threading.Thread) -> None:
                msg = "can't start new thread"
                raise RuntimeError(msg)

            patch.setattr(threading.Thread, "start", start)
            server.current_loop._pooled_until = time.monotonic() + PATIENCE
            assert first.ask(b"hello") == b"HELLO"
            assert second.ask(b"hello") == b"HELLO"
        assert set(handler.threads) == {"the loop"}


def test_no_monitor_can_be_started(
    server: Any, handler: type[Words], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection waits until it can."""
    starts: list[object] = []
    start = threading.Thread.start

    def fail_once(thread: threading.Thread) -> None:
        starts.append(thread)
        if len(starts) == 1:
            msg = "can't start new thread"
            raise RuntimeError(msg)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", fail_once)
    with Client(server.server_address) as client:
        assert client.ask(b"hello") == b"HELLO"
    assert len(starts) == 2
    assert server.stats().exhausted == 1


def test_a_timer_that_raises_while_the_monitor_leads(
    server: Any, handler: type[Words], caplog: pytest.LogCaptureFixture
) -> None:
    """It is a record; the lead is given back, and the next stand-in works."""

    def fail() -> None:
        msg = "of the timer"
        raise RuntimeError(msg)

    with contextlib.ExitStack() as ends:
        stuck, other = clients(ends, server, 2)
        for _ in range(2):
            handler.gate.clear()
            until(lambda: not server.current_loop.pooled)
            stuck.send(b"gate\n")
            enter(handler)
            until(lambda: server.current_loop._deposed)
            server.current_loop.call_later(0, fail)
            assert other.ask(b"hello") == b"HELLO"
            until(lambda: "of the timer" in caplog.text)
            caplog.clear()
            assert other.ask(b"hello") == b"HELLO"
            handler.gate.set()
            assert stuck.line() == b"THROUGH "


INTERRUPTED = """
import signal, sys, threading
sys.path.insert(0, {root!r})
from tests._multiplexing import *

handler = fresh()
server = Server(HOME, handler)

def talk():
    with Client(server.server_address) as stuck, Client(server.server_address) as other:
        stuck.send(b"gate\\n")
        enter(handler)
        assert other.ask(b"hello") == b"HELLO"
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        assert stuck.rest() == other.rest() == b""

talker = threading.Thread(target=talk)
talker.start()
try:
    server.serve_forever()
except KeyboardInterrupt:
    print("interrupted")
talker.join()
server.server_close()
print(server.stats().active, len(handler.ended))
"""


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="needs pthread_kill")
def test_ctrl_c_while_the_monitor_leads(request: pytest.FixtureRequest) -> None:
    """The loop ends, and with it every connection, that of the handler included."""
    program = textwrap.dedent(INTERRUPTED).format(root=str(request.config.rootpath))
    answer = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert answer.stdout == "interrupted\n0 2\n", answer.stderr


def test_replies_are_in_order_whoever_runs_the_handlers(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each message is answered once, while the loop and the pool take turns under load."""
    monkeypatch.setattr(_multiplexer, "_POOLED", 0.03)
    chance = random.Random(20)
    inside: set[object] = set()
    pools: set[bool] = set()

    class Napping(fresh()):  # type: ignore[misc]
        def handle_message(self, message: bytes) -> bytes:
            assert self not in inside
            inside.add(self)
            pools.add(threading.current_thread().name == "the loop")
            if message.endswith(b"!"):
                time.sleep(chance.random() * 0.02)
            inside.remove(self)
            return message

    failures: list[BaseException] = []

    def talk(address: Any, number: int) -> None:
        own = random.Random(number)
        try:
            with Client(address) as client:
                sent = 0
                for turn in range(48):
                    # Some sleep, in spells, so that there is a time without.
                    spell = turn // 8 % 2 == 0
                    lines = [
                        b"%d%b" % (sent + step, b"!" if spell and own.random() < 0.1 else b"")
                        for step in range(own.randrange(1, 12))
                    ]
                    sent += len(lines)
                    client.send(b"\n".join(lines) + b"\n")
                    assert [client.line() for _ in lines] == lines
                client.end()
                assert client.rest() == b""
        except BaseException as error:
            failures.append(error)

    with served(Napping) as server:
        talkers = [
            threading.Thread(target=talk, args=(server.server_address, number))
            for number in range(24)
        ]
        for talker in talkers:
            talker.start()
        for talker in talkers:
            talker.join()
        until(lambda: not server.stats().active)
        assert server.stats().completed == 24
    assert not failures
    assert not inside
    assert pools == {True, False}
    assert [each for each in caplog.records if each.levelno >= logging.WARNING] == []
