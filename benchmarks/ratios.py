"""The arithmetic of a comparison: rounds, medians, ratios.

A machine that does other work as well slows all servers down for a while. So the
rounds are interleaved: each measures every server once, in an order that is drawn
anew, so that no server is always the one after a particular other. Of each server
the median over the rounds counts.

A ratio says how many times *better* than the baseline a server is, whether more is
better (requests a second) or less (microseconds, KiB). The table's is the ratio of
the two medians. The median of the ratios within each round is computed too: where
the two differ much, the machine was too busy to say anything.
"""

import random
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

_T = TypeVar("_T")


def shuffled_rounds(items: Sequence[_T], count: int, seed: int) -> Iterator[tuple[int, _T]]:
    """Yield *count* times every one of *items*, each time in another order, with the round."""
    source = random.Random(seed)
    for number in range(count):
        for item in source.sample(items, len(items)):
            yield number, item


def better(value: float, baseline: float, *, less_is_better: bool) -> float | None:
    """How many times better than *baseline* is *value*; None when that has no meaning."""
    if value <= 0 or baseline <= 0:
        return None
    return baseline / value if less_is_better else value / baseline


def ratio_of_medians(
    values: Sequence[float], baseline: Sequence[float], *, less_is_better: bool
) -> float | None:
    """Compare the medians; None without values on both sides."""
    if not values or not baseline:
        return None
    return better(
        statistics.median(values), statistics.median(baseline), less_is_better=less_is_better
    )


def median_of_ratios(
    values: Mapping[int, float], baseline: Mapping[int, float], *, less_is_better: bool
) -> float | None:
    """Compare within each round that measured both, and take the median."""
    ratios = [
        ratio
        for number in values.keys() & baseline.keys()
        if (ratio := better(values[number], baseline[number], less_is_better=less_is_better))
        is not None
    ]
    return statistics.median(ratios) if ratios else None


def spread(values: Sequence[float]) -> float | None:
    """How far apart the lowest and the highest value are, as a share of the median."""
    middle = statistics.median(values) if values else 0
    return (max(values) - min(values)) / middle if middle > 0 else None
