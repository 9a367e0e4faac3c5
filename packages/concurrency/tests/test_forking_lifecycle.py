"""Tests of netserve.concurrency._forking: what a server knows of its children, and their ends.

The main thread serves, and no other thread runs: to fork beside another thread
is a warning from Python 3.12 on. What the test has to do while the loop runs, it
does in the loop, when a child tells something.
"""

import contextlib
import errno
import itertools
import logging
import os
import signal
import socket
import sys
import time
from pathlib import Path

import pytest

if not hasattr(os, "fork"):
    pytest.skip("the platform can't fork", allow_module_level=True)

from netserve.concurrency import ForkingMixIn
from netserve.core import (
    BaseServer,
    Deadline,
    DeadlineError,
    ExhaustedError,
    Loop,
    Outcome,
    PeerError,
    RefusedError,
    State,
    Wait,
)

PATIENCE = 20

needs_pidfd = pytest.mark.skipif(
    not hasattr(os, "pidfd_open"), reason="the system can't tell of a child's end"
)


class Listener(BaseServer):
    """A server of connections, with a channel on which its children tell something.

    *heard* is called in the loop with each thing that is told.
    """

    request_queue_size = 10

    def __init__(self, handler, heard=None):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.hears, self.tells = socket.socketpair(type=socket.SOCK_DGRAM)
        self.goes_on, self.releases = socket.socketpair(type=socket.SOCK_DGRAM)
        # A child outlives a test that is killed, but not for long.
        self.goes_on.settimeout(PATIENCE)
        self.hears.settimeout(PATIENCE)
        self.heard = heard
        self.here = os.getpid()
        self.duplicates = []
        self.ended = []
        super().__init__(self.socket.getsockname(), handler)

    def fileno(self):
        """The end on which connections arrive."""
        return self.socket.fileno()

    def get_request(self):
        """Accept a connection."""
        return self.socket.accept()

    def close_request(self, request):
        """Close it in this process."""
        request.close()
        self.request_closed(request)

    def shutdown_request(self, request):
        """End it."""
        with contextlib.suppress(OSError):
            request.shutdown(socket.SHUT_WR)
        self.close_request(request)

    def end_input(self, request):
        """End one direction."""
        request.shutdown(socket.SHUT_RD)

    def abort_request(self, request):
        """End both directions."""
        request.shutdown(socket.SHUT_RDWR)

    def duplicate_request(self, request):
        """Another descriptor."""
        duplicate = request.dup()
        self.duplicates.append(duplicate)
        return duplicate

    def close_duplicate(self, duplicate):
        """Close it."""
        duplicate.close()

    def request_ended(self, entry, outcome=Outcome.COMPLETED):
        """Note the end."""
        super().request_ended(entry, outcome)
        self.ended.append(entry)

    @contextlib.contextmanager
    def _ns_serving(self):
        with super()._ns_serving() as loop:
            if self.heard is not None:
                loop.add_reader(self.hears.fileno(), lambda: self.heard(self, self.hear()))
            yield loop

    def tell(self, words):
        """Tell the test something, from whichever process."""
        self.tells.send(words.encode())

    def hear(self):
        """The next thing that was told."""
        return self.hears.recv(100).decode()

    def server_close(self):
        """Close all ends."""
        super().server_close()
        for each in (self.socket, self.hears, self.tells, self.goes_on, self.releases):
            each.close()


class Server(ForkingMixIn, Listener):
    """A forking server."""


@pytest.fixture
def waits(monkeypatch):
    """The limits that the loop gave its waits."""
    waits = []
    own = Loop.wait

    def wait(loop, timeout):
        waits.append(timeout)
        return own(loop, timeout)

    monkeypatch.setattr(Loop, "wait", wait)
    return waits


@pytest.fixture(params=["pidfd", "absent", "refused"])
def watching(request, monkeypatch):
    """Each way to see that a child has ended."""

    def refuse(pid):
        raise OSError

    if request.param == "absent":
        monkeypatch.delattr(os, "pidfd_open", raising=False)
    elif request.param == "refused":
        monkeypatch.setattr(os, "pidfd_open", refuse, raising=False)
    elif not hasattr(os, "pidfd_open"):
        pytest.skip("the system has none")
    return request.param


def waiting(request, client_address, server):
    """Tell that it runs, and wait for the test's word."""
    server.tell("running")
    server.goes_on.recv(1)


def conversation(request, client_address, server):
    """Answer in upper case what comes, until the end."""
    while data := request.recv(100):
        request.sendall(data.upper())
        server.tell("answered")


def release(server, words):
    """Let one child go on."""
    server.releases.send(b"x")


def stop_when_idle(server):
    """Shut *server* down once no request is in progress."""
    own = server.request_ended

    def request_ended(entry, outcome=Outcome.COMPLETED):
        own(entry, outcome)
        if not server.requests_in_progress.active:
            server.shutdown()

    server.request_ended = request_ended


# --- collecting ---


@needs_pidfd
def test_a_child_is_collected_when_it_ends(connect, waits):
    """Without traffic and without a poll: the end of the child ends the loop's sleep."""
    with Server(waiting, release) as server:
        connect(server)
        stop_when_idle(server)
        server.serve_forever(0.001)
        assert server.active_children == set()
        # The connection, what the child told, and its end, unless that came at once.
        assert waits in ([None] * 2, [None] * 3)
        assert server.stats().completed == 1


def test_a_child_is_collected_on_every_system(connect, watching, waits):
    """Where the system doesn't tell, the loop looks again after a while."""
    pauses, calls = [], set()
    with Server(waiting, release) as server:
        own = server.call_later

        def call_later(pause, call):
            pauses.append(pause)
            calls.add(call)
            return own(pause, call)

        server.call_later = call_later
        connect(server)
        stop_when_idle(server)
        server.serve_forever(0.001)
        assert server.active_children == set()
        assert server.stats().completed == 1
    assert set(waits) == {None}
    assert set(pauses) == (set() if watching == "pidfd" else {0.25})
    looks = len(pauses)
    assert looks < 10
    for call in calls:
        call()
    # Nobody looks for a child that has been collected.
    assert len(pauses) == looks


def test_a_child_that_ends_at_once_is_not_missed(connect, watching, monkeypatch):
    """It may have ended before the loop has begun to watch it."""
    own = os.fork

    def fork():
        pid = own()
        if pid:
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        return pid

    monkeypatch.setattr(os, "fork", fork)
    with Server(lambda *_: None) as server:
        connect(server)
        stop_when_idle(server)
        server.serve_forever()
        assert server.stats().completed == 1
        assert server.active_children == set()


@needs_pidfd
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_child_may_be_collected_before_it_is_watched(connect, monkeypatch, moment):
    """A signal handler, or another thread, may be faster: the end is noted, and nothing is left."""
    own = os.pidfd_open

    def collect(pid):
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        server.collect_children()
        assert pid not in server.active_children

    def pidfd_open(pid):
        if moment == "before":
            collect(pid)
        descriptor = own(pid)
        collect(pid)
        return descriptor

    monkeypatch.setattr(os, "pidfd_open", pidfd_open)
    with Server(lambda *_: None) as server:
        connect(server)
        stop_when_idle(server)
        server.serve_forever()
        assert not server._watch._pids
        assert len(server.ended) == 1
        assert server.stats().completed == 1


@needs_pidfd
def test_a_watch_may_be_ended_twice(connect):
    """Whoever collects the child ends it; that may come between two looks at it."""
    with Server(waiting) as server:
        connect(server)
        server.handle_request()
        (pid,) = server._watch._pids.values()
        server._watch.remove(pid)
        reading, writing = os.pipe()
        server._watch.remove(pid)
        os.write(writing, b"x")
        assert os.read(reading, 1) == b"x"
        os.close(reading)
        os.close(writing)
        release(server, "")


@needs_pidfd
def test_a_child_that_is_reported_when_it_is_not_watched_any_more(connect, monkeypatch):
    """Whoever has collected one of those that were reported together passes the others by."""

    class Reports:
        closed = False

        def poll(self, _timeout):
            return [(descriptor, 1), (-1, 1)]

    with Server(waiting) as server:
        connect(server)
        server.handle_request()
        watch = server._watch
        assert repr(watch) == "<ChildWatch of 1 children>"
        (descriptor,) = watch._pids
        with monkeypatch.context() as patch:
            patch.setattr(watch, "_epoll", Reports())
            watch._look()
        assert len(server.active_children) == 1
        release(server, "")


def test_watching_goes_on_while_another_child_runs(connect, watching):
    """Each child has its own end, and is ended in the ledger with it."""
    numbers = []

    def handle(request, client_address, server):
        server.tell("running")
        if request.recv(1) == b"w":
            server.goes_on.recv(1)

    with Server(handle) as server:
        own = server.request_ended

        def request_ended(entry, outcome=Outcome.COMPLETED):
            own(entry, outcome)
            if os.getpid() != server.here:
                return
            numbers.append(entry.number)
            server.releases.send(b"x")
            if len(numbers) == 2:
                server.shutdown()

        server.request_ended = request_ended
        for words in (b"w", b"e"):
            connect(server).sendall(words)
        server.serve_forever()
    assert numbers == [2, 1]


def test_children_of_before_are_watched_by_the_next_loop(connect, watching):
    """One that handle_request started ends while the loop sleeps, at its limit of children."""
    with Server(waiting, release) as server:
        server.max_children = 1
        connect(server)
        server.handle_request()
        assert not server.may_accept()
        stop_when_idle(server)
        server.serve_forever()
        assert server.stats().completed == 1


def test_children_of_an_earlier_loop_are_watched_by_the_next_one(connect, watching):
    """shutdown leaves them running; another serve_forever sees their end."""

    def heard(server, words):
        if server.state is State.SERVING and not stopped:
            stopped.append(True)
            server.shutdown()
            server.tell("again")
        else:
            release(server, words)

    stopped = []
    with Server(waiting, heard) as server:
        connect(server)
        server.serve_forever()
        assert len(server.active_children) == 1
        stop_when_idle(server)
        server.serve_forever()
        assert server.stats().completed == 1


def test_without_a_loop_handle_request_collects(connect, watching):
    """Where no loop watches, each turn looks for the children that have ended."""
    with Server(lambda *_: None) as server:
        connect(server)
        server.handle_request()
        (pid,) = server.active_children
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        server.timeout = 0
        server.handle_request()
        assert server.active_children == set()
        assert server.stats().completed == 1


def test_no_descriptor_is_left_of_a_child(connect, watching):
    """Neither its own nor the duplicate of its connection."""
    with Server(lambda *_: None) as server:
        for _ in range(5):
            connect(server)
            server.handle_request()
        server.collect_children(blocking=True)
        assert [each.fileno() for each in server.duplicates] == [-1] * 5
        assert not server._watch._pids
        assert server.requests_in_progress.active == 0


# --- max_children ---


def test_with_max_children_the_loop_stays_awake_to_a_stop(connect):
    """The second client waits in the backlog; shutdown ends the loop though the child runs on."""
    seen = []

    def heard(server, words):
        seen.append((words, server.may_accept(), len(server.active_children)))
        server.shutdown()

    with Server(waiting, heard) as server:
        server.max_children = 1
        connect(server)
        connect(server)
        server.serve_forever()
        assert seen == [("running", False, 1)]
        assert server.stats().accepted == 1
        release(server, "")


@needs_pidfd
def test_the_end_of_a_child_lets_the_next_client_in(connect, waits):
    """At the limit, the loop sleeps until one ends, and then accepts."""
    with Server(waiting, release) as server:
        server.max_children = 1
        for _ in range(3):
            connect(server)
        own = server.request_ended

        def request_ended(entry, outcome=Outcome.COMPLETED):
            own(entry, outcome)
            if entry.number == 3:
                server.shutdown()

        server.request_ended = request_ended
        server.serve_forever()
        assert server.stats().completed == 3
    assert set(waits) == {None}


# --- how they end ---


def fail(error):
    """A handler that raises *error*."""

    def handler(request, client_address, server):
        raise error

    return handler


@pytest.mark.parametrize(
    ("handler", "outcome"),
    [
        (lambda *_: None, "completed"),
        (fail(ValueError()), "failed"),
        (fail(SystemExit(0)), "failed"),
        (fail(PeerError()), "failed"),
        (fail(DeadlineError(Deadline.IDLE, 1)), "timed_out"),
        (fail(BrokenPipeError(32, "gone")), "disconnected"),
        (lambda *_: os._exit(77), "failed"),
        (lambda *_: os.kill(os.getpid(), signal.SIGKILL), "failed"),
        (lambda *_: os.kill(os.getpid(), signal.SIGTERM), "failed"),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_exit_of_a_child_is_the_end_of_its_request(connect, handler, outcome):
    """How the handler came to its end in the child is what the server counts."""
    with Server(handler) as server:
        server.is_connected = lambda request: False
        server.handle_error = server.handle_disconnect = lambda *_: None
        connect(server)
        stop_when_idle(server)
        server.serve_forever()
        stats = server.stats()
        assert (stats.accepted, stats.active) == (1, 0)
        assert getattr(stats, outcome) == 1


def test_a_child_whose_status_somebody_else_took_counts_as_completed(connect):
    """Nothing speaks against it."""
    with Server(fail(ValueError())) as server:
        server.handle_error = lambda *_: None
        connect(server)
        server.handle_request()
        (pid,) = server.active_children
        os.waitpid(pid, 0)
        server.collect_children()
        assert server.stats().completed == 1


def test_a_request_is_in_progress_until_its_child_is_collected(connect):
    """Closing the parent's socket isn't its end."""
    with Server(waiting) as server:
        connect(server)
        server.handle_request()
        assert server.hear() == "running"
        (entry,) = server.requests_in_progress.entries()
        assert entry.request.fileno() == -1
        assert entry.handle.fileno() >= 0
        assert server.ended == []
        release(server, "")
        server.collect_children(blocking=True)
        assert server.ended == [entry]
        assert server.stats().completed == 1


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="only Linux tells")
def test_a_child_has_no_hold_on_the_other_connections(connect):
    """The end of a connection is seen although children that were forked later run."""
    with Server(waiting) as server:
        first = connect(server)
        server.handle_request()
        connect(server)
        server.handle_request()
        assert [server.hear(), server.hear()] == ["running"] * 2
        children = sorted(server.active_children)
        port = first.getsockname()[1]
        # The request itself, and its duplicate, which are the same connection.
        assert connections(children[0], port) in (1, 2)
        assert connections(children[1], port) == 0
        for _ in range(2):
            release(server, "")


def connections(pid, port):
    """How many descriptors of a process belong to the server's end of the client's connection."""
    inodes = {str(each.readlink()) for each in Path(f"/proc/{pid}/fd").iterdir()}
    ends = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    wanted = {f"socket:[{end[9]}]" for end in ends if int(end[2].split(":")[1], 16) == port}
    return len(inodes & wanted)


# --- draining ---


def stopping(grace):
    """Stop the server with that grace, when the first thing is told."""

    def heard(server, words):
        if not server.drains:
            server.drains.append(server.stop(grace))

    return heard


@pytest.fixture
def drained(connect, watching):
    """A function that serves until the drain is over, and returns the statistics and clients."""
    with contextlib.ExitStack() as ends:

        def run(handler, grace, *words):
            server = ends.enter_context(Server(handler, stopping(grace)))
            server.drains = []
            clients = [connect(server) for _ in words]
            for client, said in zip(clients, words, strict=True):
                client.sendall(said)
            server.serve_forever()
            assert server.active_children == set()
            return server.stats(), clients

        yield run


def test_a_drain_ends_the_input_of_children(drained):
    """A child that is blocked in reading sees the end, through the parent's duplicate."""
    began = time.monotonic()
    stats, (one, other) = drained(conversation, PATIENCE, b"one", b"other")
    assert time.monotonic() - began < PATIENCE / 2
    assert (stats.accepted, stats.drained, stats.forced, stats.active) == (2, 2, 0, 0)
    for client, words in ((one, b"ONE"), (other, b"OTHER")):
        assert client.recv(100) == words
        assert client.recv(100) == b""


def test_at_the_end_of_the_grace_a_child_is_cut_off(drained):
    """One that is blocked in writing is forced, and unwinds by itself."""

    def talkative(request, client_address, server):
        server.tell("running")
        request.sendall(bytes(50_000_000))

    stats, _ = drained(talkative, 0.1, b"x")
    assert (stats.accepted, stats.drained, stats.forced, stats.active) == (1, 0, 1, 0)


def test_a_child_that_heeds_nothing_is_killed(drained, caplog):
    """It is abandoned a moment after the end of the grace, and counted as forced."""
    began = time.monotonic()
    stats, _ = drained(waiting, 0.1, b"x")
    assert time.monotonic() - began < PATIENCE / 2
    assert (stats.accepted, stats.forced, stats.active) == (1, 1, 0)


def test_abandoning_before_the_first_request_does_nothing():
    """There is nobody to kill."""
    with Server(waiting) as server:
        server.abandon_requests()
        assert server.active_children is None


def test_abandoning_is_passed_on():
    """A server's own hook, and another mix-in's, are called too."""
    calls = []
    own = type("Own", (Listener,), {"abandon_requests": lambda self: calls.append(self)})
    with type("Mixed", (ForkingMixIn, own), {})(waiting) as server:
        server.abandon_requests()
        assert calls == [server]


def test_stopping_without_a_loop_brings_the_children_to_their_end(connect):
    """What handle_request has started is drained by the caller of stop."""
    with Server(conversation) as server:
        client = connect(server)
        client.sendall(b"words")
        server.handle_request()
        assert server.hear() == "answered"
        result = server.stop(PATIENCE)
        assert (result.drained, result.forced) == (1, 0)
        assert result.elapsed < PATIENCE / 2
        assert client.recv(100) == b"WORDS"


# --- when the system can't ---


@pytest.mark.parametrize("what", ["fork", "duplicate"])
def test_a_request_that_cannot_be_forked_is_kept_and_served_later(
    connect, monkeypatch, caplog, what
):
    """Twice the system has no room; then the same request is served, and nothing was lost."""
    tries = []
    fork, dup = os.fork, socket.socket.dup

    def refuse(own, *arguments):
        tries.append(time.monotonic())
        if len(tries) < 3:
            raise OSError(11 if what == "fork" else 24, "no room")
        return own(*arguments)

    if what == "fork":
        monkeypatch.setattr(os, "fork", lambda: refuse(fork))
    else:
        monkeypatch.setattr(socket.socket, "dup", lambda each: refuse(dup, each))
    with caplog.at_level(logging.INFO, "netserve.server"):
        with Server(conversation) as server:
            client = connect(server)
            client.sendall(b"words")
            client.shutdown(socket.SHUT_WR)
            stop_when_idle(server)
            server.serve_forever()
            assert client.recv(100) == b"WORDS"
            assert client.recv(100) == b""
            stats = server.stats()
            assert (stats.accepted, stats.completed, stats.exhausted) == (1, 1, 1)
    assert len(tries) == 3
    # Fewer than twenty a second.
    assert min(later - before for before, later in itertools.pairwise(tries)) > 0.05
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_a_fork_that_fails_leaves_the_request_as_it_was(connect, monkeypatch):
    """The parent still has it, and ends it if there is no second try."""

    def refuse():
        raise BlockingIOError(11, "no room")

    monkeypatch.setattr(os, "fork", refuse)
    with Server(conversation) as server:
        client = connect(server)
        request, address = server.get_request()
        entry = server.requests_in_progress.begin(request, address)
        with pytest.raises(ExhaustedError):
            server.process_request(request, address)
        assert entry.handle is entry.request is request
        assert not entry.held
        assert [each.fileno() for each in server.duplicates] == [-1]
        client.sendall(b"still open")
        assert request.recv(100) == b"still open"
        server.shutdown_request(request)
        assert server.requests_in_progress.active == 0


def test_a_duplicate_that_fails_for_another_reason_fails_the_request(connect, caplog):
    """Waiting wouldn't help."""

    def refuse(request):
        raise OSError(9, "bad")

    with Server(conversation) as server:
        server.duplicate_request = refuse
        client = connect(server)
        server.handle_request()
        assert client.recv(1) == b""
        stats = server.stats()
        assert (stats.failed, stats.exhausted) == (1, 0)
    error = caplog.records[0].exc_info[1]
    assert error.errno == 9
    assert not isinstance(error, ExhaustedError)


# --- when only the child learns whose request it is ---


class Late(ForkingMixIn, Listener):
    """A server whose openings, in the children, find the client to be another."""

    _ns_learns_address_late = True
    real = ("192.0.2.1", 1)

    def open_request(self, request, client_address):
        """Learn it, and decide then; waits for nothing."""
        entry = self.requests_in_progress.find(request)
        entry.learn_address(self.real)
        if not self._ns_admit_peer(request, self.real, entry):
            raise RefusedError("too many")
        yield from ()
        return self.real


def addresses(server):
    """Whose requests are in progress, as the parent knows."""
    return [entry.address for entry in server.requests_in_progress.entries()]


def test_a_child_tells_its_parent_whose_request_it_is(connect):
    """While it runs, and for what is written at its end."""
    known = []

    def heard(server, words):
        known.extend(addresses(server))
        server.releases.send(b"x")

    with Late(waiting, heard) as server:
        connect(server)
        stop_when_idle(server)
        server.serve_forever()
        assert known == [("192.0.2.1", 1)]
        assert [entry.address for entry in server.ended] == [("192.0.2.1", 1)]
        assert server.stats().completed == 1


def test_the_children_of_one_peer_are_counted_together(connect):
    """Though each learns by itself whose request it has; and an ended one counts no more."""
    with Late(waiting) as server:
        server.max_connections_per_peer = 1
        for _ in range(2):
            connect(server)
            server.handle_request()
        # Either of them may be the first.
        assert server.hear() == "running"
        assert wait_until_ended(server, 1).refused == 1
        server.releases.send(b"x")
        assert wait_until_ended(server, 2).completed == 1
        connect(server)
        server.handle_request()
        assert server.hear() == "running"
        server.releases.send(b"x")
        assert wait_until_ended(server, 3).completed == 2


def wait_until_ended(server, number):
    """Collect children until *number* requests have ended; returns the statistics."""
    until = time.monotonic() + PATIENCE
    while len(server.ended) < number:
        assert time.monotonic() < until
        server.active_children.collect()
        time.sleep(0.01)
    return server.stats()


def test_more_children_than_places_are_served_all_the_same(connect):
    """The limit on them may be raised while they run; then some tell nobody."""
    with Late(waiting) as server:
        server.max_children = 1
        connect(server)
        server.handle_request()
        assert server.hear() == "running"
        server.max_children = 2
        connect(server)
        server.handle_request()
        assert server.hear() == "running"
        assert addresses(server).count(("192.0.2.1", 1)) == 1
        for _ in range(2):
            server.releases.send(b"x")
        assert wait_until_ended(server, 2).completed == 2


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EIO], ids=["EMFILE", "EIO"])
def test_without_room_for_the_places_nothing_is_forked(connect, monkeypatch, number):
    """The parent still has the request, and may keep it if there can be room later."""

    def refuse(size):
        raise OSError(number, "no room")

    monkeypatch.setattr("netserve.concurrency._places.Board", refuse)
    with Late(conversation) as server:
        connect(server)
        request, address = server.get_request()
        entry = server.requests_in_progress.begin(request, address)
        with pytest.raises(OSError, match="no room") as caught:
            server.process_request(request, address)
        assert isinstance(caught.value, ExhaustedError) is (number == errno.EMFILE)
        assert entry.handle is entry.request is request
        assert [each.fileno() for each in server.duplicates] == [-1]
        server.shutdown_request(request)


def test_a_fork_that_fails_leaves_its_place_to_others(connect, monkeypatch):
    """And the entry without one."""

    def refuse():
        raise BlockingIOError(11, "no room")

    with Late(conversation) as server:
        server.max_children = 1
        connect(server)
        request, address = server.get_request()
        entry = server.requests_in_progress.begin(request, address)
        with monkeypatch.context() as patch:
            patch.setattr(os, "fork", refuse)
            for _ in range(2):
                with pytest.raises(ExhaustedError):
                    server.process_request(request, address)
                assert entry.place is None
        assert vars(server)["_board"].take() is not None
        server.shutdown_request(request)


# --- openings ---


class Opening(Server):
    """A forking server whose clients say a line before their handlers begin."""

    def open_request(self, request, client_address):
        """Tell that it waits, and wait for the line."""
        self.tell("opening")
        yield Wait(False, time.monotonic() + PATIENCE, Deadline.HANDSHAKE, PATIENCE)
        line = request.recv(100)
        if line == b"bad":
            msg = "a bad line"
            raise PeerError(msg)
        return {b"odd": object(), b"none": None}.get(line, line.decode())


def opens(server, words, *, stop, client, line):
    """Drain the server once a child opens, then let the client say its *line*."""
    if words == "opening":
        if stop:
            server.stop(PATIENCE)
        client.sendall(line)
    elif words == "answered":
        client.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("line", [b"someone", b"odd", b"none"])
def test_a_child_tells_when_it_has_opened_its_connection(connect, line):
    """Until then a drain leaves it alone; then the parent knows the client's address too."""
    with Opening(conversation, lambda server, words: None) as server:
        client = connect(server)
        own = server.client = client.getsockname()
        server.heard = lambda server, words: opens(
            server, words, stop=True, client=client, line=line
        )
        server.serve_forever()
        (entry,) = server.ended
        assert entry.outcome is Outcome.DRAINED
        assert entry.address == ("someone" if line == b"someone" else own)
        assert not entry.opening
        assert client.recv(100) == b""


def test_a_child_that_never_opens_its_connection_tells_nothing(connect):
    """Its end is how the parent knows."""
    with Opening(conversation, lambda server, words: None) as server:
        client = connect(server)
        server.heard = lambda server, words: opens(
            server, words, stop=False, client=client, line=b"bad"
        )
        stop_when_idle(server)
        server.serve_forever()
        (entry,) = server.ended
        assert entry.outcome is Outcome.FAILED
        assert entry.address == client.getsockname()
        assert entry.opening


def test_without_a_loop_the_parent_learns_of_an_opening_in_time(connect):
    """Whoever stops the server looks for it."""
    with Opening(conversation) as server:
        client = connect(server)
        server.handle_request()
        assert server.hear() == "opening"
        client.sendall(b"someone")
        client.sendall(b"")
        (entry,) = server.requests_in_progress.entries()
        until = time.monotonic() + PATIENCE
        while entry.opening and time.monotonic() < until:
            server.service_actions()
        assert entry.address == "someone"
        result = server.stop(PATIENCE)
        assert (result.drained, result.forced) == (1, 0)


def test_a_report_is_closed_once(connect):
    """A look at the child that comes after its end finds nothing, and touches no descriptor."""
    with Opening(conversation, lambda server, words: None) as server:
        client = connect(server)
        server.handle_request()
        (child,) = vars(server)["_opening"]
        client.sendall(b"bad")
        server.collect_children(blocking=True)
        assert not vars(server)["_opening"]
        child.look_opened()
        (entry,) = server.ended
        assert entry.outcome is Outcome.FAILED


def test_where_there_is_no_descriptor_for_the_report_the_request_waits(connect, monkeypatch):
    """As where there is none for the duplicate; nothing is left open."""

    def none():
        raise OSError(errno.EMFILE, "no descriptors")

    monkeypatch.setattr(os, "pipe", none)
    with Opening(conversation) as server:
        connect(server)
        errors = []
        server.handle_error = lambda request, address: errors.append(sys.exc_info()[1])
        server.handle_request()
        (error,) = errors
        assert isinstance(error, ExhaustedError)
        assert [duplicate.fileno() for duplicate in server.duplicates] == [-1]
    monkeypatch.setattr(os, "pipe", lambda: (_ for _ in ()).throw(OSError(errno.EIO, "broken")))
    with Opening(conversation) as server:
        connect(server)
        errors = []
        server.handle_error = lambda request, address: errors.append(sys.exc_info()[1])
        server.handle_request()
        assert errors[0].errno == errno.EIO


def test_where_no_child_can_be_started_the_report_is_closed(connect, monkeypatch):
    """Both of its ends."""

    def fail():
        raise OSError(errno.EAGAIN, "no processes")

    monkeypatch.setattr(os, "fork", fail)
    with Opening(conversation) as server:
        connect(server)
        errors = []
        server.handle_error = lambda request, address: errors.append(sys.exc_info()[1])
        server.handle_request()
        assert isinstance(errors[0], ExhaustedError)
