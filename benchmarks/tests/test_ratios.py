"""The arithmetic of a comparison."""

import pytest

from benchmarks.ratios import (
    better,
    median_of_ratios,
    ratio_of_medians,
    shuffled_rounds,
    spread,
)


def test_each_round_has_every_server_once_and_in_another_order() -> None:
    """No server is always measured after the same other."""
    names = [f"server {i}" for i in range(12)]
    visits = list(shuffled_rounds(names, 5, seed=1))
    orders = [[name for number, name in visits if number == each] for each in range(5)]
    assert all(sorted(order) == sorted(names) for order in orders)
    assert len({tuple(order) for order in orders}) == 5


def test_the_same_seed_gives_the_same_order() -> None:
    """A run can be repeated."""
    names = list("abcdefgh")
    assert list(shuffled_rounds(names, 3, seed=7)) == list(shuffled_rounds(names, 3, seed=7))


@pytest.mark.parametrize(
    ("value", "less_is_better", "expected"), [(30, False, 3), (30, True, 1 / 3), (5, True, 2)]
)
def test_a_ratio_above_one_is_better(value: float, less_is_better: bool, expected: float) -> None:
    """Whether more is better, or less."""
    assert better(value, 10, less_is_better=less_is_better) == pytest.approx(expected)


@pytest.mark.parametrize(("value", "baseline"), [(0, 10), (10, 0), (-1, 10)])
def test_nothing_is_no_ratio(value: float, baseline: float) -> None:
    """A figure that is too small to be measured can't be compared."""
    assert better(value, baseline, less_is_better=True) is None


def test_one_bad_round_moves_no_median() -> None:
    """So the table bears a disturbance."""
    assert ratio_of_medians([20, 20, 1], [10, 10, 90], less_is_better=False) == 2
    assert ratio_of_medians([], [10], less_is_better=False) is None
    assert ratio_of_medians([10], [], less_is_better=False) is None


def test_ratios_are_taken_within_a_round() -> None:
    """A round that slows both sides alike keeps its ratio; one that lacks a side has none."""
    values = {0: 20.0, 1: 2.0, 2: 30.0, 4: 1.0}
    baseline = {0: 10.0, 1: 1.0, 2: 10.0, 3: 5.0}
    assert median_of_ratios(values, baseline, less_is_better=False) == 2
    assert median_of_ratios(values, {}, less_is_better=False) is None


def test_the_spread_is_a_share_of_the_median() -> None:
    """And there is none without values."""
    assert spread([9, 10, 12]) == pytest.approx(0.3)
    assert spread([]) is None
    assert spread([0.0, 0.0]) is None
