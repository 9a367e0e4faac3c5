"""Tests of netserve.core._supervision: what an error means, and who is told."""

import errno
import logging
import os

import pytest

from netserve.core import (
    BaseServer,
    Deadline,
    DeadlineError,
    LineTooLongError,
    Outcome,
    PeerError,
    RefusedError,
    RequestHooks,
    run_request,
)
from netserve.core._supervision import expired

GONE = [
    "EPIPE", "ECONNRESET", "ECONNABORTED", "ENOTCONN", "ESHUTDOWN", "ETIMEDOUT", "EHOSTUNREACH",
    "ENETUNREACH",
]  # fmt: skip


class Request:
    """A request, whose peer may have left and whose deadline may have passed."""

    connected = True
    expired = None


class Server(BaseServer):
    """A server of requests that the test hands it."""

    def __init__(self, handler=lambda *_: None):
        super().__init__("address", handler)
        self.reports = []

    def is_connected(self, request):
        """Whether the peer is there."""
        return request.connected

    def handle_error(self, request, client_address):
        """Note and report."""
        self.reports.append("error")
        super().handle_error(request, client_address)

    def handle_disconnect(self, request, client_address, outcome):
        """Note and report."""
        self.reports.append(outcome)
        super().handle_disconnect(request, client_address, outcome)

    def run(self, request):
        """Take *request* and run it as a thread does; returns its outcome."""
        self.requests_in_progress.begin(request, "client")
        return run_request(self, request, "client")


@pytest.fixture
def request_():
    """A request."""
    return Request()


def raiser(error):
    """A handler that raises *error*."""

    def handler(*_):
        raise error

    return handler


def named(name):
    """An OSError with the number that has *name*."""
    number = getattr(errno, name)
    return OSError(number, os.strerror(number))


@pytest.fixture(autouse=True)
def _everything_is_logged(caplog):
    caplog.set_level(logging.DEBUG, "netserve")


# --- what an error means ---


@pytest.mark.parametrize("name", GONE)
def test_a_peer_that_went_away_is_one_debug_record(request_, caplog, name):
    """An error of a connection that is gone is told without a traceback, to no error hook."""
    server = Server(raiser(named(name)))
    request_.connected = False
    assert server.run(request_) is Outcome.DISCONNECTED
    assert server.reports == [Outcome.DISCONNECTED]
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("netserve.server", logging.DEBUG)
    assert record.exc_info is None
    assert record.getMessage() == f"{server!r}: client went away ({named(name)})"


@pytest.mark.parametrize("name", GONE)
def test_another_connection_that_went_away_is_the_handlers_error(request_, caplog, name):
    """A database that hangs up isn't the peer: the peer is still there."""
    server = Server(raiser(named(name)))
    assert server.run(request_) is Outcome.FAILED
    assert server.reports == ["error"]
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


@pytest.mark.parametrize("error", [named("ENOENT"), named("EIO"), OSError("no number"), KeyError()])
def test_what_says_nothing_of_a_peer_is_the_handlers_error(request_, error):
    """Even when the peer has left meanwhile, another error is a bug."""
    server = Server(raiser(error))
    request_.connected = False
    assert server.run(request_) is Outcome.FAILED
    assert server.reports == ["error"]


def test_what_an_abort_causes_is_forced(request_, caplog):
    """A connection that the drain has shut is told as that."""
    server = Server()
    entry = server.requests_in_progress.begin(request_, "client")
    entry.forced = True
    request_.connected = False
    server.RequestHandlerClass = raiser(named("EPIPE"))
    assert run_request(server, request_, "client") is Outcome.FORCED
    assert server.reports == [Outcome.FORCED]
    (record,) = caplog.records
    assert record.levelno == logging.DEBUG
    assert "was cut off when the grace was over" in record.getMessage()
    assert server.stats().forced == 1


def test_a_request_that_is_in_no_table_is_classified_too(request_):
    """A hook may be called by hand."""
    request_.connected = False
    assert Server().classify_error(named("EPIPE"), request_) is Outcome.DISCONNECTED


def test_a_late_refusal_is_one_record(request_, caplog):
    """An opening may learn only late whose request it is."""
    server = Server(raiser(RefusedError("not you")))
    assert server.run(request_) is Outcome.REFUSED
    assert server.reports == [Outcome.REFUSED]
    (record,) = caplog.records
    assert record.levelno == logging.INFO
    assert record.exc_info is None
    assert record.getMessage() == f"{server!r}: client was refused (not you)"
    assert server.stats().refused == 1


def test_a_report_names_the_address_that_was_learnt(request_, caplog):
    """The opening knew it, though it came to nothing."""

    class Late(Server):
        def open_request(self, request, client_address):
            entry = self.requests_in_progress.find(request)
            entry.learn_address("the real one")
            raise RefusedError("not you")

    server = Late()
    server.run(request_)
    assert caplog.records[0].getMessage() == f"{server!r}: the real one was refused (not you)"


@pytest.mark.parametrize("kind", ["deadline error", "expired"])
def test_a_deadline_is_one_record(request_, caplog, kind):
    """Whether the error says so or the socket, the peer was too slow."""
    server = Server(raiser(DeadlineError(Deadline.IDLE, 5)))
    if kind == "expired":
        request_.expired = Deadline.MESSAGE
        server.RequestHandlerClass = raiser(ValueError("half a message"))
    assert server.run(request_) is Outcome.TIMED_OUT
    assert server.reports == [Outcome.TIMED_OUT]
    (record,) = caplog.records
    assert record.levelno == logging.INFO
    assert record.exc_info is None
    assert "client was too slow" in record.getMessage()
    assert server.stats().timed_out == 1


def test_a_deadline_that_the_handler_keeps_to_itself_counts(request_, caplog):
    """A handler that catches the timeout and returns has timed out, without a record."""
    server = Server(lambda request, *_: setattr(request, "expired", Deadline.IDLE))
    assert server.run(request_) is Outcome.TIMED_OUT
    assert caplog.records == []
    assert server.stats().timed_out == 1


def test_the_synchronous_server_counts_a_kept_deadline_too(request_):
    """As in a thread, so in the loop."""
    server = Server(lambda request, *_: setattr(request, "expired", Deadline.IDLE))
    server.requests_in_progress.begin(request_, "client")
    server.process_request(request_, "client")
    assert server.stats().timed_out == 1
    other = Request()
    server.RequestHandlerClass = lambda *_: None
    server.requests_in_progress.begin(other, "client")
    server.process_request(other, "client")
    assert server.stats().completed == 1


def test_a_request_may_be_processed_by_hand(request_):
    """process_request runs what the loop hasn't taken; nothing is counted."""
    calls = []
    server = Server(lambda *arguments: calls.append(arguments))
    server.process_request(request_, "client")
    assert calls == [(request_, "client", server)]
    assert server.stats().accepted == 0


@pytest.mark.parametrize("error", [PeerError("no such verb"), LineTooLongError("65537 bytes")])
def test_what_the_peer_did_wrong_is_one_record_without_traceback(request_, caplog, error):
    """It fails the request, and isn't a bug."""
    server = Server(raiser(error))
    assert server.run(request_) is Outcome.FAILED
    assert server.reports == [Outcome.FAILED]
    (record,) = caplog.records
    assert record.levelno == logging.INFO
    assert record.exc_info is None
    assert record.getMessage() == f"{server!r}: client sent what isn't allowed ({error})"


def test_an_error_of_the_peers_says_how_loud_its_record_is(request_, caplog):
    """Some of them nobody wants to hear of."""

    class QuietError(PeerError):
        level = logging.DEBUG

    caplog.set_level(logging.DEBUG)
    Server(raiser(QuietError("a scan"))).run(request_)
    assert [record.levelno for record in caplog.records] == [logging.DEBUG]


def test_a_bug_is_one_error_record_with_its_traceback(request_, caplog):
    """The record has the server, the peer, the handler and the duration as attributes."""
    error = ValueError("a bug")
    server = Server(raiser(error))
    server.run(request_)
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("netserve.server", logging.ERROR)
    assert record.exc_info[1] is error
    assert record.server is server
    assert record.peer == "client"
    assert record.handler is server.RequestHandlerClass
    assert record.duration >= 0


def test_a_record_has_its_attributes_without_an_entry(request_, caplog):
    """Where the table has no such request, and the server no handler, they are None."""
    server = Server.__new__(Server)
    server.reports = []
    server.handle_error(request_, "client")
    (record,) = caplog.records
    assert record.server is server
    assert (record.handler, record.duration) == (None, None)


@pytest.mark.parametrize("value", ["soon", True, 7, Outcome.TIMED_OUT])
def test_only_a_deadline_is_one(value):
    """A socket's attribute of the same name with another meaning says nothing."""
    request = Request()
    request.expired = value
    assert expired(request) is None
    assert expired(b"a request without it") is None
    request.expired = Deadline.CONNECTION
    assert expired(request) is Deadline.CONNECTION


# --- the end of a request ---


def test_a_request_ends_once_with_its_outcome(request_):
    """request_ended counts it, and is harmless the second time."""
    server = Server()
    entry = server.requests_in_progress.begin(request_, "client")
    server.request_ended(entry, Outcome.DISCONNECTED)
    server.request_ended(entry, Outcome.FAILED)
    stats = server.stats()
    assert (stats.active, stats.disconnected, stats.failed) == (0, 1, 0)


def test_a_request_that_is_closed_has_ended(request_):
    """Closing ends it, as does the base's close_request; one that isn't there has none."""
    server = Server()
    server.request_closed(request_)
    server.requests_in_progress.begin(request_, "client")
    server.close_request(request_)
    assert server.stats().completed == 1


def test_a_request_that_another_holds_is_not_ended_by_closing(request_):
    """What a child process runs is in progress although it is closed here."""
    server = Server()
    entry = server.requests_in_progress.begin(request_, "client")
    entry.held = True
    server.close_request(request_)
    assert server.stats().active == 1
    entry.held = False
    server.close_request(request_)
    assert server.stats().active == 0


def test_the_access_log_is_off_by_default(request_, caplog):
    """Nothing is written of a request that went well."""
    server = Server()
    server.run(request_)
    assert caplog.records == []


def test_the_access_log_has_a_record_for_each_request(request_, caplog):
    """It tells address, outcome and duration, in the text and as attributes, once."""
    server = Server()
    server.access_log = True
    server.run(request_)
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("netserve.access", logging.INFO)
    assert record.getMessage().startswith("client completed in 0.0")
    assert record.getMessage().endswith(" s")
    assert record.peer == "client"
    assert record.server is server
    assert record.handler is server.RequestHandlerClass
    assert record.outcome is Outcome.COMPLETED
    assert record.duration >= 0


# --- the hooks of a request without a connection ---


def test_the_hooks_do_nothing_by_default(request_):
    """A request that has no connection is always there, and is its own duplicate."""
    server = BaseServer("address", print)
    assert server.end_input(request_) is None
    assert server.abort_request(request_) is None
    assert server.duplicate_request(request_) is request_
    assert server.has_unread_input(request_) is False
    assert server.close_duplicate(request_) is None
    assert server.is_connected(request_) is True
    assert server.refuse_request(request_, "client") is None
    assert server.abandon_requests() is None


def test_two_servers_have_two_tables():
    """The table is made for each server at its first use."""
    assert Server().requests_in_progress is not Server().requests_in_progress


def test_a_server_has_the_hooks_that_engines_ask_for():
    """BaseServer has every hook of the Protocol."""
    hooks = {name for name in vars(RequestHooks) if not name.startswith("_")}
    assert hooks == {"finish_request", "handle_error", "shutdown_request"}
    assert all(callable(getattr(BaseServer, hook)) for hook in hooks)
