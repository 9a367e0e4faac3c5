"""Tests of the fakes for handlers whose work is a coroutine."""

import asyncio
import socket
import subprocess
import sys
import traceback

import pytest

from netserve.core import AsyncConnection, Deadline, DeadlineError
from netserve.testing import (
    FakeAsyncConnection,
    FakeConnection,
    FakeServer,
    StarvedError,
    handle_datagram,
    handle_datagram_async,
    handle_stream,
    handle_stream_async,
)


class Coroutine:
    """A handler of connections."""

    def __init__(self, request, client_address, server):
        self.request = request
        self.client_address = client_address
        self.server = server

    def attach(self, connection):
        """Take the connection."""
        self.connection = connection

    async def run(self):
        """Handle."""
        await self.handle()


class Upper(Coroutine):
    """Answers what comes in capitals, until the end."""

    async def handle(self):
        """Answer."""
        while data := await self.connection.receive():
            self.connection.write(data.upper())
        self.connection.write(b".")


class Datagram(Coroutine):
    """Answers a datagram in capitals."""

    handles_streams = False

    async def handle(self):
        """Answer, also elsewhere."""
        packet, own = self.request
        await asyncio.sleep(0)
        own.sendto(packet.upper(), 0, self.client_address)
        own.sendto(packet, 0, ("192.0.2.9", 9))


def handling(work):
    """A handler of connections that runs the function *work*."""

    class Handler(Coroutine):
        handle = work

    return Handler


def test_a_coroutine_on_a_stream():
    """In an event loop of its own, or in the one that runs."""
    assert handle_stream(Upper, b"one") == b"ONE."
    assert handle_stream(Upper, [b"on", b"", b"e\n"], server=object()) == b"ONE\n."
    assert asyncio.run(handle_stream_async(Upper, [b"o", b"ne"])) == b"ONE."
    assert handle_stream(Upper) == asyncio.run(handle_stream_async(Upper)) == b"."


def test_a_coroutine_on_a_datagram():
    """Its answers, to the client alone."""
    assert handle_datagram(Datagram, b"one") == [b"ONE"]
    assert asyncio.run(handle_datagram_async(Datagram, b"one", client_address="/a")) == [b"ONE"]


def test_other_handlers_run_in_an_event_loop_too():
    """As anywhere else."""

    def handler(request, client_address, server):
        if isinstance(request, tuple):
            request[1].sendto(request[0], client_address)
        else:
            request.sendall(request.recv(10))

    async def main():
        assert await handle_stream_async(handler, b"one") == b"one"
        assert await handle_datagram_async(handler, b"one") == [b"one"]
        assert handle_stream(handler, b"one") == b"one"

    asyncio.run(main())


def test_the_test_and_the_handler_share_an_event_loop():
    """What one waits for, the other does."""

    async def main():
        asked, answered = asyncio.Event(), asyncio.Event()

        async def ask(self):
            asked.set()
            await answered.wait()
            self.connection.write(b"answered")

        handled = asyncio.create_task(handle_stream_async(handling(ask)))
        await asked.wait()
        answered.set()
        assert await handled == b"answered"

    asyncio.run(main())


def test_a_running_event_loop_is_not_blocked():
    """Whoever would is told what to do instead."""

    async def main():
        for handle, handler in [(handle_stream, Upper), (handle_datagram, Datagram)]:
            with pytest.raises(RuntimeError, match=r"await handle_stream_async\(\)"):
                handle(handler, b"one")

    asyncio.run(main())


def test_what_the_handler_raises_is_raised():
    """With its traceback, after what it has written was sent."""

    async def fail(self):
        self.connection.write(b"half")
        raise ZeroDivisionError

    for run in (handle_stream, lambda *given: asyncio.run(handle_stream_async(*given))):
        connection = FakeConnection()
        with pytest.raises(ZeroDivisionError) as caught:
            run(handling(fail), connection)
        assert traceback.extract_tb(caught.tb)[-1].name == "fail"
        assert connection.sent == b"half"


def test_the_answer_outlasts_the_end_of_input():
    """Which is found again by each reading, until that is too often."""

    async def answer(self):
        assert await self.connection.receive() == b"x"
        assert await self.connection.receive() == await self.connection.receive() == b""
        self.connection.write(b"y")

    assert handle_stream(handling(answer), b"x") == b"y"

    async def endless(self):
        while True:
            await self.connection.receive()

    with pytest.raises(StarvedError, match="went on reading"):
        handle_stream(handling(endless))


def test_what_is_received_at_once_has_a_limit():
    """That of a server's."""

    async def measure(self):
        while data := await self.connection.receive():
            self.connection.write(b"%d;" % len(data))

    assert handle_stream(handling(measure), b"x" * 100_000) == b"65536;34464;"


@pytest.mark.parametrize(
    ("limits", "partial", "expected"),
    [
        ({"idle_timeout": 5}, False, (Deadline.IDLE, 5)),
        ({"idle_timeout": 5, "message_timeout": 3}, False, (Deadline.IDLE, 5)),
        ({"idle_timeout": 5, "message_timeout": 3}, True, (Deadline.MESSAGE, 3)),
        ({"idle_timeout": 5, "message_timeout": 9}, True, (Deadline.IDLE, 5)),
        ({"message_timeout": 3}, True, (Deadline.MESSAGE, 3)),
        ({"idle_timeout": 5, "connection_timeout": 4}, False, (Deadline.CONNECTION, 4)),
    ],
)
def test_a_pause_passes_the_first_deadline_of_the_server(limits, partial, expected):
    """It is raised from then on each time."""
    found = []

    async def wait(self):
        assert await self.connection.receive() == b"half"
        for _ in range(2):
            with pytest.raises(DeadlineError) as caught:
                await self.connection.receive(partial=partial)
            found.append((caught.value.deadline, caught.value.seconds))
        with pytest.raises(DeadlineError):
            self.connection.write(b"x")
        with pytest.raises(DeadlineError):
            await self.connection.drain()

    for pauses in (True, False):
        connection = FakeConnection(b"half")
        if pauses:
            connection.pause()
            connection.feed(b"the rest")
        assert handle_stream(handling(wait), connection, server=FakeServer(**limits)) == b""
    assert found == [expected] * 4


@pytest.mark.parametrize("limits", [{}, {"idle_timeout": None}, {"message_timeout": 5}])
def test_a_pause_without_a_deadline_is_not_noticed(limits):
    """And to wait for ever is an error."""

    async def wait(self):
        self.connection.write(await self.connection.receive(partial=True))
        self.connection.write(await self.connection.receive())
        await self.connection.receive()

    connection = FakeConnection(b"one")
    connection.pause()
    connection.feed(b"two")
    with pytest.raises(StarvedError, match=r"feed\(\) it, or tell it the end\(\)"):
        handle_stream(handling(wait), connection, server=FakeServer(**limits))
    assert connection.sent == b"onetwo"


def test_a_reset_is_raised_from_then_on():
    """By reading and by writing; to have been told of it once is enough."""

    async def read(self):
        for _ in range(2):
            with pytest.raises(ConnectionResetError):
                await self.connection.receive()
        with pytest.raises(ConnectionResetError):
            self.connection.write(b"x")

    connection = FakeConnection()
    connection.reset()
    assert handle_stream(handling(read), connection) == b""


def test_what_cannot_be_sent_is_raised_at_the_latest_at_the_end():
    """If the handler doesn't wait before."""

    async def write(self):
        self.request.shutdown(socket.SHUT_WR)
        self.connection.write(b"x")

    with pytest.raises(BrokenPipeError):
        handle_stream(handling(write))

    async def go_on(self):
        await write(self)
        with pytest.raises(BrokenPipeError):
            await self.connection.drain()

    assert handle_stream(handling(go_on)) == b""


def test_what_is_written_is_sent_in_one_piece():
    """When the coroutine waits, for whatever it is; drain() sends at once."""
    pieces = []

    async def write(self):
        self.connection.write(b"a")
        self.connection.write(bytearray(b"b"))
        assert pieces == []
        await asyncio.sleep(0)
        assert pieces == [b"ab"]
        self.connection.write(b"c")
        await self.connection.drain()
        assert pieces == [b"ab", b"c"]
        self.connection.write(b"d")
        assert await self.connection.receive() == b"re:d"

    def answer(data):
        pieces.append(data)
        connection.feed(b"re:" + data) if data == b"d" else None

    connection = FakeConnection()
    connection.on_send = answer
    assert handle_stream(handling(write), connection) == b"abcd"
    assert pieces == [b"ab", b"c", b"d"]


def test_what_the_client_of_the_test_raises_is_raised():
    """Though the handler wasn't there."""

    def refuse(data):
        raise AssertionError(f"unexpected {data!r}")

    async def write(self):
        self.connection.write(b"x")
        await asyncio.sleep(0)

    connection = FakeConnection()
    connection.on_send = refuse
    with pytest.raises(AssertionError, match="unexpected b'x'"):
        handle_stream(handling(write), connection)


def test_one_coroutine_at_a_time_may_receive():
    """A second one is told; one that was cancelled has lost nothing."""

    async def receive(self):
        reading = asyncio.create_task(self.connection.receive())
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="another coroutine receives"):
            await self.connection.receive()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        self.connection.write(await self.connection.receive())

    assert handle_stream(handling(receive), b"one") == b"one"


def test_reading_lets_others_have_their_turn():
    """As it does where a client is slow."""
    order = []

    async def note(self):
        async def other():
            order.append("other")

        task = asyncio.create_task(other())
        order.append(await self.connection.receive())
        await task

    handle_stream(handling(note), b"x")
    assert order == ["other", b"x"]


def test_a_handler_with_a_coroutine_leaves_its_socket_alone():
    """To read or write it is an error; what a socket knows may be asked."""

    async def touch(self):
        assert self.request.getpeername() == self.client_address
        assert not self.request.getblocking()
        for call in (lambda: self.request.recv(1), lambda: self.request.sendall(b"x")):
            with pytest.raises(AssertionError, match="does no I/O of its own"):
                call()

    assert handle_stream(handling(touch), b"x") == b""


def test_text_is_refused_where_it_is_written():
    """Not where it would be sent."""

    async def write(self):
        self.connection.write("text")

    with pytest.raises(TypeError, match="bytes-like"):
        handle_stream(handling(write))


def test_a_handler_that_no_server_takes():
    """It says why."""

    async def function(request, client_address, server):
        pass

    with pytest.raises(TypeError, match="makes a coroutine, and not a handler"):
        handle_stream(function)
    with pytest.raises(TypeError, match="handles datagrams, and its request is one of connections"):
        handle_stream(Datagram)
    Upper.handles_streams = True
    try:
        with pytest.raises(TypeError, match="handles connections, and its request is one of data"):
            handle_datagram(Upper, b"")
    finally:
        del Upper.handles_streams


def test_what_a_connection_says_of_itself():
    """It is one as the Protocol has it, but neither slow nor encrypted."""
    connection: AsyncConnection = FakeAsyncConnection(FakeConnection(peer="/a"))
    assert not connection.congested
    assert connection.ssl_object is None
    assert (
        repr(connection) == "<FakeAsyncConnection on <FakeConnection of '/a', 0 pieces to be read>>"
    )


def test_asyncio_is_imported_when_it_is_needed():
    """Not by every test that uses the package."""
    program = "import sys, netserve.testing; print('asyncio' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout.split() == [b"False"]
