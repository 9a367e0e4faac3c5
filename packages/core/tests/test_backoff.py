"""Tests of netserve.core._backoff."""

import errno

import pytest

from netserve.core._backoff import Backoff, calls_for_a_pause

PAUSES = ["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "EBADF", "ENOTSOCK", "EINVAL", "EOPNOTSUPP"]
PEERS = ["ECONNABORTED", "EPROTO", "EAGAIN", "EINTR", "ENETDOWN", "EHOSTUNREACH", "EPERM"]


@pytest.mark.parametrize("name", PAUSES)
def test_what_is_wrong_with_this_system_calls_for_a_pause(name):
    """Without descriptors or memory, or a proper listener, trying again at once is in vain."""
    assert calls_for_a_pause(OSError(getattr(errno, name), name))


@pytest.mark.parametrize("name", PEERS)
def test_what_is_wrong_with_one_connection_does_not(name):
    """What concerns one peer is passed over."""
    assert not calls_for_a_pause(OSError(getattr(errno, name), name))


def test_an_error_without_a_number_does_not():
    """A timeout, say, has no errno and is about a peer."""
    assert not calls_for_a_pause(TimeoutError("slow"))


def test_each_pause_is_twice_the_last_up_to_a_second():
    """The pauses double from a tenth of a second, and stay at one second."""
    backoff = Backoff()
    assert [backoff.failed() for _ in range(8)] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1, 1, 1, 1])


def test_a_success_begins_anew():
    """After a success the next failure is the first of its row."""
    backoff = Backoff()
    assert not backoff.failing
    for _ in range(3):
        backoff.failed()
        assert backoff.failing
    backoff.succeeded()
    assert not backoff.failing
    assert backoff.failed() == 0.1
    assert backoff.failing
    assert Backoff().failed() == 0.1


def test_fewer_than_twenty_tries_fit_in_a_second():
    """However long the system has no room, the first second has fewer than 20 tries."""
    backoff, elapsed, tries = Backoff(), 0.0, 0
    while elapsed < 1:
        elapsed += backoff.failed()
        tries += 1
    assert tries < 20
