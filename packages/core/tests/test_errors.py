"""Tests of netserve.core._errors."""

import pytest

from netserve.core import MixInOrderError, NetserveError, StateError


@pytest.mark.parametrize(
    ("error", "builtin"), [(StateError, RuntimeError), (MixInOrderError, TypeError)]
)
def test_each_error_is_caught_as_the_builtin_one_too(error, builtin):
    """An error of netserve is one of its family, and the built-in that says the same."""
    assert issubclass(error, NetserveError)
    assert issubclass(error, builtin)
