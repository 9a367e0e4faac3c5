"""The files of a coroutine: lines out of what a connection receives, and a place to write.

What one call reads is one message, as for the blocking files: while it waits with a
part of it in hand, the connection's message deadline runs.

The reader holds one piece of what has come, as the connection gave it, and a place in
it; most lines are cut out of it without a copy of the rest. A line that is longer
than the piece is gathered in an array, which grows without being copied each time.
"""

from netserve.core import AsyncConnection, LineTooLongError


class AsyncReader:
    """Reads from *connection*; a line has at most *max_line_size* bytes, None for any.

    One coroutine at a time may read. ``async for`` goes over the lines.
    """

    def __init__(self, connection: AsyncConnection, max_line_size: int | None = None) -> None:
        self._connection = connection
        self._longest = max_line_size
        self._data = b""
        self._place = 0

    async def readline(self) -> bytes:
        """The next line with its end; without one if the input ends there; none at the end.

        Raises :class:`~netserve.core.LineTooLongError`.
        """
        data, place = self._data, self._place
        if place == len(data):
            data, place = await self._connection.receive(), 0
            self._data, self._place = data, 0
        end = data.find(b"\n", place) + 1
        if not end:
            return await self._read_long_line()
        self._place = end
        if self._longest is not None and end - place > self._longest:
            raise self._too_long()
        return data[place:end]

    async def read(self, size: int = -1, /) -> bytes:
        """*size* bytes, or fewer if the input ends before; with -1, all until it ends."""
        wanted = float("inf") if size < 0 else size
        data = self._take(len(self._data) if size < 0 else size)
        if len(data) == wanted:
            return data
        gathered = bytearray(data)
        try:
            while len(gathered) < wanted and await self._fill(partial=bool(gathered)):
                left = len(self._data) if size < 0 else size - len(gathered)
                gathered += self._take(left)
        except BaseException:
            # A coroutine that was cancelled may read again.
            self._data, self._place = bytes(gathered), 0
            raise
        return bytes(gathered)

    async def read1(self, size: int = -1, /) -> bytes:
        """What is there, or comes next, of at most *size* bytes, -1 for any; none at the end."""
        if self._place == len(self._data) and size:
            await self._fill(partial=False)
        return self._take(len(self._data) if size < 0 else size)

    def __aiter__(self) -> "AsyncReader":
        """The lines."""
        return self

    async def __anext__(self) -> bytes:
        """The next line."""
        line = await self.readline()
        if not line:
            raise StopAsyncIteration
        return line

    async def _read_long_line(self) -> bytes:
        """The next line, of which what is there is a part."""
        data, place = self._data, self._place
        line = bytearray(data[place:])
        self._data, self._place = b"", 0
        end = 0
        while not end and line:
            if self._longest is not None and len(line) > self._longest:
                raise self._too_long()
            try:
                more = await self._connection.receive(partial=True)
            except BaseException:
                # A coroutine that was cancelled may read again.
                self._data, self._place = bytes(line), 0
                raise
            if not more:
                break
            end = more.find(b"\n") + 1
            line += more[:end] if end else more
            self._data, self._place = more, end or len(more)
        if self._longest is not None and len(line) > self._longest:
            raise self._too_long()
        return bytes(line)

    async def _fill(self, *, partial: bool) -> bool:
        """Wait for the next piece, the last one being used up; false at the end."""
        self._data, self._place = b"", 0
        self._data = await self._connection.receive(partial=partial)
        return bool(self._data)

    def _take(self, size: int) -> bytes:
        """At most *size* bytes of what is there."""
        data, place = self._data, self._place
        self._place = min(place + size, len(data))
        return data[place : self._place]

    def _too_long(self) -> LineTooLongError:
        msg = f"a line of more than {self._longest} bytes, which is max_line_size"
        return LineTooLongError(msg)


class AsyncWriter:
    """Writes to *connection*.

    What is written is sent when the coroutine waits next, in one piece. While the
    client doesn't take it, :meth:`write` waits before more than some 64 KiB is held.
    """

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def write(self, data: bytes, /) -> int:
        """Write all of *data*; returns its length in bytes."""
        connection = self._connection
        connection.write(data)
        if connection.congested:
            await connection.drain()
        return len(data)

    async def flush(self) -> None:
        """Send at once what was written, as far as the client takes it."""
        await self._connection.drain()
