"""Tests of background(): a server that another thread serves."""

import socket
import threading

import pytest

from netserve.core import Running, State

PATIENCE = 20  # seconds until a test gives up; none waits so long unless it fails


def answer(client, data):
    """Send *data* and the end of it; what comes back."""
    client.sendall(data)
    client.shutdown(socket.SHUT_WR)
    received = b""
    while more := client.recv(100):
        received += more
    return received


def test_the_body_begins_when_the_server_accepts(exchange):
    """In the body it serves, in a thread with a name; after it, it is drained and closed."""
    with exchange.background() as running:
        assert isinstance(running, Running)
        assert running.server is exchange
        assert running.address == "exchange"
        assert running.thread.name == "Exchange.background"
        assert running.thread.is_alive()
        assert running.result is None
        assert repr(running) == "<Running <Exchange serving at 'exchange'>>"
        assert exchange.state is State.SERVING
        assert answer(exchange.connect(), b"x") == b"<x>"
    assert not running.thread.is_alive()
    assert exchange.state is State.CLOSED
    assert running.result.forced == 0


def test_its_end_drains(threaded):
    """A request in progress is answered, and the result tells of it."""
    with threaded.background() as running:
        client = threaded.connect()
        client.send(b"x")
        threaded.has_begun()
    assert client.recv(10) == b"<x>"
    assert running.result.drained == 1
    assert running.result.forced == 0


@pytest.mark.parametrize("default", [True, False])
def test_its_end_forces_what_outlasts_the_grace(threaded, default):
    """The grace is its argument, or else the server's."""
    threaded.grace = 0.01 if default else PATIENCE * 10
    threaded.abort_request = lambda request: threaded.release.set()
    threaded.RequestHandlerClass = threaded.stubborn
    with threaded.background() if default else threaded.background(0.01) as running:
        threaded.connect()
        threaded.has_begun()
    assert running.result.forced == 1
    assert running.result.elapsed < PATIENCE


def test_it_may_be_stopped_before_its_end(threaded):
    """The result of that drain is returned, and remains the result."""
    with threaded.background(PATIENCE) as running:
        threaded.connect()
        threaded.has_begun()
        result = running.stop()
        assert (result.drained, result.forced) == (1, 0)
        assert running.result is result
        assert threaded.state is State.STOPPED
    assert running.result is result
    assert threaded.state is State.CLOSED


@pytest.mark.parametrize("grace", [0, None])
def test_stopping_it_takes_a_grace_of_its_own(threaded, grace):
    """Zero is one; None is what background was given."""
    threaded.grace = PATIENCE * 10
    threaded.abort_request = lambda request: threaded.release.set()
    threaded.RequestHandlerClass = threaded.stubborn
    with threaded.background(0.01 if grace is None else PATIENCE * 10) as running:
        threaded.connect()
        threaded.has_begun()
        assert running.stop(grace).forced == 1


@pytest.mark.parametrize("state", [State.CREATED, State.BOUND])
def test_it_binds_and_activates_what_is_not(exchange, state):
    """A server whose constructor did so isn't bound again; the address is the bound one."""
    calls = []

    def bind():
        calls.append("bind")
        exchange.server_address = "the real address"

    exchange.server_bind = bind
    exchange.server_activate = lambda: calls.append("activate")
    exchange._ns_state = state
    with exchange.background() as running:
        pass
    assert calls == (["bind", "activate"] if state is State.CREATED else [])
    assert running.address == ("the real address" if state is State.CREATED else "exchange")


@pytest.mark.parametrize("hook", ["server_bind", "server_activate", "fileno"])
@pytest.mark.parametrize("error", [OSError("in use"), SystemExit(3)])
def test_what_goes_wrong_at_the_start_is_raised_in_the_caller(exchange, hook, error):
    """The body doesn't begin, or ends with the error; the server is closed, no thread is left."""

    def raising():
        raise error

    setattr(exchange, hook, raising)
    with pytest.raises(type(error)) as caught, exchange.background():
        pass
    assert caught.value is error
    assert exchange.state is State.CLOSED
    assert "Exchange.background" not in [thread.name for thread in threading.enumerate()]


def test_the_thread_that_failed_has_ended(exchange, monkeypatch):
    """However long it takes the thread to end, none is left behind."""
    ledger = exchange.requests_in_progress
    notify = ledger.notify

    def notify_and_linger():
        notify()
        # Long enough for the caller to be gone, if it didn't wait.
        threading.Event().wait(0.05)

    monkeypatch.setattr(ledger, "notify", notify_and_linger)
    exchange.server_close()
    with pytest.raises(RuntimeError, match="closed"), exchange.background():
        pass
    assert "Exchange.background" not in [thread.name for thread in threading.enumerate()]


def test_a_thread_that_cannot_be_started_is_raised_in_the_caller(exchange, monkeypatch):
    """The server is closed."""

    def start(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(RuntimeError, match="can't start new thread"), exchange.background():
        pass
    assert exchange.state is State.CLOSED


def test_what_ended_the_loop_is_raised_at_the_end(exchange):
    """A handler that exits ends the loop; whoever runs it in the background learns of it."""

    def handler(*_):
        raise SystemExit(3)

    exchange.RequestHandlerClass = handler

    def serve():
        with exchange.background() as running:
            assert exchange.connect().recv(1) == b""
            running.thread.join(PATIENCE)
            assert exchange.state is State.STOPPED

    with pytest.raises(SystemExit) as caught:
        serve()
    assert caught.value.code == 3
    assert exchange.state is State.CLOSED


def test_an_error_of_the_body_passes_through(exchange):
    """The server is drained and closed before."""
    with pytest.raises(ZeroDivisionError), exchange.background() as running:
        raise ZeroDivisionError
    assert not running.thread.is_alive()
    assert running.result.forced == 0
    assert exchange.state is State.CLOSED


def test_a_shutdown_before_it_is_not_lost(exchange):
    """The loop has ended when the body begins, or soon after; nothing hangs."""
    exchange.shutdown()
    with exchange.background() as running:
        running.thread.join(PATIENCE)
        assert exchange.state is State.STOPPED
    assert exchange.state is State.CLOSED


@pytest.mark.usefixtures("abandoned_soon")
def test_a_handler_that_keeps_the_loop_does_not_keep_the_caller(exchange, caplog):
    """A synchronous server whose handler heeds nothing is left behind, and counted."""
    exchange.RequestHandlerClass = exchange.stubborn
    with exchange.background(0) as running:
        exchange.connect()
        exchange.has_begun()
    assert running.result.forced == 1
    assert running.thread.is_alive()
    assert exchange.state is State.CLOSED
    exchange.release.set()
    running.thread.join(PATIENCE)
    assert not running.thread.is_alive()


def test_a_forced_handler_that_ends_is_waited_for(exchange):
    """Its thread has ended with the statement."""
    exchange.abort_request = lambda request: exchange.release.set()
    exchange.RequestHandlerClass = exchange.stubborn
    with exchange.background(0) as running:
        exchange.connect()
        exchange.has_begun()
    assert running.result.forced == 1
    assert not running.thread.is_alive()


@pytest.mark.parametrize(
    "serve_with", [lambda server: server.background(-1).__enter__(), lambda server: server.run(-1)]
)
def test_a_negative_grace_is_refused_before_anything_begins(exchange, serve_with):
    """The mistake shows where it is made, not when the server is to stop."""
    with pytest.raises(ValueError, match="grace must be zero or more seconds, not -1"):
        serve_with(exchange)
    assert exchange.state is State.CREATED
