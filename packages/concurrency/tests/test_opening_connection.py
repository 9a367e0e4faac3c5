"""Tests of netserve.concurrency._opening_connection, on a pair of sockets and without a loop."""

import socket

import pytest

from netserve.concurrency._connection import READ, WRITE, Connection, Stage
from netserve.concurrency._opening_connection import OpeningConnection
from netserve.core import Deadline, Entry, MessageHandler, Wait

NEVER = float("inf")


@pytest.fixture
def opened():
    """A connection that waits for a byte, then for room; its client; and what was noted."""
    ours, client = socket.socketpair()
    notes = []

    def opening():
        try:
            yield Wait(False, NEVER, Deadline.HANDSHAKE, 0.0)
            notes.append(ours.recv(10))
            yield Wait(True, NEVER, Deadline.HANDSHAKE, 0.0)
            return "somebody"
        finally:
            notes.append("closed")

    with ours, client:
        yield OpeningConnection(ours, opening(), Entry(1, ours, "proxy"), print), client, notes


def test_it_goes_from_step_to_step(opened):
    """And is watched for what the next one needs."""
    connection, client, notes = opened
    assert isinstance(connection, Connection)
    assert connection.address == "proxy"
    connection.open()
    assert (connection.stage, connection.watched) == (Stage.OPENING, READ)
    client.sendall(b"x")
    connection.attend(READ)
    assert (connection.stage, connection.watched) == (Stage.OPENING, WRITE)
    connection.armed = WRITE
    connection.attend(WRITE)
    assert (connection.stage, connection.watched) == (Stage.OPENED, WRITE)
    assert connection.address == "somebody"
    assert notes == [b"x", "closed"]


def test_its_end_ends_the_opening(opened):
    """What comes then is thrown away."""
    connection, client, notes = opened
    connection.open()
    connection.fail()
    assert notes == ["closed"]
    assert connection.stage is Stage.CLOSING
    connection.stage = Stage.LINGERING
    client.sendall(b"surplus")
    connection.attend(READ)
    assert connection.surplus == 7


def test_one_that_is_cut_ends_the_opening_too(opened):
    """At once."""
    connection, _, notes = opened
    connection.open()
    connection.cut()
    assert notes == ["closed"]
    assert connection.stage is Stage.DONE


def test_who_stands_for_the_handler_does_nothing(opened):
    """Whatever it is asked."""
    handler = opened[0].handler
    handler.transmit = print
    assert isinstance(handler, MessageHandler)
    handler.setup()
    handler.flush()
    handler.finish()
    assert handler.feed(b"x") == handler.end_of_input() == b""
    assert handler.decoder.decode(b"x") == handler.decoder.end() == []
    assert handler.decoder.pending == 0
    assert not handler.closing
