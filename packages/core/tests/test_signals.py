"""Signals end the loop's sleep, and the run of the main program's server."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading

import pytest

from netserve.core import BaseServer, State, Waker
from netserve.core._signals import heard_signals

PATIENCE = 20  # seconds until a test gives up; none waits so long unless it fails

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="there is no such signal")


class Idle(BaseServer):
    """A server to which no request ever comes."""

    def __init__(self):
        super().__init__("nowhere", print)
        self.listener, self.peer = socket.socketpair()

    def fileno(self):
        """The descriptor that is never ready."""
        return self.listener.fileno()

    def server_close(self):
        """Close both ends."""
        super().server_close()
        self.listener.close()
        self.peer.close()


@pytest.fixture
def idle():
    """A server whose shutdown() is what SIGUSR1 calls."""
    with Idle() as server:
        before = signal.signal(signal.SIGUSR1, lambda number, frame: server.shutdown())
        yield server
        signal.signal(signal.SIGUSR1, before)


def test_a_signal_that_the_wait_does_not_see_ends_it(idle, monkeypatch):
    """A signal to another thread leaves the main one's wait undisturbed, and yet is handled.

    It stands for the one that comes between the last look at signals and the
    wait, which is the same to Python, but can't be timed.
    """
    about_to_wait = threading.Event()

    def send():
        # Running at all means that the main thread has let go: it waits.
        about_to_wait.wait()
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)

    interval = idle._ns_interval
    monkeypatch.setattr(
        idle, "_ns_interval", lambda loop, poll: about_to_wait.set() or interval(loop, poll)
    )
    sender = threading.Thread(target=send)
    sender.start()
    idle.serve_forever()
    sender.join()
    assert idle.state is State.STOPPED


def test_the_loop_gives_the_wakeup_descriptor_back(idle):
    """After the loop, signals write to no descriptor."""
    idle.shutdown()
    idle.serve_forever()
    assert signal.set_wakeup_fd(-1) == -1


def test_somebody_elses_wakeup_descriptor_is_left_alone(idle, monkeypatch):
    """Where asyncio, say, has taken the signals, the loop wakes at its interval instead."""
    reader, writer = socket.socketpair()
    with reader, writer:
        writer.setblocking(False)
        signal.set_wakeup_fd(writer.fileno())
        seen = []
        interval = idle._ns_interval
        monkeypatch.setattr(
            idle,
            "_ns_interval",
            lambda loop, poll: seen.append(interval(loop, poll)) or idle.shutdown() or 0,
        )
        idle.serve_forever(0.25)
        assert signal.set_wakeup_fd(-1) == writer.fileno()
    assert seen == [0.25]


def test_only_the_main_thread_asks_for_signals():
    """A wait in another thread may sleep: no handler runs there."""
    answers = []

    def ask():
        with Waker() as waker, waker.woken_by_signals() as may_sleep:
            answers.append(may_sleep)

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert answers == [True]
    assert signal.set_wakeup_fd(-1) == -1


# --- SIGTERM and SIGINT as requests to stop ---


@contextlib.contextmanager
def handlers(**given):
    """The span in which the signals of these names have these handlers; they are kept after it."""
    before = {
        name: signal.signal(getattr(signal, name), handler) for name, handler in given.items()
    }
    try:
        yield
        for name, handler in given.items():
            assert signal.getsignal(getattr(signal, name)) == handler
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)


@pytest.fixture
def heard():
    """What reached the handlers of before; they stand again when the test ends."""
    noted = []
    with handlers(SIGTERM=lambda *_: noted.append("TERM"), SIGINT=lambda *_: noted.append("INT")):
        yield noted


@pytest.mark.parametrize(
    "sent", [["TERM", "TERM"], ["INT", "INT"], ["TERM", "INT"], ["INT", "TERM"]]
)
def test_two_signals_are_told_and_the_next_does_what_it_did(heard, sent):
    """The first and the second, of either kind, are counted; a third isn't heard."""
    times = []
    with heard_signals(times.append):
        for name in sent:
            signal.raise_signal(getattr(signal, f"SIG{name}"))
        assert times == [1, 2]
        assert heard == []
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
    assert times == [1, 2]
    assert heard == ["TERM", "INT"]


def test_the_old_handlers_are_back_when_the_second_is_told(heard):
    """What the second one asks for may take its time; a third isn't kept from its work."""
    seen = []
    with heard_signals(lambda times: seen.append(signal.getsignal(signal.SIGTERM))):
        mine = signal.getsignal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
    assert seen[0] == mine
    assert seen[1] == signal.getsignal(signal.SIGTERM) != mine


@pytest.mark.parametrize("sent", [0, 1, 2])
def test_the_old_handlers_are_back_after_it(heard, sent):
    """However many signals came, and whatever ended the span."""

    def span():
        with heard_signals(lambda times: None):
            for _ in range(sent):
                signal.raise_signal(signal.SIGTERM)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        span()
    signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGINT)
    assert heard == ["TERM", "INT"]


def test_what_is_ignored_stays_ignored():
    """What was started in the background of a shell isn't ended by Ctrl-C."""
    with handlers(SIGINT=signal.SIG_IGN, SIGTERM=signal.SIG_DFL):
        with heard_signals(pytest.fail):
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
            signal.raise_signal(signal.SIGINT)


def test_signals_are_heard_in_the_main_thread_alone(exchange):
    """Elsewhere run() says so, before it binds, and closes the server."""
    exchange.server_bind = pytest.fail
    raised = []

    def run():
        try:
            exchange.run()
        except RuntimeError as error:
            raised.append(str(error))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(PATIENCE)
    assert raised == [
        "signals are heard in the main thread alone: call run() there, or background()"
    ]
    assert exchange.state is State.CLOSED


@contextlib.contextmanager
def sending(*steps):
    """The span in which another thread takes these steps: it calls them, or sends the signals."""

    def take():
        for step in steps:
            if callable(step):
                step()
            else:
                os.kill(os.getpid(), step)

    thread = threading.Thread(target=take)
    thread.start()
    try:
        yield
    finally:
        thread.join(PATIENCE)
        assert not thread.is_alive()


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
@pytest.mark.parametrize("in_threads", [True, False])
def test_the_first_signal_drains_and_returns(exchange, heard, name, in_threads):
    """What is in progress is answered, the server closed; no exception leaves run()."""
    exchange.in_threads = in_threads
    client = exchange.connect()
    client.send(b"x")
    with sending(exchange.has_begun, getattr(signal, name)):
        exchange.run(PATIENCE)
    assert client.recv(10) == b"<x>"
    assert exchange.state is State.CLOSED
    assert exchange.stats().drained == 1
    assert heard == []


@pytest.mark.parametrize("in_threads", [True, False])
def test_the_second_signal_forces(exchange, heard, in_threads):
    """It ends the grace at once."""
    exchange.in_threads = in_threads
    aborted = []
    exchange.RequestHandlerClass = exchange.stubborn
    exchange.abort_request = lambda request: (aborted.append(request), exchange.release.set())
    exchange.connect()
    ledger = exchange.requests_in_progress

    def drain_has_begun():
        assert ledger.wait_for(lambda: ledger.draining, lambda: float("inf"))

    with sending(exchange.has_begun, signal.SIGTERM, drain_has_begun, signal.SIGINT):
        exchange.run(1000)
    assert len(aborted) == 1
    assert exchange.stats().forced == 1
    assert exchange.state is State.CLOSED


@pytest.mark.parametrize("given", [None, 0.01])
def test_the_grace_is_the_servers_or_the_calls(threaded, heard, given):
    """Without an argument the attribute counts."""
    threaded.grace = 0.01 if given is None else 1000
    threaded.RequestHandlerClass = threaded.stubborn
    threaded.abort_request = lambda request: threaded.release.set()
    threaded.connect()
    with sending(threaded.has_begun, signal.SIGTERM):
        threaded.run(given)
    assert threaded.stats().forced == 1


def test_a_mere_shutdown_ends_the_run_too(threaded, heard):
    """What it has left in threads is drained."""
    client = threaded.connect()
    client.send(b"x")
    with sending(threaded.has_begun, threaded.shutdown):
        threaded.run(PATIENCE)
    assert client.recv(10) == b"<x>"
    assert threaded.stats().drained == 1
    assert threaded.state is State.CLOSED


def test_a_signal_in_the_last_drain_hurries_it(threaded, heard):
    """After a shutdown, when the main thread waits itself, a second signal still forces."""
    threaded.RequestHandlerClass = threaded.stubborn
    threaded.abort_request = lambda request: threaded.release.set()
    threaded.connect()
    begun = threading.Semaphore(0)
    begin_drain = threaded._ns_begin_drain
    threaded._ns_begin_drain = lambda grace: (begin_drain(grace), begun.release())[0]

    def drain_has_begun():
        assert begun.acquire(timeout=PATIENCE)

    with sending(
        threaded.has_begun,
        threaded.shutdown,
        *[drain_has_begun, signal.SIGTERM],
        *[drain_has_begun, signal.SIGTERM],
    ):
        threaded.run(1000)
    assert threaded.stats().forced == 1


def test_a_signal_at_the_start_is_not_lost(exchange, heard):
    """It comes before the loop: what was bound is closed again, and nothing is served."""
    exchange.server_bind = lambda: signal.raise_signal(signal.SIGTERM)
    exchange.connect()
    exchange.run(PATIENCE)
    assert exchange.stats().accepted == 0
    assert exchange.state is State.CLOSED


def test_what_cannot_be_bound_is_raised(exchange, heard):
    """The server is closed, and the handlers are back."""

    def bind():
        raise OSError("in use")

    exchange.server_bind = bind
    with pytest.raises(OSError, match="in use"):
        exchange.run()
    assert exchange.state is State.CLOSED


PROGRAM = """
import os, select, socket, sys
from netserve.core import BaseServer

def say(line):
    os.write(1, line.encode() + b"\\n")

class Server(BaseServer):
    def __init__(self):
        super().__init__("pair", self.handle)
        self.here, self.there = socket.socketpair()
        self.there.send(b"request")

    def fileno(self):
        return self.here.fileno()

    def get_request(self):
        self.here.recv(100)
        return socket.socketpair(), "client"

    def handle(self, request, address, server):
        say("handling")
        while not select.select([request[0]], [], [], 0.1)[0]:
            pass  # a signal that came in the last moment is seen here
        say("ended")

    def end_input(self, request):
        say("draining")
        if sys.argv[1] == "drain":
            request[0].shutdown(socket.SHUT_RD)

    def abort_request(self, request):
        say("forcing")
        if sys.argv[1] == "force":
            request[0].shutdown(socket.SHUT_RDWR)

    def close_request(self, request):
        for end in request:
            end.close()
        super().close_request(request)

    def server_close(self):
        super().server_close()
        self.here.close()
        self.there.close()
        say(f"{self.stats().drained} {self.stats().forced}")

Server().run(1000)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals")
@pytest.mark.parametrize(
    ("mode", "steps", "status"),
    [
        ("drain", [(signal.SIGTERM, ["draining", "ended", "1 0"])], 0),
        ("drain", [(signal.SIGINT, ["draining", "ended", "1 0"])], 0),
        (
            "force",
            [
                (signal.SIGTERM, ["draining"]),
                (signal.SIGINT, ["draining", "forcing", "ended", "0 1"]),
            ],
            0,
        ),
        (
            "stuck",
            [
                (signal.SIGTERM, ["draining"]),
                (signal.SIGTERM, ["draining", "forcing"]),
                (signal.SIGTERM, []),
            ],
            -signal.SIGTERM,
        ),
    ],
)
def test_a_program_is_ended_by_signals(mode, steps, status):
    """The first drains, the second forces, and the third does what it does to any program."""
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", PROGRAM, mode], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout.readline() == "handling\n"
            for number, lines in steps:
                process.send_signal(number)
                # Whoever forces is another thread than the one that drains.
                said = [process.stdout.readline().strip() for _ in lines]
                assert sorted(said) == sorted(lines)
            process.wait(PATIENCE)
        finally:
            process.kill()
    assert process.returncode == status


@pytest.mark.parametrize("ignored", [False, True])
def test_sighup_reloads_a_server_that_can(ignored):
    """Also where nohup has it ignored; and what was there before is there afterwards."""
    reloads = []

    class Reloading(Idle):
        def reload(self):
            reloads.append(threading.current_thread() is threading.main_thread())
            if len(reloads) == 2:
                self.shutdown()
            os.kill(os.getpid(), signal.SIGHUP)

    outer = signal.SIG_IGN if ignored else lambda number, frame: None
    before = signal.signal(signal.SIGHUP, outer)
    try:
        hup = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGHUP))
        hup.start()
        Reloading().run()
        hup.join()
        assert signal.getsignal(signal.SIGHUP) is outer
    finally:
        signal.signal(signal.SIGHUP, before)
    assert reloads[:2] == [True, True]


def test_sighup_is_left_alone_where_nothing_reloads():
    """It does what it did before."""
    heard = []
    before = signal.signal(signal.SIGHUP, lambda number, frame: heard.append(number))
    try:

        class Asking(Idle):
            @property
            def _ns_interval(self):
                os.kill(os.getpid(), signal.SIGHUP)
                self.shutdown()
                return super()._ns_interval

        server = Asking()
        server.reload()
        server.run()
    finally:
        signal.signal(signal.SIGHUP, before)
    assert heard


def test_a_reload_that_fails_is_one_record_and_ends_nothing(caplog):
    """With its traceback, at level ERROR."""

    class Failing(Idle):
        def reload(self):
            self.shutdown()
            msg = "no such file"
            raise OSError(msg)

    hup = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGHUP))
    hup.start()
    Failing().run()
    hup.join()
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert "reload raised" in record.getMessage()
    assert record.exc_info
