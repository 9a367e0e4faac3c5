"""What happens on a connection before its handler begins, and who waits for it."""

import contextlib
import select
import socket
import threading
import time

import pytest

from netserve.core import (
    BaseServer,
    Deadline,
    DeadlineError,
    Outcome,
    Wait,
    _opening,
    finish_opening,
    run_request,
)

PATIENCE = 20
NEVER = float("inf")


def reading(until=NEVER, limit=0.0):
    """A wait for input."""
    return Wait(False, until, Deadline.HANDSHAKE, limit)


@pytest.fixture
def pair():
    """Two connected sockets."""
    ours, peer = socket.socketpair()
    with ours, peer:
        peer.settimeout(PATIENCE)
        yield ours, peer


@pytest.fixture(params=["poll", "select"])
def _either_wait(request, monkeypatch):
    """With poll, and where there is only select."""
    if request.param == "select":
        monkeypatch.delattr(select, "poll", raising=False)


@pytest.mark.usefixtures("_either_wait")
def test_an_opening_waits_for_its_peer(pair):
    """For input, and for room; what it returns is the address."""
    ours, peer = pair
    steps = []

    def opening():
        steps.append("begun")
        yield reading()
        steps.append(ours.recv(10))
        yield reading()._replace(writing=True)
        return "the client"

    sender = threading.Timer(0.05, peer.sendall, (b"hello",))
    sender.start()
    assert finish_opening(opening(), ours.fileno()) == "the client"
    sender.join()
    assert steps == ["begun", b"hello"]


@pytest.mark.usefixtures("_either_wait")
@pytest.mark.parametrize("left", [0.05, 0.0, -1.0])
def test_a_wait_that_takes_too_long_is_a_deadline(pair, left):
    """The error says which, and the opening is closed."""
    ended = []

    def opening():
        with contextlib.suppress(GeneratorExit):
            yield reading(time.monotonic() + left, 2.5)
        ended.append(True)

    with pytest.raises(DeadlineError, match=r"the handshake deadline of 2\.5 s has passed"):
        finish_opening(opening(), pair[0].fileno())
    assert ended == [True]


def test_a_wait_may_be_longer_than_the_system_takes(pair, monkeypatch):
    """It is cut in parts, after each of which the opening looks again."""
    monkeypatch.setattr(_opening, "_LONGEST", 0.01)
    looks = []

    def opening():
        for _ in range(3):
            looks.append(len(looks))
            yield reading(time.monotonic() + 1e9)
        return "the client"

    assert finish_opening(opening(), pair[0].fileno()) == "the client"
    assert looks == [0, 1, 2]


def test_what_an_opening_raises_is_passed_on(pair):
    """It is no deadline."""

    def opening():
        yield reading()
        msg = "broken"
        raise ValueError(msg)

    pair[1].sendall(b"x")
    with pytest.raises(ValueError, match="broken"):
        finish_opening(opening(), pair[0].fileno())


class Server(BaseServer):
    """Takes the sockets that it is given as requests."""

    def __init__(self, handler):
        super().__init__("nowhere", handler)
        self.ended_input = []

    def end_input(self, request):
        """Note it."""
        self.ended_input.append(request)

    def close_request(self, request):
        """Close it."""
        request.close()
        super().close_request(request)


class Opening(Server):
    """Waits for a byte before each request."""

    def open_request(self, request, client_address):
        """Wait for a byte; the client is who it says it is."""
        yield reading(time.monotonic() + PATIENCE)
        return request.recv(10).decode()


def handled(server_class, request, *, begin=True):
    """What the handler of *server_class* sees, its entry, and the server."""
    seen = []
    server = server_class(lambda request, address, server: seen.append(address))
    ledger = server.requests_in_progress
    entry = ledger.begin(request, "proxy", opening=server.opens_requests) if begin else None
    run_request(server, request, "proxy")
    return seen, entry, server


def test_a_handler_sees_the_address_that_the_opening_found(pair):
    """So does the ledger, which ends the request."""
    pair[1].sendall(b"someone")
    seen, entry, server = handled(Opening, pair[0])
    assert seen == ["someone"]
    assert entry.address == "someone"
    assert not entry.opening
    assert entry.outcome is Outcome.COMPLETED
    assert server.ended_input == []


def test_a_request_outside_the_ledger_is_opened_too(pair):
    """As one that a program runs itself."""
    pair[1].sendall(b"someone")
    assert handled(Opening, pair[0], begin=False)[0] == ["someone"]


def test_without_an_opening_the_address_is_the_one_that_was_taken(pair):
    """Such a server says that it opens nothing, and nothing is marked."""
    seen, entry, server = handled(Server, pair[0])
    assert seen == ["proxy"]
    assert not server.opens_requests
    assert not entry.opening


def test_an_override_may_have_nothing_to_open(pair):
    """Then the handler begins, and the request isn't marked any more."""

    class Sometimes(Server):
        def open_request(self, request, client_address):
            return None

    seen, entry, _ = handled(Sometimes, pair[0])
    assert seen == ["proxy"]
    assert not entry.opening


def test_who_runs_requests_without_knowing_of_openings_gets_them_opened(pair):
    """As the standard library's mix-ins, which call finish_request."""
    pair[1].sendall(b"someone")
    seen = []
    server = Opening(lambda request, address, server: seen.append(address))
    server.requests_in_progress.begin(pair[0], "proxy", opening=True)
    server.finish_request(pair[0], "proxy")
    assert seen == ["someone"]
    pair[1].sendall(b"not read")
    server.finish_request(pair[0], "proxy")
    assert seen == ["someone", "proxy"]


def test_a_drain_leaves_an_opening_alone_until_it_is_over(pair):
    """Then it ends the input."""
    server = Opening(print)
    entry = server.requests_in_progress.begin(pair[0], "proxy", opening=True)
    drain = threading.Thread(target=server.stop, args=(PATIENCE,))
    drain.start()
    while not server.requests_in_progress.draining:
        time.sleep(0.001)
    soon = time.monotonic() + 0.05
    server.requests_in_progress.wait_for(lambda: False, lambda: soon)
    assert server.ended_input == []
    server.request_opened(entry, "someone")
    assert server.ended_input == [pair[0]]
    server.request_ended(entry)
    drain.join()


def test_a_synchronous_server_opens_in_its_loop(pair):
    """In the place where the handler runs."""
    pair[1].sendall(b"someone")
    seen = []
    server = Opening(lambda request, address, server: seen.append(address))
    server.requests_in_progress.begin(pair[0], "proxy", opening=True)
    server.process_request(pair[0], "proxy")
    assert seen == ["someone"]
