"""Tests of netserve.core._requests."""

import logging
import threading

import pytest

from netserve.core import BaseServer, Outcome, end_request, report_error, run_request


class Hooks:
    """The hooks of a server, which note their calls and raise what they are told to."""

    def __init__(self, **errors):
        self.errors = errors
        self.calls = []

    def called(self, hook, *arguments):
        """Note the call of *hook*, and raise its error if it has one."""
        self.calls.append((hook, *arguments))
        if hook in self.errors:
            raise self.errors[hook]

    def finish_request(self, request, client_address):
        """Run the handler."""
        self.called("finish", request, client_address)

    def handle_error(self, request, client_address):
        """Report an error."""
        self.called("error", request, client_address)

    def shutdown_request(self, request):
        """End the request."""
        self.called("shutdown", request)


def test_a_request_is_finished_and_shut_down():
    """A handler that returns is followed by the shutdown, and its outcome is COMPLETED."""
    hooks = Hooks()
    assert run_request(hooks, "request", "client") is Outcome.COMPLETED
    assert hooks.calls == [("finish", "request", "client"), ("shutdown", "request")]


def test_a_handler_that_raises_is_reported_then_shut_down():
    """An Exception goes to handle_error before the shutdown, and its outcome is FAILED."""
    hooks = Hooks(finish=ValueError("handler"))
    assert run_request(hooks, "request", "client") is Outcome.FAILED
    assert hooks.calls == [
        ("finish", "request", "client"),
        ("error", "request", "client"),
        ("shutdown", "request"),
    ]


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
def test_an_exit_passes_through_after_the_shutdown(error):
    """What isn't an Exception is no error of the handler: it escapes, the request is ended."""
    hooks = Hooks(finish=error)
    with pytest.raises(type(error)):
        run_request(hooks, "request", "client")
    assert hooks.calls == [("finish", "request", "client"), ("shutdown", "request")]


def test_handle_error_sees_the_exception_being_handled(caplog):
    """When handle_error raises too, one record tells of both errors and of the client."""
    hooks = Hooks(finish=ValueError("first"), error=KeyError("second"))
    assert run_request(hooks, "request", ("client", 1)) is Outcome.FAILED
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("netserve.server", logging.ERROR)
    assert "('client', 1)" in record.getMessage()
    _, error, _ = record.exc_info
    assert repr(error) == "KeyError('second')"
    assert repr(error.__context__) == "ValueError('first')"
    assert hooks.calls[-1] == ("shutdown", "request")


def test_shutdown_request_that_raises_is_logged(caplog):
    """What shutdown_request raises is one record, and changes no result."""
    hooks = Hooks(shutdown=ValueError("shutdown"))
    assert run_request(hooks, "request", "client") is Outcome.COMPLETED
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("netserve.server", logging.ERROR)
    assert "shutdown_request raised" in record.getMessage()
    assert repr(record.exc_info[1]) == "ValueError('shutdown')"


def test_reporting_calls_the_hook_alone(caplog):
    """A handle_error that returns has done the reporting: nothing else is logged."""
    hooks = Hooks()
    report_error(hooks, "request", "client")
    assert hooks.calls == [("error", "request", "client")]
    assert caplog.records == []


@pytest.mark.parametrize("ending", [report_error, end_request])
def test_an_exit_from_a_hook_passes_through(ending):
    """A SystemExit that a hook raises is not kept."""
    hooks = Hooks(error=SystemExit(), shutdown=SystemExit())
    arguments = ("request", "client") if ending is report_error else ("request",)
    with pytest.raises(SystemExit):
        ending(hooks, *arguments)


# --- on a server of this project ---


@pytest.fixture
def server():
    """A server that has taken the request "request"."""
    server = BaseServer("address", lambda *_: None)
    server.requests_in_progress.begin("request", "client")
    return server


def test_the_ledger_knows_the_thread_and_the_end(server):
    """While the handler runs the entry has its thread; after it the request has ended."""
    threads = []
    entry = server.requests_in_progress.find("request")
    server.RequestHandlerClass = lambda *_: threads.append(entry.thread)
    assert run_request(server, "request", "client") is Outcome.COMPLETED
    assert threads == [threading.get_ident()]
    assert server.stats().completed == 1
    assert server.stats().active == 0


def test_an_exit_is_counted_as_a_failure(server):
    """The handler hasn't returned: the request has FAILED."""

    def handler(*_):
        raise SystemExit

    server.RequestHandlerClass = handler
    with pytest.raises(SystemExit):
        run_request(server, "request", "client")
    assert server.stats().failed == 1


def test_the_end_is_counted_where_close_request_does_not(server):
    """A subclass that doesn't pass close_request on has its requests ended all the same."""
    server.close_request = lambda request: None
    run_request(server, "request", "client")
    assert server.stats().completed == 1


def test_a_request_that_was_not_taken_is_run_too(server):
    """Who runs a request by hand needs no entry."""
    assert run_request(server, "another", "client") is Outcome.COMPLETED
    assert server.stats().completed == 0
    assert server.stats().active == 1


def test_reporting_on_our_server_tells_what_it_means(server):
    """The outcome is what classify_error says."""
    server.classify_error = lambda error, request: Outcome.TIMED_OUT
    try:
        raise ValueError("slow")
    except ValueError:
        assert report_error(server, "request", "client") is Outcome.TIMED_OUT


def test_reporting_nothing_goes_to_handle_error(server, caplog):
    """Without an exception there is nothing to classify; the hook is called as on others."""
    calls = []
    server.handle_error = lambda *arguments: calls.append(arguments)
    assert report_error(server, "request", "client") is Outcome.FAILED
    assert calls == [("request", "client")]
    assert caplog.records == []
