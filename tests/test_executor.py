"""An executor that answers the messages of a multiplexing server, which the tests drive by hand.

``test_process_executor`` and ``test_dask_executor`` have real ones.
"""

import contextlib
import errno
import gc
import logging
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from netserve.concurrency import MultiplexingMixIn, _executing
from netserve.core import ExhaustedError, FramingError, Outcome
from netserve.handlers import Lines, MessageRequestHandler, StreamRequestHandler
from netserve.transports import TCPServer, UDPServer, UnixStreamServer
from tests._executing import Heavy
from tests._multiplexing import HOME, PATIENCE, Client, until

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs AF_UNIX")


class Manual(Executor):
    """Does its work when the test says so."""

    def __init__(self) -> None:
        self.work: list[tuple[Future[Any], bytes]] = []
        self.came = threading.Semaphore(0)
        self.failure: BaseException | None = None
        self.ended: list[bool] = []

    def submit(self, function: Any, /, *arguments: Any, **keywords: Any) -> Future[Any]:
        """Keep the work."""
        if self.failure is not None:
            raise self.failure
        future: Future[Any] = Future()
        self.work.append((future, *arguments))
        self.came.release()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Note it."""
        self.ended.append(wait)

    @property
    def messages(self) -> list[bytes]:
        """What is to be answered."""
        return [message for _, message in self.work]

    def await_work(self, count: int = 1) -> None:
        """Wait until so many more messages have come."""
        for _ in range(count):
            assert self.came.acquire(timeout=PATIENCE), self.work

    def do(self, which: int = 0) -> None:
        """Do a piece of work, as a worker would."""
        future, message = self.work.pop(which)
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(Heavy.process_message(message))
            except BaseException as error:
                future.set_exception(error)

    def do_all(self) -> None:
        """Do all there is."""
        while self.work:
            self.do()

    def break_down(self) -> None:
        """Break, and lose all there is."""
        self.failure = BrokenExecutor("a worker has died")
        while self.work:
            future, _ = self.work.pop(0)
            if not future.cancelled():
                future.set_exception(BrokenExecutor("a worker has died"))


class Server(MultiplexingMixIn, TCPServer):
    """Serves TCP."""


class UnixServer(MultiplexingMixIn, UnixStreamServer):
    """Serves streams on a path."""


class Datagrams(MultiplexingMixIn, UDPServer):
    """Serves UDP."""


@pytest.fixture
def manual() -> Manual:
    """An executor that is driven by hand."""
    return Manual()


@pytest.fixture
def start(manual: Manual) -> Iterator[Callable[..., Any]]:
    """A function that serves with *manual*, and with what attributes it is given."""
    with contextlib.ExitStack() as ends:

        def start(
            kind: type[Any] = Server,
            handler: type[Any] = Heavy,
            address: Any = HOME,
            **attributes: Any,
        ) -> Any:
            served = type("Served", (kind,), {"executor": manual, **attributes})(address, handler)
            ends.enter_context(served.background(PATIENCE))
            return served

        yield start
        manual.do_all()


def test_a_message_is_answered_by_the_executor(start: Any, manual: Manual) -> None:
    """What crosses is the message, and the answer."""
    server = start()
    with Client(server.server_address) as client:
        client.send(b"hello\n")
        manual.await_work()
        assert manual.messages == [b"hello"]
        manual.do()
        assert client.line() == b"HELLO"
        client.end()
        assert client.rest() == b""
    until(lambda: server.stats().completed == 1)


def test_one_message_of_a_connection_at_a_time(start: Any, manual: Manual) -> None:
    """Unless more are allowed: the next is sent when the one before is answered."""
    server = start()
    with Client(server.server_address) as client, Client(server.server_address) as other:
        client.send(b"one\ntwo\n")
        other.send(b"three\n")
        manual.await_work(2)
        assert sorted(manual.messages) == [b"one", b"three"]
        manual.do()
        manual.do()
        manual.await_work()
        assert manual.messages == [b"two"]
        manual.do()
        assert client.line() + client.line() == b"ONETWO"


def test_answers_come_in_the_order_of_the_messages(start: Any, manual: Manual) -> None:
    """Whatever is done first."""
    server = start(max_in_flight_per_connection=3)
    with Client(server.server_address) as client:
        client.send(b"one\ntwo\nnothing\nfour\n")
        manual.await_work(3)
        manual.do(1)
        manual.do(1)
        manual.do(0)
        assert [client.line(), client.line()] == [b"ONE", b"TWO"]
        manual.await_work()
        manual.do()
        assert client.line() == b"FOUR"


def test_beyond_the_bound_of_a_connection_it_is_not_read(start: Any, manual: Manual) -> None:
    """What its client sends then fills the buffers of the system, and no more."""
    server = start()
    with Client(server.server_address) as client:
        client.send(b"one\n")
        manual.await_work()
        client.socket.settimeout(0.2)
        with contextlib.suppress(TimeoutError):
            while True:
                client.send(b"x" * 999_999 + b"\n")
        assert manual.messages == [b"one"]
        client.socket.settimeout(PATIENCE)
        manual.do()
        assert client.line() == b"ONE"
        client.reset()
        until(lambda: not server.stats().active or manual.do_all())


def test_beyond_the_bound_of_the_server_nobody_is_read(start: Any, manual: Manual) -> None:
    """Those who wait get their turn when there is room, in the order in which they came."""
    server = start(max_in_flight=2)
    with contextlib.ExitStack() as ends:
        clients = [ends.enter_context(Client(server.server_address)) for _ in range(4)]
        for number, client in enumerate(clients[:2]):
            client.send(b"%d\n" % number)
            manual.await_work()
        for number, client in enumerate(clients[2:], 2):
            # It takes two reads to have a message.
            client.send(b"%d" % number)
        loop = server.current_loop
        until(lambda: len(loop._dispatch._turns) == 2)
        assert all(server.has_unread_input(entry.request) for entry in newest(server, 2))
        manual.do()
        until(lambda: not loop._dispatch._turns)
        for client in clients[2:]:
            client.send(b"\n")
        manual.await_work()
        until(lambda: len(loop._dispatch._turns) == 1)
        assert len(manual.messages) == 2
        manual.do()
        manual.await_work()
        manual.do_all()
        assert sorted(client.line() for client in clients) == [b"0", b"1", b"2", b"3"]


def newest(server: Any, count: int) -> list[Any]:
    """The requests that were taken last."""
    entries: list[Any] = server.requests_in_progress.entries()
    return entries[-count:]


def test_a_client_that_does_not_read_is_sent_no_more_work(start: Any, manual: Manual) -> None:
    """Its messages wait until it takes the answers."""
    server = start(max_in_flight_per_connection=1)
    with Client(server.server_address) as client:
        client.send(b"big 900000\n" * 20 + b"last\n")
        done = 0
        while manual.came.acquire(timeout=0.5):
            manual.do()
            done += 1
        assert 1 <= done < 20
        answers = [threading.Thread(target=work_on, args=(manual, 21 - done))]
        answers[0].start()
        assert sum(len(client.line()) for _ in range(20)) == 20 * 900_000
        assert client.line() == b"LAST"
        answers[0].join()


def work_on(manual: Manual, count: int) -> None:
    """Do so many pieces of work as they come."""
    for _ in range(count):
        manual.await_work()
        manual.do()


def test_the_handler_has_the_last_word(start: Any, manual: Manual) -> None:
    """What handle_answer sends and closes is done where the connection is."""
    server = start(max_in_flight_per_connection=4)
    with Client(server.server_address) as client:
        client.send(b"twice\nquit\nlate\n")
        manual.await_work(3)
        manual.do_all()
        assert client.rest() == b"FIRST\nTWICE\nQUIT\n"


def test_a_connection_that_its_handler_closes_at_once(start: Any, manual: Manual) -> None:
    """In setup, for instance."""

    class Closed(Heavy):
        def setup(self) -> None:
            """Say that, and end."""
            self.send(b"full")
            self.close()

    server = start(handler=Closed)
    with Client(server.server_address) as client:
        assert client.rest() == b"full\n"


def test_a_long_answer_before_the_end(start: Any, manual: Manual) -> None:
    """It is sent as its client takes it, also when there is nothing more to come."""
    server = start(max_in_flight_per_connection=2)
    with Client(server.server_address) as client:
        client.send(b"big 9000000\nquit\n")
        manual.await_work(2)
        manual.do(1)
        manual.do()
        assert len(client.rest()) == 9_000_000 + 1 + len(b"QUIT\n")


def test_a_turn_that_comes_too_late(
    start: Any, manual: Manual, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two who wait to read, one has nothing to be read any more, and one has been reset."""
    server = start(max_in_flight=1)
    with contextlib.ExitStack() as ends:
        busy, empty, broken = (ends.enter_context(Client(server.server_address)) for _ in range(3))
        busy.send(b"one\n")
        manual.await_work()
        loop = server.current_loop
        for number, client in enumerate((empty, broken), 1):
            client.send(b"two\n")
            until(lambda number=number: len(loop._dispatch._turns) == number)
        failures = [BlockingIOError(), ConnectionResetError(errno.ECONNRESET, "reset")]
        for lane, failure in zip(list(loop._dispatch._turns), failures, strict=True):
            lane.owner._recv = partial(fail_once, [failure], lane.owner.socket.recv)
        monkeypatch.setattr(server, "is_connected", lambda request: False)
        manual.do()
        assert busy.line() == b"ONE"
        with contextlib.suppress(ConnectionResetError):
            assert broken.rest() == b""
        until(lambda: server.stats().disconnected == 1)
        monkeypatch.undo()
        # Then it is there after all.
        manual.await_work()
        manual.do()
        assert empty.line() == b"TWO"


def fail_once(failures: list[Exception], receive: Any, *arguments: int) -> bytes:
    """Raise what is left of *failures*, or receive."""
    if failures:
        raise failures.pop()
    data: bytes = receive(*arguments)
    return data


def fail(failure: Exception, *_: object) -> bytes:
    """Raise *failure*."""
    raise failure


@pytest.mark.parametrize(
    ("word", "text"),
    [
        (b"fail", "RuntimeError: of the work"),
        (b"exit", "RuntimeError: process_message raised SystemExit(3)"),
        (b"bug", "RuntimeError: of handle_answer"),
    ],
)
def test_an_error_of_the_work_ends_the_connection(
    start: Any, manual: Manual, caplog: pytest.LogCaptureFixture, word: bytes, text: str
) -> None:
    """One record with the traceback; the answers before it are sent."""
    server = start(max_in_flight_per_connection=4)
    with Client(server.server_address) as client:
        client.send(b"one\n" + word + b"\nthree\n")
        manual.await_work(3)
        late = manual.work[2][0]
        manual.do()
        manual.do()
        assert client.rest() == b"ONE\n"
        until(lambda: server.stats().failed == 1)
        assert late.cancelled() or not _executing.MAY_CANCEL
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert text in (record.exc_text or "")
    # The bound for the server has room again.
    manual.do_all()
    until(lambda: not server.current_loop._dispatch.flying)


def test_a_fault_of_the_client_is_told_after_the_answers(start: Any, manual: Manual) -> None:
    """The framing is the connection's."""

    class Short(Heavy):
        framing = Lines(max_size=5)

        def handle_framing_error(self, error: FramingError) -> bytes:
            """Say so."""
            return b"! too long"

    server = start(handler=Short)
    with Client(server.server_address) as client:
        client.send(b"one\ntwo\ntoo long\nfour\n")
        manual.await_work()
        manual.do()
        manual.await_work()
        manual.do()
        assert client.rest() == b"ONE\nTWO\n! too long"


def test_half_a_message_at_the_end(start: Any, manual: Manual) -> None:
    """It isn't sent; the messages before it are answered."""
    server = start()
    with Client(server.server_address) as client:
        client.send(b"one\nhal")
        client.end()
        manual.await_work()
        manual.do()
        assert client.rest() == b"ONE\n"


@pytest.mark.parametrize("may_cancel", [True, False])
def test_a_client_that_resets_the_connection(
    start: Any,
    manual: Manual,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    may_cancel: bool,
) -> None:
    """Its message is no longer waited for, and that is no error; on newer Pythons it is undone."""
    monkeypatch.setattr(_executing, "MAY_CANCEL", may_cancel)
    server = start()
    client = Client(server.server_address)
    client.send(b"one\n")
    manual.await_work()
    client.reset()
    until(lambda: server.stats().disconnected == 1)
    assert manual.work[0][0].cancelled() == _executing.MAY_CANCEL
    assert not caplog.records


def test_a_client_that_hangs_up(start: Any, manual: Manual, short_folder: Any) -> None:
    """On a Unix socket that is seen at once; what it has sent is worked on even so."""
    server = start(UnixServer, address=str(short_folder / "socket"))
    client = Client(server.server_address)
    client.send(b"one\ntwo\n")
    client.close()
    manual.await_work()
    loop = server.current_loop
    # Reported once, and not again and again.
    (connection,) = loop._connections.values()
    until(lambda: connection.armed == -1)
    manual.do()
    until(lambda: server.stats().active == 0 or manual.do_all())


def test_deadlines(start: Any, manual: Manual, caplog: pytest.LogCaptureFixture) -> None:
    """The work's own time is no idle time; that of the client's is, and so is the whole life."""
    caplog.set_level(logging.INFO)
    server = start(idle_timeout=0.15, message_timeout=0.15)
    with Client(server.server_address) as client:
        client.send(b"one\nhalf")
        manual.await_work()
        with pytest.raises(threading.BrokenBarrierError):
            threading.Barrier(2).wait(0.4)
        assert server.stats().active == 1
        client.send(b" and half\n")
        manual.do()
        assert client.line() == b"ONE"
        manual.await_work()
        manual.do()
        assert client.line() == b"HALF AND HALF"
        assert client.rest() == b""
    until(lambda: server.stats().timed_out == 1)
    (record,) = caplog.records
    assert "the idle deadline of 0.15 s has passed" in record.getMessage()


def test_the_deadline_of_a_connection_does_not_wait_for_the_work(
    start: Any, manual: Manual
) -> None:
    """It counts the work too."""
    server = start(connection_timeout=0.2)
    with Client(server.server_address) as client:
        client.send(b"one\n")
        manual.await_work()
        assert client.rest() == b""
    until(lambda: server.stats().timed_out == 1)
    assert manual.work[0][0].cancelled() == _executing.MAY_CANCEL


def test_a_drain_waits_for_the_work(manual: Manual) -> None:
    """All that has been sent is answered, what waits included."""

    class Drained(Server):
        executor = manual

    with Drained(HOME, Heavy).background() as running:
        with Client(running.address) as client, Client(running.address) as idle:
            client.send(b"one\ntwo\n")
            manual.await_work()
            stopping = threading.Thread(target=running.stop, args=(PATIENCE,))
            stopping.start()
            assert idle.rest() == b""
            manual.do()
            manual.await_work()
            manual.do()
            assert client.rest() == b"ONE\nTWO\n"
            stopping.join()
    assert running.result is not None
    assert (running.result.drained, running.result.forced) == (2, 0)
    assert manual.ended == []


@pytest.mark.parametrize("kind", [Server, Datagrams])
def test_work_that_outlasts_the_grace(
    manual: Manual, caplog: pytest.LogCaptureFixture, kind: type[Any]
) -> None:
    """It is counted as forced, and told of once; the server's own executor isn't waited for."""

    class Hasty(kind):  # type: ignore[misc]
        def make_executor(self) -> Executor:
            return manual

    with Hasty(HOME, Heavy).background(0.1) as running:
        with client_of(running.server) as client:
            client.send(b"one\n")
            manual.await_work()
            assert running.stop().forced == 1
    (record,) = caplog.records
    assert "no longer waited for" in record.getMessage()
    assert manual.ended == [False]
    assert running.server.stats().forced == 1


@contextlib.contextmanager
def client_of(server: Any) -> Iterator[socket.socket]:
    """A connected socket."""
    with socket.socket(socket.AF_INET, server.socket_type) as client:
        client.settimeout(PATIENCE)
        client.connect(server.server_address)
        yield client


@pytest.mark.parametrize("kind", [Server, Datagrams])
def test_shutdown_gives_the_work_up(
    manual: Manual, serve: Any, caplog: pytest.LogCaptureFixture, kind: type[Any]
) -> None:
    """With one warning, for nobody would send the answers."""
    server = type("Shut", (kind,), {"executor": manual})(HOME, Heavy)
    thread = serve(server)
    with client_of(server) as client:
        client.send(b"one\n")
        manual.await_work()
        server.shutdown()
        thread.join()
        assert manual.work[0][0].cancelled() == _executing.MAY_CANCEL
        # It comes too late, and harms nobody.
        manual.do()
    (record,) = caplog.records
    assert "when the loop ended; stop() lets" in record.getMessage()
    assert server.stats().forced == 1


def test_datagrams(start: Any, manual: Manual, caplog: pytest.LogCaptureFixture) -> None:
    """Each is a message, and is answered when its work is done."""
    server = start(Datagrams)
    with client_of(server) as client:
        for message in (b"one", b"twice", b"nothing", b"fail", b"bug"):
            client.send(message)
        manual.await_work(5)
        manual.do_all()
        assert [client.recv(100) for _ in range(3)] == [b"ONE", b"FIRST", b"TWICE"]
        until(lambda: server.stats().active == 0)
    assert (server.stats().completed, server.stats().failed) == (3, 2)
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2


def test_datagrams_beyond_the_bound_are_not_received(start: Any, manual: Manual) -> None:
    """They wait in the socket."""
    server = start(Datagrams, max_in_flight=2)
    with client_of(server) as client:
        for message in (b"one", b"two", b"three"):
            client.send(message)
        manual.await_work(2)
        until(lambda: server.current_loop.listener is None)
        assert manual.messages == [b"one", b"two"]
        manual.do()
        manual.await_work()
        assert manual.messages == [b"two", b"three"]
        manual.do_all()
        assert [client.recv(100) for _ in range(3)] == [b"ONE", b"TWO", b"THREE"]


class Unlucky(Heavy):
    """Fails before, or behind."""

    def setup(self) -> None:
        """Fail for some clients."""
        assert isinstance(self.request, tuple)
        assert self.request[0] != b"setup"

    def finish(self) -> None:
        """Fail for others."""
        super().finish()
        assert isinstance(self.request, tuple)
        assert self.request[0] not in {b"finish", b"fail"}


def test_datagrams_whose_handler_fails(
    start: Any, manual: Manual, caplog: pytest.LogCaptureFixture
) -> None:
    """One record each; when finish fails after the work, a warning besides."""
    server = start(Datagrams, Unlucky)
    with client_of(server) as client:
        for message in (b"setup", b"finish", b"fail", b"one"):
            client.send(message)
        manual.await_work(3)
        manual.do_all()
        assert [client.recv(100) for _ in range(2)] == [b"FINISH", b"ONE"]
    until(lambda: server.stats().failed == 3)
    levels = [record.levelname for record in caplog.records]
    assert sorted(levels) == ["ERROR", "ERROR", "ERROR", "WARNING"]


class Stopping(Heavy):
    """Stops the server when it has an answer."""

    def handle_answer(self, message: bytes, answer: bytes | None) -> bytes:
        """Drain, and tell how many were forced."""
        return b"%d" % self.server.stop(PATIENCE).forced


@pytest.mark.parametrize(
    ("kind", "pooled"), [(Server, False), (Datagrams, False), (Datagrams, True)]
)
def test_a_handler_that_stops_the_server(
    start: Any, manual: Manual, kind: type[Any], pooled: bool
) -> None:
    """It doesn't wait for itself, whichever thread it is in."""
    server = start(kind, Stopping)
    with client_of(server) as client:
        client.send(b"stop\n")
        manual.await_work()
        if pooled:
            server.current_loop._pooled_until = time.monotonic() + PATIENCE
        began = time.monotonic()
        manual.do()
        assert client.recv(100).strip() == b"0"
        until(lambda: server.current_loop is None)
        assert time.monotonic() - began < PATIENCE / 2


def test_datagrams_that_no_thread_can_be_started_for(
    start: Any, manual: Manual, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are answered in the loop's own."""
    server = start(Datagrams)
    with client_of(server) as client:
        client.send(b"one")
        manual.await_work()
        monkeypatch.setattr(server.current_loop, "call", partial(fail, ExhaustedError("no thread")))
        manual.do()
        assert client.recv(100) == b"ONE"
        until(lambda: server.stats().completed == 1)


@pytest.mark.parametrize("kind", [Server, Datagrams])
def test_a_broken_executor_is_one_record(
    start: Any, manual: Manual, caplog: pytest.LogCaptureFixture, kind: type[Any]
) -> None:
    """What was under way is lost, and its clients see the end; so does each that comes."""
    server = start(kind)
    with contextlib.ExitStack() as ends:
        clients = [ends.enter_context(client_of(server)) for _ in range(3)]
        for client in clients:
            client.send(b"one\n")
        manual.await_work(3)
        manual.break_down()
        if kind is Server:
            assert [client.recv(100) for client in clients] == [b""] * 3
        until(lambda: server.stats().failed == 3)
        assert [record.getMessage() for record in caplog.records] == [
            f"{server!r}: the executor is broken (a worker has died): 3 messages are lost, and"
            " their clients' connections end; so will those be that come, because it isn't the"
            " server's to replace"
        ]
        with client_of(server) as late:
            late.send(b"late\n")
            until(lambda: server.stats().failed == 4)
    assert "BrokenExecutor: a worker has died" in (caplog.records[1].exc_text or "")
    assert len(caplog.records) == 2


class Owner(Server):
    """Makes executors of its own."""

    max_in_flight_per_connection = 2
    made: list[Manual]

    def make_executor(self) -> Executor:
        """Another one."""
        self.made.append(Manual())
        return self.made[-1]


def test_a_broken_executor_of_the_servers_own_is_replaced(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What lands before is answered; the next message goes to a new one."""
    made: list[Manual] = []
    kind = type("Owns", (Owner,), {"made": made})
    with kind(HOME, Heavy).background() as running:
        with Client(running.address) as client, Client(running.address) as other:
            client.send(b"one\ntwo\nthree\n")
            made[0].await_work(2)
            made[0].do()
            assert client.line() == b"ONE"
            made[0].await_work()
            made[0].break_down()
            assert client.rest() == b""
            other.send(b"four\n")
            until(lambda: len(made) == 2)
            made[1].await_work()
            made[1].do()
            assert other.line() == b"FOUR"
    (record,) = caplog.records
    assert "2 messages are lost" in record.getMessage()
    assert "a new one takes its place" in record.getMessage()
    assert [each.ended for each in made] == [[True], [True]]
    assert running.server.stats().failed == 1


def test_a_connection_that_ends_by_itself_when_the_executor_breaks(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """With its last answer, which has landed and wasn't sent yet; it isn't ended twice."""
    made: list[Manual] = []
    kind = type("Owns", (Owner,), {"made": made})
    with kind(HOME, Heavy).background() as running:
        with Client(running.address) as client:
            client.send(b"quit\ntwo\n")
            made[0].await_work(2)
            hear = running.server.current_loop._hear
            landing = running.server.current_loop._landing
            running.server.current_loop._bell.wake = lambda: None
            made[0].do()
            assert len(landing) == 1
            made[0].break_down()
            running.server.current_loop.call_later(0, hear)
            running.server.current_loop.wake()
            assert client.rest() == b"QUIT\n"
    assert running.server.stats().failed == 0
    (record,) = caplog.records
    assert "1 messages are lost" in record.getMessage()


def test_an_executor_that_is_found_broken(caplog: pytest.LogCaptureFixture) -> None:
    """Before it has told of it: the message that finds it isn't lost, unless its connection is."""
    made: list[Manual] = []
    kind = type("Owns", (Owner,), {"made": made})
    with kind(HOME, Heavy).background() as running:
        with Client(running.address) as client, Client(running.address) as other:
            client.send(b"one\n")
            made[0].await_work()
            made[0].failure = BrokenExecutor("a worker has died")
            other.send(b"two\n")
            until(lambda: len(made) == 2)
            made[1].await_work()
            assert client.rest() == b""
            made[1].failure = made[0].failure
            other.send(b"three\n")
            assert other.rest() == b""
            # They are told late, and nobody cares.
            made[0].break_down()
            made[1].break_down()
    assert ["1 messages are lost" in record.getMessage() for record in caplog.records] == [True] * 2


def test_an_executor_without_end(caplog: pytest.LogCaptureFixture) -> None:
    """When the new one is broken too, the message fails."""
    made: list[Manual] = []

    class Hopeless(Owner):
        def make_executor(self) -> Executor:
            """A broken one."""
            executor = super().make_executor()
            made[-1].failure = BrokenExecutor("in the beginning")
            return executor

    with type("Owns", (Hopeless,), {"made": made})(HOME, Heavy).background() as running:
        with Client(running.address) as client:
            client.send(b"one\n")
            assert client.rest() == b""
    assert len(made) == 2
    (record,) = caplog.records
    assert "BrokenExecutor: in the beginning" in (record.exc_text or "")


def test_an_error_of_another_executor_that_the_work_uses(
    start: Any, manual: Manual, caplog: pytest.LogCaptureFixture
) -> None:
    """It is the work's; nothing else is lost."""
    server = start()
    with Client(server.server_address) as client, Client(server.server_address) as other:
        client.send(b"one\n")
        manual.await_work()
        other.send(b"two\n")
        manual.await_work()
        manual.work.pop(0)[0].set_exception(BrokenExecutor("the other one"))
        assert client.rest() == b""
        # The piece of work with which the server has tried whether it is broken.
        until(lambda: len(manual.work) == 2)
        manual.work.pop()
        manual.do()
        assert other.line() == b"TWO"
    assert "BrokenExecutor: the other one" in (caplog.records[0].exc_text or "")


def test_a_closed_server_sends_nothing_more(manual: Manual, serve: Any) -> None:
    """What waits then ends with the loop."""
    server = type("Closed", (Server,), {"executor": manual, "max_in_flight": 1})(HOME, Heavy)
    thread = serve(server)
    with Client(server.server_address) as client:
        client.send(b"one\n")
        manual.await_work()
        executors = vars(server)["_ns_executors"]
        executors.is_closed = True
        with Client(server.server_address) as other:
            other.send(b"two\n")
            until(lambda: server.stats().active == 2)
            manual.do()
            assert client.line() == b"ONE"
            server.shutdown()
            thread.join()
            with contextlib.suppress(ConnectionResetError):
                assert other.rest() == b""
    assert manual.messages == []


def test_an_executor_that_is_closed_under_the_loop(start: Any, manual: Manual) -> None:
    """What it refuses then isn't reported: the loop is about to end."""
    server = start()
    executors = vars(server)["_ns_executors"]

    def submit(_function: object, _message: bytes) -> Future[Any]:
        executors.is_closed = True
        msg = "cannot schedule new futures after shutdown"
        raise RuntimeError(msg)

    manual.submit = submit  # type: ignore[method-assign,assignment]
    with Client(server.server_address) as client:
        client.send(b"one\n")
        until(lambda: executors.is_closed)
        client.end()
        server.shutdown()
        assert client.rest() == b""
    assert server.stats().failed == 0


def test_a_server_that_a_signal_closes_in_a_submit(manual: Manual) -> None:
    """The executor, whose lock is held, is shut down when the loop has ended, and then once."""
    lock = threading.Lock()
    states: list[str] = []

    class Locking(Manual):
        def submit(self, function: Any, /, *arguments: Any, **keywords: Any) -> Future[Any]:
            with lock:
                # As a signal's handler that interrupts this.
                served.server_close()
                return manual.submit(function, *arguments)

        def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
            states.append("locked" if lock.locked() else "free")
            super().shutdown(wait)

    class Served(Server):
        def make_executor(self) -> Executor:
            return locking

    locking = Locking()
    served = Served(HOME, Heavy)
    with served.background(PATIENCE), Client(served.server_address) as client:
        client.send(b"hello\n")
        assert client.rest() == b""
    assert states == ["free"]
    assert locking.ended == [True]
    manual.do_all()


def test_outside_serve_forever_the_work_is_done_in_place(manual: Manual) -> None:
    """There is no loop that would answer."""
    server = type("Single", (Server,), {"executor": manual})(HOME, Heavy)
    with server, Client(server.server_address) as client:
        assert not server.forwards_messages
        client.send(b"one\n")
        client.end()
        server.handle_request()
        assert client.rest() == b"ONE\n"
    assert manual.work == []


def test_an_executor_that_is_set_later(manual: Manual, serve: Any) -> None:
    """It is looked at when the server begins to serve, and again the next time."""

    class Local(Heavy):
        @staticmethod
        def process_message(message: bytes) -> bytes:
            """Can't be found by its name."""
            return message

    for handler in (Local, Heavy):
        server = Server(HOME, handler)
        server.executor = manual
        if handler is Local:
            with server, pytest.raises(TypeError, match="can't be pickled"):
                server.serve_forever()
            continue
        serve(server)
        with Client(server.server_address) as client:
            client.send(b"one\n")
            manual.await_work()
            manual.do()
            assert client.line() == b"ONE"
            client.end()
            assert client.rest() == b""


def test_threads_of_ones_own(serve: Any) -> None:
    """They need no pickling, and are their owner's."""

    class Local(MessageRequestHandler):
        @staticmethod
        def process_message(message: bytes) -> bytes:
            """Say who."""
            return message + threading.current_thread().name.encode()

    with ThreadPoolExecutor(2, "own") as pool:
        server = type("Threads", (Server,), {"executor": pool})(HOME, Local)
        with server.background() as running, Client(running.address) as client:
            assert client.ask(b"by ").startswith(b"by own")
        assert pool.submit(int).result() == 0


class Plain(MessageRequestHandler):
    """Its work needs a connection."""

    def handle_message(self, message: bytes) -> bytes | None:
        """Answer."""
        return message


class Both(Heavy):
    """Does it in two ways."""

    def handle_message(self, message: bytes) -> bytes | None:
        """Answer."""
        return message


class Coroutine(MessageRequestHandler):
    """Its work needs an event loop."""

    @staticmethod
    async def process_message(message: bytes) -> bytes:  # type: ignore[override]
        """Answer."""
        return message


@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        (Plain, r"Plain has no process_message\(\); a handle_message\(\) belongs to a connection"),
        (Both, r"Both has a handle_message\(\) of its own, which would not be called"),
        (Coroutine, "it is a coroutine function"),
        (StreamRequestHandler, "MultiplexingMixIn takes handlers of messages"),
        (lambda request, address, server: None, "name the handler class itself"),
    ],
)
@pytest.mark.parametrize("owner", [True, False])
def test_what_cannot_be_sent_is_refused_when_the_server_is_made(
    manual: Manual, handler: Any, reason: str, owner: bool
) -> None:
    """With the reason; no executor is made for that."""
    kind: Any = Owner if owner else type("Given", (Server,), {"executor": manual})
    with pytest.raises(TypeError, match=reason):
        kind(HOME, handler)


def test_a_server_that_makes_none() -> None:
    """It says so when it is to serve."""

    class Without(Server):
        def make_executor(self) -> None:
            """Make none."""

    with Without(HOME, Heavy) as server:
        with pytest.raises(RuntimeError, match="has made none"):
            server.serve_forever()


def test_a_connection_leaves_no_cycle(start: Any, manual: Manual) -> None:
    """Its handler is gone as soon as it has ended."""
    handlers: list[weakref.ref[Any]] = []

    class Noted(Heavy):
        def setup(self) -> None:
            """Note it."""
            handlers.append(weakref.ref(self))

    server = start(handler=Noted, max_in_flight_per_connection=2)
    gc.collect()
    gc.disable()
    try:
        with Client(server.server_address) as client:
            client.send(b"one\ntwo\n")
            manual.await_work(2)
            manual.do_all()
            assert client.line() + client.line() == b"ONETWO"
        until(lambda: handlers[0]() is None)
    finally:
        gc.enable()
    assert server.requests_in_progress.ends()[Outcome.COMPLETED] == 1


def test_without_an_executor_a_server_makes_none() -> None:
    """It answers the messages itself, unless a subclass says otherwise."""
    with Server(HOME, Heavy) as server:
        assert server.make_executor() is None
        assert not server.forwards_messages
