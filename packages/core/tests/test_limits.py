"""The loop under limits: admission, back-off, and requests that can't be run yet."""

import errno
import logging
import os
import socket
import threading
import time

import pytest

from netserve.core import ExhaustedError, Outcome, State, _backoff, _loop

PATIENCE = 20  # seconds until a test gives up; none waits so long unless it fails


@pytest.fixture
def waits(monkeypatch):
    """A counter of the waits that begin: acquire() waits for one more."""
    begun = threading.Semaphore(0)

    class Counting(_loop.Selector):
        def select(self, timeout=None):
            begun.release()
            return super().select(timeout)

    monkeypatch.setattr(_loop, "Selector", Counting)
    return begun


@pytest.fixture
def quick_backoff(monkeypatch):
    """Pauses of a few milliseconds."""
    monkeypatch.setattr(_backoff, "_FIRST", 0.002)
    monkeypatch.setattr(_backoff, "_LONGEST", 0.01)


def warnings(caplog):
    """The texts of what was logged as a warning."""
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def answer(client, data):
    """Send *data* and the end of it; what comes back."""
    client.sendall(data)
    client.shutdown(socket.SHUT_WR)
    received = b""
    while more := client.recv(100):
        received += more
    return received


def wait_until(server, condition):
    """Wait until *condition* of *server*, which changes when a request ends."""
    until = time.monotonic() + PATIENCE
    assert server.requests_in_progress.wait_for(condition, lambda: until)


# --- max_connections ---


def test_the_defaults_are_bounded(exchange):
    """A thousand at once, and what is more waits; no share for a peer, no farewell."""
    assert exchange.max_connections == 1000
    assert exchange.max_connections_per_peer is None
    assert exchange.overload == "wait"
    assert exchange.farewell == b""
    assert exchange.grace == 5
    assert exchange.drains_backlog is True


def test_beyond_the_limit_connections_wait_in_the_backlog(threaded, serve, caplog, waits):
    """They aren't taken until one has ended, which wakes the loop; one warning tells of it."""
    threaded.max_connections = 2
    serve(threaded)
    clients = [threaded.connect() for _ in range(2)]
    for _ in clients:
        threaded.has_begun()
    clients += [threaded.connect() for _ in range(2)]
    # One wait for each taken request and the first; the last of them doesn't listen.
    for _ in range(3):
        assert waits.acquire(timeout=PATIENCE)
    assert threaded.requests_in_progress.active == 2
    assert len(threaded.waiting) == 2
    assert warnings(caplog) == [
        f"{threaded!r}: 2 requests are in progress, and the next ones wait until one has ended"
    ]
    for number, client in enumerate(clients):
        assert answer(client, b"%d" % number) == b"<%d>" % number
    stats = threaded.stats()
    assert (stats.accepted, stats.refused) == (4, 0)
    assert len(warnings(caplog)) == 1


def test_a_full_loop_sleeps(threaded, serve, waits):
    """While nothing is taken, a connection that waits doesn't keep the loop busy."""
    threaded.max_connections = 1
    serve(threaded)
    client = threaded.connect()
    threaded.has_begun()
    assert waits.acquire(timeout=PATIENCE)
    assert waits.acquire(timeout=PATIENCE)
    threaded.connect()
    assert not waits.acquire(timeout=0.05)
    answer(client, b"")
    threaded.has_begun()


def test_one_that_ends_while_the_loop_decides_is_not_missed(exchange, serve):
    """Room that comes between the look and the wait is seen, for nobody wakes the loop."""
    exchange.max_connections = 1
    answers = [False, True]
    may_accept = exchange.may_accept
    exchange.may_accept = lambda: answers.pop(0) if answers else may_accept()
    serve(exchange)
    assert answer(exchange.connect(), b"x") == b"<x>"
    assert answers == []


def test_beyond_the_limit_connections_may_be_refused(threaded, serve):
    """With "refuse" they are taken, sent the farewell, and closed; no handler sees them."""
    threaded.max_connections = 1
    threaded.overload = "refuse"
    threaded.farewell = b"full\r\n"
    serve(threaded)
    first = threaded.connect("first")
    threaded.has_begun()
    second = threaded.connect("second")
    assert second.recv(100) == b"full\r\n"
    assert second.recv(100) == b""
    assert answer(first, b"x") == b"<x>"
    wait_until(threaded, lambda: not threaded.requests_in_progress.active)
    assert threaded.calls == [("verify", "first"), ("process", "first"), ("refuse", "second")]
    stats = threaded.stats()
    assert (stats.accepted, stats.completed, stats.refused, stats.active) == (2, 1, 1, 0)


def test_a_request_that_is_not_verified_counts_as_refused(exchange):
    """It is ended, and no handler has seen it."""
    exchange.verify_request = lambda *_: False
    client = exchange.connect()
    exchange.handle_request()
    assert client.recv(1) == b""
    assert exchange.stats().refused == 1


@pytest.mark.parametrize("overload", ["wait", "refuse"])
def test_a_peer_over_its_share_is_refused(threaded, serve, overload):
    """Whatever the policy, and others aren't touched; what has ended makes room."""
    threaded.max_connections_per_peer = 1
    threaded.overload = overload
    serve(threaded)
    first = threaded.connect(("2001:db8::1", 1, 0, 0))
    threaded.has_begun()
    neighbour = threaded.connect(("2001:db8::2", 1, 0, 0))
    assert neighbour.recv(1) == b""
    stranger = threaded.connect(("192.0.2.1", 1))
    assert answer(stranger, b"x") == b"<x>"
    assert answer(first, b"x") == b"<x>"
    wait_until(threaded, lambda: not threaded.requests_in_progress.active)
    assert answer(threaded.connect(("2001:db8::2", 1, 0, 0)), b"y") == b"<y>"
    assert threaded.stats().refused == 1


def test_a_refused_peer_has_no_share(threaded, serve):
    """A connection that was refused is ended, and doesn't keep the next one out."""
    threaded.max_connections_per_peer = 1
    serve(threaded)
    first = threaded.connect(("192.0.2.1", 1))
    threaded.has_begun()
    assert threaded.connect(("192.0.2.1", 2)).recv(1) == b""
    answer(first, b"")
    wait_until(threaded, lambda: not threaded.requests_in_progress.active)
    assert answer(threaded.connect(("192.0.2.1", 3)), b"y") == b"<y>"


def test_a_full_server_does_not_count_peers(threaded, serve):
    """Over both limits, a connection is refused for the one that concerns all."""
    threaded.max_connections = threaded.max_connections_per_peer = 1
    threaded.overload = "refuse"
    serve(threaded)
    first = threaded.connect(("192.0.2.1", 1))
    threaded.has_begun()
    assert threaded.connect(("192.0.2.1", 2)).recv(1) == b""
    assert answer(first, b"x") == b"<x>"


def test_refusing_that_raises_is_reported(threaded, serve, caplog):
    """The connection is closed all the same, and the next one served."""
    threaded.max_connections = 0
    threaded.overload = "refuse"
    error = ValueError("refuse")

    def refuse(*_):
        raise error

    threaded.refuse_request = refuse
    serve(threaded)
    assert threaded.connect().recv(1) == b""
    threaded.max_connections = None
    assert answer(threaded.connect(), b"x") == b"<x>"
    (record,) = caplog.records
    assert record.exc_info[1] is error


def test_handle_request_waits_for_room(threaded, monkeypatch):
    """It takes nothing over the limit, and calls handle_timeout when its time is over."""
    threaded.max_connections = 1
    threaded.timeout = 0.01
    timeouts = []
    monkeypatch.setattr(threaded, "handle_timeout", lambda: timeouts.append(True))
    first, second = threaded.connect(), threaded.connect()
    threaded.handle_request()
    threaded.has_begun()
    threaded.handle_request()
    assert timeouts == [True]
    assert len(threaded.waiting) == 1
    threaded.timeout = None
    answerer = threading.Thread(target=answer, args=(first, b""))
    answerer.start()
    threaded.handle_request()
    answerer.join(PATIENCE)
    assert answer(second, b"x") == b"<x>"
    assert timeouts == [True]


def test_handle_request_collects_while_it_waits_for_room(threaded):
    """What tells nobody of its end is found by service_actions, here too."""
    room = []
    threaded.may_accept = lambda: bool(room)
    threaded.service_actions = lambda: room.append(True)
    client = threaded.connect()
    threaded.handle_request()
    assert answer(client, b"x") == b"<x>"
    assert room == [True]


# --- the system has run out of something ---


def out_of(name):
    """An OSError with the number that has *name*."""
    number = getattr(errno, name)
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize("name", ["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"])
def test_accepting_pauses_until_there_is_room(exchange, serve, caplog, quick_backoff, name):
    """The connection stays where it is; one warning, one count, one record of the recovery."""
    caplog.set_level(logging.INFO, "netserve.server")
    failures = [out_of(name) for _ in range(4)]
    paused = []
    get_request = exchange.get_request

    def get_request_or_fail():
        if failures:
            paused.append(True)
            raise failures.pop()
        return get_request()

    exchange.get_request = get_request_or_fail
    serve(exchange)
    assert answer(exchange.connect(), b"x") == b"<x>"
    assert len(paused) == 4
    assert exchange.stats().exhausted == 1
    first, last = caplog.records
    assert (first.levelno, last.levelno) == (logging.WARNING, logging.INFO)
    assert f"the system has run out of something ({out_of(name)})" in first.getMessage()
    assert last.getMessage() == f"{exchange!r}: there is room again for requests"
    # Later failures are told anew.
    failures.append(out_of(name))
    assert answer(exchange.connect(), b"y") == b"<y>"
    assert exchange.stats().exhausted == 2


def test_get_request_that_always_raises_is_paused_for(exchange, serve, caplog):
    """Ten failures in a row, one of which a bad client might cause, are no reason to spin."""
    failed = threading.Semaphore(0)

    def get_request():
        failed.release()
        raise ValueError("broken")

    exchange.get_request = get_request
    client = exchange.connect()
    serve(exchange)
    # The eleventh try comes after the pause.
    for _ in range(11):
        assert failed.acquire(timeout=PATIENCE)
    assert exchange.stats().exhausted == 1
    assert [text for text in warnings(caplog) if "(broken)" in text]
    client.close()


def test_a_success_ends_the_row_of_failures(exchange, serve):
    """Nine failures, one request, nine failures: there is no pause."""
    take = exchange.get_request
    outcomes = iter(([False] * 9 + [True]) * 2)

    def get_request():
        if not next(outcomes):
            raise ValueError("broken")
        return take()

    exchange.get_request = get_request
    serve(exchange)
    for _ in range(2):
        with exchange.connect() as client:
            assert answer(client, b"hello") == b"<hello>"
    assert exchange.stats().exhausted == 0


def test_a_pause_is_a_sleep(exchange, serve, waits, monkeypatch):
    """During the pause the loop doesn't listen, and a stop ends it."""
    monkeypatch.setattr(_backoff, "_FIRST", 100)
    monkeypatch.setattr(_backoff, "_LONGEST", 100)

    def get_request():
        raise out_of("EMFILE")

    exchange.get_request = get_request
    thread = serve(exchange)
    exchange.connect()
    for _ in range(2):
        assert waits.acquire(timeout=PATIENCE)
    assert not waits.acquire(timeout=0.05)
    exchange.shutdown()
    thread.join(PATIENCE)
    assert exchange.stats().exhausted == 1


def test_a_pause_ends_with_its_loop(exchange, serve, monkeypatch):
    """The next loop listens at once."""
    monkeypatch.setattr(_backoff, "_FIRST", 100)
    get_request = exchange.get_request

    def failing():
        exchange.get_request = get_request
        exchange.shutdown()
        raise out_of("EMFILE")

    exchange.get_request = failing
    client = exchange.connect()
    exchange.serve_forever()
    serve(exchange)
    assert answer(client, b"x") == b"<x>"


def test_closing_during_accept_is_no_want(exchange, caplog):
    """The descriptor that server_close takes away while it is asked is no trouble to tell of."""

    def get_request():
        exchange.server_close()
        raise out_of("EBADF")

    exchange.get_request = get_request
    exchange.connect()
    exchange.serve_forever()
    assert exchange.state is State.CLOSED
    assert caplog.records == []
    assert exchange.stats().exhausted == 0


def test_handle_request_passes_want_over(exchange, caplog):
    """There is no loop that could pause; its caller will come again."""
    exchange.get_request = lambda: (_ for _ in ()).throw(out_of("EMFILE"))
    client = exchange.connect()
    exchange.handle_request()
    assert caplog.records == []
    assert exchange.stats().exhausted == 0
    del exchange.get_request
    client.shutdown(socket.SHUT_WR)
    exchange.handle_request()
    assert client.recv(10) == b"<>"


# --- a request that can't be run yet ---


def test_a_request_that_cannot_be_run_yet_is_kept(threaded, serve, caplog, quick_backoff):
    """It is tried again after a pause, verified only once, and nothing is lost."""
    caplog.set_level(logging.INFO, "netserve.server")
    threaded.trouble = [ExhaustedError("can't start new thread") for _ in range(3)]
    serve(threaded)
    client = threaded.connect("kept")
    assert answer(client, b"x") == b"<x>"
    wait_until(threaded, lambda: not threaded.requests_in_progress.active)
    # The loop tells of the room after the request has begun.
    threaded.shutdown()
    assert threaded.calls == [("verify", "kept"), *[("process", "kept")] * 4]
    assert [record.levelno for record in caplog.records] == [logging.WARNING, logging.INFO]
    assert "can't start new thread" in caplog.records[0].getMessage()
    stats = threaded.stats()
    assert (stats.accepted, stats.completed, stats.exhausted) == (1, 1, 1)


def test_kept_requests_keep_their_order(threaded, serve, quick_backoff):
    """Those that have to wait again do so in the order in which they came."""
    taken = []
    pause = threaded._ns_pause

    def pause_once_all_are_there(error):
        taken.append(error)
        pause(error)

    threaded._ns_pause = pause_once_all_are_there
    threaded.trouble = [ExhaustedError("first"), ExhaustedError("second")]
    entries = []
    clients = [threaded.connect(name) for name in "abc"]
    for name in "abc":
        request, _ = threaded.get_request()
        entries.append(threaded.requests_in_progress.begin(request, name))
    threaded._ns_kept.extend(entries)
    with _loop.Loop() as loop:
        threaded._ns_loop = loop
        threaded._ns_resume()
        assert [entry.address for entry in threaded._ns_kept] == ["a", "b", "c"]
        threaded._ns_resume()
        assert [entry.address for entry in threaded._ns_kept] == ["a", "b", "c"]
        threaded.trouble = [ExhaustedError("third")]
        threaded.calls.clear()
        threaded._ns_resume()
        assert [entry.address for entry in threaded._ns_kept] == ["a", "b", "c"]
        threaded._ns_resume()
        assert threaded._ns_kept == []
        threaded._ns_loop = None
    assert [call for call in threaded.calls if call[0] == "process"] == [
        ("process", name) for name in "aabc"
    ]
    assert len(taken) == 3
    assert [answer(client, b"x") for client in clients] == [b"<x>"] * 3


def test_an_exit_loses_no_kept_request(threaded, caplog):
    """When trying again ends the loop, the others are ended too, and none is left in the table."""
    clients = [threaded.connect(name) for name in "ab"]
    for name in "ab":
        request, _ = threaded.get_request()
        threaded._ns_kept.append(threaded.requests_in_progress.begin(request, name))
    threaded.trouble = [KeyboardInterrupt()]
    listen = threaded._ns_listen

    def listen_and_resume(loop):
        threaded._ns_listen = listen
        loop.call_later(0, threaded._ns_resume)
        return listen(loop)

    threaded._ns_listen = listen_and_resume
    with pytest.raises(KeyboardInterrupt):
        threaded.serve_forever()
    assert threaded.stats().active == 0
    assert [client.recv(1) for client in clients] == [b"", b""]
    assert threaded.stats().active == 0
    assert threaded.stats().failed == 2


def test_what_could_never_be_run_is_told(threaded, serve, caplog):
    """When the loop ends first, the request is closed and counted as failed, with an error."""
    refused = threading.Event()
    pause = threaded._ns_pause
    threaded._ns_pause = lambda error: (pause(error), refused.set())
    threaded.trouble = [ExhaustedError("no thread")]
    thread = serve(threaded)
    client = threaded.connect("kept")
    assert refused.wait(PATIENCE)
    threaded.shutdown()
    thread.join(PATIENCE)
    assert client.recv(1) == b""
    assert [record.levelno for record in caplog.records] == [logging.WARNING, logging.ERROR]
    assert "the request from kept was never run" in caplog.records[1].getMessage()
    stats = threaded.stats()
    assert (stats.failed, stats.active) == (1, 0)


def test_without_a_loop_it_is_an_error_as_any_other(threaded, caplog):
    """handle_request can't keep a request: it is reported, and closed."""
    threaded.trouble = [ExhaustedError("no thread")]
    client = threaded.connect()
    threaded.handle_request()
    assert client.recv(1) == b""
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info[0] is ExhaustedError
    assert threaded.stats().failed == 1


def test_a_drain_waits_for_what_is_kept(threaded, serve, quick_backoff):
    """A request that was taken and couldn't be run yet is run within the grace."""
    threaded.trouble = [ExhaustedError("no thread")]
    refused = threading.Event()
    pause = threaded._ns_pause
    threaded._ns_pause = lambda error: (pause(error), refused.set())
    serve(threaded)
    client = threaded.connect()
    client.send(b"x")
    assert refused.wait(PATIENCE)
    result = threaded.stop(PATIENCE)
    assert (result.drained, result.forced) == (1, 0)
    assert client.recv(10) == b"<x>"
    assert threaded.stats().drained == 1


def test_what_is_kept_beyond_the_grace_is_forced(threaded, serve, caplog, monkeypatch):
    """When there is no room until the end, the request is closed and counted once."""
    monkeypatch.setattr("netserve.core._server.UNWIND", 0.02)
    monkeypatch.setattr(_backoff, "_FIRST", 100)
    monkeypatch.setattr(_backoff, "_LONGEST", 100)
    threaded.trouble = [ExhaustedError("no thread")]
    refused = threading.Event()
    pause = threaded._ns_pause
    threaded._ns_pause = lambda error: (pause(error), refused.set())
    serve(threaded)
    client = threaded.connect()
    assert refused.wait(PATIENCE)
    result = threaded.stop(0)
    assert (result.drained, result.forced) == (0, 1)
    assert client.recv(10) == b""
    stats = threaded.stats()
    assert (stats.forced, stats.failed, stats.active) == (1, 0, 0)


# --- what mix-ins do with the loop ---


def test_mix_ins_have_readers_and_timers_while_a_loop_runs(exchange):
    """They are told whether there was one, and taking away is harmless at any time."""
    calls = []
    reader = exchange.ring.fileno()
    exchange.bell.send(b"x")
    assert exchange.add_reader(reader, pytest.fail) is False
    assert exchange.call_later(0, pytest.fail) is False
    exchange.remove_reader(reader)

    def note(name):
        calls.append(name)
        if {"reader", "timer"} <= set(calls):
            exchange.remove_reader(reader)
            exchange.remove_reader(reader)
            exchange.shutdown()

    def handler(*_):
        assert exchange.add_reader(reader, lambda: note("reader")) is True
        assert exchange.call_later(0, lambda: note("timer")) is True

    exchange.RequestHandlerClass = handler
    exchange.connect()
    exchange.serve_forever()
    assert {"reader", "timer"} == set(calls)
    assert exchange.stats().completed == 1
    assert exchange.stats().state is State.STOPPED
    assert Outcome.COMPLETED in exchange.requests_in_progress.ends()
