"""Tests of netserve.handlers._base."""

import logging

import pytest

from netserve.handlers import BaseRequestHandler


class Noting(BaseRequestHandler):
    """Notes the calls, and raises in the method that is named in the request."""

    def note(self, method):
        """Note the call of *method*."""
        self.server.append(method)
        if self.request == method:
            raise ValueError(method)

    def setup(self):
        """First."""
        self.note("setup")

    def handle(self):
        """Second."""
        self.note("handle")

    def finish(self):
        """Last."""
        self.note("finish")


@pytest.mark.parametrize(
    ("failing", "called"),
    [
        (None, ["setup", "handle", "finish"]),
        ("setup", ["setup"]),
        ("handle", ["setup", "handle", "finish"]),
        ("finish", ["setup", "handle", "finish"]),
    ],
)
def test_making_a_handler_handles_the_request(failing, called):
    """The three methods run in order; finish also after a failed handle, not a failed setup."""
    calls = []
    if failing is None:
        Noting(failing, "client", calls)
    else:
        with pytest.raises(ValueError, match=failing):
            Noting(failing, "client", calls)
    assert calls == called


def test_finish_is_called_after_an_exit():
    """A handle that ends the process is finished as well."""
    calls = []

    class Exiting(Noting):
        def handle(self):
            raise SystemExit

    with pytest.raises(SystemExit):
        Exiting(None, "client", calls)
    assert calls == ["setup", "finish"]


def test_when_handle_and_finish_raise_the_first_error_goes_on(caplog):
    """The one of finish, most often its consequence, is a warning with its traceback."""
    calls = []

    class Failing(Noting):
        def finish(self):
            self.server.append("finish")
            raise KeyError("finish")

    with pytest.raises(ValueError, match="handle") as caught:
        Failing("handle", "client", calls)
    assert calls == ["setup", "handle", "finish"]
    assert caught.value.__context__ is None
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("netserve.server", logging.WARNING)
    assert "finish() raised after handle()" in record.getMessage()
    assert repr(record.exc_info[1]) == "KeyError('finish')"


def test_after_an_exit_an_error_of_finish_is_a_warning_too(caplog):
    """The exit goes on."""

    class Exiting(Noting):
        def handle(self):
            raise SystemExit(3)

    with pytest.raises(SystemExit):
        Exiting("finish", "client", [])
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_an_exit_in_finish_is_not_held_back():
    """What isn't an Exception is nothing to be logged."""

    class Exiting(Noting):
        def finish(self):
            raise SystemExit(3)

    with pytest.raises(SystemExit):
        Exiting("handle", "client", [])


def test_an_error_of_finish_alone_goes_on_without_a_warning(caplog):
    """It is the first one then."""
    with pytest.raises(ValueError, match="finish"):
        Noting("finish", "client", [])
    assert caplog.records == []


def test_the_request_is_at_hand_in_every_method():
    """request, client_address and server are set before setup is called."""
    seen = []

    class Looking(BaseRequestHandler):
        def setup(self):
            seen.append((self.request, self.client_address, self.server))

    handler = Looking("request", "client", "server")
    assert seen == [("request", "client", "server")]
    assert (handler.request, handler.client_address, handler.server) == seen[0]


def test_the_methods_of_the_base_do_nothing():
    """The base may be made with anything, and its methods called with super()."""
    handler = BaseRequestHandler(None, None, None)
    assert handler.setup() is None
    assert handler.handle() is None
    assert handler.finish() is None


def test_the_class_may_be_reassigned():
    """Programs make a bare handler and turn it into their own."""
    handler = BaseRequestHandler(None, None, [])
    handler.__class__ = Noting
    handler.handle()
    assert handler.server == ["handle"]


def test_the_type_parameters_are_optional():
    """The bare class and the parametrised one are the same at run time."""
    assert isinstance(BaseRequestHandler[int, str, list](1, "", []), BaseRequestHandler)
