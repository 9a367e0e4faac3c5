"""The line that tells, on a terminal, what the servers are doing."""

import time
from collections.abc import Iterable
from typing import Final

from rich.console import Console
from rich.live import Live
from rich.text import Text
from typing_extensions import Self

from netserve.core import Stats

INTERVAL: Final = 1.0
"""How often the line is written anew, in seconds."""


def status_text(before: Iterable[Stats], now: Iterable[Stats], seconds: float) -> str:
    """What happened between two snapshots of the same servers, *seconds* apart."""
    earlier, later = list(before), list(now)
    taken = sum(stats.accepted for stats in later) - sum(stats.accepted for stats in earlier)
    active = sum(stats.active for stats in later)
    errors = sum(stats.failed for stats in later)
    rate = taken / seconds if seconds > 0 else 0.0
    return f"{active} in progress, {rate:.0f} requests a second, {errors} failed so far"


class StatusLine:
    """The line at the bottom of the terminal that *console* is, above which logs go on.

    Standard error goes through it for the time of the context.
    """

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._last: tuple[float, list[Stats]] | None = None

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, snapshots: list[Stats]) -> None:
        """Write the line anew."""
        now = time.monotonic()
        since, before = self._last or (now, snapshots)
        self._last = (now, snapshots)
        self._live.update(Text(status_text(before, snapshots, now - since)), refresh=True)
