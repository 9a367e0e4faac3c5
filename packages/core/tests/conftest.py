"""A server of connections that needs no network, for the tests of the lifecycle."""

import collections
import contextlib
import socket
import threading
import time

import pytest

from netserve.core import BaseServer, run_request

PATIENCE = 20  # seconds until a test gives up; none waits so long unless it fails
LOOK_UP = 0.1  # seconds


class Exchange(BaseServer):
    """Takes the connections that the test makes: each is a socket pair.

    The default handler reads to the end of the input and sends it back.
    """

    in_threads = False
    """Whether each request is run in a thread of its own."""

    def __init__(self):
        super().__init__("exchange", self.echo)
        self.bell, self.ring = socket.socketpair(type=socket.SOCK_DGRAM)
        self.bell.setblocking(False)
        self.waiting = collections.deque()
        self.clients = []
        self.threads = []
        self.handling = threading.Semaphore(0)  # released as each handler begins
        self.release = threading.Event()  # what a stubborn handler waits for
        self.trouble = []  # what the next calls of process_request raise
        self.calls = []  # the hooks that were called for a request, with its peer

    # What the tests do.

    def connect(self, peer="client"):
        """A client's end of a new connection, which waits to be taken."""
        here, there = socket.socketpair()
        there.settimeout(PATIENCE)
        self.waiting.append((here, peer))
        self.clients.append(there)
        self.ring.send(b"\0")
        return there

    def has_begun(self):
        """Wait until the handler of one more connection has begun."""
        assert self.handling.acquire(timeout=PATIENCE)

    def clean_up(self):
        """Close everything, and end all handlers."""
        self.release.set()
        self.server_close()
        for client in self.clients:
            client.close()
        for thread in self.threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()

    # Handlers. They look up now and then, because a signal that comes in the last
    # moment before a wait doesn't end it, and its handler runs only afterwards.

    def echo(self, request, client_address, server):
        """Send the input back, once it has ended."""
        request.settimeout(LOOK_UP)
        self.handling.release()
        data = b""
        while True:
            with contextlib.suppress(TimeoutError):
                received = request.recv(100)
                if not received:
                    break
                data += received
        request.sendall(b"<" + data + b">")

    def flood(self, request, client_address, server):
        """Send for ever, and so end only when cut off."""
        request.settimeout(LOOK_UP)
        self.handling.release()
        while True:
            try:
                request.send(b"x" * 10_000)
            except TimeoutError:
                pass
            except OSError:
                break

    def stubborn(self, request, client_address, server):
        """Heed nothing but the test."""
        self.handling.release()
        until = time.monotonic() + PATIENCE
        while not self.release.wait(LOOK_UP):
            assert time.monotonic() < until

    # The hooks.

    def fileno(self):
        """What is ready while a connection waits."""
        return self.bell.fileno()

    def get_request(self):
        """Take a connection."""
        self.bell.recv(1)
        return self.waiting.popleft()

    def process_request(self, request, client_address):
        """Run it, here or in a thread."""
        self.calls.append(("process", client_address))
        if self.trouble:
            raise self.trouble.pop(0)
        if self.in_threads:
            thread = threading.Thread(target=run_request, args=(self, request, client_address))
            self.threads.append(thread)
            thread.start()
        else:
            super().process_request(request, client_address)

    def verify_request(self, request, client_address):
        """Anybody may come."""
        self.calls.append(("verify", client_address))
        return True

    def end_input(self, request):
        """Half-close."""
        request.shutdown(socket.SHUT_RD)

    def abort_request(self, request):
        """Close both ways."""
        request.shutdown(socket.SHUT_RDWR)

    def refuse_request(self, request, client_address):
        """Say so."""
        self.calls.append(("refuse", client_address))
        request.send(self.farewell)

    def close_request(self, request):
        """Close."""
        request.close()
        super().close_request(request)

    def server_close(self):
        """Close what is waited on, and what nobody has taken."""
        super().server_close()
        self.bell.close()
        self.ring.close()
        for request, _ in self.waiting:
            request.close()


@pytest.fixture
def exchange():
    """A server of connections, closed after the test."""
    server = Exchange()
    yield server
    server.clean_up()


@pytest.fixture
def threaded(exchange):
    """The same, with a thread for each connection."""
    exchange.in_threads = True
    return exchange


@pytest.fixture
def abandoned_soon(monkeypatch):
    """Let a forced handler be abandoned in a moment."""
    monkeypatch.setattr("netserve.core._server.UNWIND", 0.02)
    monkeypatch.setattr("netserve.core._lifecycle.UNWIND", 0.02)
    monkeypatch.setattr("netserve.core._lifecycle._SLACK", 0.02)
