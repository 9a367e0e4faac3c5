"""Random lives of real servers: whatever is called in whatever order, nothing is lost or left.

Each row of ``ROWS`` is a server class. A hypothesis state machine starts it,
connects, sends, half-closes, resets, stops, drains and closes, from several
threads or from a signal handler, and keeps a small model beside it: which replies
each client is owed, and whether the loop is known to run. It is true to what is
promised, not to what is likely: where two calls race, nothing is owed that
depends on who wins.

``NETSERVE_MACHINE=long`` makes many more and longer lives, at random, and shrinks
what fails; a number makes that many times the usual ones.
"""

import contextlib
import fcntl
import importlib.util
import os
import socket
import struct
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from netserve import core
from tests import _executed
from tests import _lifecycle as lifecycle

BOUND, GRACE = lifecycle.BOUND, lifecycle.GRACE

pytestmark = [
    pytest.mark.skipif(
        not (hasattr(os, "fork") and hasattr(socket, "AF_UNIX") and Path("/proc/self/fd").exists()),
        reason="needs fork, AF_UNIX and /proc",
    ),
    pytest.mark.timeout(3600 if "NETSERVE_MACHINE" in os.environ else 300),
]


class Mixin(NamedTuple):
    """A mix-in, or none; one more is one more line of ``MIXINS``."""

    name: str
    """``module:name``, or several; empty for a synchronous server."""

    runs_in: str
    """What runs a handler: the "loop", a "thread", a "child", or a "task" of the loop.

    As good as a task is what the loop does itself, or has an executor do, for a connection
    that it reads.
    """

    by_signals: bool = False
    """Whether the calls come from a signal handler in a process of one thread, as forking asks."""

    @property
    def title(self) -> str:
        """The names without their modules."""
        return "".join(name.partition(":")[2] for name in self.name.split())


UVLOOP = []
if importlib.util.find_spec("uvloop"):
    # Here, because it opens descriptors that stay.
    importlib.import_module("tests._uvloop")
    UVLOOP = [Mixin("tests._uvloop:UvloopMixIn", "task")]

MIXINS = [
    Mixin("", "loop"),
    Mixin("", "loop", by_signals=True),
    Mixin("netserve.concurrency:ThreadingMixIn", "thread"),
    Mixin("netserve.concurrency:ThreadingMixIn", "thread", by_signals=True),
    Mixin("netserve.concurrency:ThreadPoolMixIn", "thread"),
    Mixin("netserve.concurrency:ThreadPoolMixIn", "thread", by_signals=True),
    Mixin("netserve.concurrency:ForkingMixIn", "child", by_signals=True),
    # Two processes, whose threads are to a client what the children above are.
    Mixin(
        "netserve.concurrency:PreforkMixIn netserve.concurrency:ThreadingMixIn",
        "child",
        by_signals=True,
    ),
    Mixin("netserve.concurrency:MultiplexingMixIn", "task"),
    Mixin("netserve.concurrency:MultiplexingMixIn", "task", by_signals=True),
    Mixin("netserve.concurrency:AsyncioMixIn", "task"),
    Mixin("netserve.concurrency:AsyncioMixIn", "task", by_signals=True),
    *UVLOOP,
    Mixin("tests._executed:ExecutingMixIn", "task"),
    Mixin("tests._executed:ExecutingMixIn", "task", by_signals=True),
    Mixin("tests._executed:ProcessesMixIn", "task"),
    Mixin("tests._executed:ProcessesMixIn", "task", by_signals=True),
]

SERVERS = ["TCPServer", "UnixStreamServer", "UDPServer", "UnixDatagramServer"]


class Row(NamedTuple):
    """A server class, and how it is driven."""

    bases: list[str]
    runs_in: str
    by_signals: bool = False


ROWS = {
    **{
        f"{mixin.title}{server}{'-signals' * mixin.by_signals}": Row(
            [*mixin.name.split(), f"netserve.transports:{server}"],
            mixin.runs_in,
            mixin.by_signals,
        )
        for mixin in MIXINS
        for server in SERVERS
        # Signals are about the loop, not about the family of its socket.
        if mixin.runs_in == "child" or not mixin.by_signals or server in {"TCPServer", "UDPServer"}
    },
    **{
        f"socketserver.{name}": Row([f"netserve.socketserver:{name}"], runs_in, runs_in == "child")
        for name, runs_in in {
            "TCPServer": "loop",
            "UnixStreamServer": "loop",
            "UDPServer": "loop",
            "UnixDatagramServer": "loop",
            "ThreadingTCPServer": "thread",
            "ThreadingUnixStreamServer": "thread",
            "ThreadingUDPServer": "thread",
            "ThreadingUnixDatagramServer": "thread",
            "ForkingTCPServer": "child",
            "ForkingUDPServer": "child",
        }.items()
    },
}

_MODE = os.environ.get("NETSERVE_MACHINE", "1")
_LONG = _MODE == "long"
_SETTINGS = settings(
    max_examples=1000 if _LONG else 12 * int(_MODE),
    stateful_step_count=50 if _LONG else 16,
    derandomize=not _LONG and _MODE == "1",
    # A life that hangs takes BOUND, so that to shrink it is for those who have the time.
    phases=(Phase.reuse, Phase.generate, *([Phase.shrink] if _LONG else [])),
    database=None,
    deadline=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)

_SIOCOUTQ = 0x5411


class Client:
    """A client, and what it is owed."""

    def __init__(self, kind: socket.SocketKind, address: Any, path: str, number: int) -> None:
        self.number = number
        """How many connections were made before it."""
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self.path = path if family == socket.AF_UNIX and kind == socket.SOCK_DGRAM else ""
        self.is_stream = kind == socket.SOCK_STREAM
        self.is_tcp = self.is_stream and family == socket.AF_INET
        self.socket = socket.socket(family, kind)
        self.socket.settimeout(BOUND)
        if not self.is_stream:
            self.socket.bind(path if self.path else ("127.0.0.1", 0))
        self.socket.connect(address)
        self.expected: list[bytes] = []
        self.floor: int | None = None
        """How many replies are owed, if fewer than are expected: a stop came in between."""
        self.lost = False
        """Whether none is: it was forced, or its server is closed."""
        self.refusable = False
        """Whether a limit may have been reached."""
        self.answers: list[bytes] = []
        """The replies that it has read, no more than it was told to."""
        self.faults = self.empty = 0
        self.is_open = True
        self.input_ended = False
        """Whether its handler comes to its end by itself."""
        self.half = b""
        self._buffer = b""
        # What has come with a reply before it; how much is chance, and not for the model to know.
        self._unread: list[bytes] = []

    @property
    def may_send(self) -> bool:
        """Whether anybody may read what it sends."""
        return self.is_open and not self.input_ended

    @property
    def blocks(self) -> bool:
        """Whether its handler waits for it."""
        return self.is_stream and self.may_send

    @property
    def owed(self) -> int:
        """How many replies must come in all."""
        if self.lost:
            return 0
        return len(self.expected) if self.floor is None else self.floor

    @property
    def waits(self) -> bool:
        """Whether a reply must come that it hasn't read."""
        return self.is_open and len(self.answers) < self.owed

    @property
    def known(self) -> tuple[object, ...]:
        """What may decide whether a rule can be applied to it, and to what end."""
        counts = (self.number, len(self.expected), len(self.answers), self.floor, self.faults)
        return (*counts, self.half, self.is_open, self.input_ended, self.lost, self.refusable)

    def send(self, word: bytes) -> None:
        """Send a word, or the rest of one."""
        self._send(word + b"\n" * self.is_stream)
        if word != b"raise" or self.half:
            self.expected.append((self.half + word).upper())
        else:
            self.faults += 1
            self.input_ended = self.is_stream
        self.half = b""

    def send_half(self) -> None:
        """Send what isn't a word yet."""
        self._send(b"half-")
        self.half += b"half-"

    def _send(self, data: bytes) -> None:
        if self.lost or self.refusable or self.floor is not None:
            # It may have been ended already.
            with contextlib.suppress(OSError):
                self.socket.sendall(data)
            return
        self.socket.sendall(data)
        until = time.monotonic() + BOUND
        while self.is_tcp and struct.unpack("i", fcntl.ioctl(self.socket, _SIOCOUTQ, bytes(4)))[0]:
            # The system hasn't taken it to the other side yet.
            assert time.monotonic() < until
            time.sleep(0.0005)

    def end_input(self) -> None:
        """Say that nothing more will come."""
        # It may have been ended already.
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)
        self.input_ended = True

    def read(self) -> None:
        """Read one reply, which must come."""
        while not self._unread:
            assert self._receive(), f"{self.expected[len(self.answers)]!r} is lost"
        self.answers.append(self._unread.pop(0))
        self.check()

    def _receive(self) -> bool:
        """Read more; false at the end."""
        try:
            data = self.socket.recv(4096)
        except TimeoutError:
            raise AssertionError(
                f"nothing comes after {self.answers + self._unread} of {self.expected}\n"
                f"{lifecycle.stacks()}"
            ) from None
        except ConnectionError:
            data = b""
        if not self.is_stream:
            if data:
                self._unread.append(data)
            else:
                self.empty += 1
            return True
        *words, self._buffer = (self._buffer + data).split(b"\n")
        self._unread += words
        return bool(data)

    def read_to_end(self) -> bool:
        """Read all that is owed, and the end; false if it was refused, and may have been."""
        if self.is_stream:
            while self._receive():
                pass
        else:
            while len(self.answers) + len(self._unread) < self.owed:
                self._receive()
        self.answers += self._unread
        self.check()
        refused = self.refusable and self.owed > 0 and not self.answers
        if not refused:
            assert len(self.answers) >= self.owed, f"{self.answers} of {self.expected}"
        self.close()
        return not refused

    def check(self) -> None:
        """The answers are those to its words, in their order if the transport keeps one."""
        if self.is_stream:
            assert self.answers == self.expected[: len(self.answers)]
        else:
            # A handler of datagrams that raises has answered nothing, in a datagram.
            assert not Counter(self.answers) - Counter(self.expected)
            assert self.empty <= self.faults

    def reset(self) -> None:
        """Leave without good manners."""
        if self.is_tcp:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        """Leave."""
        self.is_open = False
        self.socket.close()
        if self.path:
            Path(self.path).unlink(missing_ok=True)


class Life(RuleBasedStateMachine):
    """The life of one server."""

    pause = 0.0
    """How long to wait after each step, in seconds."""

    def __init__(self, row: Row, folder: Path, process: Callable[[], Any]) -> None:
        super().__init__()
        self.course: list[object] = []
        """What was known after each step."""
        self.row = row
        self.folder = folder
        self.process = process
        self.is_stream = not lifecycle.is_datagram(row.bases)
        self.driver: Any = None
        self.loop: Any = None
        """What runs, a ``handle_request`` included."""
        self.background: Any = None
        self.unsettled = False
        """Whether the loop is about to end, or may be."""
        self.pending: bool | None = False
        """Whether a stop awaits the next loop; None if that can't be known."""
        self.closed = False
        self.in_flight: list[Any] = []
        self.queue: list[Client] = []
        """Who may be in the backlog or with a handler, in the order of arrival."""
        self.limit: int | None = None
        self.refuses = False
        self.sent = self.faults = self.refused = 0
        self.doubtful = 0
        """Of so many of those sent it isn't known whether an ended loop has taken them."""
        self.steps = self.idle = self.closes = 0
        """Of the calls that leave little to do, only so many, or not so soon."""
        self.was_forced = self.may_fail = self.closed_early = False

    # What is there, and what is known.

    @property
    def serves_surely(self) -> bool:
        """Whether the loop runs, and nobody has told it to stop."""
        return self.loop is not None and not self.unsettled and not self.closed

    @property
    def open_clients(self) -> list[Client]:
        """The clients that haven't left."""
        return [client for client in self.queue if client.is_open]

    @property
    def somebody_blocks(self) -> bool:
        """Whether a handler may be waiting for its client."""
        return any(client.blocks for client in self.queue)

    def is_served(self, client: Client) -> bool:
        """Whether a handler has *client*, now or soon."""
        if not self.serves_surely or client.lost or client.refusable:
            return False
        before = self.queue[: self.queue.index(client)]
        most = 1 if self.row.runs_in == "loop" else self.limit
        return most is None or sum(other.blocks for other in before) < most

    @property
    def due(self) -> list[Client]:
        """The clients whose next reply comes whatever happens."""
        return [client for client in self.queue if client.waits and self.is_served(client)]

    @property
    def listened_to(self) -> list[Client]:
        """The clients whose next word is read at once."""
        return [
            client
            for client in self.queue
            if client.may_send
            and not client.half
            and client.floor is None
            and self.is_served(client)
        ]

    @property
    def shares_memory(self) -> bool:
        """Whether a handler's ``server`` is the one that serves."""
        return self.row.runs_in != "child"

    @property
    def is_kept(self) -> bool:
        """Whether a handler that waits for its client keeps the loop from its end."""
        if not self.somebody_blocks:
            return False
        # A task is cancelled, unless handle_request waits for it.
        return self.row.runs_in == "loop" or (self.row.runs_in == "task" and self.unsettled)

    @property
    def is_full(self) -> bool:
        """Whether one more datagram might have to wait for room: a Unix socket holds ten."""
        waiting = sum(len(client.expected) + client.faults for client in self.queue)
        return not self.is_stream and waiting >= 8

    # The clients.

    @initialize(
        limit=st.sampled_from([2, None]),
        refuses=st.booleans(),
        begin=st.sampled_from(["start", "enter_background", "nothing"]),
        words=st.lists(st.sampled_from([b"a", b"b", b""]), min_size=1, max_size=3),
    )
    def make(self, limit: int | None, refuses: bool, begin: str, words: list[bytes]) -> None:
        """Make the server, most often serve it, and have the first clients say something."""
        options: dict[str, Any] = {"max_connections": limit}
        self.limit = limit
        # Who is refused would depend on how fast the handlers are.
        if refuses and self.is_stream and self.row.runs_in != "loop":
            options |= {"overload": "refuse"}
            self.refuses = limit is not None
        arguments = (self.row.bases, str(self.folder), options)
        if self.row.by_signals:
            self.driver = lifecycle.Remote(self.process(), *arguments)
        else:
            self.driver = lifecycle.Local(*arguments)
        if begin != "nothing":
            getattr(self, "start" if self.row.by_signals else begin)()
        for word in words:
            self.connect()
            if word:
                self.sent += not self.is_stream
                self.queue[-1].send(word)

    @precondition(lambda self: len(self.queue) < 5 and not self.closed)
    @rule()
    def connect(self) -> None:
        """One more client."""
        kind = socket.SOCK_STREAM if self.is_stream else socket.SOCK_DGRAM
        number = self.sent
        self.sent += self.is_stream
        path = f"{self.folder}/client{self.sent}-{len(self.queue)}"
        client = Client(kind, self.driver.address, path, number)
        client.refusable = self.refuses and len(self.queue) >= (self.limit or 0)
        self.queue.append(client)

    def pick(self, clients: list[Client], number: int) -> Client:
        """One of *clients*."""
        return clients[number % len(clients)]

    @precondition(
        lambda self: (
            any(client.may_send for client in self.queue) and not (self.closed or self.is_full)
        )
    )
    @rule(number=st.integers(0, 4), word=st.sampled_from([b"a", b"b", b"c", b"raise"]))
    def send(self, number: int, word: bytes) -> None:
        """A whole word, or the rest of one; one of the words is the handler's bug."""
        client = self.pick([client for client in self.queue if client.may_send], number)
        self.faults += word == b"raise"
        self.sent += not self.is_stream
        client.send(word)

    @precondition(lambda self: self.is_stream and any(client.may_send for client in self.queue))
    @rule(number=st.integers(0, 4), what=st.sampled_from(["send_half", "end_input"]))
    def leave_half_way(self, number: int, what: str) -> None:
        """Half a word, or the end of the input."""
        client = self.pick([client for client in self.queue if client.may_send], number)
        getattr(client, what)()

    @precondition(lambda self: self.open_clients)
    @rule(number=st.integers(0, 4), how=st.sampled_from(["close", "reset"]))
    def leave(self, number: int, how: str) -> None:
        """A client leaves, whatever it is owed."""
        client = self.pick(self.open_clients, number)
        # To answer to a path that isn't there any more is an error.
        self.may_fail |= bool(client.path)
        getattr(client, how)()

    @precondition(lambda self: self.due)
    @rule(number=st.integers(0, 4))
    def read(self, number: int) -> None:
        """A reply that must come."""
        self.pick(self.due, number).read()

    # The server.

    @precondition(lambda self: self.loop is None and not self.closed)
    @rule()
    def start(self) -> None:
        """Serve; a loop that was stopped before its start takes nothing."""
        self._know_what_is_pending()
        accepted = self.driver.stats()["accepted"]
        loop = self.driver.call("serve_forever")
        if self.pending:
            loop.finish()
            assert self.driver.stats()["accepted"] == accepted
            self.pending = False
        else:
            self.driver.await_serving(loop)
            self.loop = loop

    def _know_what_is_pending(self) -> None:
        if self.pending is None:
            self.driver.call("shutdown").finish()
            self.driver.call("serve_forever").finish()
            self.pending = False

    @precondition(
        lambda self: not (self.row.by_signals or self.loop or self.background or self.closed)
    )
    @rule()
    def enter_background(self) -> None:
        """Serve in the background."""
        self._know_what_is_pending()
        self.background = self.loop = self.driver.enter_background()
        if self.pending:
            self.loop.finish()
            self.loop, self.pending = None, False

    @precondition(lambda self: self.background)
    @rule()
    def leave_background(self) -> None:
        """Leave the background, which drains and closes."""
        surely = self.serves_surely
        self._note_stop(GRACE)
        background, self.background = self.background, None
        background.leave()
        self._forget_loop(surely)
        self.closed_early |= not surely
        self._note_close()

    @precondition(lambda self: self.loop is None and not self.closed)
    @rule()
    def handle_request(self) -> None:
        """Handle one request, if there is one."""
        if self.row.runs_in in {"loop", "task"} and self.is_stream:
            self._take_the_doubtful()
        accepted = self.driver.stats()["accepted"]
        call = self.driver.call("handle_request")
        # They are taken in the order of their arrival.
        blocks = any(client.number == accepted and client.blocks for client in self.queue)
        if self.row.runs_in in {"loop", "task"} and blocks:
            until = time.monotonic() + BOUND
            while not call.is_done() and not self.driver.stats()["active"]:
                assert time.monotonic() < until, lifecycle.stacks()
                # Signals that come too fast interrupt the handler of the one before, and so on.
                time.sleep(0.001)
            assert not call.is_done()
            self.loop, self.unsettled = call, True
            # It takes a stop for the next loop, not for itself.
            self.pending = None
            return
        call.finish()

    def _take_the_doubtful(self) -> None:
        """Handle whom an ended loop may have left: whose turn is next is no matter of chance."""
        for client in self.queue:
            if client.number < self.doubtful and client.may_send:
                client.end_input()
        for _ in range(self.driver.stats()["accepted"], self.doubtful):
            self.driver.call("handle_request").finish()

    @precondition(lambda self: self.loop is not None or self.idle < 2)
    @rule(grace=st.sampled_from([GRACE, GRACE, 0]), callers=st.sampled_from([1, 1, 2]))
    def stop(self, grace: float, callers: int) -> None:
        """Drain; or force, with no grace."""
        surely, ran = self.serves_surely, self.loop is not None
        self.idle += not ran
        self._note_stop(grace)
        for call in [self.driver.call("stop", grace) for _ in range(callers)]:
            result = call.finish()
            assert result is None or grace < GRACE or result.forced == 0
        self._forget_loop(surely and grace == GRACE)
        self.pending = None if ran and not (surely and callers == 1) else not ran

    @precondition(
        lambda self: (
            self.shares_memory
            and self.listened_to
            and not self.is_full
            and (self.is_stream or not self.limit)
        )
    )
    @rule(number=st.integers(0, 4), askers=st.sampled_from([1, 2]))
    def stop_from_handler(self, number: int, askers: int) -> None:
        """A handler drains, or two do at once; neither waits for itself, nor for the other."""
        chosen = (self.listened_to[number:] or self.listened_to)[:askers]
        if self.row.runs_in == "loop":
            chosen = chosen[:1]
        self._note_stop(GRACE)
        # The second may find its input ended by the first.
        chosen[0].floor = None
        for client in chosen:
            self.sent += not self.is_stream
            client.send(b"stop")
        self._forget_loop(settled=False)
        if len(chosen) > 1 and not self.is_stream:
            # The second may have come too late for this loop, and would stop another.
            self.loop = self.driver.call("serve_forever")
            self.driver.await_serving(self.loop)
            self.driver.call("stop", GRACE).finish()
            self._await_loop()
        self._see_off()
        self.pending = None if len(chosen) > 1 else False

    @precondition(lambda self: self.loop is not None or self.idle < 2)
    @rule()
    def shutdown(self) -> None:
        """Stop the loop, and leave the handlers alone."""
        surely, ran = self.serves_surely, self.loop is not None
        self.idle += not ran
        call = self.driver.call("shutdown")
        # Where a signal handler closes the server, it keeps the loop's own thread.
        if ran and (self.is_kept or (self.closed and self.somebody_blocks)):
            self.in_flight.append(call)
            self.unsettled = True
            return
        call.finish()
        if not ran:
            self.pending = True
            return
        if self.row.runs_in == "task":
            self._note_stop(0)
        self._await_loop()
        self.pending = False if surely else None

    @precondition(
        lambda self: self.row.runs_in in {"loop", "thread"} and self.is_stream and self.listened_to
    )
    @rule(number=st.integers(0, 4))
    def shutdown_from_handler(self, number: int) -> None:
        """A handler stops the loop, and goes on."""
        client = self.pick(self.listened_to, number)
        client.send(b"shutdown")
        self.unsettled = True
        if self.row.runs_in != "loop":
            self._await_loop()
            self.pending = False
        while client.waits:
            client.read()

    @precondition(
        lambda self: (
            self.steps > 6
            and (self.closes < 2 or not self.open_clients)
            # A signal handler that joins a thread may have interrupted the joining of it.
            and not (self.row.by_signals and self.in_flight)
        )
    )
    @rule()
    def server_close(self) -> None:
        """Close the server, with whatever is in progress."""
        self.in_flight.append(self.driver.call("server_close"))
        self.closes += 1
        self.closed_early |= not self.closed
        # A handler of datagrams has nothing to answer on any more.
        self.may_fail |= not self.is_stream
        if self.row.runs_in == "task":
            self._note_stop(0)
        if self.loop is not None or not self.is_stream:
            self.unsettled = True
        self._note_close()

    @precondition(lambda self: self.closed and self.loop is None and not self.in_flight)
    @rule()
    def serve_what_is_closed(self) -> None:
        """A closed server can't be served."""
        with pytest.raises(core.StateError):
            self.driver.call("serve_forever").finish()

    def _note_stop(self, grace: float) -> None:
        self.was_forced |= grace < GRACE
        for client in self.queue:
            client.lost |= grace < GRACE
            if client.floor is None:
                client.floor = len(client.expected)

    def _note_close(self) -> None:
        self.closed = True
        for client in self.queue:
            # Otherwise it may still be in the backlog.
            client.lost |= not (client.is_stream and client.answers)

    def _forget_loop(self, settled: bool) -> None:
        """See the loop end after a stop, and with it what waited for it."""
        self._await_loop()
        for call in self.in_flight:
            call.finish()
        self.in_flight.clear()
        if not self.was_forced:
            assert self.driver.stats()["forced"] == 0
        if settled:
            self._see_off()

    def _await_loop(self) -> None:
        """See the loop end."""
        if self.loop is not None:
            self.loop.finish()
            self.doubtful = self.sent
        self.loop, self.unsettled = None, False

    def _see_off(self) -> None:
        """Nobody is in the backlog or with a handler: each client has got all, and the end."""
        for client in self.open_clients:
            self.refused += not client.read_to_end()
        self.queue.clear()

    @invariant()
    def settle(self) -> None:
        """A loop that was told to stop has, once no client keeps its handler."""
        if self.somebody_blocks:
            return
        if self.unsettled:
            self._await_loop()
            self.pending = None
        for call in self.in_flight:
            call.finish()
        self.in_flight.clear()

    @invariant()
    def counts_agree(self) -> None:
        """The statistics can be had at any time; making them checks that they agree."""
        if self.driver is not None:
            self.steps += 1
            assert self.driver.stats()["timed_out"] == 0

    @invariant()
    def note(self) -> None:
        """All that the rules and their conditions look at is known, whatever time it takes."""
        time.sleep(self.pause)
        known = (self.loop is None, self.background is None, self.unsettled, self.pending)
        counts = (len(self.in_flight), self.sent, self.doubtful, self.idle, self.closes)
        clients = [(*client.known, client in self.due) for client in self.queue]
        self.course.append((known, self.closed, counts, clients))

    # The end.

    def teardown(self) -> None:
        """Serve who is left, close, and look for what was left behind."""
        if self.driver is None:
            return
        if sys.exc_info()[0] is not None:
            self._give_up()
            return
        try:
            self._end()
        except BaseException:
            self._give_up()
            raise

    def _give_up(self) -> None:
        for client in self.open_clients:
            client.close()
        self.driver.kill()
        self._clean()

    def _clean(self) -> list[str]:
        (self.folder / "server").unlink(missing_ok=True)
        found = sorted(path.name for path in self.folder.iterdir() if path.name != "stderr")
        for name in found:
            (self.folder / name).unlink()
        return found

    def _end(self) -> None:
        if self.background is not None and not self.closed:
            self.leave_background()
        if not self.closed:
            self._serve_the_rest()
        for client in self.open_clients:
            if client.is_stream:
                client.end_input()
        for client in self.open_clients:
            self.refused += not client.read_to_end()
        if self.background is not None:
            self.background.leave()
        for call in [*self.in_flight, *([self.loop] if self.loop else [])]:
            call.finish()
        self.driver.call("server_close").finish()
        stats = self.driver.stats()
        left, faults, errors = self.driver.end()
        paths = self._clean()
        assert not left, (left, stats, errors)
        assert paths == []
        self._check(stats, faults, errors)

    def _check(self, stats: dict[str, Any], faults: int, errors: list[str]) -> None:
        """The final statistics, and what was logged, are what the clients saw."""
        assert stats["state"] == "closed"
        assert stats["active"] == stats["timed_out"] == stats["exhausted"] == 0
        assert stats["accepted"] <= self.sent
        if not self.closed_early:
            assert stats["accepted"] == self.sent
        if not self.was_forced:
            assert stats["forced"] == 0
        # A peer that went away is no failure.
        if not self.may_fail:
            assert stats["failed"] <= self.faults
            # One that was forced may have raised besides; a child has records of its own.
            assert faults <= self.faults
            assert self.was_forced or faults in {0, stats["failed"]}
            assert self.was_forced or not errors
        assert stats["refused"] >= self.refused
        assert self.refuses or not stats["refused"]

    def _serve_the_rest(self) -> None:
        if self.loop is not None:
            self.stop(GRACE, 1)
        if self.pending:
            self.pending = None
        self.start()
        self.stop(GRACE, 1)
        self.in_flight.append(self.driver.call("server_close"))
        self._note_close()


@pytest.fixture
def process(short_folder: Path) -> Iterator[Callable[[], Any]]:
    """A function that gives the process whose servers are driven by signals."""
    running: list[Any] = []

    def get() -> Any:
        if running and running[0].process.poll() is not None:
            # It was killed after a failure, which is tried again.
            running.pop().end()
        if not running:
            running.append(lifecycle.Process(short_folder))
        return running[0]

    yield get
    for process in running:
        printed = process.end()
        for strange in ("Warning", "ignored", "doesn't"):
            assert strange not in printed


@pytest.fixture(scope="module")
def two_processes() -> Iterator[None]:
    """The processes that answer, if there are any; they have begun before the test has."""
    with _executed.two_processes():
        yield


@pytest.mark.parametrize("name", [name for name in ROWS if "Processes" not in name])
def test_life(name: str, process: Callable[[], Any], short_folder: Path) -> None:
    """No random life of this class deadlocks, loses an accepted request, or leaves a thing."""
    lead_lives(name, process, short_folder)


@pytest.mark.parametrize("name", [name for name in ROWS if "Processes" in name])
@pytest.mark.usefixtures("two_processes")
def test_life_with_processes(name: str, process: Callable[[], Any], short_folder: Path) -> None:
    """As above, where other processes answer."""
    lead_lives(name, process, short_folder)


def lead_lives(name: str, process: Callable[[], Any], short_folder: Path) -> None:
    """Try lives of the row called *name*, as many as the mode says."""

    def life() -> Life:
        return Life(ROWS[name], short_folder, process)

    if _SETTINGS.derandomize:
        # Otherwise all rows would have the same lives.
        seed(zlib.crc32(name.encode()))(life)
    run_state_machine_as_test(life, settings=_SETTINGS)


@pytest.mark.parametrize("name", ["TCPServer", "AsyncioMixInUnixStreamServer"])
def test_a_life_takes_the_same_course_at_any_speed(
    name: str,
    process: Callable[[], Any],
    short_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is done next never depends on chance, so that what fails can be done again."""
    answer = lifecycle.answer

    def follow(pause: float, delay: float) -> list[object]:
        """The course of some lives with slow clients, or with slow handlers."""
        course: list[object] = []

        def life() -> Life:
            made = Life(ROWS[name], short_folder, process)
            made.course, made.pause = course, pause
            return made

        def answer_late(word: bytes, server: Any) -> Any:
            time.sleep(delay)
            return answer(word, server)

        monkeypatch.setattr(lifecycle, "answer", answer_late)
        seed(zlib.crc32(name.encode()))(life)
        run_state_machine_as_test(life, settings=settings(_SETTINGS, max_examples=20))
        return course

    assert follow(pause=0.003, delay=0) == follow(pause=0, delay=0.01)


def test_a_datagram_that_comes_too_late_stops_no_other_loop(
    process: Callable[[], Any], short_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the second of two handlers does isn't left to a loop that knows nothing of it."""
    send = Client.send

    def send_late(client: Client, word: bytes) -> None:
        time.sleep(0.1)
        send(client, word)

    life = Life(ROWS["ThreadingMixInUDPServer"], short_folder, process)
    life.make(limit=None, refuses=False, begin="start", words=[b"a", b"b"])
    with monkeypatch.context() as slow:
        slow.setattr(Client, "send", send_late)
        life.stop_from_handler(number=0, askers=2)
    life.start()
    # Had one been left there, it would be taken by now.
    time.sleep(0.1)
    assert not life.loop.is_done()
    life.connect()
    life.stop_from_handler(number=0, askers=1)
    life.teardown()


def test_a_life_that_is_given_up_has_ended(
    process: Callable[[], Any], short_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the next one doesn't find its records among its own."""
    leave = core.Loop.__exit__

    def leave_late(loop: core.Loop, *arguments: Any) -> None:
        time.sleep(0.1)
        leave(loop, *arguments)

    monkeypatch.setattr(core.Loop, "__exit__", leave_late)
    before = set(threading.enumerate())
    life = Life(ROWS["MultiplexingMixInTCPServer"], short_folder, process)
    life.make(limit=None, refuses=False, begin="start", words=[b"a"])
    started = set(threading.enumerate()) - before
    life._give_up()
    assert started
    assert not any(thread.is_alive() for thread in started)
