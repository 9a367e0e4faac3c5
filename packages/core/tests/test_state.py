"""Tests of netserve.core._state."""

import pytest

from netserve.core import TRANSITIONS, State, may_follow

MOVES = {
    ("created", "bound"), ("created", "serving"), ("created", "closed"),
    ("bound", "bound"), ("bound", "serving"), ("bound", "closed"),
    ("serving", "draining"), ("serving", "stopped"), ("serving", "closed"),
    ("draining", "stopped"), ("draining", "closed"),
    ("stopped", "serving"), ("stopped", "bound"), ("stopped", "closed"),
    ("closed", "bound"), ("closed", "closed"),
}  # fmt: skip


@pytest.mark.parametrize("current", State)
@pytest.mark.parametrize("following", State)
def test_the_table_has_these_moves_and_no_others(current, following):
    """A move is allowed exactly when the documented diagram has an arrow for it."""
    assert may_follow(current, following) is ((str(current), str(following)) in MOVES)


def test_the_table_has_a_row_for_each_state():
    """Every state stands in the table, so that none is a dead end by omission."""
    assert set(TRANSITIONS) == set(State)


def test_the_table_cannot_be_changed():
    """The table is read-only: it is one for all servers."""
    with pytest.raises(TypeError):
        TRANSITIONS[State.CLOSED] = frozenset(State)


def test_a_state_is_written_as_its_name():
    """A state's text is the word that repr(server) shows."""
    assert [str(state) for state in State] == [
        "created", "bound", "serving", "draining", "stopped", "closed",
    ]  # fmt: skip
