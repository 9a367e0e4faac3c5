"""Tests of netserve.core._lifecycle: stop(), and what it does with requests."""

import contextlib
import logging
import os
import signal
import socket
import threading
import time

import pytest

from netserve.core import (
    BaseServer,
    Lifecycle,
    Outcome,
    State,
    StateError,
    Stats,
    StopResult,
    _loop,
    run_request,
)

PATIENCE = 20  # seconds until a test gives up; none waits so long unless it fails

needs_signals = pytest.mark.skipif(
    not hasattr(signal, "SIGUSR1"), reason="there are no such signals"
)


def received(client):
    """All that comes until the end."""
    data = b""
    while more := client.recv(10_000):
        data += more
    return data


@contextlib.contextmanager
def elsewhere(function, *arguments):
    """The span in which another thread calls *function*; gives the list of its result."""
    results = []
    thread = threading.Thread(target=lambda: results.append(function(*arguments)))
    thread.start()
    try:
        yield results
    finally:
        thread.join(PATIENCE)
        assert not thread.is_alive()


def until_draining(server):
    """Wait until a drain of *server* has begun."""
    deadline = time.monotonic() + PATIENCE
    ledger = server.requests_in_progress
    assert ledger.wait_for(lambda: ledger.draining, lambda: deadline)


# --- the states ---


def test_a_lifecycle_says_nothing_of_how_to_serve():
    """The loop is BaseServer's."""
    with pytest.raises(NotImplementedError):
        Lifecycle().serve_forever()


def test_a_snapshot_has_the_state_and_when_it_began(exchange):
    """Since is the time of the last change of the state; moving on the spot changes nothing."""
    before = time.time()
    server = BaseServer("address", print)
    assert before <= server.stats().since <= time.time()
    exchange._ns_since = 5.0
    exchange._ns_move(State.BOUND, "server_bind")
    since = exchange.stats().since
    assert before <= since <= time.time()
    exchange._ns_since = 5.0
    exchange._ns_move(State.BOUND, "server_bind")
    assert exchange.stats() == Stats(State.BOUND, 5.0, *[0] * 12)


def test_a_state_error_has_state_and_operation(exchange):
    """What couldn't be done where can be asked."""
    exchange.server_close()
    with pytest.raises(StateError) as caught:
        exchange.serve_forever()
    assert (caught.value.state, caught.value.operation) == (State.CLOSED, "serve_forever")


def test_a_server_that_drains_cannot_be_served(threaded, serve):
    """The error says to wait."""
    serve(threaded)
    threaded.RequestHandlerClass = threaded.stubborn
    threaded.connect()
    threaded.has_begun()
    with elsewhere(threaded.stop, PATIENCE):
        until_draining(threaded)
        with pytest.raises(StateError, match="wait until the loop that is being stopped has left"):
            threaded.serve_forever()
        threaded.release.set()


# --- a drain that succeeds ---


def test_stopping_an_idle_server(exchange, serve):
    """There is nothing to drain; the loop has left when stop returns."""
    thread = serve(exchange)
    exchange.connect().close()
    exchange.has_begun()
    result = exchange.stop(PATIENCE)
    assert exchange.state is State.STOPPED
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert result.forced == 0
    assert 0 <= result.elapsed < PATIENCE


@pytest.mark.parametrize("in_threads", [True, False])
def test_idle_streams_end_at_once(exchange, serve, in_threads):
    """A handler that waits for input sees its end; what was sent before is answered."""
    exchange.in_threads = in_threads
    serve(exchange)
    clients = [exchange.connect()]
    clients[0].send(b"0")
    exchange.has_begun()
    if in_threads:
        for number in range(1, 4):
            clients.append(exchange.connect())
            clients[-1].send(b"%d" % number)
            exchange.has_begun()
    result = exchange.stop(PATIENCE)
    assert (result.drained, result.forced) == (len(clients), 0)
    assert [client.recv(10) for client in clients] == [
        b"<%d>" % number for number in range(len(clients))
    ]
    stats = exchange.stats()
    assert (stats.drained, stats.completed, stats.active) == (len(clients), 0, 0)
    assert exchange.state is State.STOPPED


@pytest.mark.parametrize("in_threads", [True, False])
def test_what_waits_in_the_backlog_is_served(exchange, serve, in_threads):
    """Connections that weren't taken when the stop came lose nothing."""
    exchange.in_threads = in_threads
    exchange.max_connections = 1
    serve(exchange)
    clients = [exchange.connect() for _ in range(4)]
    for client in clients:
        client.send(b"x")
    exchange.has_begun()
    result = exchange.stop(PATIENCE)
    assert (result.drained, result.forced) == (4, 0)
    assert [client.recv(10) for client in clients] == [b"<x>"] * 4
    assert exchange.stats().accepted == 4


def test_the_backlog_may_be_left_where_it_is(threaded, serve):
    """With drains_backlog off, what waits is served by the next loop."""
    threaded.max_connections = 1
    threaded.drains_backlog = False
    serve(threaded)
    first, second = threaded.connect(), threaded.connect()
    threaded.has_begun()
    assert threaded.stop(PATIENCE).drained == 1
    assert received(first) == b"<>"
    assert len(threaded.waiting) == 1
    serve(threaded)
    threaded.has_begun()
    second.shutdown(socket.SHUT_WR)
    assert received(second) == b"<>"


@pytest.mark.parametrize("size", [None, 3])
def test_newcomers_do_not_keep_a_drain_from_ending(exchange, serve, size):
    """No more is taken than fits in the backlog, or 128 where its size isn't known."""
    if size is not None:
        exchange.request_queue_size = size
    get_request = exchange.get_request

    def one_more():
        exchange.connect()
        return get_request()

    exchange.get_request = one_more
    exchange.RequestHandlerClass = lambda *_: None
    exchange.connect()
    exchange._ns_begin_drain(PATIENCE)
    exchange.serve_forever()
    # The system's backlog holds one more than its size.
    assert exchange.stats().accepted == (128 if size is None else size) + 1
    assert len(exchange.waiting) == 1


def test_new_connections_are_taken_into_the_drain(threaded, serve):
    """The input of what comes out of the backlog is ended too."""
    ended = []
    end_input = threaded.end_input
    threaded.end_input = lambda request: (ended.append(request), end_input(request))
    threaded.RequestHandlerClass = lambda *_: None
    client = threaded.connect()
    threaded.stop(0)
    threaded._ns_begin_drain(PATIENCE)
    threaded.serve_forever()
    assert received(client) == b""
    assert len(ended) == 1


def test_the_state_of_a_drain_can_be_seen(threaded, serve):
    """A handler that finishes its work finds the server DRAINING."""
    states = []

    def handler(request, *_):
        threaded.handling.release()
        request.recv(1)
        states.append(threaded.state)

    threaded.RequestHandlerClass = handler
    serve(threaded)
    threaded.connect()
    threaded.has_begun()
    threaded.stop(PATIENCE)
    assert states == [State.DRAINING]


def test_a_request_that_fails_in_a_drain_has_come_to_its_end(threaded, serve, caplog):
    """It is counted as failed, and isn't forced."""

    def handler(request, *_):
        threaded.handling.release()
        request.recv(1)
        raise ValueError("in the drain")

    threaded.RequestHandlerClass = handler
    serve(threaded)
    threaded.connect()
    threaded.has_begun()
    result = threaded.stop(PATIENCE)
    assert (result.drained, result.forced) == (1, 0)
    assert threaded.stats().failed == 1


def test_a_refused_request_was_not_drained(exchange):
    """The result counts what a handler had."""
    exchange.verify_request = lambda *_: False
    exchange.connect()
    exchange._ns_begin_drain(PATIENCE)
    drain = exchange._ns_drain
    exchange.serve_forever()
    ends = exchange.requests_in_progress.ends()
    assert ends[Outcome.REFUSED] == 1
    assert drain.result(ends).drained == 0


def test_a_peer_that_has_left_does_not_disturb_the_drain(threaded, serve):
    """What end_input raises as an OSError is passed over."""

    def gone(request):
        request.shutdown(socket.SHUT_RD)
        raise OSError("not connected")

    threaded.end_input = gone
    serve(threaded)
    threaded.connect()
    threaded.has_begun()
    assert threaded.stop(PATIENCE).drained == 1


def test_service_actions_goes_on_in_a_drain(threaded, serve):
    """Overridden, it is called at its interval while the drain waits."""
    calls = []

    def handler(request, *_):
        threaded.handling.release()
        request.recv(1)
        calls.clear()
        assert called.wait(PATIENCE)

    called = threading.Event()

    def service_actions():
        calls.append(threaded.state)
        if calls.count(State.DRAINING) == 3:
            called.set()

    threaded.RequestHandlerClass = handler
    threaded.service_actions = service_actions
    serve(threaded, 0.001)
    threaded.connect()
    threaded.has_begun()
    assert threaded.stop(PATIENCE).drained == 1


def test_service_actions_goes_on_while_the_backlog_waits(exchange):
    """A mix-in that makes room in service_actions is called when there is none."""
    room = []
    exchange.may_accept = lambda: bool(room)
    exchange.service_actions = lambda: room.append(True)
    client = exchange.connect()
    client.send(b"x")
    exchange._ns_begin_drain(PATIENCE)
    exchange.serve_forever(0.001)
    assert received(client) == b"<x>"


# --- a drain that doesn't succeed ---


@pytest.mark.parametrize("in_threads", [True, False])
def test_what_outlasts_the_grace_is_cut_off(exchange, serve, in_threads):
    """It is shut both ways, under its handler, and counted as forced."""
    exchange.in_threads = in_threads
    exchange.RequestHandlerClass = exchange.flood
    serve(exchange)
    client = exchange.connect()
    exchange.has_begun()
    result = exchange.stop(0.01)
    assert (result.drained, result.forced) == (0, 1)
    assert result.elapsed >= 0.01
    assert received(client).strip(b"x") == b""
    stats = exchange.stats()
    assert (stats.forced, stats.drained, stats.active) == (1, 0, 0)
    assert exchange.state is State.STOPPED


def test_some_drain_and_some_are_forced(threaded, serve):
    """Each is counted once."""
    serve(threaded)
    threaded.connect()
    threaded.has_begun()
    threaded.RequestHandlerClass = threaded.flood
    for _ in range(2):
        threaded.connect()
        threaded.has_begun()
    result = threaded.stop(0.05)
    assert (result.drained, result.forced) == (1, 2)


def test_the_default_grace_is_the_servers(threaded, serve):
    """Without an argument, the attribute counts."""
    threaded.grace = 0
    threaded.RequestHandlerClass = threaded.flood
    serve(threaded)
    threaded.connect()
    threaded.has_begun()
    result = threaded.stop()
    assert result.forced == 1
    assert result.elapsed < PATIENCE


@pytest.mark.parametrize("in_threads", [True, False])
@pytest.mark.usefixtures("abandoned_soon")
def test_what_heeds_nothing_is_abandoned(exchange, serve, caplog, in_threads):
    """It is counted as forced, told of in a warning, and waited for no longer."""
    exchange.in_threads = in_threads
    exchange.RequestHandlerClass = exchange.stubborn
    hooks = []
    exchange.abandon_requests = lambda: hooks.append(True)
    thread = serve(exchange)
    exchange.connect()
    exchange.has_begun()
    result = exchange.stop(0)
    assert (result.drained, result.forced) == (0, 1)
    assert exchange.stats().active == 0
    assert exchange.stats().forced == 1
    assert hooks == [True]
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "1 of the handlers went on after the grace" in record.getMessage()
    assert record.server is exchange
    exchange.release.set()
    thread.join(PATIENCE)
    for worker in exchange.threads:
        worker.join(PATIENCE)
    # Its end is not counted again.
    assert exchange.stats().forced == 1
    assert exchange.stats().completed == exchange.stats().drained == 0
    assert exchange.state is State.STOPPED


@pytest.mark.usefixtures("abandoned_soon")
def test_the_rest_of_the_drain_goes_on_when_a_hook_raises(threaded, serve, caplog):
    """What abandon_requests raises is one error record."""
    error = ValueError("abandon")

    def abandon():
        raise error

    threaded.abandon_requests = abandon
    threaded.RequestHandlerClass = threaded.stubborn
    serve(threaded)
    threaded.connect()
    threaded.has_begun()
    assert threaded.stop(0).forced == 1
    first = caplog.records[0]
    assert first.exc_info[1] is error
    assert first.getMessage() == f"{threaded!r}: abandon_requests raised"


@pytest.mark.usefixtures("abandoned_soon")
def test_nothing_is_told_of_when_the_hook_ends_what_was_left(threaded, serve, caplog):
    """A mix-in that kills what it runs leaves nothing to abandon."""

    def kill():
        for entry in threaded.requests_in_progress.entries():
            threaded.request_ended(entry)

    threaded.abandon_requests = kill
    threaded.RequestHandlerClass = threaded.stubborn
    serve(threaded)
    threaded.connect()
    threaded.has_begun()
    assert threaded.stop(0).forced == 1
    assert caplog.records == []


@pytest.mark.usefixtures("abandoned_soon")
def test_a_backlog_behind_stubborn_handlers_is_left(threaded, serve):
    """When the grace is over nothing more is taken."""
    threaded.max_connections = 1
    threaded.RequestHandlerClass = threaded.stubborn
    serve(threaded)
    threaded.connect()
    threaded.has_begun()
    threaded.connect()
    assert threaded.stop(0.02).forced == 1
    assert len(threaded.waiting) == 1
    assert threaded.stats().accepted == 1


def test_a_connection_that_cannot_be_shut_does_not_disturb(threaded, serve):
    """What abort_request raises as an OSError is passed over."""

    def gone(request):
        threaded.release.set()
        raise OSError("not connected")

    threaded.abort_request = gone
    threaded.RequestHandlerClass = threaded.stubborn
    serve(threaded)
    threaded.connect()
    threaded.has_begun()
    assert threaded.stop(0).forced == 1


def test_a_negative_grace_is_refused(exchange, serve):
    """It is named, and nothing is stopped."""
    serve(exchange)
    exchange.connect().close()
    exchange.has_begun()
    with pytest.raises(ValueError, match=r"grace must be zero or more seconds, not -0\.5"):
        exchange.stop(-0.5)
    assert exchange.state is State.SERVING
    exchange.connect().close()
    exchange.has_begun()


def test_closing_in_a_drain_takes_no_more(threaded, serve):
    """A server that is closed while it drains still brings to an end what it has."""
    threaded.max_connections = 1
    threaded.RequestHandlerClass = threaded.stubborn
    thread = serve(threaded)
    threaded.connect()
    threaded.has_begun()
    waiting = threaded.connect()
    with elsewhere(threaded.stop, PATIENCE) as results:
        until_draining(threaded)
        threaded.server_close()
        threaded.release.set()
    assert (results[0].drained, results[0].forced) == (1, 0)
    assert received(waiting) == b""
    thread.join(PATIENCE)
    assert threaded.state is State.CLOSED
    assert threaded.stats().accepted == 1


# --- whoever calls it ---


def test_the_shortest_grace_counts(threaded, serve):
    """A second stop may hurry a first; both tell what came of the one drain."""
    threaded.RequestHandlerClass = threaded.flood
    serve(threaded)
    threaded.connect()
    threaded.has_begun()
    with elsewhere(threaded.stop, PATIENCE * 10) as results:
        until_draining(threaded)
        second = threaded.stop(0)
    assert (results[0].forced, second.forced) == (1, 1)
    assert results[0].elapsed < PATIENCE


def test_stopping_in_many_threads_at_once(threaded, serve):
    """Each call returns, and tells the same."""
    serve(threaded)
    for _ in range(3):
        threaded.connect()
        threaded.has_begun()
    with contextlib.ExitStack() as stack:
        spans = [stack.enter_context(elsewhere(threaded.stop, PATIENCE)) for _ in range(6)]
    assert max(span[0].drained for span in spans) == 3
    assert {span[0].forced for span in spans} == {0}
    assert threaded.state is State.STOPPED


def test_stopping_twice(exchange, serve):
    """After the first there is nothing to do for the second, but the next loop to stop."""
    serve(exchange)
    exchange.connect().close()
    exchange.has_begun()
    exchange.stop(PATIENCE)
    assert exchange.stop(PATIENCE).drained == 0
    exchange.serve_forever()
    assert exchange.state is State.STOPPED


@pytest.mark.parametrize("state", ["created", "stopped", "closed"])
def test_stopping_while_no_loop_runs(exchange, state):
    """It returns at once, and the state stays what it is."""
    if state == "stopped":
        exchange.shutdown()
        exchange.serve_forever()
    if state == "closed":
        exchange.server_close()
    result = exchange.stop(PATIENCE)
    assert (result.drained, result.forced) == (0, 0)
    assert result.elapsed < PATIENCE
    assert str(exchange.state) == state


def test_stopping_before_the_start_ends_the_next_loop(exchange):
    """A stop that overtakes serve_forever isn't lost, and counts for one loop."""
    exchange.stop()
    client = exchange.connect()
    exchange.serve_forever()
    assert exchange.stats().accepted == 0
    client.shutdown(socket.SHUT_WR)
    exchange.RequestHandlerClass = lambda *arguments: (
        exchange.echo(*arguments),
        exchange.shutdown(),
    )
    exchange.serve_forever()
    assert received(client) == b"<>"
    assert exchange.stats().completed == 1


def test_what_a_shutdown_has_left_can_be_drained(threaded, serve):
    """Without a loop, stop ends input, waits, and counts."""
    thread = serve(threaded)
    client = threaded.connect()
    threaded.has_begun()
    threaded.shutdown()
    thread.join(PATIENCE)
    assert threaded.stats().active == 1
    result = threaded.stop(PATIENCE)
    assert (result.drained, result.forced) == (1, 0)
    assert received(client) == b"<>"
    assert not threaded.requests_in_progress.draining


def test_what_a_shutdown_has_left_can_be_forced(threaded, serve):
    """Without a loop, stop forces by itself."""
    thread = serve(threaded)
    threaded.RequestHandlerClass = threaded.flood
    threaded.connect()
    threaded.has_begun()
    threaded.shutdown()
    thread.join(PATIENCE)
    assert threaded.stop(0).forced == 1


def test_without_a_loop_somebody_looks_after_the_mix_ins(exchange):
    """service_actions is called while stop waits, for it is what collects children."""
    request, _ = socket.socketpair(), exchange.connect()
    entry = exchange.requests_in_progress.begin(request[0], "client")
    exchange.service_actions = lambda: exchange.request_ended(entry)
    with request[0], request[1]:
        assert exchange.stop(PATIENCE).drained == 1


def test_with_a_loop_its_thread_looks_after_the_mix_ins(threaded, serve, monkeypatch):
    """While stop waits for the loop, service_actions is the loop's to call."""
    monkeypatch.setattr("netserve.core._lifecycle._STEP", 0.001)
    callers = set()
    threaded.service_actions = lambda: callers.add(threading.get_ident())
    threaded.RequestHandlerClass = threaded.stubborn
    thread = serve(threaded, 0.001)
    threaded.connect()
    threaded.has_begun()
    ledger = threaded.requests_in_progress
    wait_for = ledger.wait_for
    steps = []

    def step(*arguments):
        steps.append(True)
        if len(steps) == 5:
            threaded.release.set()
        return wait_for(*arguments)

    ledger.wait_for = step
    assert threaded.stop(PATIENCE).drained == 1
    assert callers == {thread.ident}


def test_a_loop_that_was_started_anew_is_not_its_business(threaded, serve):
    """Whoever is late in seeing the end of a drain doesn't wait for, or force, what came after."""
    drain = threaded._ns_begin_drain(0)
    threaded.serve_forever()
    serve(threaded)
    client = threaded.connect()
    threaded.has_begun()
    threaded._ns_see_through(drain, ())
    client.send(b"x")
    client.shutdown(socket.SHUT_WR)
    assert received(client) == b"<x>"
    assert threaded.stats().forced == 0


def test_a_loop_that_died_leaves_the_drain_to_the_caller(threaded, serve):
    """When the loop ends of an exception, stop still waits for the threads."""
    threaded.RequestHandlerClass = threaded.stubborn
    threaded.connect()
    threaded.connect("exit")
    process_request = threaded.process_request

    def process_or_exit(request, client_address):
        if client_address == "exit":
            with elsewhere(until_draining, threaded):
                stopper.start()
            raise SystemExit
        process_request(request, client_address)

    results = []
    stopper = threading.Thread(target=lambda: results.append(threaded.stop(PATIENCE)))
    threaded.process_request = process_or_exit
    with pytest.raises(SystemExit):
        threaded.serve_forever()
    assert stopper.is_alive()
    assert results == []
    threaded.release.set()
    stopper.join(PATIENCE)
    assert results[0].forced == 0
    assert threaded.stats().active == 0


# --- from within ---


def test_a_thread_of_the_server_does_not_wait_for_itself(threaded, serve):
    """Called from a handler, stop returns when all others have come to their end."""
    results = []

    def handler(*_):
        results.append(threaded.stop(PATIENCE))
        results.append(threaded.state)

    serve(threaded)
    threaded.connect()
    threaded.has_begun()
    threaded.RequestHandlerClass = handler
    client = threaded.connect()
    assert received(client) == b""
    result, state = results
    assert (result.drained, result.forced) == (1, 0)
    assert result.elapsed < PATIENCE
    # The loop can't have left: it waits for this handler.
    assert state is State.DRAINING


def test_two_handlers_that_stop_do_not_wait_for_each_other(threaded, serve):
    """Each of them knows that the other waits."""
    results = []
    both = threading.Barrier(2)

    def handler(*_):
        both.wait(PATIENCE)
        results.append(threaded.stop(PATIENCE / 2))

    threaded.RequestHandlerClass = handler
    serve(threaded)
    clients = [threaded.connect() for _ in range(2)]
    assert [received(client) for client in clients] == [b""] * 2
    for thread in threaded.threads:
        thread.join(PATIENCE)
    assert [result.forced for result in results] == [0, 0]
    assert max(result.elapsed for result in results) < PATIENCE / 4


def test_a_handler_that_has_stopped_is_not_waited_for_by_another(threaded, serve):
    """Nor by itself, a second time; the loop waits for them all."""
    returned = threading.Barrier(2)

    def handler(*_):
        for _ in range(2):
            assert threaded.stop(PATIENCE).forced == 0
            assert threaded.requests_in_progress.active == 2
            returned.wait(PATIENCE)

    threaded.RequestHandlerClass = handler
    clients = [threaded.connect() for _ in range(2)]
    thread = serve(threaded)
    assert [received(client) for client in clients] == [b""] * 2
    thread.join(PATIENCE)
    assert threaded.stats().drained == 2


def test_a_handler_in_the_loop_asks_and_goes_on(exchange):
    """In a synchronous server stop returns at once, and serve_forever when all is over."""
    seen = []

    def handler(request, *_):
        seen.append(exchange.stop(PATIENCE))
        seen.append(exchange.state)
        request.send(b"reply")

    exchange.RequestHandlerClass = handler
    clients = [exchange.connect(), exchange.connect()]
    exchange.serve_forever()
    assert [client.recv(10) for client in clients] == [b"reply"] * 2
    assert exchange.state is State.STOPPED
    assert seen[1] is State.DRAINING
    assert isinstance(seen[0], StopResult)
    assert exchange.stats().drained == 2


def test_a_handler_in_the_loop_is_cut_off_too(exchange):
    """It holds the thread that would do it; another one is started for that."""
    exchange.RequestHandlerClass = lambda request, address, server: (
        server.stop(0.01),
        server.flood(request, address, server),
    )
    client = exchange.connect()
    exchange.serve_forever()
    assert exchange.stats().forced == 1
    assert received(client).strip(b"x") == b""


def test_service_actions_may_stop(exchange):
    """In the loop's thread, but in no handler, there is nobody to cut off."""
    exchange.service_actions = lambda: exchange.stop(PATIENCE)
    client = exchange.connect()
    client.shutdown(socket.SHUT_WR)
    exchange.serve_forever()
    assert received(client) == b"<>"
    assert exchange.state is State.STOPPED


@needs_signals
def test_a_signal_handler_may_stop_a_sleeping_loop(exchange, monkeypatch):
    """It asks and returns; the loop wakes, drains and leaves."""
    waiting = threading.Event()

    class Noted(_loop.Selector):
        def select(self, timeout=None):
            waiting.set()
            return super().select(timeout)

    monkeypatch.setattr(_loop, "Selector", Noted)

    def send():
        assert waiting.wait(PATIENCE)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, lambda *_: exchange.stop(PATIENCE))
    try:
        with elsewhere(send):
            exchange.serve_forever()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert exchange.state is State.STOPPED


@needs_signals
@pytest.mark.parametrize("handler", ["echo", "flood"])
def test_a_signal_handler_may_stop_a_busy_loop(exchange, handler):
    """The handler of a synchronous server, which it interrupts, is drained or cut off."""
    exchange.RequestHandlerClass = getattr(exchange, handler)
    client = exchange.connect()
    client.send(b"x")

    def send():
        exchange.has_begun()
        signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)

    before = signal.signal(
        signal.SIGUSR1, lambda *_: exchange.stop(PATIENCE if handler == "echo" else 0.01)
    )
    try:
        with elsewhere(send):
            exchange.serve_forever()
    finally:
        signal.signal(signal.SIGUSR1, before)
    if handler == "echo":
        assert received(client) == b"<x>"
        assert exchange.stats().drained == 1
    else:
        assert exchange.stats().forced == 1


@needs_signals
def test_a_signal_handler_may_stop_in_the_midst_of_the_table(exchange):
    """A signal that arrives while its thread changes the ledger or the state finds no deadlock."""
    results = []
    before = signal.signal(signal.SIGUSR1, lambda *_: results.append(exchange.stop(PATIENCE)))
    try:
        with exchange._ns_lock, exchange.requests_in_progress._lock:
            signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert results[0].forced == 0


# --- in a child process ---


@contextlib.contextmanager
def forking(server, child):
    """The span in which *server* calls *child* in a process for each request, one at a time.

    Gives the list of what became of them: "done", or the error.
    """
    reports = []

    def fork(request, client_address):
        report, told = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                child(request, client_address)
                os.write(told, b"done")
            except BaseException as error:
                os.write(told, repr(error).encode())
            finally:
                os._exit(0)
        os.close(told)
        os.waitpid(pid, 0)
        reports.append(os.read(report, 1000).decode())
        os.close(report)
        server.close_request(request)
        server.shutdown()

    server.process_request = fork
    yield reports


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no children")
def test_a_child_leaves_the_server_to_its_parent(exchange):
    """It has the one request, no loop and no drain; the parent notices nothing."""
    exchange.end_input = lambda request: None
    ledger = exchange.requests_in_progress
    held, not_held = object(), object()
    ledger.begin(held, "held").held = True
    ledger.begin(not_held, "another thread's")

    def child(request, client_address):
        entry = ledger.find(request)
        entry.held = True
        exchange._ns_begin_drain(PATIENCE)
        exchange.become_child(entry)
        assert (exchange._ns_loop, exchange._ns_loop_thread, exchange._ns_drain) == (
            None,
            None,
            None,
        )
        assert not ledger.draining
        assert exchange._ns_loop_ended.is_set()
        assert ledger.entries() == [entry]
        assert signal.set_wakeup_fd(-1) == -1
        run_request(exchange, request, client_address)
        assert ledger.active == 0
        assert exchange.stats().completed == 1

    client = exchange.connect()
    client.send(b"x")
    client.shutdown(socket.SHUT_WR)
    with forking(exchange, child) as reports:
        exchange.serve_forever()
    assert reports == ["done"]
    assert received(client) == b"<x>"
    assert exchange.state is State.STOPPED
    assert ledger.active == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no children")
def test_a_child_is_not_kept_by_a_lock_of_another_thread(exchange):
    """A thread that held the lock isn't in the child to release it."""
    holding, release = threading.Event(), threading.Event()

    def hold():
        with exchange._ns_lock:
            holding.set()
            assert release.wait(PATIENCE)

    entry = exchange.requests_in_progress.begin(object(), "client")
    with elsewhere(hold):
        assert holding.wait(PATIENCE)
        exchange.become_child(entry)
        assert exchange.stats().active == 1
        exchange.server_close()
        release.set()


def test_a_child_may_be_made_without_a_loop(exchange):
    """handle_request runs none."""
    entry = exchange.requests_in_progress.begin(object(), "client")
    exchange.become_child(entry)
    assert exchange.requests_in_progress.entries() == [entry]
