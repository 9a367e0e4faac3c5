"""Tests of netserve.core._requests."""

import logging

import pytest

from netserve.core import end_request, report_error, run_request


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
    """A handler that returns is followed by the shutdown, and the answer is True."""
    hooks = Hooks()
    assert run_request(hooks, "request", "client") is True
    assert hooks.calls == [("finish", "request", "client"), ("shutdown", "request")]


def test_a_handler_that_raises_is_reported_then_shut_down():
    """An Exception goes to handle_error before the shutdown, and the answer is False."""
    hooks = Hooks(finish=ValueError("handler"))
    assert run_request(hooks, "request", "client") is False
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
    assert run_request(hooks, "request", ("client", 1)) is False
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
    assert run_request(hooks, "request", "client") is True
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
