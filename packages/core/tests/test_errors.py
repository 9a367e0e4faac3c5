"""Tests of netserve.core._errors."""

import errno
import logging
import pickle
import ssl
import subprocess
import sys

import pytest

from netserve.core import (
    Deadline,
    DeadlineError,
    ExhaustedError,
    FramingError,
    LineTooLongError,
    MixInOrderError,
    NetserveError,
    PeerError,
    PlainTextError,
    State,
    StateError,
    TLSError,
    TruncatedError,
    UnnamedPeerError,
)


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (StateError, RuntimeError),
        (MixInOrderError, TypeError),
        (ExhaustedError, RuntimeError),
        (ExhaustedError, OSError),
        (PeerError, ValueError),
        (LineTooLongError, PeerError),
        (DeadlineError, TimeoutError),
        (FramingError, ValueError),
        (UnnamedPeerError, OSError),
        (TruncatedError, ConnectionResetError),
        (TLSError, PeerError),
        (TLSError, ssl.SSLError),
        (PlainTextError, TLSError),
    ],
)
def test_each_error_is_caught_as_the_builtin_one_too(error, builtin):
    """An error of netserve is one of its family, and the built-in that says the same."""
    assert issubclass(error, NetserveError)
    assert issubclass(error, builtin)


def test_a_state_error_tells_state_and_operation():
    """They are attributes, and the message is the whole text."""
    error = StateError("it is closed", State.CLOSED, "serve_forever")
    assert (error.state, error.operation) == (State.CLOSED, "serve_forever")
    assert str(error) == "it is closed"


def test_a_deadline_error_tells_which_deadline_it_was():
    """The deadline and its length are attributes, and the message has both."""
    error = DeadlineError(Deadline.MESSAGE, 2.5)
    assert (error.deadline, error.seconds) == (Deadline.MESSAGE, 2.5)
    assert str(error) == "the message deadline of 2.5 s has passed"
    assert str(DeadlineError(Deadline.IDLE, 30.0)) == "the idle deadline of 30 s has passed"


def test_an_exhausted_error_may_have_a_number():
    """It carries what fork has said, or only a text."""
    assert ExhaustedError(11, "Resource temporarily unavailable").errno == 11
    assert str(ExhaustedError("can't start new thread")) == "can't start new thread"


def test_a_framing_error_has_the_messages_before_it():
    """A list of its own, which a pickled copy has too; empty unless given."""
    before = [b"one", b"two"]
    error = FramingError("too long", before)
    before.clear()
    assert str(error) == "too long"
    assert error.messages == [b"one", b"two"]
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.messages) == ("too long", [b"one", b"two"])
    assert FramingError("too long").messages == []


def test_a_truncated_error_says_what_broke_off():
    """As the system says that a connection was reset, but in words of ours."""
    error = TruncatedError("the stream broke off")
    assert error.errno == errno.ECONNRESET
    assert str(error) == "the stream broke off"


def test_an_error_of_tls_is_in_its_own_words():
    """Without the line of C that it is from; in the system's, where it has none."""
    found = ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1)")
    assert str(TLSError.explaining("it failed", found)) == (
        "it failed ([ssl: wrong version number] wrong version number ( ssl.c:1))"
    )
    found.reason = "WRONG_VERSION_NUMBER"
    error = TLSError.explaining("it failed", found)
    assert str(error) == error.reason == "it failed (wrong version number)"
    bad = ssl.SSLCertVerificationError(1, "x")
    bad.verify_message = "Certificate is Expired"
    assert "can't be verified: Certificate is Expired)" in str(
        TLSError.explaining("it failed", bad)
    )


def test_plain_text_where_tls_should_be_is_no_news():
    """Its record has level DEBUG; what came is there."""
    error = PlainTextError(b"GET / HTTP/1.1 and more")
    assert (error.level, error.beginning) == (logging.DEBUG, b"GET / HTTP/1.1 and more")
    assert str(error) == "the client doesn't speak TLS: it has sent b'GET / HTTP/1.1 and m'"


def test_ssl_is_imported_when_an_error_of_it_is_asked_for():
    """Each forked process is the smaller without."""
    program = (
        "import sys, netserve.core; print('ssl' in sys.modules);"
        " netserve.core.TLSError; print('ssl' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout.split() == [b"False", b"True"]


def test_without_ssl_its_errors_are_absent():
    """The rest is there."""
    program = (
        "from importlib import util; find = util.find_spec;"
        " util.find_spec = lambda name: None if name == '_ssl' else find(name);"
        " import netserve.core as core;"
        " print(hasattr(core, 'TLSError'), 'TLSError' in core.__all__,"
        " all(hasattr(core, name) for name in core.__all__))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout.split() == [b"False", b"False", b"True"]
