"""Tests of datagrams in batches: the server's part, and netserve.transports._batch."""

import collections
import logging
import socket
import sys
import threading
from functools import partial

import pytest

from netserve.core import AnswerQueue, Outcome
from netserve.transports import UDPServer, _datagram
from netserve.transports._batch import Batch

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs recvmmsg")

PATIENCE = 20


@pytest.fixture
def client():
    """A client's socket."""
    with socket.socket(type=socket.SOCK_DGRAM) as client:
        client.settimeout(PATIENCE)
        client.bind(("127.0.0.1", 0))
        yield client


class Server(UDPServer):
    """A server that notes its batches, and ends its loop after the datagram ``end``."""

    def __init__(self, host="127.0.0.1"):
        self.handled = []
        self.batches = []
        super().__init__((host, 0), Server.handle)

    def handle(self, address, server):
        """Handle a datagram (a function, called with the request as *self*)."""
        data, answers = self
        server.handled.append(data)
        if data == b"end":
            server.shutdown()
        if data == b"fail":
            raise ValueError(data)
        if not server.queue_answer(self, data.upper(), address):
            answers.sendto(data.upper(), address)

    def process_batch(self, batch):
        """Note it."""
        self.batches.append(len(batch._waiting))
        super().process_batch(batch)


@pytest.fixture
def server():
    """Such a server, which tries at once whether many datagrams wait."""
    with Server() as server:
        yield server


def send(server, client, *datagrams):
    """Send them to the server, which doesn't serve yet."""
    for data in datagrams:
        client.sendto(data, server.server_address)


def run(batch):
    """Run it; returns how many of its requests have been run."""
    return sum(1 for _ in batch.run())


def test_datagrams_that_wait_are_taken_together(server, client):
    """Each is handled, answered, and counted."""
    send(server, client, b"one", b"two", b"end")
    server.serve_forever()
    assert server.batches == [3]
    assert [client.recv(100) for _ in range(3)] == [b"ONE", b"TWO", b"END"]
    stats = server.stats()
    assert (stats.accepted, stats.completed, stats.active) == (3, 3, 0)
    assert stats.bytes_received == 9
    assert isinstance(server, AnswerQueue)


def test_single_datagrams_are_taken_one_by_one(server, client):
    """Whether many wait is tried the more rarely the more often there was one."""

    def ask(*datagrams):
        send(server, client, *datagrams, b"end")
        server.serve_forever()

    ask()
    assert server._ns_singles == 2
    # Two are taken one by one, although all of them wait, and the rest together.
    ask(*[b"x"] * 5)
    assert server.batches == [1, 1, 1, 4]
    ask(b"x")
    assert server.batches[4:] == [2]
    for _ in range(300):
        ask()
    assert server.batches[5:] == [1] * 300
    assert server._ns_patience_for_many == _datagram._TRY_MANY


class Plain(UDPServer):
    """A server that overrides nothing, and takes single datagrams the short way."""

    def __init__(self, handle):
        super().__init__(("127.0.0.1", 0), handle)
        self._ns_singles = 1000


def end_with(server, client, *datagrams):
    """Have *server* handle *datagrams*, the last of which shuts it down."""
    send(server, client, *datagrams)
    server.serve_forever()


def test_a_single_datagram_is_counted_as_any_other(client):
    """While its handler runs, and afterwards; its bytes too."""
    seen = []

    def handle(request, address, server):
        seen.append((server.stats().active, server.requests_in_progress.active))
        (entry,) = server.requests_in_progress.entries()
        assert (entry.request, entry.address) == (request, address)
        assert server.queue_answer(request, b"answer", address) is False
        request[1].sendto(request[0].upper(), address)
        if request[0] == b"end":
            server.shutdown()

    with Plain(handle) as server:
        end_with(server, client, b"one", b"end")
        stats = server.stats()
    assert seen == [(1, 1)] * 2
    assert (stats.accepted, stats.completed, stats.active) == (2, 2, 0)
    assert stats.bytes_received == 6
    assert [client.recv(100) for _ in range(2)] == [b"ONE", b"END"]


def test_a_single_datagram_that_fails_is_one_record(client, caplog):
    """With the hooks of each request; the next ones are handled."""

    def handle(request, address, server):
        if request[0] == b"end":
            server.shutdown()
        raise ValueError(request[0])

    with Plain(handle) as server:
        end_with(server, client, b"one", b"end")
    assert [record.exc_info[0] for record in caplog.records] == [ValueError] * 2
    assert all(record.duration >= 0 for record in caplog.records)
    assert (server.stats().failed, server.stats().active) == (2, 0)


def test_a_single_datagram_may_be_refused(client, caplog):
    """By verify_request, or because it is too long."""
    caplog.set_level(logging.INFO, "netserve.server")
    handled = []

    def handle(request, address, server):
        handled.append(request[0])
        server.shutdown()

    with Plain(handle) as server:
        server.max_packet_size = 5
        server.verify_request = lambda request, _: request[0] != b"no"
        end_with(server, client, b"longer", b"no", b"end")
        assert (server.stats().refused, server.stats().completed) == (2, 1)
    assert handled == [b"end"]
    assert "max_packet_size" in caplog.text


def test_an_exit_of_a_single_datagrams_handler_ends_the_loop(client):
    """It is counted as failed."""

    def leave(*_arguments):
        raise SystemExit

    with Plain(leave) as server:
        send(server, client, b"one")
        with pytest.raises(SystemExit):
            server.serve_forever()
        assert (server.stats().failed, server.stats().active) == (1, 0)


def test_a_single_datagram_ends_as_drained_in_a_drain(client):
    """Whether or not somebody has looked for its entry."""

    def handle(request, address, server):
        if request[0] == b"look":
            server.requests_in_progress.draining = True
            assert server.requests_in_progress.find(request) is not None
        elif request[0] == b"drain":
            server.requests_in_progress.draining = True
        else:
            server.shutdown()
            server.requests_in_progress.draining = False

    with Plain(handle) as server:
        end_with(server, client, b"look", b"drain", b"end")
        assert (server.stats().drained, server.stats().completed) == (2, 1)


def test_a_single_datagram_may_be_ended_by_its_handler(client, caplog):
    """What it raises afterwards is told, and changes no count."""

    def handle(request, address, server):
        server.close_request(request)
        server.shutdown()
        raise ValueError(request[0])

    with Plain(handle) as server:
        end_with(server, client, b"one")
        assert (server.stats().completed, server.stats().failed) == (1, 0)
    assert len(caplog.records) == 1


def test_a_single_datagram_that_cannot_be_taken_is_passed_over(client):
    """Another process was faster; the next one is taken."""
    handled = []

    def handle(request, address, server):
        handled.append(request[0])
        server.shutdown()

    with Plain(handle) as server:
        server._ns_batches = server._ns_runs_singles = True
        server.take_requests()
        assert server._ns_in_trouble
        end_with(server, client, b"end")
        assert not server._ns_in_trouble
    assert handled == [b"end"]


def test_a_datagram_that_fails_is_one_record_and_counted_alone(server, client, caplog):
    """Those after it are handled."""
    send(server, client, b"one", b"fail", b"end")
    server.serve_forever()
    assert server.handled == [b"one", b"fail", b"end"]
    (record,) = caplog.records
    assert record.exc_info[0] is ValueError
    assert record.duration is not None
    stats = server.stats()
    assert (stats.completed, stats.failed, stats.active) == (2, 1, 0)


def test_hooks_that_refuse_are_asked_for_each(server, client, caplog):
    """Those of verify_request, and of a truncated datagram."""
    caplog.set_level(logging.INFO, "netserve.server")
    server.max_packet_size = 5
    server.verify_request = lambda request, _: request[0] != b"no"
    send(server, client, b"longer", b"no", b"end")
    server.serve_forever()
    assert server.handled == [b"end"]
    assert "max_packet_size" in caplog.text
    assert (server.stats().refused, server.stats().completed) == (2, 1)


def test_a_batch_counts_as_so_many_requests_in_progress(server, client):
    """Until all of it has ended."""
    seen = []
    server.verify_request = lambda *_: seen.append(server.requests_in_progress.active) or True
    send(server, client, b"one", b"end")
    server.serve_forever()
    assert seen == [2, 2]
    assert server.requests_in_progress.active == 0


def test_no_more_are_taken_than_may_be_in_progress(server, client):
    """The rest waits for the next time."""
    server.max_connections = 2
    send(server, client, b"one", b"two", b"three", b"end")
    server.serve_forever()
    assert server.batches == [2, 2]


def test_an_exit_of_a_handler_leaves_none_uncounted(server, client, caplog):
    """The loop ends, and what was taken with it has failed, which a record tells."""

    def leave(*_arguments):
        raise SystemExit

    server.RequestHandlerClass = leave
    send(server, client, b"one", b"two", b"three")
    with pytest.raises(SystemExit):
        server.serve_forever()
    assert "2 datagrams were taken and never handled" in caplog.text
    assert server.stats().active == 0
    assert server.stats().failed == 3


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("access_log", True),
        ("forwards_messages", True),
        ("max_connections_per_peer", 100),
        ("overload", "refuse"),
        ("process_request", partial(UDPServer.process_request)),
    ],
)
def test_a_server_with_more_to_do_for_each_gets_no_batches(server, client, name, value):
    """What it asks for is done for every datagram."""
    setattr(server, name, value if name != "process_request" else partial(value, server))
    send(server, client, b"one", b"two", b"end")
    server.serve_forever()
    assert server.batches == []
    assert [client.recv(100) for _ in range(3)] == [b"ONE", b"TWO", b"END"]


@pytest.mark.parametrize("hook", ["get_request", "process_request", "close_request"])
def test_a_subclass_with_hooks_of_its_own_gets_no_batches(server, client, hook):
    """They are called for each datagram."""
    calls = []

    def call(self, *arguments):
        calls.append(arguments)
        return getattr(UDPServer, hook)(self, *arguments)

    with type("Hooked", (Server,), {hook: call})() as hooked:
        # The test's own process_batch says that it knows of the hooks below.
        send(hooked, client, b"one", b"end")
        hooked.serve_forever()
        assert len(calls) >= 2
        assert hooked.batches == []


def test_where_there_is_no_such_call_each_is_taken_alone(server, client, monkeypatch):
    """Elsewhere than on Linux."""
    monkeypatch.setattr("netserve.transports._mmsg._recvmmsg", None)
    send(server, client, b"one", b"end")
    server.serve_forever()
    assert server.handled == [b"one", b"end"]
    assert server.batches == []


def test_a_batch_that_another_process_took_is_passed_over(server):
    """There is none then."""
    server._ns_batches = True
    server.take_requests()
    assert server.batches == []
    server._ns_stop_requested = True
    server.take_requests()


def test_answers_leave_from_where_the_datagrams_came_to(client):
    """In a batch too, whether together or alone."""

    class Collecting(Server):
        def process_batch(self, batch):
            batch.collect()
            super().process_batch(batch)

    for server_class in (Server, Collecting):
        with server_class("") as server:
            port = server.server_address[1]
            for number, data in [(2, b"two"), (3, b"three"), (3, b"end")]:
                client.sendto(data, (f"127.0.0.{number}", port))
            server.serve_forever()
            assert server.batches == [3]
            assert [client.recvfrom(100) for _ in range(3)] == [
                (b"TWO", ("127.0.0.2", port)),
                (b"THREE", ("127.0.0.3", port)),
                (b"END", ("127.0.0.3", port)),
            ]


# --- the batch itself ---


@pytest.fixture
def batch(server, client):
    """A batch of two datagrams, of which the second fails."""
    requests = [((data, server.socket), client.getsockname()) for data in (b"one", b"fail")]
    return Batch(server, requests, 0, collects=True)


def test_answers_are_kept_until_the_end(batch, server, client):
    """Those that the collecting thread gives, and only those."""
    server._ns_batch = batch
    batch.collect()
    assert repr(batch) == "<Batch with 2 waiting>"
    run(batch)
    client.setblocking(False)
    with pytest.raises(BlockingIOError):
        client.recv(100)
    client.settimeout(PATIENCE)
    server.send_answers()
    assert client.recv(100) == b"ONE"
    answered = []
    other = threading.Thread(
        target=lambda: answered.append(server.queue_answer((b"", server.socket), b"", None))
    )
    other.start()
    other.join(PATIENCE)
    assert answered == [False]
    batch.end()
    server._ns_batch = None
    server.send_answers()
    assert server.queue_answer((b"", server.socket), b"", None) is False


def test_a_batch_that_may_not_collect_keeps_nothing(server, client):
    """Where a datagram may have to wait for its receiver."""
    batch = Batch(server, [((b"one", server.socket), client.getsockname())], 3, collects=False)
    batch.collect()
    server._ns_batch = batch
    assert not server.queue_answer((b"one", server.socket), b"ONE", client.getsockname())
    server._ns_batch = None
    run(batch)
    batch.end()


def test_an_answer_that_cannot_be_sent_fails_its_request(server, client, caplog):
    """Those around it are sent; a client that has left is no failure."""
    requests = [((b"x", server.socket), client.getsockname()) for _ in range(4)]
    batch = Batch(server, requests, 0, collects=True)
    batch.collect()

    class Gone:
        def sendto(self, *_arguments):
            raise ConnectionRefusedError

    name = client.getsockname()
    batch.answers.append((requests[0][0], b"first", name))
    batch.answers.append((requests[1][0], b"x" * 70000, name))
    batch.answers.append(((b"x", Gone()), b"gone", name))
    batch.answers.append((requests[3][0], b"last", name))
    batch.send_answers()
    assert [client.recv(100) for _ in range(2)] == [b"first", b"last"]
    (record,) = caplog.records
    assert "Message too long" in str(record.exc_info[1])
    run(batch)
    batch.end()
    assert server.stats().failed == 1


def test_what_is_handed_over_is_run_by_the_other(batch, server, client, caplog):
    """Each as a request of its own, with hooks and records as everywhere."""
    works = []
    batch.hand_over(works.append)
    assert run(batch) == 0
    assert len(server.requests_in_progress.entries()) == 3
    for work in works:
        work()
    batch.end()
    assert client.recv(100) == b"ONE"
    (record,) = caplog.records
    assert record.exc_info[0] is ValueError
    assert (server.stats().completed, server.stats().failed) == (1, 1)


def test_what_is_handed_over_may_be_refused_or_fail(server, client, caplog):
    """In the other thread, or when there is none to run it."""
    requests = [((b"%d" % number, server.socket), client.getsockname()) for number in range(4)]

    def verify(request, _address):
        if request[0] == b"1":
            raise ValueError(request)
        return False

    server.verify_request = verify
    batch = Batch(server, requests, 0, collects=True)
    runs = []

    def run(work):
        runs.append(work)
        if len(runs) == len(requests):
            raise RuntimeError("no thread")
        work()

    batch.hand_over(run)
    batch.end()
    assert [type(record.exc_info[1]) for record in caplog.records] == [ValueError, RuntimeError]
    assert (server.stats().refused, server.stats().failed) == (2, 2)
    assert server.stats().active == 0
    assert Outcome.REFUSED in server.requests_in_progress.ends()


def test_a_request_that_was_taken_over_a_moment_ago_is_not_run(batch, server):
    """Between the look and the step."""

    class Robbed(collections.deque):
        def popleft(self):
            self.clear()
            return super().popleft()

    works = []
    batch.hand_over(works.append)
    batch._waiting = Robbed([None])
    assert run(batch) == 0
    for work in works:
        work()
    batch.end()


def test_a_server_without_that_call_sends_no_answers_together(server):
    """They are sent one by one."""
    assert server.send_together([]) == 0
