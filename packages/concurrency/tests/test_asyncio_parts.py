"""The parts of the asyncio mix-in, each by itself: the turn, the connection, the loop."""

import asyncio
import contextlib
import importlib.util
import signal
import socket
import ssl
import subprocess
import sys
import types
from collections.abc import Generator, Iterator
from typing import Any

import pytest
import trustme

from netserve.concurrency import _asyncio_request
from netserve.concurrency._asyncio import AsyncioMixIn
from netserve.concurrency._asyncio_connection import HIGH_WATER, Connection
from netserve.concurrency._asyncio_loop import AsyncioLoop
from netserve.concurrency._asyncio_request import _settle, serve_stream
from netserve.concurrency._outbox import MOST, STRETCH, Outbox
from netserve.concurrency._tls import TLS
from netserve.concurrency._turn import Turn
from netserve.core import BaseServer, Deadline, DeadlineError, Entry, Outcome, PeerError

PATIENCE = 20.0


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A connected pair, of which the first doesn't block."""
    near, far = socket.socketpair()
    near.setblocking(False)
    far.settimeout(PATIENCE)
    with near, far:
        yield near, far


class Sockets:
    """What calls a socket's ``recv`` and ``send``, and lets them fail first as told."""

    def __init__(self, real: socket.socket, *errors: type[OSError]) -> None:
        self._real = real
        self._errors = list(errors)

    def fileno(self) -> int:
        """The real descriptor."""
        return self._real.fileno()

    def _fail(self) -> None:
        if self._errors:
            raise self._errors.pop(0)

    def recv(self, size: int) -> bytes:
        """Fail, or receive."""
        self._fail()
        return self._real.recv(size)

    def send(self, data: bytes) -> int:
        """Fail, or send."""
        self._fail()
        return self._real.send(data)


def connected(loop: Any, near: Any, **limits: float) -> Connection:
    """A connection on *near*."""
    names = ("idle", "message", "connection")
    idle, message, whole = (limits.get(name) for name in names)
    return Connection(Outbox(loop), near, (idle, message, whole), loop.time())


@types.coroutine
def waiting_in(turn: Turn) -> Generator[Turn, None, None]:
    """What a task awaits to wait in *turn*."""
    yield turn


def run(scenario: Any) -> Any:
    """Run it in an event loop."""
    return asyncio.run(asyncio.wait_for(scenario, PATIENCE))


def test_a_turn_wakes_its_task_at_once() -> None:
    """Before the call returns, again and again; without one, nothing happens."""

    async def scenario() -> list[str]:
        said: list[str] = []
        turn = Turn(asyncio.get_running_loop())
        loop = asyncio.get_running_loop()

        async def wait() -> None:
            for number in range(3):
                await waiting_in(turn)
                said.append(f"awake {number}")

        def wake() -> None:
            assert turn.taken_by is not None
            turn.wake()
            said.append("woken")

        task = asyncio.ensure_future(wait())
        for _ in range(3):
            await asyncio.sleep(0)
            loop.call_soon(wake)
            await asyncio.sleep(0)
        await task
        turn.wake()
        assert turn.taken_by is None
        assert not turn.cancel()
        return said

    assert run(scenario()) == [word for number in range(3) for word in (f"awake {number}", "woken")]


def test_a_turn_can_be_cancelled() -> None:
    """Its task hears of it once, with the message; a wake-up that comes too late is none."""

    async def scenario() -> None:
        turn = Turn(asyncio.get_running_loop())

        async def wait() -> str:
            with pytest.raises(asyncio.CancelledError, match="enough"):
                await waiting_in(turn)
            return "done"

        task = asyncio.ensure_future(wait())
        await asyncio.sleep(0)
        assert turn.cancel("enough")
        turn.wake()
        assert await task == "done"

    run(scenario())


def test_a_connection_passes_over_what_was_no_readiness(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    """The event loop may be wrong about a socket, in either direction."""
    near, far = pair

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        connection = connected(loop, Sockets(near, BlockingIOError))
        far.send(b"one")
        assert await connection.receive() == b"one"
        connection.stop()
        connection = connected(loop, Sockets(near, BlockingIOError, BlockingIOError))
        connection.write(b"two")
        await connection.wait_sent()
        assert far.recv(10) == b"two"
        assert "0 bytes to send" in repr(connection)
        connection.stop()

    run(scenario())


def test_a_connection_that_fails_says_so_each_time(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    """The first error stays; it is raised by whatever is tried next."""
    near, _ = pair

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        for errors in ([ConnectionResetError], [BlockingIOError, ConnectionResetError]):
            connection = connected(loop, Sockets(near, *errors))
            connection.write(b"two")
            with pytest.raises(ConnectionResetError):
                await connection.wait_sent()
            connection.fail(BrokenPipeError())
            with pytest.raises(ConnectionResetError):
                connection.write(b"three")
            with pytest.raises(ConnectionResetError):
                await connection.receive()
            connection.stop()
        connection = connected(loop, Sockets(near, ConnectionResetError))
        pair[1].send(b"x")
        with pytest.raises(ConnectionResetError):
            await connection.receive()
        connection.stop()

    run(scenario())


def test_a_socket_that_was_said_to_be_ready_and_is_not_is_waited_for(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    """The system may throw away what it has told of (select(2), *BUGS*)."""
    near, far = pair

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        connection = connected(loop, Sockets(near, BlockingIOError, BlockingIOError))
        receiving = asyncio.ensure_future(connection.receive())
        await asyncio.sleep(0)
        connection._read()
        await asyncio.sleep(0)
        assert not receiving.done()
        far.send(b"one")
        assert await receiving == b"one"
        connection.stop()

    run(scenario())


def test_what_is_written_before_another_wait_is_sent(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    """In the next turn at the latest, when the task that has received waits for something else."""
    near, far = pair

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        connection = connected(loop, near)
        answered = asyncio.Event()

        async def answer() -> None:
            connection.write((await connection.receive()).upper())
            await answered.wait()

        answering = asyncio.ensure_future(answer())
        await asyncio.sleep(0)
        far.send(b"one")
        far.setblocking(False)
        loop.call_soon(connection._read)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert far.recv(10) == b"ONE"
        answered.set()
        await answering
        connection.stop()

    run(scenario())


def test_what_is_written_may_be_changed_afterwards(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    """What is sent is what it was; and what isn't made of bytes is refused there and then."""
    near, far = pair

    async def scenario() -> None:
        connection = connected(asyncio.get_running_loop(), near)
        data = bytearray(b"one ")
        connection.write(data)  # type: ignore[arg-type]  # a buffer, which is taken all the same
        data[:] = b"two"
        connection.write(memoryview(data))  # type: ignore[arg-type]  # likewise
        del data
        with pytest.raises(TypeError, match="bytes-like"):
            connection.write("three")  # type: ignore[arg-type]  # a mistake
        await connection.wait_sent()
        assert far.recv(10) == b"one two"
        connection.stop()

    run(scenario())


def test_what_cannot_be_encrypted_fails_the_connection(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    """Whoever sends for it meets no error; what is tried next does."""
    near, _ = pair

    async def scenario() -> None:
        connection = connected(asyncio.get_running_loop(), near)
        # No handshake has been done.
        connection.tls = TLS(connection, ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), lambda: False)
        connection.write(b"one")
        connection.flush()
        assert connection.held == 0
        with pytest.raises(ssl.SSLError):
            connection.write(b"two")
        connection.stop()

    run(scenario())


class Noted:
    """What has something to send, and notes when that is asked for."""

    def __init__(self, notes: list[str], name: str) -> None:
        self.notes = notes
        self.name = name

    def flush(self) -> None:
        """Note it."""
        self.notes.append(self.name)


def test_what_many_have_written_leaves_in_a_row() -> None:
    """In the next turn, and when many have gathered."""

    async def scenario() -> None:
        outbox = Outbox(asyncio.get_running_loop())
        notes: list[str] = []
        names = [str(number) for number in range(MOST + 1)]
        for count in (3, MOST + 1):
            for name in names[:count]:
                outbox.put(Noted(notes, name))
            assert notes == (names[:MOST] if count > MOST else [])
            await asyncio.sleep(0)
            assert notes == names[:count]
            notes.clear()
        # The last of many wasn't alone.
        outbox.put(Noted(notes, "another"))
        assert not notes
        await asyncio.sleep(0)
        assert notes == ["another"]

    run(scenario())


def test_what_one_alone_has_written_leaves_at_once() -> None:
    """The first tells that it is alone, and after some it is looked again."""

    async def scenario() -> None:
        outbox = Outbox(asyncio.get_running_loop())
        notes: list[str] = []
        one = Noted(notes, "one")
        for _ in range(2):
            outbox.put(one)
            assert not notes
            await asyncio.sleep(0)
            assert notes == ["one"]
            for _ in range(STRETCH):
                outbox.put(one)
            assert len(notes) == 1 + STRETCH
            notes.clear()

    run(scenario())


def test_a_wait_is_over_once(pair: tuple[socket.socket, socket.socket]) -> None:
    """The socket may be ready in the turn in which the time is over: the first of them counts."""

    async def scenario() -> None:
        over = asyncio.get_running_loop().create_future()
        _settle(over, False)
        _settle(over, True)
        assert await over is False

    run(scenario())


def test_a_connection_that_is_thrown_away_with_its_event_loop_counts_as_forced(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    """Its coroutine is closed, and not cancelled."""
    near, _ = pair

    class Quiet:
        """What is asked of a server for that."""

        idle_timeout = message_timeout = connection_timeout = None

        def __getattr__(self, name: str) -> Any:
            return lambda *_args, **_options: None

    async def scenario() -> Entry:
        entry = Entry(1, near, "client")
        loop = asyncio.get_running_loop()

        async def handle(*_: Any) -> None:
            await loop.create_future()

        serving = serve_stream(Quiet(), entry, Outbox(loop))  # type: ignore[arg-type]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_asyncio_request, "_open", handle)
            serving.send(None)
            serving.close()
        return entry

    assert run(scenario()).outcome is Outcome.FORCED


def encrypted() -> tuple[TLS, ssl.SSLObject, ssl.MemoryBIO]:
    """The server's side of TLS after the handshake; the client's, and what that has to send."""
    ca = trustme.CA()
    ours, theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    ca.issue_cert("localhost").configure_cert(ours)
    ca.configure_trust(theirs)
    tls = TLS(None, ours, lambda: False)  # type: ignore[arg-type]  # nothing is sent
    back, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = theirs.wrap_bio(back, out, server_hostname="localhost")
    for _ in range(2):
        for side in (client, tls.ssl_object):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
            tls._incoming.write(out.read())
            back.write(tls._outgoing.read())
    return tls, client, out


def test_tls_gives_no_more_at_once_than_a_reading_brings() -> None:
    """The rest is there for the next."""
    tls, client, out = encrypted()
    client.write(b"x" * 70_000)
    tls._incoming.write(out.read())
    assert [len(tls._decrypt()) for _ in range(3)] == [65_536, 70_000 - 65_536, 0]


def test_what_came_before_nonsense_is_taken_first() -> None:
    """Then the nonsense is the peer's fault."""
    tls, client, out = encrypted()
    client.write(b"good")
    tls._incoming.write(out.read() + b"this is no record of TLS")
    assert tls._decrypt() == b"good"
    with pytest.raises(PeerError, match="isn't one of TLS any more"):
        tls._decrypt()


def test_the_end_of_the_input_stays(pair: tuple[socket.socket, socket.socket]) -> None:
    """However often one receives."""
    near, far = pair

    async def scenario() -> None:
        connection = connected(asyncio.get_running_loop(), near)
        far.shutdown(socket.SHUT_WR)
        assert await connection.receive() == b""
        assert await connection.receive() == b""
        assert connection.input_ended
        assert connection.ssl_object is None
        connection.stop()

    run(scenario())


def test_room_that_is_made_begins_an_idle_time_anew(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    """A client that reads a part now and then isn't idle."""
    near, far = pair

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        connection = connected(loop, near, idle=0.4)
        connection.write(bytes(1 << 20))
        assert connection.congested
        draining = asyncio.ensure_future(connection.drain())
        far.setblocking(False)
        taken = 0
        while not draining.done():
            await asyncio.sleep(0.05)
            with contextlib.suppress(BlockingIOError):
                taken += len(far.recv(HIGH_WATER))
        await draining
        assert taken > 0
        connection.write(bytes(1 << 20))
        with pytest.raises(DeadlineError) as raised:
            await connection.drain()
        assert raised.value.deadline is Deadline.IDLE
        connection.stop()

    run(scenario())


def test_the_timer_looks_no_further_than_it_must(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    """A nearer deadline takes the place of a later one, and none is left of an ended wait."""
    near, far = pair

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        connection = connected(loop, near, connection=PATIENCE, message=0.05, idle=5)
        far.send(b"one")
        assert await connection.receive() == b"one"
        with pytest.raises(DeadlineError) as raised:
            await connection.receive(partial=True)
        assert raised.value.deadline is Deadline.MESSAGE
        assert str(raised.value) == "the message deadline of 0.05 s has passed"
        connection.stop()
        connection = connected(loop, near, idle=0.05)
        far.send(b"two")
        assert await connection.receive() == b"two"
        # The timer finds nobody waiting, and isn't set again.
        await asyncio.sleep(0.1)
        far.send(b"three")
        assert await connection.receive() == b"three"
        # One that finds the connection failed does nothing.
        waiting = asyncio.ensure_future(connection.receive())
        await asyncio.sleep(0)
        connection.fail(ConnectionResetError())
        with pytest.raises(ConnectionResetError):
            await waiting
        await asyncio.sleep(0.1)
        connection.stop()

    run(scenario())


class Nothing(AsyncioMixIn, BaseServer[Any, Any]):
    """A server without a socket, whose tasks are never there."""


def test_a_loop_listens_to_what_is_open() -> None:
    """A closed descriptor is an error, and nothing is ready without a listener."""
    server = Nothing(None, lambda *_: None)
    with AsyncioLoop(server, asyncio.new_event_loop, None) as loop, socket.socket() as listener:
        assert not loop.wait(0)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        loop.listen(listener)
        assert not loop.wait(0)
        assert not loop.wait(0.01)
        with socket.create_connection(listener.getsockname()):
            assert loop.wait(PATIENCE)
            assert loop.wait(0)
        number = listener.fileno()
        # As when its number is given to a connection.
        loop.release(number)
        assert not loop.wait(0)
        listener.close()
        with pytest.raises(ValueError, match="is closed"):
            loop.listen(listener)
        loop.wake()
        assert not loop.wait(PATIENCE)
        assert not loop.busy


@pytest.mark.skipif(importlib.util.find_spec("uvloop") is None, reason="needs uvloop")
def test_a_listener_may_be_closed_before_the_wait() -> None:
    """uvloop would end the process; the port is free as soon as the loop looks again."""
    program = """
import socket, uvloop
from netserve.concurrency._asyncio_loop import AsyncioLoop

class Server:
    block_on_close = True

with AsyncioLoop(Server(), uvloop.new_event_loop, None) as loop:
    listener = socket.create_server(("127.0.0.1", 0))
    address = listener.getsockname()
    loop.listen(listener)
    # Behind what run_until_complete opens, which would get the number.
    loop.event_loop.call_soon(listener.close)
    loop.wait(0.01)
    loop.listen(None)
    socket.create_server(address).close()
print("survived")
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "survived\n", "")


def test_a_loop_in_a_forked_child_does_nothing(pair: tuple[socket.socket, socket.socket]) -> None:
    """Nor do its signals wake the parent."""
    server = Nothing(None, lambda *_: None)
    with AsyncioLoop(server, asyncio.new_event_loop, None) as loop:
        loop.event_loop.remove_reader(loop._waker.fileno())
        loop.after_fork()
        assert signal.set_wakeup_fd(-1) == -1
        # For a request that has ended, and in an event loop that is closed, it does nothing.
        entry = server.requests_in_progress.begin(pair[0], None)
        loop.cancel(entry)
        loop.wait(0)
        server.abandon_requests()
        server.abort_request(pair[0])
        loop.event_loop.remove_reader = lambda *_: True  # type: ignore[method-assign]
    loop.cancel(entry)
