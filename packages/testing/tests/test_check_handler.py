"""Tests of netserve.testing._check_handler: good handlers pass, each broken one is caught."""

import asyncio
import functools
import socketserver
import threading

import pytest

from netserve.core import FramingError
from netserve.testing import ContractError, FakeServer, check_handler


class Upper(socketserver.StreamRequestHandler):
    """Answers lines in capitals."""

    def handle(self):
        """Answer."""
        for line in self.rfile:
            self.wfile.write(line.upper())


class Datagram(socketserver.DatagramRequestHandler):
    """Answers a datagram in capitals."""

    def handle(self):
        """Answer."""
        self.wfile.write(self.packet.upper())


class Messages:
    """A handler of messages, each a line."""

    def __init__(self, request, client_address, server):
        self.request = request
        self.decoder = Cut()
        self.closing = False
        self.transmit = None
        if isinstance(request, tuple):
            request[1].sendto(request[0].upper(), client_address)
        elif not getattr(server, "drives_messages", False):
            self.transmit = request.sendall
            self.setup()
            while not self.closing:
                data = request.recv(100)
                self.transmit(self.feed(data) if data else self.end_of_input())
            self.finish()

    def setup(self):
        """Begin."""

    def feed(self, data, /):
        """Answer."""
        return b"".join(map(self.answer, self.decoder.decode(data)))

    def answer(self, line):
        """Answer."""
        if line == b"quit":
            self.closing = True
        return line.upper() + b"\n"

    def end_of_input(self):
        """End."""
        self.closing = True
        return b""

    def flush(self):
        """Nothing."""

    def finish(self):
        """End."""


class Cut:
    """A decoder."""

    held = b""

    @property
    def pending(self):
        """How much is held."""
        return len(self.held)

    def decode(self, data, /):
        """Cut."""
        *lines, self.held = (self.held + data).split(b"\n")
        if any(line.startswith(b"!") for line in lines):
            raise FramingError("what begins with !")
        return lines

    def end(self):
        """Nothing."""
        return []


def test_good_handlers_pass():
    """On streams, datagrams, and driven."""
    check_handler(Upper, b"one\ntwo\n", answer=b"ONE\nTWO\n")
    check_handler(Upper, b"x" * 500 + b"\n", server=FakeServer(Upper))
    check_handler(Datagram, b"one", answer=b"ONE", datagram=True)
    check_handler(Messages, b"one", answer=b"ONE", datagram=True)
    check_handler(Messages, b"one\ntwo\nthr", answer=b"ONE\nTWO\n")
    check_handler(Messages, b"one\nquit\n", answer=b"ONE\nQUIT\n")


def test_a_peer_error_is_no_fault_of_the_handler():
    """Neither is that of the connection."""

    def strict(request, *_):
        data = b""
        while not data.endswith(b"\n"):
            piece = request.recv(100)
            if not piece:
                raise FramingError("half a line")
            data += piece
        request.sendall(data)

    check_handler(strict, b"hello\n", answer=b"hello\n")

    def picky(request, client_address, *_):
        if request[0] != b"hello":
            raise FramingError("not hello")
        request[1].sendto(b"hi", client_address)

    check_handler(picky, b"hello", answer=b"hi", datagram=True)


class Hasty(Upper):
    """Takes what one read brings for a message."""

    def handle(self):
        """Answer."""
        self.wfile.write(self.request.recv(100).upper())


class Trusting(Upper):
    """Expects that what it needs is there."""

    def handle(self):
        """Answer."""
        _, word = self.rfile.readline().split()
        self.wfile.write(word)


class Failing(Upper):
    """Raises."""

    def handle(self):
        """Raise."""
        raise ZeroDivisionError


class Endless(Upper):
    """Reads on at the end of input."""

    def handle(self):
        """Read."""
        while self.rfile.readline() != b"never":
            pass


class Leaves(Upper):
    """Leaves a thread behind."""

    gate = threading.Event()

    def handle(self):
        """Begin."""
        threading.Thread(target=self.gate.wait, args=(5,), name="left").start()


@pytest.mark.parametrize(
    ("handler", "guarantee"),
    [
        (Hasty, "the answer is the same in whatever pieces"),
        (Trusting, "that it leaves, raises a PeerError or an OSError"),
        (Failing, "the answer is what the test expects"),
        (Endless, "comes to its end when its input does"),
    ],
)
def test_a_broken_stream_handler_is_caught(handler, guarantee):
    """The failure says what servers rely on."""
    with pytest.raises(ContractError, match=guarantee) as caught:
        check_handler(handler, b"say hello\n")
    assert caught.value.contract == "RequestHandlerClass"


def test_a_thread_that_is_left_is_caught():
    """The request isn't handled when the handler returns."""
    with pytest.raises(ContractError, match=r"left the threads \['left'"):
        check_handler(Leaves, b"x")
    Leaves.gate.set()
    for thread in threading.enumerate():
        if thread.name == "left":
            thread.join(20)


def test_another_answer_is_caught():
    """On a stream, and on a datagram."""
    with pytest.raises(ContractError, match=r"b'ONE', and not b'TWO'"):
        check_handler(Upper, b"one", answer=b"TWO")
    with pytest.raises(ContractError, match=r"\[b'ONE'\], and not the datagram b'TWO'"):
        check_handler(Datagram, b"one", answer=b"TWO", datagram=True)


@pytest.mark.parametrize(
    ("handle", "guarantee"),
    [
        (lambda packet: packet[3], "what the peer does wrong"),
        (lambda packet: 1 / 0, "the answer is what the test expects"),
    ],
)
def test_a_broken_datagram_handler_is_caught(handle, guarantee):
    """For one that is shorter than it expects."""

    def handler(request, *_):
        handle(request[0])

    with pytest.raises(ContractError, match=guarantee):
        check_handler(handler, b"0123", datagram=True)


def broken_messages(name):
    """The handler of messages with one fault."""

    class Broken(Messages):
        def __init__(self, request, client_address, server):
            self.driven = getattr(server, "drives_messages", False)
            super().__init__(request, client_address, server)
            if self.driven and name == "reads when made":
                request.recv(1)
            if self.driven and name == "has no members":
                del self.closing

        closing = False

        def feed(self, data, /):
            if self.driven and name == "writes itself":
                self.request.sendall(b"x")
            if self.driven and name == "answers otherwise":
                return b"?"
            if self.driven and name == "breaks on a half" and data == b"on":
                raise KeyError
            return super().feed(data)

        if name == "has no finish":
            finish = property()

    return Broken


@pytest.mark.parametrize(
    ("name", "guarantee"),
    [
        ("reads when made", "no method does any I/O"),
        ("writes itself", "no method does any I/O"),
        ("answers otherwise", "answers as one that reads its connection itself"),
        ("breaks on a half", "no method does any I/O|what the peer does wrong"),
    ],
)
def test_a_broken_handler_of_messages_is_caught(name, guarantee):
    """When a server drives it."""
    with pytest.raises(ContractError, match=guarantee) as caught:
        check_handler(broken_messages(name), b"one\ntwo\n")
    assert caught.value.contract == "MessageHandler"


def test_missing_members_are_caught():
    """What a server would look for in vain."""

    class Bare(Messages):
        def __init__(self, request, client_address, server):
            super().__init__(request, client_address, server)
            if getattr(server, "drives_messages", False):
                del self.decoder

    with pytest.raises(ContractError, match="has the members of the Protocol"):
        check_handler(Bare, b"one\n")


def test_a_framing_error_of_a_driven_handler_is_the_peers():
    """A half of what is right may be wrong."""

    class Strict(Messages):
        def end_of_input(self):
            super().end_of_input()
            if self.decoder.pending:
                raise FramingError("half a line")
            return b""

    check_handler(Strict, b"one\ntwo\n", answer=b"ONE\nTWO\n")


class Coroutine:
    """A handler of connections, or datagrams, whose work is a coroutine; it answers lines."""

    def __init__(self, request, client_address, server):
        self.request = request
        self.client_address = client_address

    def attach(self, connection):
        """Take the connection."""
        self.connection = connection

    async def run(self):
        """Handle."""
        await self.handle()

    async def handle(self):
        """Answer."""
        if isinstance(self.request, tuple):
            self.request[1].sendto(self.request[0].upper(), self.client_address)
            return
        held = b""
        while data := await self.connection.receive(partial=bool(held)):
            *lines, held = (held + data).split(b"\n")
            self.connection.write(b"".join(line.upper() + b"\n" for line in lines))


def test_good_coroutines_pass():
    """On streams and datagrams; what makes the handler needn't be its class."""
    check_handler(Coroutine, b"one\ntwo\nthr", answer=b"ONE\nTWO\n")
    check_handler(Coroutine, b"one", answer=b"ONE", datagram=True)
    check_handler(functools.partial(Coroutine), b"one\n", answer=b"ONE\n")


def coroutine(work):
    """A handler that does *work*."""

    class Broken(Coroutine):
        handle = work

    return Broken


async def hasty(self):
    """Take what one read brings for a message."""
    self.connection.write((await self.connection.receive()).upper())


async def trusting(self):
    """Expect that what it needs is there."""
    data = b""
    while piece := await self.connection.receive():
        data += piece
    self.connection.write(data.split()[1])


async def failing(self):
    """Raise."""
    raise ZeroDivisionError


async def endless(self):
    """Read on at the end of input."""
    while await self.connection.receive() != b"never":
        pass


async def meddling(self):
    """Write to the socket."""
    self.request.sendall(b"x")


async def leaving(self):
    """Leave a task behind."""
    self.task = asyncio.create_task(asyncio.sleep(60), name="left")


@pytest.mark.parametrize(
    ("work", "guarantee"),
    [
        (hasty, "the answer is the same in whatever pieces"),
        (trusting, "that it leaves, raises a PeerError or an OSError"),
        (failing, "the answer is what the test expects"),
        (endless, "comes to its end when its input does"),
        (meddling, "through its connection"),
        (leaving, r"the request is handled before the handler returns.*\n.*tasks \['left'\]"),
    ],
)
def test_a_broken_coroutine_is_caught(work, guarantee):
    """As other handlers are, and where it leaves tasks."""
    with pytest.raises(ContractError, match=guarantee):
        check_handler(coroutine(work), b"say hello\n")


def test_a_task_that_is_about_to_end_is_not_left():
    """It was cancelled, and has only to be told."""

    async def cancel(self):
        task = asyncio.create_task(asyncio.sleep(60))
        await Coroutine.handle(self)
        task.cancel()

    check_handler(coroutine(cancel), b"one\n", answer=b"ONE\n")


def test_a_coroutine_is_not_checked_in_an_event_loop():
    """That would block it; in another thread it is."""

    async def check():
        with pytest.raises(RuntimeError, match=r"asyncio.to_thread\(\)"):
            check_handler(Coroutine, b"one\n")
        await asyncio.to_thread(check_handler, Coroutine, b"one\n")

    asyncio.run(check())
