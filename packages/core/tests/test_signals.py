"""Signals end the loop's sleep whenever they come, and whichever thread they come to."""

import signal
import socket
import threading

import pytest

from netserve.core import BaseServer, State, Waker

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

    sleep = idle._sleep
    monkeypatch.setattr(idle, "_sleep", lambda interval: about_to_wait.set() or sleep(interval))
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
        sleep = idle._sleep
        monkeypatch.setattr(
            idle, "_sleep", lambda interval: seen.append(sleep(interval)) or idle.shutdown() or 0
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
