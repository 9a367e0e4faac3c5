"""The loggers: nothing that a program's logging does wrong escapes from them."""

import logging

import pytest

from netserve.core._logs import log


class Broken(logging.Filter):
    """A filter of a program's own, with a bug."""

    def filter(self, record):
        """Raise."""
        msg = "a bug in a filter"
        raise ZeroDivisionError(msg)


@pytest.fixture
def broken():
    """The logger of the server, with that filter."""
    added = Broken()
    log.logger.addFilter(added)
    yield
    log.logger.removeFilter(added)


@pytest.mark.usefixtures("broken")
def test_what_logging_raises_is_printed(capsys):
    """As logging prints what its own handlers raise."""
    log.error("something is wrong")
    assert "a bug in a filter" in capsys.readouterr().err


@pytest.mark.usefixtures("broken")
def test_what_logging_raises_can_be_kept_quiet(capsys, monkeypatch):
    """By the switch that logging has for it."""
    monkeypatch.setattr(logging, "raiseExceptions", False)
    log.error("something is wrong")
    assert capsys.readouterr().err == ""


def test_a_record_comes_from_its_caller_with_its_extra(caplog):
    """Not from the wrapper."""
    log.warning("%s is wrong", "something", extra={"peer": "a client"})
    (record,) = caplog.records
    assert record.getMessage() == "something is wrong"
    assert record.peer == "a client"
    assert record.funcName == test_a_record_comes_from_its_caller_with_its_extra.__name__
