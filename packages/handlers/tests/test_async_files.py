"""The files of a coroutine, on a connection that gives out prepared pieces."""

import asyncio
from collections.abc import Coroutine
from functools import partial
from typing import Any, TypeVar

import pytest

from netserve.core import LineTooLongError
from netserve.handlers import AsyncReader, AsyncWriter

T = TypeVar("T")


class Prepared:
    """A connection that receives *pieces*, then the end, and notes what is asked of it."""

    ssl_object = None

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = list(pieces)
        self.partial: list[bool] = []
        self.written: list[bytes] = []
        self.congested = False
        self.drained = 0

    async def receive(self, *, partial: bool = False) -> bytes:
        """The next piece."""
        self.partial.append(partial)
        return self.pieces.pop(0) if self.pieces else b""

    def write(self, data: bytes) -> None:
        """Note it."""
        self.written.append(data)

    async def drain(self) -> None:
        """Note it."""
        self.drained += 1


def run(work: Coroutine[Any, Any, T]) -> T:
    """The result of *work*, which waits for nothing."""
    return asyncio.run(work)


async def lines(reader: AsyncReader) -> list[bytes]:
    """All lines of *reader*."""
    return [line async for line in reader]


@pytest.mark.parametrize(
    "pieces",
    [
        [b"one\ntwo\n\nthree"],
        [b"one\n", b"two\n", b"\n", b"three"],
        [b"on", b"e\ntw", b"o", b"\n\nth", b"ree"],
        [bytes([byte]) for byte in b"one\ntwo\n\nthree"],
        [b"one\ntwo\n\n", b"three"],
    ],
)
def test_lines_are_the_same_in_whatever_pieces_they_come(pieces: list[bytes]) -> None:
    """Each line has its end, but the last, which the end of the input cuts off."""
    reader = AsyncReader(Prepared(*pieces))
    assert run(lines(reader)) == [b"one\n", b"two\n", b"\n", b"three"]
    assert run(reader.readline()) == b""


def test_part_of_a_line_in_hand_is_told() -> None:
    """The time of a message runs while a part of it is there, and not before."""
    connection = Prepared(b"on", b"e\n", b"two\n")
    reader = AsyncReader(connection)
    run(reader.readline())
    run(reader.readline())
    assert connection.partial == [False, True, False]


@pytest.mark.parametrize(
    "pieces",
    [[b"1234567\n"], [b"1234", b"567\n"], [b"12345678"], [b"1", b"23456789", b"\n"], [b"1234567"]],
)
def test_line_may_not_be_longer_than_the_limit(pieces: list[bytes]) -> None:
    """One of just that length is taken, and a longer one refused as soon as that is sure."""
    with pytest.raises(LineTooLongError, match="more than 6 bytes, which is max_line_size"):
        run(AsyncReader(Prepared(*pieces), 6).readline())
    assert run(AsyncReader(Prepared(b"12345\n6"), 6).readline()) == b"12345\n"
    assert run(AsyncReader(Prepared(b"123", b"45\n6"), 6).readline()) == b"12345\n"


def test_line_that_ends_with_the_input_keeps_the_limit() -> None:
    """Also when the last piece takes it beyond."""
    with pytest.raises(LineTooLongError):
        run(AsyncReader(Prepared(b"12345", b"67"), 6).readline())


def test_read_takes_as_much_as_was_asked_for() -> None:
    """From one piece or from several, and what is there at the end."""
    reader = AsyncReader(Prepared(b"0123456789", b"ab", b"cd", b"ef"))
    assert run(reader.read(4)) == b"0123"
    assert run(reader.read(0)) == b""
    assert run(reader.read(7)) == b"456789a"
    assert run(reader.read(-1)) == b"bcdef"
    assert run(reader.read(3)) == b""
    reader = AsyncReader(Prepared(b"ab", b"c"))
    assert run(reader.read(10)) == b"abc"


def test_read1_takes_what_is_there() -> None:
    """It waits only when there is nothing."""
    connection = Prepared(b"0123456789", b"ab")
    reader = AsyncReader(connection)
    assert run(reader.read1(4)) == b"0123"
    assert run(reader.read1()) == b"456789"
    assert run(reader.read1(0)) == b""
    assert connection.partial == [False]
    assert run(reader.read1()) == b"ab"
    assert run(reader.read1()) == b""


def test_files_mix() -> None:
    """What one call leaves, the next one gets, whichever it is."""
    reader = AsyncReader(Prepared(b"one\ntwo\nthr", b"ee\nfour"))
    assert run(reader.readline()) == b"one\n"
    assert run(reader.read(2)) == b"tw"
    assert run(reader.readline()) == b"o\n"
    assert run(reader.readline()) == b"three\n"
    assert run(reader.read(2)) == b"fo"
    assert run(reader.readline()) == b"ur"


@pytest.mark.parametrize(
    ("reads", "rest"), [("readline", b""), ("read", b""), ("read4", b"line\n")]
)
def test_nothing_is_lost_when_a_read_is_cancelled(reads: str, rest: bytes) -> None:
    """The part that was there is there for the next call."""

    class Stuck(Prepared):
        """Waits at its first piece that is empty."""

        async def receive(self, *, partial: bool = False) -> bytes:
            """The next piece, or none for long."""
            piece = await super().receive(partial=partial)
            if not piece:
                await asyncio.sleep(20)
            return piece

    async def scenario() -> bytes:
        connection = Stuck(b"on", b"e", b"")
        reader = AsyncReader(connection)
        work = {"readline": reader.readline, "read": reader.read, "read4": partial(reader.read, 4)}
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(work[reads](), 0.01)
        connection.pieces = [b" line\n"]
        assert reads != "read4" or await reader.read(4) == b"one "
        return await reader.readline()

    assert asyncio.run(scenario()) == (rest or b"one line\n")


def test_writer_waits_where_much_is_held() -> None:
    """Otherwise it only hands on; flush sends at once."""
    connection = Prepared()
    writer = AsyncWriter(connection)
    assert run(writer.write(b"one")) == 3
    assert (connection.written, connection.drained) == ([b"one"], 0)
    connection.congested = True
    run(writer.write(b"two"))
    assert (connection.written, connection.drained) == ([b"one", b"two"], 1)
    run(writer.flush())
    assert connection.drained == 2
