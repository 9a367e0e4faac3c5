"""What the contract checks share: saying what was broken, and ways to cut a stream."""

import random
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Final

from netserve.testing._errors import ContractError

_SHORT: Final = 200
_CUTS: Final = 40


class Contract:
    """One Protocol or class, and *subject*, the implementation that is checked against it."""

    def __init__(self, name: str, subject: object) -> None:
        self.name = name
        self.subject = subject

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} of {self.subject!r}>"

    def require(self, kept: object, guarantee: str, found: str) -> None:
        """Raise :class:`ContractError` unless *guarantee* is *kept*; *found* is what was seen."""
        if not kept:
            raise self.broken(guarantee, found)

    def broken(self, guarantee: str, found: str) -> ContractError:
        """The error that says so."""
        return ContractError(self.name, guarantee, f"{self.subject!r}: {found}")

    @contextmanager
    def only(self, *allowed: type[BaseException], guarantee: str, doing: str) -> Generator[None]:
        """A span in which nothing is raised but the *allowed*, which pass through."""
        try:
            yield
        except ContractError:
            raise
        except Exception as error:
            if isinstance(error, allowed):
                raise
            found = f"{doing} raised {type(error).__name__}: {error}"
            raise self.broken(guarantee, found) from error


def cuts(data: bytes) -> Iterator[list[bytes]]:
    """Ways in which *data* may arrive: whole, byte by byte, in two, and at random.

    The same ones each time. A long one comes in two thousand pieces at the most.
    """
    yield [data]
    step = len(data) // 2000 + 1
    yield [data[place : place + step] for place in range(0, len(data), step)]
    chance = random.Random(len(data))
    places = range(1, len(data))
    if len(places) > _CUTS:
        # The ends are where framings are.
        middle = chance.sample(places, _CUTS // 2)
        places = sorted({*places[: _CUTS // 4], *places[-_CUTS // 4 :], *middle})  # type: ignore[assignment]  # numbers, either way
    for place in places:
        yield [data[:place], data[place:]]
    for _ in range(10):
        ends = sorted(chance.randrange(len(data) + 1) for _ in range(5))
        pieces = [data[a:b] for a, b in zip([0, *ends], [*ends, len(data)], strict=True)]
        yield [piece for piece in pieces if piece]


def shown(data: object) -> str:
    """*data* as it stands in a message: shortened, if it is long."""
    text = repr(data)
    return text if len(text) <= _SHORT else f"{text[:_SHORT]}..."
