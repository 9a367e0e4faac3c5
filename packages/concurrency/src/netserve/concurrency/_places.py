"""Where child processes tell whose requests they run, in memory that they share.

Theory of operation. A child that learns its client's address only after the fork
can't change its parent's ledger. So the parent gives it a *place* on a board that
all of them share: a file without a name, mapped into memory. The child writes the
address there, and its parent reads it, when it likes and at the child's end.

To count the requests of one peer, a child looks at all places. Between looking and
being counted it holds a lock on the file, so that the count is exact; the system
releases the lock of a child that dies. The parent takes no lock, and so never
waits for a child; the length of an address is written last for it.
"""

import ast
import fcntl
import mmap
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from netserve.core import peer_key

_SIZE: Final = 512
_LENGTH: Final = 2
_COUNTED: Final = _LENGTH
_TEXT: Final = _COUNTED + 1


class Board:
    """*size* places, for as many processes.

    Raises :class:`OSError` when the system has no descriptors or room for it.
    """

    def __init__(self, size: int) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the board
        try:
            self._file.truncate(size * _SIZE)
            self._map = mmap.mmap(self._file.fileno(), size * _SIZE)
        except BaseException:
            self._file.close()
            raise
        self._free = set(range(size))
        self._size = size

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._size} places, {len(self._free)} of them free>"

    def take(self) -> "BoardPlace | None":
        """A place that is free; None when there is none."""
        if not self._free:
            return None
        # The lowest, so that the used ones stay together.
        number = min(self._free)
        self._free.remove(number)
        return BoardPlace(self, number)

    def release(self, place: "BoardPlace") -> None:
        """Have *place* back, whose process has ended."""
        if not self._map.closed:
            self._map[place.start : place.start + _TEXT] = bytes(_TEXT)
        self._free.add(place.number)

    def close(self) -> None:
        """Let the memory go; the places are of no more use."""
        self._map.close()
        self._file.close()

    def tell(self, place: "BoardPlace", address: object) -> None:
        """Write *address* in *place*, unless it is too long."""
        text = repr(address).encode()
        if len(text) <= _SIZE - _TEXT:
            start = place.start + _TEXT
            self._map[start : start + len(text)] = text
            self._map[place.start : place.start + _LENGTH] = len(text).to_bytes(_LENGTH, "big")

    def read(self, start: int) -> object:
        """The address in the place that begins at *start*; None for none."""
        if self._map.closed:
            return None
        length = int.from_bytes(self._map[start : start + _LENGTH], "big")
        text = self._map[start + _TEXT : start + _TEXT + length]
        try:
            return ast.literal_eval(text.decode()) if length else None
        except (ValueError, SyntaxError):
            # Another process has begun to write there.
            return None

    def count(self, place: "BoardPlace") -> int:
        """How many other places have the peer of *place*; from now on it is counted itself."""
        key = peer_key(self.read(place.start))
        with self._locked():
            held = sum(
                bool(self._map[start + _COUNTED]) and peer_key(self.read(start)) == key
                for start in range(0, self._size * _SIZE, _SIZE)
            )
            self._map[place.start + _COUNTED] = 1
        return held

    @contextmanager
    def _locked(self) -> Generator[None]:
        fcntl.lockf(self._file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN)


class BoardPlace:
    """Place *number* of *board*, for one process."""

    def __init__(self, board: Board, number: int) -> None:
        self.number = number
        self.start = number * _SIZE
        self._board = board

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.number} of {self._board!r}>"

    def tell(self, address: object) -> None:
        """Write *address* for the other processes."""
        self._board.tell(self, address)

    def read(self) -> object:
        """The address that was written; None for none."""
        return self._board.read(self.start)

    def count(self) -> int:
        """How many of the other processes serve the same peer; this one is counted from now on."""
        return self._board.count(self)

    def release(self) -> None:
        """Let another process have the place."""
        self._board.release(self)
