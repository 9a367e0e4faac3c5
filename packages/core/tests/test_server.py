"""Tests of netserve.core._server, on a server that needs no network."""

import contextlib
import errno
import logging
import os
import queue
import selectors
import signal
import socket
import threading
from typing import ClassVar

import pytest

from netserve.core import BaseServer, State, StateError, _loop, _server

PATIENCE = 20  # seconds until a test gives up; none waits so long unless it fails


class Inbox(BaseServer):
    """Takes each byte string that is put into it for a request of "client"."""

    def __init__(self, handler=None):
        self.handled = queue.Queue()
        super().__init__("inbox", handler or self.note)
        self.reader, self.writer = socket.socketpair(type=socket.SOCK_DGRAM)
        self.reader.setblocking(False)
        self.ended = []

    def note(self, request, client_address, server):
        """The default handler: passes the request on to the test."""
        self.handled.put(request)

    def put(self, request):
        """Send a request."""
        self.writer.send(request)

    def take(self):
        """The next request that was handled."""
        return self.handled.get(timeout=PATIENCE)

    def fileno(self):
        """The end on which requests arrive."""
        return self.reader.fileno()

    def get_request(self):
        """Take a request out."""
        return self.reader.recv(100), "client"

    def close_request(self, request):
        """Note that the request was ended."""
        self.ended.append(request)

    def server_close(self):
        """Close both ends."""
        super().server_close()
        self.reader.close()
        self.writer.close()


@pytest.fixture
def inbox():
    """A server, closed after the test."""
    with Inbox() as server:
        yield server


@pytest.fixture
def selector(monkeypatch):
    """The class of the server's selectors, which notes the timeouts of its waits.

    What is put in its list of surprises is called, one for a wait, before the
    wait itself; each wait also sets an event.
    """

    class Recording(_loop.Selector):
        waits: ClassVar = []
        surprises: ClassVar = []
        waiting = threading.Event()

        def select(self, timeout=None):
            self.waits.append(timeout)
            self.waiting.set()
            if self.surprises:
                self.surprises.pop(0)()
            return super().select(timeout)

    monkeypatch.setattr(_loop, "Selector", Recording)
    monkeypatch.setattr(_server, "Selector", Recording)
    return Recording


@pytest.fixture
def stop_was_asked_for(monkeypatch):
    """An event that is set once a shutdown has woken a loop."""
    asked = threading.Event()

    class Waker(_loop.Waker):
        def wake(self):
            super().wake()
            asked.set()

    monkeypatch.setattr(_loop, "Waker", Waker)
    return asked


# --- construction, context, repr ---


def test_it_keeps_what_it_is_made_with(inbox):
    """The constructor's arguments are public attributes; a new server is CREATED."""
    assert inbox.server_address == "inbox"
    assert inbox.RequestHandlerClass == inbox.note
    assert inbox.state is State.CREATED


@pytest.mark.parametrize("handler", [None, 42, "handler"])
def test_a_handler_that_is_not_callable_is_refused(handler):
    """The error names the value, and says how a handler is called."""
    with pytest.raises(TypeError) as caught:
        BaseServer("address", handler)
    assert str(caught.value) == (
        "RequestHandlerClass must be callable as handler(request, client_address, server),"
        f" not {handler!r}"
    )


def test_a_bare_server_names_what_a_subclass_must_define():
    """Without fileno or get_request, the error says which class lacks it."""
    server = BaseServer("address", print)
    with pytest.raises(NotImplementedError, match=r"BaseServer must define fileno\(\): the desc"):
        server.fileno()
    with pytest.raises(NotImplementedError, match=r"BaseServer must define get_request\(\): \(req"):
        server.get_request()


def test_the_context_manager_closes():
    """Entered, it gives the server; left, it has called server_close."""
    server = Inbox()
    with server as entered:
        assert entered is server
        assert server.fileno() >= 0
    assert server.state is State.CLOSED
    assert server.fileno() == -1


def test_the_repr_shows_class_state_and_address(inbox, serve):
    """repr(server) follows the life of the server."""
    shown = [repr(inbox)]
    inbox.RequestHandlerClass = lambda *_: (shown.append(repr(inbox)), inbox.shutdown())
    inbox.put(b"")
    inbox.serve_forever()
    shown.append(repr(inbox))
    inbox.server_close()
    shown.append(repr(inbox))
    assert shown == [
        f"<Inbox {state} at 'inbox'>" for state in ["created", "serving", "stopped", "closed"]
    ]


def test_a_server_built_without_its_constructor_has_a_life_too(caplog):
    """repr, server_bind's move and server_close work where __init__ was never called."""
    server = BaseServer.__new__(BaseServer)
    assert repr(server) == "<BaseServer created at None>"
    server.server_bind()
    server.server_activate()
    server.server_close()
    assert server.state is State.CLOSED
    other = BaseServer("address", print)
    assert other._ns_lock is not server._ns_lock


# --- the loop ---


def test_requests_are_handled_in_order(inbox, serve):
    """serve_forever handles one request after the other."""
    serve(inbox)
    for request in [b"1", b"2", b"3"]:
        inbox.put(request)
    assert [inbox.take() for _ in range(3)] == [b"1", b"2", b"3"]


def test_the_handler_is_called_with_request_address_and_server():
    """Any callable does for a handler."""
    calls = []
    with Inbox(lambda *arguments: calls.append(arguments)) as server:
        server.put(b"request")
        server.handle_request()
        assert calls == [(b"request", "client", server)]


def test_a_request_is_finished_shut_down_and_closed(inbox, monkeypatch):
    """The hooks are called in the documented order, each with its arguments."""
    calls = []
    for hook in [
        "verify_request", "process_request", "finish_request", "shutdown_request", "close_request",
    ]:  # fmt: skip
        own = getattr(inbox, hook)

        def noted(*arguments, hook=hook, own=own):
            calls.append((hook, *arguments))
            return own(*arguments)

        monkeypatch.setattr(inbox, hook, noted)
    inbox.put(b"request")
    inbox.handle_request()
    assert calls == [
        ("verify_request", b"request", "client"),
        ("process_request", b"request", "client"),
        ("finish_request", b"request", "client"),
        ("shutdown_request", b"request"),
        ("close_request", b"request"),
    ]


def test_a_request_that_is_not_verified_is_ended_unhandled(inbox, monkeypatch):
    """When verify_request says no, the request is shut down and nothing else."""
    monkeypatch.setattr(inbox, "verify_request", lambda request, _: request != b"bad")
    for request in [b"bad", b"good"]:
        inbox.put(request)
        inbox.handle_request()
    assert inbox.handled.qsize() == 1
    assert inbox.take() == b"good"
    assert inbox.ended == [b"bad", b"good"]


def test_every_request_is_verified_by_default(inbox):
    """The base's verify_request says yes."""
    assert BaseServer.verify_request(inbox, b"", "client") is True


def test_the_hooks_for_subclasses_do_nothing():
    """The base's hooks may all be called with super()."""
    server = BaseServer("address", print)
    assert server.server_bind() is None
    assert server.server_activate() is None
    assert server.service_actions() is None
    assert server.handle_timeout() is None
    assert server.close_request("request") is None
    assert server.shutdown_request("request") is None


def test_an_idle_loop_sleeps_without_an_end(inbox, serve, selector):
    """Nothing but a request or a stop wakes the loop: each ends exactly one wait."""
    thread = serve(inbox, 0.0)
    for request in [b"1", b"2"]:
        inbox.put(request)
        inbox.take()
    inbox.shutdown()
    thread.join(PATIENCE)
    assert selector.waits == [None] * 3


def test_service_actions_is_called_after_each_wait(inbox, monkeypatch):
    """Overridden, service_actions runs after each request and each interval."""
    calls = []

    def service_actions():
        calls.append(inbox.handled.qsize())
        if len(calls) == 4:
            inbox.shutdown()

    monkeypatch.setattr(inbox, "service_actions", service_actions)
    inbox.put(b"1")
    inbox.put(b"2")
    inbox.serve_forever(0)
    assert calls == [1, 2, 2, 2]


@pytest.mark.parametrize("on_the_class", [True, False])
def test_overriding_service_actions_makes_the_loop_wake(inbox, selector, on_the_class):
    """A loop whose service_actions is overridden wakes each poll_interval, by default 0.5 s."""
    if on_the_class:

        class Serviced(Inbox):
            def service_actions(self):
                pass

        server = Serviced()
    else:
        server = Inbox()
        server.service_actions = lambda: None
    with server:
        selector.surprises += [server.shutdown]
        server.serve_forever()
        selector.surprises += [server.shutdown]
        server.serve_forever(0.125)
    assert selector.waits == [0.5, 0.125]


def test_where_a_signal_does_not_end_the_sleep_it_ends_by_itself(inbox, selector, monkeypatch):
    """On Windows the loop wakes each poll_interval, so that Ctrl-C is seen."""
    monkeypatch.setattr(_loop, "_SLEEP_ENDS_ON_SIGNAL", False)
    selector.surprises += [inbox.shutdown]
    inbox.serve_forever(0.25)
    assert selector.waits == [0.25]


def test_serve_forever_does_not_look_at_the_timeout(inbox, selector, monkeypatch):
    """The attribute timeout is handle_request's alone."""
    inbox.timeout = 0
    monkeypatch.setattr(inbox, "handle_timeout", pytest.fail)
    selector.surprises += [inbox.shutdown]
    inbox.serve_forever()
    assert selector.waits == [None]


def test_the_loop_can_be_run_again(inbox, serve):
    """A server that was shut down serves again."""
    for request in [b"1", b"2"]:
        thread = serve(inbox)
        inbox.put(request)
        assert inbox.take() == request
        inbox.shutdown()
        thread.join(PATIENCE)
        assert inbox.state is State.STOPPED


def test_a_loop_without_poll_has_select(inbox):
    """The selector that holds no descriptor of its own is taken."""
    assert issubclass(_loop.Selector, (selectors.SelectSelector, selectors.BaseSelector))
    assert not hasattr(_loop.Selector, "fileno")


# --- handle_request ---


def test_handle_request_handles_one(inbox):
    """One call handles one request; the next stays where it is."""
    inbox.put(b"1")
    inbox.put(b"2")
    inbox.handle_request()
    assert inbox.take() == b"1"
    assert inbox.handled.empty()
    inbox.handle_request()
    assert inbox.take() == b"2"


def test_handle_request_calls_handle_timeout(inbox, monkeypatch, selector):
    """When nothing arrives within timeout seconds, handle_timeout is called."""
    calls = []
    monkeypatch.setattr(inbox, "handle_timeout", lambda: calls.append("timeout"))
    inbox.timeout = 0
    inbox.handle_request()
    assert calls == ["timeout"]
    inbox.put(b"1")
    inbox.handle_request()
    assert calls == ["timeout"]
    assert inbox.take() == b"1"
    assert len(selector.waits) == 2
    assert all(wait <= 0 for wait in selector.waits)


def test_handle_request_waits_for_ever_by_default(inbox, selector):
    """Without a timeout the wait has no end."""
    assert inbox.timeout is None
    inbox.put(b"1")
    inbox.handle_request()
    assert selector.waits == [None]


# --- what hooks raise ---

HOOKS = ["verify_request", "process_request", "finish_request", "shutdown_request", "close_request"]


def raise_once(server, hook, error):
    """Let *hook* of *server* raise *error* at its next call, and work from then on."""
    own = getattr(server, hook)

    def raising(*arguments):
        setattr(server, hook, own)
        raise error

    setattr(server, hook, raising)


def errors(caplog):
    """What was logged as an error, with the exceptions."""
    assert {record.name for record in caplog.records} <= {"netserve.server"}
    assert all(record.levelno == logging.ERROR for record in caplog.records)
    return [(record.getMessage(), record.exc_info[1]) for record in caplog.records]


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_that_raises_does_not_end_the_loop(inbox, serve, caplog, hook):
    """What a hook raises is logged, the request ended, and the next one served."""
    error = ValueError(hook)
    raise_once(inbox, hook, error)
    thread = serve(inbox)
    inbox.put(b"bad")
    inbox.put(b"good")
    while inbox.take() != b"good":
        pass
    inbox.shutdown()
    thread.join(PATIENCE)
    (logged,) = errors(caplog)
    assert logged[1] is error
    assert inbox.ended == [b"bad", b"good"]


def test_a_handler_that_raises_is_one_record_with_its_traceback(inbox, caplog):
    """The record names the server and the client, and is the only one."""
    error = ValueError("handler")

    def handler(*_):
        raise error

    inbox.RequestHandlerClass = handler
    inbox.put(b"bad")
    inbox.handle_request()
    assert errors(caplog) == [
        (f"{inbox!r}: an error while processing a request from client", error)
    ]
    assert caplog.records[0].exc_info[2] is not None
    assert inbox.ended == [b"bad"]


def test_handle_error_that_raises_does_not_end_the_loop(inbox, serve, caplog):
    """When handle_error raises too, the request is ended all the same, and the next served."""
    first, second = ValueError("handler"), ValueError("handle_error")
    raise_once(inbox, "finish_request", first)
    raise_once(inbox, "handle_error", second)
    serve(inbox)
    inbox.put(b"bad")
    inbox.put(b"good")
    assert inbox.take() == b"good"
    assert errors(caplog) == [("handle_error raised for a request from client", second)]
    assert second.__context__ is first
    assert inbox.ended[0] == b"bad"


def test_get_request_that_raises_does_not_end_the_loop(inbox, serve, caplog):
    """What get_request raises is logged, with its name, and the next request is served."""
    error = ValueError("get_request")
    raise_once(inbox, "get_request", error)
    serve(inbox)
    inbox.put(b"good")
    assert inbox.take() == b"good"
    assert errors(caplog) == [("<Inbox serving at 'inbox'>: get_request raised", error)]


def test_get_request_that_finds_nothing_is_passed_over(inbox, serve, caplog):
    """An OSError from get_request means that the request is gone; nobody is told."""
    raise_once(inbox, "get_request", ConnectionAbortedError())
    serve(inbox)
    inbox.put(b"good")
    assert inbox.take() == b"good"
    assert errors(caplog) == []
    assert inbox.ended in ([], [b"good"])


def test_service_actions_that_raises_does_not_end_the_loop(inbox, serve, caplog):
    """What service_actions raises is logged, with its name, and the next request is served."""
    error = ValueError("service_actions")
    raise_once(inbox, "service_actions", error)
    serve(inbox)
    for request in [b"1", b"2"]:
        inbox.put(request)
        assert inbox.take() == request
    assert errors(caplog) == [("<Inbox serving at 'inbox'>: service_actions raised", error)]


@pytest.mark.parametrize("hook", ["verify_request", "process_request", "get_request"])
@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_an_exit_ends_the_loop_and_leaves_it_usable(inbox, serve, hook, kind):
    """What isn't an Exception leaves serve_forever; the request is ended, the server STOPPED."""
    raise_once(inbox, hook, kind())
    inbox.put(b"bad")
    with pytest.raises(kind):
        inbox.serve_forever()
    assert inbox.state is State.STOPPED
    assert inbox.ended == ([] if hook == "get_request" else [b"bad"])
    serve(inbox)
    inbox.put(b"good")
    while inbox.take() != b"good":
        pass


# --- shutdown ---


def test_shutdown_waits_until_the_loop_has_ended(inbox, serve, stop_was_asked_for):
    """From another thread, shutdown returns when the handler that runs and the loop are through."""
    order = []
    handling = threading.Event()
    returned = threading.Event()

    def handler(*_):
        handling.set()
        assert stop_was_asked_for.wait(PATIENCE)
        # If shutdown didn't wait, it would return now.
        order.append(returned.wait(0.05))

    inbox.RequestHandlerClass = handler
    serve(inbox)
    inbox.put(b"")
    assert handling.wait(PATIENCE)
    inbox.shutdown()
    returned.set()
    assert order == [False]
    assert inbox.state is State.STOPPED


def test_nothing_is_accepted_after_shutdown(inbox):
    """A request that waits when shutdown is called stays for the next serve_forever."""
    inbox.RequestHandlerClass = lambda *arguments: (inbox.note(*arguments), inbox.shutdown())
    inbox.put(b"1")
    inbox.put(b"2")
    inbox.serve_forever()
    assert inbox.handled.qsize() == 1
    assert inbox.take() == b"1"
    inbox.serve_forever()
    assert inbox.take() == b"2"


def test_nothing_is_accepted_when_shutdown_meets_a_request(inbox, selector):
    """A request that arrives in the same moment as the stop isn't accepted."""
    selector.surprises += [lambda: (inbox.put(b"late"), inbox.shutdown())]
    inbox.service_actions = pytest.fail
    inbox.serve_forever()
    assert inbox.handled.empty()
    assert inbox.state is State.STOPPED


def test_shutdown_from_a_handler_returns_at_once(inbox):
    """In the loop's own thread there is nothing to wait for: the loop ends after the handler."""
    inbox.RequestHandlerClass = lambda *_: (inbox.shutdown(), inbox.handled.put(inbox.state))
    inbox.put(b"")
    inbox.serve_forever()
    assert inbox.take() is State.SERVING
    assert inbox.state is State.STOPPED


@pytest.mark.parametrize("times", [1, 2])
def test_shutdown_before_the_start_ends_the_next_loop(inbox, times):
    """A shutdown that overtakes serve_forever isn't lost, and counts for one loop."""
    inbox.put(b"1")
    for _ in range(times):
        inbox.shutdown()
    assert inbox.state is State.CREATED
    inbox.serve_forever()
    assert inbox.handled.empty()
    inbox.RequestHandlerClass = lambda *arguments: (inbox.note(*arguments), inbox.shutdown())
    inbox.serve_forever()
    assert inbox.take() == b"1"


def test_shutdown_between_start_and_first_wait_is_not_lost(inbox, selector):
    """A stop that is asked for while the loop prepares to wait is carried out."""
    fileno = inbox.fileno

    def fileno_late():
        inbox.shutdown()
        return fileno()

    inbox.fileno = fileno_late
    inbox.put(b"1")
    inbox.serve_forever()
    assert inbox.handled.empty()
    assert selector.waits == []


def test_shutdown_twice_and_at_once(inbox, serve):
    """Any number of threads may call shutdown; each returns."""
    thread = serve(inbox)
    inbox.put(b"1")
    inbox.take()
    callers = [threading.Thread(target=inbox.shutdown) for _ in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(PATIENCE)
        assert not caller.is_alive()
    thread.join(PATIENCE)
    inbox.shutdown()
    assert inbox.state is State.STOPPED


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="threads can't be signalled")
def test_shutdown_from_a_signal_handler(inbox, selector):
    """A signal handler that calls shutdown ends the sleeping loop of the main thread."""
    main = threading.get_ident()

    def send():
        assert selector.waiting.wait(PATIENCE)
        signal.pthread_kill(main, signal.SIGUSR1)

    sender = threading.Thread(target=send)
    before = signal.signal(signal.SIGUSR1, lambda *_: inbox.shutdown())
    try:
        sender.start()
        inbox.serve_forever()
    finally:
        sender.join(PATIENCE)
        signal.signal(signal.SIGUSR1, before)
    assert inbox.state is State.STOPPED


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="there is no such signal")
def test_shutdown_from_a_signal_handler_that_interrupts_the_lock(inbox):
    """A signal that arrives while the loop's thread changes state finds no deadlock."""
    before = signal.signal(signal.SIGUSR1, lambda *_: inbox.shutdown())
    try:
        with inbox._ns_lock:
            signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    inbox.serve_forever()
    assert inbox.state is State.STOPPED


def test_a_wake_up_without_a_stop_is_taken_back(inbox, selector):
    """A wake-up that nobody asked for is one turn of the loop, not a busy loop."""
    selector.surprises += [lambda: inbox._ns_loop.wake(), lambda: inbox.shutdown()]
    inbox.serve_forever()
    assert selector.waits == [None, None]
    assert inbox.handled.empty()


def test_a_taken_back_wake_up_leaves_the_next_wait_asleep(inbox, selector, monkeypatch):
    """After a wake-up was taken back, the waker is no longer ready."""
    drained, before_the_stop = [], []

    class Waker(_loop.Waker):
        def drain(self):
            super().drain()
            drained.append(True)

    monkeypatch.setattr(_loop, "Waker", Waker)
    selector.surprises += [
        lambda: inbox._ns_loop.wake(),
        lambda: inbox.put(b"1"),
        lambda: before_the_stop.extend(drained) or inbox.shutdown(),
    ]
    inbox.serve_forever()
    assert before_the_stop == [True]
    assert inbox.take() == b"1"


# --- closing ---


@contextlib.contextmanager
def blocked_in_a_handler(inbox, serve):
    """The span in which a loop is in its handler; gives its thread."""
    handling, go_on = threading.Event(), threading.Event()
    inbox.RequestHandlerClass = lambda *_: (handling.set(), go_on.wait(PATIENCE))
    thread = serve(inbox)
    inbox.put(b"")
    assert handling.wait(PATIENCE)
    try:
        yield thread
    finally:
        go_on.set()


def test_closing_ends_the_loop_of_another_thread(inbox, serve):
    """server_close doesn't wait for the loop, which ends soon after it."""
    with blocked_in_a_handler(inbox, serve) as thread:
        inbox.server_close()
        assert inbox.state is State.CLOSED
        assert thread.is_alive()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert inbox.state is State.CLOSED


def test_closing_wakes_a_loop_that_sleeps(inbox, serve, selector):
    """server_close while the loop waits ends the wait."""
    thread = serve(inbox)
    assert selector.waiting.wait(PATIENCE)
    inbox.server_close()
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_closing_from_a_handler_ends_the_loop(inbox):
    """A handler may close its synchronous server."""
    inbox.RequestHandlerClass = lambda *_: inbox.server_close()
    inbox.put(b"")
    inbox.serve_forever()
    assert inbox.state is State.CLOSED


def test_closing_while_the_loop_begins_to_wait(inbox, selector):
    """A server that is closed just before the loop waits for it ends quietly."""
    fileno = inbox.fileno

    def fileno_late():
        inbox.server_close()
        return fileno()

    inbox.fileno = fileno_late
    inbox.serve_forever()
    assert inbox.state is State.CLOSED
    assert selector.waits == []


def test_closing_while_the_loop_looks_at_the_descriptor(inbox, selector, monkeypatch):
    """As above, when the selector gets a number that is nobody's any more."""

    def listen(loop, listener):
        inbox.server_close()
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    monkeypatch.setattr(_loop.Loop, "listen", listen)
    inbox.serve_forever()
    assert inbox.state is State.CLOSED
    assert selector.waits == []


@pytest.mark.parametrize("before", [True, False])
def test_closing_while_serve_forever_begins(inbox, monkeypatch, before):
    """As a signal's handler may, when it was seen that the server may be served, or just after."""
    move = inbox._ns_move_from

    def interrupted(current, following):
        if before and following is State.SERVING:
            inbox.server_close()
        moved = move(current, following)
        if not before and following is State.SERVING:
            inbox.server_close()
        return moved

    monkeypatch.setattr(inbox, "_ns_move_from", interrupted)
    with pytest.raises(StateError, match="closed") if before else contextlib.nullcontext():
        inbox.serve_forever()
    assert inbox.state is State.CLOSED


@pytest.mark.parametrize("how", ["stop", "server_close"])
def test_a_stop_that_is_interrupted_undoes_nothing(inbox, serve, selector, monkeypatch, how):
    """What a signal's handler does in it, another stop or the closing of the server, stays."""
    move = inbox._ns_move_from
    states = []

    def interrupted(current, following):
        if following is State.DRAINING and not states:
            states.append(inbox.state)
            getattr(inbox, how)()
            states.append(inbox.state)
            move(current, following)
            states.append(inbox.state)
            return False
        return move(current, following)

    monkeypatch.setattr(inbox, "_ns_move_from", interrupted)
    monkeypatch.setattr(inbox, "_ns_see_through", lambda *_: None)
    thread = serve(inbox)
    assert selector.waiting.wait(PATIENCE)
    inbox.stop()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    expected = State.DRAINING if how == "stop" else State.CLOSED
    assert states == [State.SERVING, expected, expected]


def test_a_server_without_a_descriptor_cannot_serve(inbox):
    """A descriptor that is gone without server_close is an error, not silence."""
    inbox.reader.close()
    with pytest.raises(ValueError, match="-1"):
        inbox.serve_forever()
    assert inbox.state is State.STOPPED


def test_a_server_may_be_closed_twice(inbox):
    """The second server_close changes nothing, and neither does a shutdown after it."""
    inbox.server_close()
    inbox.server_close()
    inbox.shutdown()
    assert inbox.state is State.CLOSED


@pytest.mark.parametrize("served", [True, False])
def test_closing_an_idle_server_asks_nobody_to_stop(inbox, served):
    """Without a loop, or after one, there is no stop to keep for the next one."""
    if served:
        inbox.shutdown()
        inbox.serve_forever()
    inbox.server_close()
    assert not inbox._ns_stop_requested


# --- operations that the state doesn't allow ---


def test_a_server_cannot_be_served_twice(inbox, serve):
    """A second serve_forever says who serves and what to do; the first goes on."""
    with blocked_in_a_handler(inbox, serve):
        with pytest.raises(StateError) as caught:
            inbox.serve_forever()
    assert str(caught.value) == (
        "<Inbox serving at 'inbox'> doesn't allow serve_forever() while it is serving:"
        " shutdown() ends the loop that runs"
    )
    inbox.RequestHandlerClass = inbox.note
    inbox.put(b"next")
    assert inbox.take() == b"next"


def test_a_closed_server_cannot_be_served(inbox):
    """serve_forever after server_close says what to do instead."""
    inbox.server_close()
    with pytest.raises(StateError) as caught:
        inbox.serve_forever()
    assert str(caught.value) == (
        "<Inbox closed at 'inbox'> doesn't allow serve_forever() while it is closed:"
        " make a new server, or bind this one to a new socket"
    )
    assert inbox.state is State.CLOSED


@pytest.mark.parametrize("current", State)
@pytest.mark.parametrize("following", [State.BOUND, State.SERVING, State.CLOSED])
def test_every_move_that_an_operation_tries_is_made_or_explained(inbox, current, following):
    """From any state, binding, serving and closing succeed or raise a StateError."""
    inbox._ns_state = current
    with contextlib.suppress(StateError):
        inbox._ns_move(following, "operation")
        assert inbox.state is following
