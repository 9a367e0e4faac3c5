"""Tests of netserve.core._deadlines: arithmetic on a clock that is passed in."""

import math

from hypothesis import given
from hypothesis import strategies as st

from netserve.core import Deadline, Deadlines

LIMIT = st.none() | st.integers(1, 50)
MOVES = st.lists(
    st.tuples(
        st.sampled_from(["wait", "wait to send", "received", "sent", "ended", "began"]),
        st.integers(0, 10),
    ),
    max_size=30,
)


def test_without_limits_a_wait_has_no_end():
    """The allowance is infinite, whatever has come and gone."""
    deadlines = Deadlines(None, None, None, 5)
    assert deadlines.allowance(10, receiving=True)[0] == math.inf
    deadlines.received(10)
    assert deadlines.allowance(1000, receiving=True)[0] == math.inf
    assert deadlines.allowance(1000, receiving=False)[0] == math.inf


def test_idle_is_the_time_of_one_wait():
    """It runs from the beginning of the wait, over its parts, until a byte comes or goes."""
    deadlines = Deadlines(10, None, None, 0)
    assert deadlines.allowance(100, receiving=True) == (10, Deadline.IDLE)
    assert deadlines.allowance(104, receiving=True) == (6, Deadline.IDLE)
    assert deadlines.allowance(110, receiving=True) == (0, Deadline.IDLE)
    deadlines.received(110)
    # The handler works for a long time, which isn't idle.
    assert deadlines.allowance(500, receiving=False) == (10, Deadline.IDLE)
    assert deadlines.allowance(504, receiving=False) == (6, Deadline.IDLE)
    deadlines.sent()
    assert deadlines.allowance(600, receiving=True) == (10, Deadline.IDLE)


def test_a_message_runs_from_its_first_byte_however_steadily_it_drips():
    """Each byte renews the idle deadline, none the message's."""
    deadlines = Deadlines(10, 30, None, 0)
    assert deadlines.allowance(0, receiving=True) == (10, Deadline.IDLE)
    for now in range(5, 30, 5):
        deadlines.received(now)
        left = 35 - now
        expected = (left, Deadline.MESSAGE) if left < 10 else (10, Deadline.IDLE)
        assert deadlines.allowance(now, receiving=True) == expected
    deadlines.received(36)
    assert deadlines.allowance(36, receiving=True) == (-1, Deadline.MESSAGE)


def test_a_wait_to_send_has_no_message_deadline():
    """The message is there; what the peer is slow to take is judged by the other limits."""
    deadlines = Deadlines(None, 30, 90, 0)
    deadlines.received(10)
    assert deadlines.allowance(20, receiving=True) == (20, Deadline.MESSAGE)
    assert deadlines.allowance(20, receiving=False) == (70, Deadline.CONNECTION)


def test_a_reply_ends_the_message():
    """After output the next message begins with its own first byte."""
    deadlines = Deadlines(None, 30, None, 0)
    deadlines.received(10)
    deadlines.sent()
    assert deadlines.allowance(100, receiving=True)[0] == math.inf
    deadlines.received(100)
    assert deadlines.allowance(101, receiving=True) == (29, Deadline.MESSAGE)


def test_a_message_may_end_without_a_reply():
    """A message that is complete has no deadline; what is there of the next begins it."""
    deadlines = Deadlines(None, 30, None, 0)
    deadlines.received(10)
    deadlines.message_ended()
    assert deadlines.allowance(100, receiving=True)[0] == math.inf
    deadlines.message_began(100)
    assert deadlines.allowance(110, receiving=True) == (20, Deadline.MESSAGE)
    deadlines.received(115)
    assert deadlines.allowance(120, receiving=True) == (10, Deadline.MESSAGE)


def test_the_end_of_a_message_does_not_renew_an_idle_wait():
    """Only bytes do."""
    deadlines = Deadlines(10, None, None, 0)
    deadlines.allowance(0, receiving=True)
    deadlines.message_ended()
    deadlines.message_began(3)
    assert deadlines.allowance(4, receiving=True) == (6, Deadline.IDLE)


def test_the_connection_ends_whatever_happens():
    """Its limit runs from the beginning, and nothing renews it."""
    deadlines = Deadlines(10, 10, 100, 1000)
    for now in (1000, 1050):
        assert deadlines.allowance(now, receiving=True) == (10, Deadline.IDLE)
        deadlines.received(now)
        deadlines.sent()
    assert deadlines.allowance(1095, receiving=True) == (5, Deadline.CONNECTION)
    deadlines.received(1098)
    assert deadlines.allowance(1098, receiving=False) == (2, Deadline.CONNECTION)
    assert deadlines.allowance(1101, receiving=False) == (-1, Deadline.CONNECTION)


def test_a_limit_of_zero_is_one():
    """Zero means at once, not never."""
    assert Deadlines(0, None, None, 5).allowance(5, receiving=True) == (0, Deadline.IDLE)
    assert Deadlines(None, None, 0, 5).allowance(6, receiving=True) == (-1, Deadline.CONNECTION)
    deadlines = Deadlines(None, 0, None, 5)
    deadlines.received(5)
    assert deadlines.allowance(5, receiving=True) == (0, Deadline.MESSAGE)


def test_the_limits_can_be_read():
    """They stand in a mapping, and in the repr."""
    deadlines = Deadlines(1, None, 2.5, 0)
    assert deadlines.limits == {
        Deadline.IDLE: 1,
        Deadline.MESSAGE: None,
        Deadline.CONNECTION: 2.5,
    }
    assert repr(deadlines) == "<Deadlines idle=1, message=None, connection=2.5>"


@given(LIMIT, LIMIT, LIMIT, MOVES)
def test_the_allowance_is_the_nearest_of_the_deadlines(idle, message, connection, moves):
    """After any history, the time left is the least of the three, and is named after it."""
    deadlines = Deadlines(idle, message, connection, 0)
    now, waiting, begun = 0, None, None
    for move, passed in moves:
        now += passed
        if move == "received":
            deadlines.received(now)
            waiting, begun = None, now if begun is None else begun
        elif move == "sent":
            deadlines.sent()
            waiting = begun = None
        elif move == "ended":
            deadlines.message_ended()
            begun = None
        elif move == "began":
            deadlines.message_began(now)
            begun = now
        else:
            waiting = now if waiting is None else waiting
            ends = {
                Deadline.IDLE: math.inf if idle is None else waiting + idle,
                Deadline.CONNECTION: math.inf if connection is None else connection,
            }
            if move == "wait" and begun is not None and message is not None:
                ends[Deadline.MESSAGE] = begun + message
            left, which = deadlines.allowance(now, receiving=move == "wait")
            assert left == min(ends.values()) - now
            assert ends[which] == min(ends.values())
