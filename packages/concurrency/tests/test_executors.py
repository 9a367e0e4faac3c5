"""Tests of netserve.concurrency._executors: whose an executor is, and what can be sent to it."""

import zlib
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor

import pytest

from netserve.concurrency._executors import Executors, is_broken, sendable_function


class Fake(Executor):
    """Refuses work with *error*, if there is one; notes how it was shut down."""

    def __init__(self, error=None):
        self.error = error
        self.ends = []

    def submit(self, function, /, *arguments):
        """Take work, and do none."""
        if self.error is not None:
            raise self.error
        return Future()

    def shutdown(self, wait=True):
        """Note it."""
        self.ends.append(wait)


def test_a_given_executor_is_not_shut_down():
    """Whatever happens to it; and none is made besides."""
    given = Fake()
    executors = Executors(given, lambda: pytest.fail("made one"))
    assert executors.get() is given
    assert not executors.owns
    executors.discard(given)
    executors.abandon()
    executors.close(wait=True)
    assert executors.get() is given
    assert given.ends == []


def test_an_own_executor_is_made_when_needed_and_shut_down():
    """Once, and no more after the end."""
    made = []
    executors = Executors(None, lambda: made.append(Fake()) or made[-1])
    assert executors.owns
    assert made == []
    assert executors.get() is executors.get() is made[0]
    executors.close(wait=True)
    executors.close(wait=True)
    assert made[0].ends == [True]
    with pytest.raises(RuntimeError, match="has made none, or the server is closed"):
        executors.get()


def test_a_broken_own_executor_is_replaced():
    """Once for all who find it broken; its end is waited for at the close."""
    made = []
    executors = Executors(None, lambda: made.append(Fake()) or made[-1])
    broken = executors.get()
    executors.discard(broken)
    executors.discard(broken)
    executors.discard(executors.get())
    assert executors.get() is made[2]
    executors.close(wait=True)
    assert [each.ends for each in made] == [[True]] * 3


def test_an_abandoned_executor_is_not_waited_for():
    """Nor is one at the close that doesn't wait; the server may have another one then."""
    made = []
    executors = Executors(None, lambda: made.append(Fake()) or made[-1])
    executors.abandon()
    executors.get()
    executors.abandon()
    executors.get()
    executors.close(wait=False)
    assert [each.ends for each in made] == [[False], [False]]


def test_broken_is_what_takes_no_work_for_that_reason():
    """One that has been shut down, or takes it, isn't."""
    assert is_broken(Fake(BrokenExecutor()))
    assert not is_broken(Fake(RuntimeError("cannot schedule new futures after shutdown")))
    assert not is_broken(Fake())


class Handler:
    """Has what a handler's class needs."""

    function = staticmethod(zlib.compress)

    def feed(self, data):
        """Take messages."""

    @classmethod
    def message_function(cls):
        """The function that is sent."""
        return cls.function


def test_a_function_that_can_be_sent():
    """It is what the class has."""
    assert sendable_function(Handler, None) is zlib.compress


def derived(function):
    """A handler class that has *function*."""
    return type("Derived", (Handler,), {"function": staticmethod(function)})


async def coroutine(message):
    """Answer some time."""


async def generator(message):
    """Answer bit by bit."""
    yield message


def method(self, message):
    """Answer, as a method."""


@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        (lambda request, address, server: None, "name the handler class itself"),
        (type("Raw", (), {}), "it takes no messages, as a MessageRequestHandler does"),
        (type("Feeds", (), {"feed": None}), r"it has no message_function\(\)"),
        (derived(coroutine), "it is a coroutine function"),
        (derived(generator), "it is a coroutine function"),
        (derived(method), "it can't be called with a message alone; it must be a static method"),
        (derived(lambda message: message), "it can't be pickled"),
    ],
)
def test_a_handler_that_cannot_be_sent_is_refused(handler, reason):
    """The error names it, and says why."""
    with pytest.raises(TypeError, match=f"can't be sent .*: .*(?:{reason})"):
        sendable_function(handler, None)


def test_threads_are_sent_nothing():
    """So what runs there need not be pickled."""
    with ThreadPoolExecutor(1) as executor:
        handler = derived(lambda message: message)
        assert sendable_function(handler, executor)(b"hello") == b"hello"


def test_a_function_that_does_not_tell_its_parameters():
    """It is taken as it is."""
    handler = derived(max)
    assert sendable_function(handler, None) is max
