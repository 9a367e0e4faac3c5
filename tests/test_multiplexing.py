"""The multiplexing mix-in on real sockets, on epoll and on any other selector."""

import contextlib
import logging
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from netserve.concurrency import MultiplexingMixIn, _connection, _multiplexer
from netserve.core import Deadline, Stats
from netserve.handlers import StreamRequestHandler
from netserve.transports import TCPServer
from tests._multiplexing import (
    HOME,
    PATIENCE,
    Client,
    Datagrams,
    Server,
    UnixDatagrams,
    UnixServer,
    Words,
    clients,
    enter,
    fresh,
    until,
)

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs AF_UNIX")

Start = Callable[..., Any]


@pytest.fixture(autouse=True, params=["epoll", "selector"])
def _poller(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test runs on both pollers."""
    if request.param == "selector":
        monkeypatch.setattr(
            _multiplexer.Multiplexer, "_open_selector", lambda loop: selectors.PollSelector()
        )
    elif not hasattr(selectors, "EpollSelector"):
        pytest.skip("there is no epoll")


@pytest.fixture
def handler() -> Iterator[type[Words]]:
    """A handler class, whose gate is open at the latest when the test has ended."""
    made = fresh()
    yield made
    made.gate.set()


@pytest.fixture
def start(handler: type[Words]) -> Iterator[Start]:
    """A function that makes a server of the class, with the attributes, and serves it."""
    running: list[tuple[Any, threading.Thread]] = []

    def begin(
        kind: type[Any] = Server, handler: Any = handler, address: Any = HOME, **attributes: Any
    ) -> Any:
        server = type(kind.__name__, (kind,), attributes)(address, handler)
        thread = threading.Thread(target=server.serve_forever)
        running.append((server, thread))
        thread.start()
        until(lambda: server.current_loop is not None or not thread.is_alive())
        return server

    yield begin
    handler.gate.set()
    for server, thread in running:
        server.shutdown()
        thread.join(PATIENCE)
        assert not thread.is_alive()
        server.server_close()
        check(server.stats())


def check(stats: Stats) -> None:
    """Every request that was accepted is counted once."""
    ends = (
        stats.completed + stats.failed + stats.disconnected + stats.timed_out + stats.refused
        + stats.drained + stats.forced
    )  # fmt: skip
    assert stats.active == 0
    assert stats.accepted == ends


def has_left(server: Any) -> bool:
    """Whether the loop has ended."""
    return server.current_loop is None


def settled(server: Any) -> Stats:
    """The statistics once no request is in progress."""
    until(lambda: not server.stats().active)
    stats: Stats = server.stats()
    return stats


# --- messages and their order


def test_a_client_is_answered_in_order(start: Start) -> None:
    """However many messages come at once."""
    lines = [b"line %d\n" % number for number in range(5000)]
    with Client(start().server_address) as client:
        client.send(b"".join(lines))
        client.end()
        assert client.rest() == b"".join(lines).upper()


def test_a_unix_stream(start: Start, short_folder: Path) -> None:
    """As on TCP."""
    server = start(UnixServer, address=str(short_folder / "socket"))
    with Client(server.server_address) as client:
        assert client.ask(b"hello") == b"HELLO"
    assert settled(server).completed == 1


def test_hundreds_of_clients_have_no_thread_each(start: Start, handler: type[Words]) -> None:
    """The loop's thread and the monitor are all there are."""
    server = start()
    before = threading.active_count()
    with contextlib.ExitStack() as ends:
        for number, client in enumerate(clients(ends, server, 200)):
            assert client.ask(b"n %d" % number) == b"N %d" % number
        assert threading.active_count() <= before + 1
        assert server.stats().active == 200
    assert settled(server).completed == 200
    assert len(handler.began) == len(handler.ended) == 200


def test_statistics_count_connections_and_bytes(start: Start) -> None:
    """Also of messages that aren't answered."""
    server = start()
    with Client(server.server_address) as client:
        assert client.ask(b"one") == b"ONE"
        client.send(b"nothing\n")
        client.end()
        assert client.rest() == b""
    stats = settled(server)
    assert (stats.accepted, stats.completed) == (1, 1)
    assert (stats.bytes_received, stats.bytes_sent) == (12, 4)


def test_the_answers_before_an_error_are_sent(
    start: Start, handler: type[Words], caplog: pytest.LogCaptureFixture
) -> None:
    """The connection ends, the error is one record, and the next client is served."""
    server = start()
    with Client(server.server_address) as client:
        client.send(b"one\nfail\ntwo\n")
        assert client.rest() == b"ONE\n"
    assert settled(server).failed == 1
    with Client(server.server_address) as client:
        assert client.ask(b"two") == b"TWO"
    settled(server)
    records = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(records) == 1
    assert "of the handler" in caplog.text
    assert len(handler.ended) == 2


def test_close_ends_the_connection_behind_the_answers(start: Start, handler: type[Words]) -> None:
    """Messages after it are passed over, and what still comes doesn't harm the answer."""
    server = start()
    with Client(server.server_address) as client:
        client.send(b"big 300000\nquit\ntwo\n" + b"surplus\n" * 20000)
        client.end()
        assert client.rest() == b"x" * 300000 + b"\nBYE\n"
    assert settled(server).completed == 1
    assert len(handler.ended) == 1


def test_half_a_connection(start: Start) -> None:
    """A client that has said all gets everything, however slowly it reads."""
    server = start()
    with Client(server.server_address) as client:
        client.send(b"big 3000000\none\n")
        client.end()
        assert len(client.line()) == 3_000_000
        assert client.rest() == b"ONE\n"
    assert settled(server).completed == 1


def test_a_client_that_resets(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """It is one debug record, and is counted as disconnected."""
    caplog.set_level(logging.DEBUG, "netserve")
    server = start()
    client = Client(server.server_address)
    assert client.ask(b"one") == b"ONE"
    client.send(b"half")
    client.reset()
    assert settled(server).disconnected == 1
    records = [record for record in caplog.records if "went away" in record.getMessage()]
    assert [record.levelno for record in records] == [logging.DEBUG]
    with Client(server.server_address) as other:
        assert other.ask(b"two") == b"TWO"


def test_a_client_that_resets_while_it_is_owed_bytes(start: Start) -> None:
    """What is kept for it is thrown away."""
    server = start()
    client = Client(server.server_address)
    client.send(b"big 10000000\n")
    until(lambda: [each for each in server.current_loop._connections.values() if each.unsent])
    client.reset()
    assert settled(server).disconnected == 1
    assert not server.current_loop._connections


def test_what_a_client_does_not_read_is_bounded(start: Start, handler: type[Words]) -> None:
    """It isn't read from any more, until it reads; nothing is lost or out of order."""
    server = start()
    total = 1000
    with Client(server.server_address) as client, Client(server.server_address) as other:
        sent = threading.Thread(
            target=lambda: client.send(
                b"".join(b"%d %b\n" % (number, b"y" * 40000) for number in range(total))
            )
        )
        sent.start()
        until(lambda: server.current_loop._connections)
        connection = next(iter(server.current_loop._connections.values()))
        until(lambda: connection.watched == _connection.WRITE)
        # The client's own send waits too: the rest is in the system, or with the client.
        for _ in range(20):
            assert other.ask(b"hello") == b"HELLO"
            assert len(connection.unsent) < 2 * 65536 + 50000
        assert sent.is_alive()
        for number in range(total):
            assert client.line() == b"%d %b" % (number, b"Y" * 40000)
        sent.join()
        assert client.ask(b"still there") == b"STILL THERE"


# --- setup and finish


def test_setup_may_send_and_close(start: Start, handler: type[Words]) -> None:
    """Without a message having come."""

    class Greeting(handler):  # type: ignore[misc,valid-type]
        def setup(self) -> None:
            super().setup()
            self.send(b"hello")
            self.close()

    server = start(handler=Greeting)
    with Client(server.server_address) as client:
        assert client.rest() == b"hello\n"
    assert settled(server).completed == 1
    assert len(handler.ended) == 1


def test_setup_that_raises(
    start: Start, handler: type[Words], caplog: pytest.LogCaptureFixture
) -> None:
    """The connection ends, and finish isn't called."""

    class Broken(handler):  # type: ignore[misc,valid-type]
        def setup(self) -> None:
            self.send(b"hello")
            msg = "of setup"
            raise RuntimeError(msg)

    server = start(handler=Broken)
    for _ in range(2):
        with Client(server.server_address) as client:
            assert client.rest() == b""
    assert settled(server).failed == 2
    assert "of setup" in caplog.text
    assert handler.ended == []


@pytest.mark.parametrize("last", [b"quit\n", b"fail\n", b""])
def test_finish_that_raises(
    start: Start, handler: type[Words], caplog: pytest.LogCaptureFixture, last: bytes
) -> None:
    """It is called once, also after another error; the answers are sent."""

    class Broken(handler):  # type: ignore[misc,valid-type]
        def finish(self) -> None:
            super().finish()
            msg = "of finish"
            raise RuntimeError(msg)

    server = start(handler=Broken)
    with Client(server.server_address) as client:
        client.send(b"one\n" + last)
        client.end()
        assert client.rest().startswith(b"ONE\n")
    assert settled(server).failed == 1
    assert len(handler.ended) == 1
    assert caplog.text.count("RuntimeError: of finish") == 1


def test_a_handler_that_closes_its_socket(start: Start) -> None:
    """The connection is gone, from the table and for its client, and the next is served."""
    server = start()
    for _ in range(2):
        with Client(server.server_address) as client:
            client.send(b"abandon\n")
            assert client.rest() == b""
        settled(server)
        assert not server.current_loop._connections


def test_a_hook_that_raises_does_not_end_the_loop(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """A close_request of the program's own, for instance."""

    def close_request(self: Any, request: socket.socket) -> None:
        TCPServer.close_request(self, request)
        msg = "of the hook"
        raise RuntimeError(msg)

    server = start(close_request=close_request)
    for _ in range(2):
        with Client(server.server_address) as client:
            assert client.ask(b"one") == b"ONE"
        settled(server)
    assert "of the hook" in caplog.text


# --- deadlines


@pytest.mark.parametrize(
    ("limits", "which"),
    [
        ({"idle_timeout": 0.1}, Deadline.IDLE),
        ({"idle_timeout": 0.1, "connection_timeout": 60.0}, Deadline.IDLE),
        ({"connection_timeout": 0.1}, Deadline.CONNECTION),
        ({"connection_timeout": 0.1, "idle_timeout": 60.0}, Deadline.CONNECTION),
        ({"message_timeout": 0.1}, Deadline.MESSAGE),
        ({"message_timeout": 0.1, "connection_timeout": 60.0}, Deadline.MESSAGE),
        ({"message_timeout": 0.1, "idle_timeout": 60.0}, Deadline.MESSAGE),
    ],
)
def test_a_deadline_ends_the_connection(
    start: Start,
    handler: type[Words],
    caplog: pytest.LogCaptureFixture,
    limits: dict[str, float],
    which: Deadline,
) -> None:
    """With one record that isn't a traceback; other clients don't notice."""
    caplog.set_level(logging.INFO, "netserve")
    server = start(**limits)
    with Client(server.server_address) as client:
        assert client.ask(b"one") == b"ONE"
        client.send(b"half")
        assert client.rest() == b""
    assert settled(server).timed_out == 1
    assert len(handler.ended) == 1
    (record,) = [record for record in caplog.records if "too slow" in record.getMessage()]
    assert record.levelno == logging.INFO
    assert record.exc_info is None
    assert which.value in record.getMessage()


def test_a_deadline_holds_for_the_last_answers_too(start: Start, handler: type[Words]) -> None:
    """A client that doesn't take them is given up."""
    server = start(idle_timeout=0.2)
    with Client(server.server_address) as client:
        client.send(b"big 20000000\nquit\n")
        until(lambda: server.stats().timed_out)
    assert settled(server).timed_out == 1
    assert len(handler.ended) == 1


def test_a_drip_feeder_is_ended(start: Start) -> None:
    """A message has its time from its first byte, however steadily bytes come."""
    server = start(message_timeout=0.2)
    with Client(server.server_address) as client:
        client.socket.settimeout(0.01)
        end = time.monotonic() + PATIENCE
        ended = False
        while not ended:
            assert time.monotonic() < end
            try:
                client.send(b"x")
                ended = client.socket.recv(10) == b""
            except TimeoutError:
                pass
            except ConnectionError:
                ended = True
    assert settled(server).timed_out == 1


def test_whole_messages_are_no_drip(start: Start) -> None:
    """The time of a message ends with it."""
    server = start(message_timeout=0.5, idle_timeout=60.0)
    end = time.monotonic() + 1.2
    with Client(server.server_address) as client:
        while time.monotonic() < end:
            client.send(b"on")
            assert client.ask(b"e") == b"ONE"
        # And now nothing: there is no message that could be late.
        client.socket.settimeout(0.8)
        with pytest.raises(TimeoutError):
            client.socket.recv(1)
    assert settled(server).timed_out == 0


def test_one_who_talks_is_not_idle(start: Start) -> None:
    """Each message begins the time anew."""
    server = start(idle_timeout=0.7)
    end = time.monotonic() + 1.6
    with Client(server.server_address) as client:
        while time.monotonic() < end:
            assert client.ask(b"one") == b"ONE"
        assert client.rest() == b""
    assert settled(server).timed_out == 1


def test_one_who_waits_for_a_handler_is_not_idle(start: Start) -> None:
    """The handler's own time doesn't count, in the loop's thread or a worker's."""
    server = start(idle_timeout=0.25)
    with Client(server.server_address) as client, Client(server.server_address) as other:
        assert client.ask(b"nap 700") == b"AWAKE"
        assert client.ask(b"nap 700") == b"AWAKE"
        client.send(b"nap 700\n")
        other.close()
        assert client.line() == b"AWAKE"
        assert client.rest() == b""
    assert settled(server).timed_out >= 1


@pytest.mark.parametrize("times", [1, 2])
def test_a_connection_ends_although_its_handler_is_busy(
    start: Start, handler: type[Words], times: int
) -> None:
    """When it has lasted too long; the handler's end is waited for."""
    server = start(connection_timeout=0.3)
    with contextlib.ExitStack() as ends:
        # The second one is handled by a worker.
        for client in clients(ends, server, times):
            client.send(b"gate\n")
            enter(handler)
        assert client.rest() == b""
        handler.gate.set()
    assert settled(server).timed_out == times
    assert len(handler.ended) == times


def test_finish_that_raises_after_a_deadline(
    start: Start, handler: type[Words], caplog: pytest.LogCaptureFixture
) -> None:
    """It is a record, and the loop goes on."""

    class Broken(handler):  # type: ignore[misc,valid-type]
        def finish(self) -> None:
            msg = "of finish"
            raise RuntimeError(msg)

    server = start(handler=Broken, idle_timeout=0.05)
    for _ in range(2):
        with Client(server.server_address) as client:
            assert client.rest() == b""
    assert settled(server).timed_out == 2
    assert "of finish" in caplog.text


def test_timers_of_closed_connections_are_forgotten(
    start: Start, handler: type[Words], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They hold nothing, and there are never many; those of the open ones, and others, stay."""
    monkeypatch.setattr(_multiplexer, "_STALE", 10)
    called = threading.Event()
    server = start(idle_timeout=60.0, connection_timeout=60.0)
    loop = server.current_loop
    loop.call_later(60.0, partial(called.set))
    with Client(server.server_address) as client:
        assert client.ask(b"hello") == b"HELLO"
        for _ in range(100):
            with Client(server.server_address) as other:
                assert other.ask(b"hello") == b"HELLO"
            assert len(loop._timers) < 20
        (connection,) = [each for each in loop._connections.values() if each.entry.number == 1]
        timers = [timer[2] for timer in loop._timers]
        assert [timer for timer in timers if timer.args == (connection.descriptor, connection.due)]
        assert [timer for timer in timers if timer.func == called.set]


# --- the lingering close


def test_what_comes_too_late_is_thrown_away(start: Start) -> None:
    """The client gets its answer and the end, not a reset."""
    server = start(linger_timeout=60.0)
    with Client(server.server_address) as client:
        client.send(b"quit\n")
        assert client.rest() == b"BYE\n"
        # Sent after the server's end; a closed socket would reset the connection.
        until(lambda: not server.stats().active)
    with Client(server.server_address) as client:
        client.send(b"quit\n" + b"y" * 200_000)
        assert client.rest() == b"BYE\n"
        client.send(b"y" * 100_000)
        assert server.stats().active == 1
    assert settled(server).completed == 2


@pytest.mark.parametrize(
    "limits",
    [
        {"linger_timeout": 0.2},
        {"linger_timeout": 0.2, "idle_timeout": 60.0, "message_timeout": 0.05},
        {"linger_timeout": 0.2, "connection_timeout": 60.0},
        {"linger_timeout": 60.0, "linger_bytes": 200_000},
        {"linger_timeout": 0.0},
    ],
)
def test_the_lingering_has_its_limits(
    start: Start, handler: type[Words], limits: dict[str, float]
) -> None:
    """In time and in bytes, whatever other deadlines there are; it isn't a failure."""
    server = start(**limits)
    with Client(server.server_address) as client, contextlib.suppress(ConnectionError):
        client.send(b"quit\n" + b"y" * 300_000)
        until(lambda: server.stats().completed)
    assert settled(server).timed_out == 0
    assert len(handler.ended) == 1


def test_the_client_resets_while_the_server_lingers(start: Start) -> None:
    """Then there is nothing more to wait for."""
    server = start(linger_timeout=60.0)
    client = Client(server.server_address)
    client.send(b"quit\n" + b"y" * 200_000)
    assert client.line() == b"BYE"
    client.reset()
    assert settled(server).active == 0


# --- admission


def test_no_more_connections_than_there_may_be(start: Start) -> None:
    """The others wait in the backlog until one ends, also when all come at once."""
    server = start(max_connections=2)
    with contextlib.ExitStack() as ends:
        first, second, *rest = clients(ends, server, 12)
        assert first.ask(b"one") == b"ONE"
        assert second.ask(b"two") == b"TWO"
        assert server.stats().active == 2
        first.close()
        second.close()
        for client in rest:
            assert client.ask(b"hello") == b"HELLO"
            assert server.stats().active <= 2
            client.close()


def test_connections_over_the_limit_are_refused(start: Start) -> None:
    """With a farewell, if so asked; likewise of one peer."""
    for limits in ({"max_connections": 1, "overload": "refuse"}, {"max_connections_per_peer": 1}):
        server = start(farewell=b"full\n", **limits)
        with Client(server.server_address) as client:
            assert client.ask(b"one") == b"ONE"
            with Client(server.server_address) as other:
                assert other.rest() == b"full\n"
            assert client.ask(b"two") == b"TWO"
        assert settled(server).refused == 1


# --- the end


def test_a_drain_loses_none(start: Start) -> None:
    """Idle ones end at once, and what has come is answered: of more than 1,000 connections."""
    server = start(request_queue_size=2000, max_connections=None)
    with contextlib.ExitStack() as ends:
        all_clients = clients(ends, server, 1100)
        until(lambda: server.stats().active == 1100)
        for client in all_clients[::2]:
            assert client.ask(b"hello") == b"HELLO"
        for client in all_clients[1::2]:
            client.send(b"last words\nhalf")
        result = server.stop(PATIENCE)
        assert (result.drained, result.forced) == (1100, 0)
        assert result.elapsed < PATIENCE / 2
        for client in all_clients[::2]:
            assert client.rest() == b""
        for client in all_clients[1::2]:
            assert client.rest() == b"LAST WORDS\n"


def test_a_drain_of_the_backlog(start: Start, handler: type[Words]) -> None:
    """Who has connected is answered, even if the server had no time for it before."""
    server = start(max_workers=0)
    with contextlib.ExitStack() as ends:
        first, *rest = clients(ends, server, 6)
        first.send(b"gate\n")
        enter(handler)
        more = clients(ends, server, 5)
        for client in [*rest, *more]:
            client.send(b"hello\n")
        opener = threading.Timer(0.1, handler.gate.set)
        opener.start()
        result = server.stop(PATIENCE)
        opener.join()
        assert result.forced == 0
        assert first.rest() == b"THROUGH \n"
        for client in [*rest, *more]:
            assert client.rest() == b"HELLO\n"


@pytest.mark.parametrize("kind", [Server, UnixServer])
def test_a_drain_forces_who_does_not_read(
    start: Start, kind: Any, short_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """When the grace is over; each is told once, and none is abandoned."""
    address = str(short_folder / "path") if kind is UnixServer else HOME
    caplog.set_level(logging.DEBUG, "netserve.server")
    server = start(kind=kind, address=address)
    with Client(server.server_address) as client:
        client.send(b"big 20000000\n")
        until(lambda: [each for each in server.current_loop._connections.values() if each.unsent])
        result = server.stop(0.1)
        assert (result.drained, result.forced) == (0, 1)
    (record,) = caplog.records
    assert "was cut off when the grace was over" in record.getMessage()


def test_shutdown_ends_open_connections(
    start: Start, handler: type[Words], caplog: pytest.LogCaptureFixture
) -> None:
    """They are closed, finished, counted, and told of in one record."""
    server = start()
    with contextlib.ExitStack() as ends:
        for client in (several := clients(ends, server, 3)):
            assert client.ask(b"hello") == b"HELLO"
        server.shutdown()
        for client in several:
            assert client.rest() == b""
        assert settled(server).forced == 3
        assert len(handler.ended) == 3
        (record,) = [each for each in caplog.records if "3 connections" in each.getMessage()]
        assert record.levelno == logging.WARNING


@pytest.mark.parametrize("word", [b"shutdown", b"stop"])
@pytest.mark.parametrize("workers", [0, 2])
def test_stopping_in_the_loop(start: Start, word: bytes, workers: int) -> None:
    """A handler may ask for the end, and returns."""
    server = start(max_workers=workers)
    with Client(server.server_address) as client:
        client.send(word + b"\n")
        heard = client.rest()
        until(lambda: server.current_loop is None)
    assert heard in {b"SHUT\n", b"STOPPED 0\n"}


@pytest.mark.parametrize("word", [b"shutdown", b"stop"])
def test_stopping_in_a_worker(start: Start, handler: type[Words], word: bytes) -> None:
    """Also in a thread of the pool, which doesn't wait for itself."""
    server = start()
    with Client(server.server_address) as first, Client(server.server_address) as client:
        first.send(b"nap 100\n")
        until(lambda: handler.threads)
        server.current_loop._pooled_until = time.monotonic() + PATIENCE
        client.send(word + b"\n")
        heard = client.rest()
        until(lambda: server.current_loop is None)
        assert "MainThread" not in handler.threads
        assert heard == b"STOPPED 0\n" if word == b"stop" else heard in {b"", b"SHUT\n"}
    assert settled(server).accepted == 2
    assert len(handler.ended) == 2


def test_closing_from_another_thread(start: Start, handler: type[Words]) -> None:
    """The loop ends, and with it the connections; workers come to their end."""
    server = start()
    with Client(server.server_address) as first, Client(server.server_address) as second:
        assert first.ask(b"nap 50") == b"AWAKE"
        second.send(b"gate\n")
        enter(handler)
        opener = threading.Timer(0.1, handler.gate.set)
        opener.start()
        server.server_close()
        opener.join()
        until(lambda: server.current_loop is None)
        assert first.rest() == b""
        assert second.rest() in {b"", b"THROUGH \n"}
    check(settled(server))
    assert len(handler.ended) == 2


def test_closing_while_clients_talk(start: Start) -> None:
    """The loop ends without an error, whatever is going to the pool meanwhile."""

    def talk(address: Any) -> None:
        with contextlib.suppress(OSError, AssertionError), Client(address) as client:
            while client.ask(b"nap 20"):
                pass

    def is_busy(server: Any) -> bool:
        return server.stats().active == 4 and server.current_loop.pooled

    for _ in range(5):
        server = start()
        talkers = [threading.Thread(target=talk, args=(server.server_address,)) for _ in range(4)]
        for talker in talkers:
            talker.start()
        until(partial(is_busy, server))
        server.server_close()
        for talker in talkers:
            talker.join()
        until(partial(has_left, server))


def test_serving_again(start: Start) -> None:
    """After shutdown the same server may be served once more."""
    server = start()
    with Client(server.server_address) as client:
        assert client.ask(b"nap 30") == b"AWAKE"
    server.shutdown()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    with Client(server.server_address) as client:
        assert client.ask(b"nap 30") == b"AWAKE"
    server.stop()
    thread.join(PATIENCE)
    assert not thread.is_alive()


# --- datagrams


def datagram_client(server: Any, folder: Path, name: str) -> socket.socket:
    """A socket that is connected to *server*."""
    client = socket.socket(server.address_family, socket.SOCK_DGRAM)
    client.settimeout(PATIENCE)
    if server.address_family != socket.AF_INET:
        client.bind(str(folder / name))
    client.connect(server.server_address)
    return client


@pytest.mark.parametrize("kind", [Datagrams, UnixDatagrams])
def test_datagrams(start: Start, handler: type[Words], short_folder: Path, kind: Any) -> None:
    """Each is a message, handled in the loop; an error is a record."""
    address = HOME if kind is Datagrams else str(short_folder / "socket")
    server = start(kind, address=address)
    with datagram_client(server, short_folder, "a") as client:
        for number in range(100):
            client.send(b"n %d" % number)
            assert client.recv(100) == b"N %d" % number
        client.send(b"fail")
        client.send(b"one")
        assert client.recv(100) == b"ONE"
    stats = settled(server)
    assert (stats.completed, stats.failed) == (101, 1)
    # Handled at once, by the loop.
    assert "serve_forever" in handler.threads[0]


@pytest.mark.parametrize("kind", [Datagrams, UnixDatagrams])
def test_datagrams_may_block(
    start: Start, handler: type[Words], short_folder: Path, kind: Any
) -> None:
    """The others are handled meanwhile, once each."""
    address = HOME if kind is Datagrams else str(short_folder / "socket")
    server = start(kind, address=address)
    with datagram_client(server, short_folder, "a") as client:
        with datagram_client(server, short_folder, "b") as other:
            client.send(b"gate a")
            enter(handler)
            for number in range(10):
                other.send(b"gate %d" % number)
            enter(handler, 10)
            for number in range(10):
                other.send(b"n %d" % number)
                assert other.recv(100) == b"N %d" % number
            handler.gate.set()
            assert client.recv(100) == b"THROUGH a"
            heard = sorted(other.recv(100) for _ in range(10))
            assert heard == [b"THROUGH %d" % number for number in range(10)]
    assert settled(server).completed == 21


# --- outside the loop, and mistakes


def test_handle_request_serves_a_connection_to_its_end(handler: type[Words]) -> None:
    """In the caller's thread, and blocks meanwhile."""
    with Server(HOME, handler) as server:
        for words, heard in [
            (b"one\ntwo\n", b"ONE\nTWO\n"),
            (b"one\nquit\ntwo\n", b"ONE\nBYE\n"),
            (b"one\nfail\n", b"ONE\n"),
            (b"nothing\n", b""),
        ]:
            with Client(server.server_address) as client:
                client.send(words)
                client.end()
                server.handle_request()
                assert client.rest() == heard
        assert server.stats().completed == 3
        assert server.stats().failed == 1
        assert len(handler.began) == len(handler.ended) == 4
        assert server.worker_pool is not None
        assert len(server.worker_pool) == 0


def test_handle_request_takes_a_datagram(handler: type[Words], short_folder: Path) -> None:
    """And handles it."""
    with Datagrams(HOME, handler) as server:
        with datagram_client(server, short_folder, "a") as client:
            client.send(b"one")
            server.handle_request()
            assert client.recv(100) == b"ONE"


def test_another_handler_is_refused() -> None:
    """When the server is made, with what would be right."""

    class Stream(StreamRequestHandler):
        pass

    with pytest.raises(TypeError, match=r"takes handlers of messages, such as .*not <class .*Str"):
        Server(HOME, Stream)


def test_what_makes_another_handler_is_refused(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """When it has, and the loop goes on."""
    server = start(handler=lambda request, address, server: None)
    for _ in range(2):
        with Client(server.server_address) as client:
            assert client.rest() == b""
    assert settled(server).failed == 2
    assert "takes handlers of messages" in caplog.text


def test_a_function_may_make_the_handler(start: Start, handler: type[Words]) -> None:
    """What it makes is what counts."""

    def make(request: Any, address: Any, server: Any) -> Words:
        return handler(request, address, server)

    server = start(handler=make)
    with Client(server.server_address) as client:
        assert client.ask(b"one") == b"ONE"


# --- timers, readers, wake-ups


def test_timers_and_readers(start: Start) -> None:
    """Those of mix-ins work as on every server."""
    called = threading.Event()
    read = threading.Event()
    reader, writer = socket.socketpair()

    def verify(server: Any, request: object, address: object) -> bool:
        def ready() -> None:
            reader.recv(10)
            server.remove_reader(reader.fileno())
            read.set()

        server.call_later(0.01, called.set)
        server.add_reader(reader.fileno(), ready)
        return True

    with reader, writer:
        server = start(verify_request=verify)
        with Client(server.server_address) as client:
            assert client.ask(b"one") == b"ONE"
            writer.send(b"x")
            assert called.wait(PATIENCE)
            assert read.wait(PATIENCE)
            assert client.ask(b"two") == b"TWO"


def test_service_actions_have_their_interval(start: Start) -> None:
    """An override of service_actions is called at poll_interval, while clients talk or not."""
    calls = threading.Semaphore(0)
    server = start(service_actions=lambda server: calls.release())
    assert calls.acquire(timeout=PATIENCE)
    with Client(server.server_address) as client:
        assert client.ask(b"one") == b"ONE"
        for _ in range(3):
            assert calls.acquire(timeout=PATIENCE)


def test_nothing_wakes_up_while_nothing_happens(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the loop nor the monitor; and the monitor wakes for what blocks later."""
    naps: list[float] = []
    sleep = time.sleep

    class Clock:
        monotonic = time.monotonic

        @staticmethod
        def sleep(seconds: float) -> None:
            naps.append(seconds)
            sleep(seconds)

    monkeypatch.setattr(_multiplexer, "time", Clock)
    server = start()
    loop = server.current_loop

    def is_asleep(enough: int) -> bool:
        return len(naps) >= enough and not loop._watching

    poll = loop._poll
    polls: list[object] = []
    monkeypatch.setattr(loop, "_poll", lambda left: polls.append(left) or poll(left))
    with Client(server.server_address) as client, Client(server.server_address) as other:
        for _ in range(3):
            assert client.ask(b"one") == b"ONE"
            enough = len(naps) + _multiplexer._QUIET
            assert client.ask(b"one") == b"ONE"
            # The monitor has awoken, looked, and gone to sleep.
            until(partial(is_asleep, enough))
            asleep = threading.Event().wait
            asleep(0.1)
            counts = (len(polls), len(naps))
            asleep(0.3)
            assert (len(polls), len(naps)) == counts
            assert polls[-1] is None
        client.send(b"nap 200\n")
        assert other.ask(b"one") == b"ONE"
        assert client.line() == b"AWAKE"


def test_the_loop_shows_itself(start: Start, handler: type[Words]) -> None:
    """How many connections it has, and who runs them."""
    server = start()
    loop = server.current_loop
    with Client(server.server_address) as client:
        assert client.ask(b"one") == b"ONE"
        assert repr(loop) == "<Multiplexer of 1, inline>"
        (connection,) = loop._connections.values()
        assert repr(connection).startswith("<Connection open of <Entry 1 from ")
        client.send(b"gate\n")
        enter(handler)
        assert loop.busy
        until(lambda: loop.pooled)
        assert repr(loop) == "<Multiplexer of 1, pooled>"


def test_the_documented_defaults() -> None:
    """As the documentation has them."""
    assert MultiplexingMixIn.max_workers == 32
    assert MultiplexingMixIn.message_timeout == 30
    assert MultiplexingMixIn.block_on_close is True
    assert MultiplexingMixIn.requests_per_wait == 64
    assert MultiplexingMixIn.drives_messages is True


def test_answers_are_not_delayed(start: Start) -> None:
    """The connections have TCP_NODELAY."""
    server = start()
    with Client(server.server_address) as client:
        assert client.ask(b"one") == b"ONE"
        (connection,) = server.current_loop._connections.values()
        assert connection.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_without_workers_there_is_no_other_thread(start: Start, handler: type[Words]) -> None:
    """max_workers of 0: handlers run in the loop, whatever they do."""
    server = start(max_workers=0)
    assert server.worker_pool is None
    before = threading.active_count()
    with Client(server.server_address) as client:
        assert client.ask(b"nap 50") == b"AWAKE"
        assert threading.active_count() == before
    assert "serve_forever" in handler.threads[0]
