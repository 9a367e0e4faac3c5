"""Tests of netserve.concurrency._places: what children tell one another and their parent."""

import errno
import os

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
if hasattr(os, "fork"):
    from netserve.concurrency import _places
    from netserve.concurrency._places import Board

ADDRESSES = [("192.0.2.1", 80), ("2001:db8::1", 80, 0, 3), "/run/socket", b"\0abstract\xff", ""]
FIRST, SECOND = ("192.0.2.1", 1), ("192.0.2.2", 1)


@pytest.fixture
def board():
    """Three places."""
    board = Board(3)
    yield board
    board.close()


def in_child(work):
    """Run *work* in a child; returns the small number that it returns."""
    pid = os.fork()
    if not pid:
        os._exit(work())
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.parametrize("address", ADDRESSES, ids=repr)
def test_a_child_tells_its_parent_an_address(board, address):
    """Of any kind."""
    place = board.take()
    assert place.read() is None
    in_child(lambda: place.tell(address) or 0)
    assert place.read() == address


def test_places_are_taken_and_released(board):
    """The lowest first; a new one knows nothing of who had it before."""
    places = [board.take() for _ in range(3)]
    assert repr(board) == "<Board of 3 places, 0 of them free>"
    assert board.take() is None
    places[1].tell(FIRST)
    places[1].count()
    places[1].release()
    assert repr(board) == "<Board of 3 places, 1 of them free>"
    again = board.take()
    assert repr(again) == f"<BoardPlace 1 of {board!r}>"
    assert again.read() is None
    places[0].tell(FIRST)
    assert places[0].count() == 0


def test_a_peer_is_counted_over_all_children(board):
    """By its address without the port, each child once it has counted."""
    places = [board.take() for _ in range(3)]
    for place, address in zip(places, [FIRST, SECOND, ("192.0.2.1", 2)], strict=True):
        place.tell(address)
    assert [in_child(place.count) for place in places] == [0, 0, 1]
    places[0].release()
    places[0] = board.take()
    places[0].tell(FIRST)
    assert in_child(places[0].count) == 1


def test_children_that_count_at_once_are_counted_one_by_one():
    """However many there are, each number comes once."""
    board = Board(20)
    children = []
    hold, release = os.pipe()
    for _ in range(20):
        place = board.take()
        pid = os.fork()
        if not pid:
            os.close(release)
            place.tell(FIRST)
            os.read(hold, 1)
            os._exit(place.count())
        children.append(pid)
    os.close(release)
    counts = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
    os.close(hold)
    board.close()
    assert sorted(counts) == list(range(20))


def test_an_address_that_is_too_long_isnt_told(board):
    """No system has such."""
    place = board.take()
    place.tell("x" * 1000)
    assert place.read() is None


def test_a_place_that_is_being_written_has_nothing_to_read(board):
    """Whoever looks at it in this moment sees no address."""
    place = board.take()
    place.tell("/run/socket")
    board._map[place.start + 3] = ord("(")
    assert place.read() is None


def test_a_closed_board_tells_nothing(board):
    """The server may be closed before its children have ended."""
    place = board.take()
    place.tell(FIRST)
    board.close()
    assert place.read() is None
    place.release()


def test_a_board_that_cant_be_made_leaves_nothing_open(monkeypatch):
    """The conftest sees to that."""

    def fail(*_):
        raise OSError(errno.ENOMEM, "no room")

    monkeypatch.setattr(_places.mmap, "mmap", fail)
    with pytest.raises(OSError, match="no room"):
        Board(1)
