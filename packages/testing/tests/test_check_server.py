"""Tests of netserve.testing._check_server: a good server passes, each broken one is caught."""

import os
import socket
import socketserver
import threading
from pathlib import Path
from typing import ClassVar

import pytest

from netserve.core import BaseServer, State
from netserve.testing import ContractError, StreamClient, check_server
from netserve.testing._loopback import LoopbackServer


class Datagrams(LoopbackServer):
    """A server of datagrams."""

    socket_type = socket.SOCK_DGRAM

    def server_activate(self):
        """Nothing to do."""

    def get_request(self):
        """Receive."""
        data, address = self.socket.recvfrom(1000)
        return (data, self.socket), address

    def shutdown_request(self, request):
        """Nothing to shut."""
        self.close_request(request)

    def close_request(self, request):
        """Nothing to close."""
        self.request_closed(request)

    def end_input(self, request):
        """All is there."""


class UnixServer(LoopbackServer):
    """On a path."""

    address_family = socket.AF_UNIX

    def server_close(self):
        """Take the path away."""
        super().server_close()
        Path(self.server_address).unlink(missing_ok=True)


@pytest.fixture
def impatient(monkeypatch):
    """Wait less for what will never come."""
    monkeypatch.setattr("netserve.testing._check_server._PATIENCE", 0.4)


@pytest.mark.parametrize("server", [LoopbackServer, Datagrams, UnixServer])
def test_a_good_server_passes(server):
    """Of streams, and of datagrams."""
    check_server(server)


def test_an_address_and_a_client_of_ones_own():
    """For a protocol on top, such as TLS."""
    made = []

    def connect(address):
        made.append(address)
        return StreamClient(socket.AF_INET, address)

    check_server(LoopbackServer, ("localhost", 0), connect=connect)
    assert made


@pytest.mark.parametrize("other", [socketserver.TCPServer, LoopbackServer.fileno, int])
def test_what_is_no_server_of_ours(other):
    """The standard library's has no states or statistics."""
    with pytest.raises(TypeError, match="derives from BaseServer"):
        check_server(other)


class Unbound(LoopbackServer):
    """Doesn't say where it is."""

    def server_bind(self):
        """Bind."""
        self.socket.bind(self.server_address)
        self._ns_move(State.BOUND, "server_bind")


class Stateless(LoopbackServer):
    """Doesn't tell that it is bound."""

    def server_bind(self):
        """Bind."""
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()


class Undescribed(LoopbackServer):
    """Keeps the number of its descriptor when closed."""

    def server_bind(self):
        """Bind."""
        super().server_bind()
        self.number = self.socket.fileno()

    def fileno(self):
        """The number."""
        return self.number


class ClosesOnce(LoopbackServer):
    """Can't be closed twice."""

    def server_close(self):
        """Close."""
        os.fstat(self.socket.fileno())
        super().server_close()


class LeavesOpen(LoopbackServer):
    """Forgets a descriptor."""

    kept: ClassVar = []

    def server_close(self):
        """Close."""
        if self.state is not State.CLOSED:
            self.kept.append(os.open("/dev/null", os.O_RDONLY))
        super().server_close()


class Mute(LoopbackServer):
    """Takes nothing."""

    def get_request(self):
        """Drop."""
        self.socket.accept()[0].close()
        raise BlockingIOError


class HoldsOn(LoopbackServer):
    """Doesn't tell the peer of the end."""

    held: ClassVar = []

    def shutdown_request(self, request):
        """Only end it here."""
        self.held.append(request)
        self.request_closed(request)


class NeverEnds(LoopbackServer):
    """Closes, and forgets to say so."""

    def close_request(self, request):
        """Close."""
        request.close()

    def process_request(self, request, client_address):
        """Run."""
        try:
            self.finish_request(request, client_address)
        finally:
            self.shutdown_request(request)


class Twice(LoopbackServer):
    """Shuts requests down twice."""

    def process_request(self, request, client_address):
        """Run."""
        self.finish_request(request, client_address)
        self.shutdown_request(request)
        self.shutdown_request(request)


class TwoHandlers(LoopbackServer):
    """Handles each request twice."""

    def finish_request(self, request, client_address):
        """Run."""
        super().finish_request(request, client_address)
        super().finish_request(request, client_address)


class Early(LoopbackServer):
    """Shuts a request down before its handler."""

    def process_request(self, request, client_address):
        """Run."""
        double = request.dup()
        self.shutdown_request(request)
        try:
            self.finish_request(double, client_address)
        except OSError:
            double.shutdown(socket.SHUT_RDWR)
        finally:
            double.close()


class TellsNobody(LoopbackServer):
    """Swallows what handlers raise."""

    def process_request(self, request, client_address):
        """Run."""
        try:
            super().process_request(request, client_address)
        except Exception:
            self.shutdown_request(request)


class TellsTwice(LoopbackServer):
    """Reports what handlers raise twice."""

    def report_request_error(self, error, request, client_address):
        """Report."""
        super().report_request_error(error, request, client_address)
        return super().report_request_error(error, request, client_address)


class Fragile(LoopbackServer):
    """Ends with the first error."""

    def handle_error(self, request, client_address):
        """Report."""

    def report_request_error(self, error, request, client_address):
        """Report, and give up."""
        outcome = super().report_request_error(error, request, client_address)
        threading.Thread(target=self.shutdown).start()
        return outcome


class Open(LoopbackServer):
    """Asks nobody whether a request may be processed."""

    def _ns_admit(self, request, client_address, entry):
        """Everybody."""
        return True


class Blames(LoopbackServer):
    """Takes every end of a connection for the handler's fault."""

    def is_connected(self, request):
        """Always."""
        return True


class Undrained(LoopbackServer):
    """Doesn't end the input of handlers."""

    def end_input(self, request):
        """Nothing."""


class Rude(LoopbackServer):
    """Ends the output as well."""

    def end_input(self, request):
        """Both."""
        request.shutdown(socket.SHUT_RDWR)


class Unforced(LoopbackServer):
    """Doesn't cut off who goes on."""

    def abort_request(self, request):
        """Nothing."""


class Obstinate(LoopbackServer):
    """Serves although it was told not to."""

    def shutdown(self):
        """Forget what was asked before the start."""
        if self.state is State.SERVING:
            super().shutdown()


class Reopens(LoopbackServer):
    """Can be served when closed."""

    def serve_forever(self, poll_interval=0.5):
        """Serve."""
        if self.state is not State.CLOSED:
            super().serve_forever(poll_interval)


@pytest.mark.parametrize(
    ("server", "guarantee"),
    [
        (Unbound, "server_address is the real address"),
        (Stateless, "the states follow one another"),
        (Undescribed, "fileno.. is the descriptor to wait on, and -1"),
        (ClosesOnce, "server_close.. may be called twice"),
        (Reopens, "ends the server for good"),
        (LeavesOpen, "leaves no thread, child process or descriptor"),
        (Obstinate, "shutdown.. ends the loop, also one that is about to begin"),
        (Mute, "a request that comes is handled"),
        (HoldsOn, "a request that comes is handled, and its answer arrives"),
        (NeverEnds, "each accepted request is counted once"),
        (Twice, "one handler, and is shut down once"),
        (TwoHandlers, "one handler, and is shut down once|its answer arrives"),
        (Early, "shut down once, after that has ended|its answer arrives"),
        (TellsNobody, "is told once to handle_error"),
        (TellsTwice, "is told once to handle_error"),
        (Fragile, "is told once to handle_error|its answer arrives"),
        (Open, "a request that verify_request.. denies"),
        (Blames, "a peer that goes away is no error"),
        (Undrained, "stop.. ends the input of handlers"),
        (Rude, "stop.. ends the input of handlers"),
        (Unforced, "stop.. cuts off what goes on"),
    ],
)
def test_a_broken_server_is_caught(impatient, server, guarantee):
    """The failure says which guarantee of BaseServer it doesn't keep."""
    with pytest.raises(ContractError, match=guarantee) as caught:
        check_server(server)
    assert caught.value.contract == "BaseServer"
    for thread in threading.enumerate():
        if thread.name == "a loop after shutdown()":
            thread.join(20)
    for descriptor in LeavesOpen.kept:
        os.close(descriptor)
    LeavesOpen.kept.clear()
    for connection in HoldsOn.held:
        connection.close()
    HoldsOn.held.clear()
    assert issubclass(server, BaseServer)
