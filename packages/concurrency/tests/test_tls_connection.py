"""Tests of netserve.concurrency._tls_connection, with ssl's own sockets and without a loop."""

import socket
import ssl
import threading

import pytest
import trustme

from netserve.concurrency._connection import READ, WRITE, Stage
from netserve.concurrency._tls_connection import TLSConnection
from netserve.core import Entry

PATIENCE = 20


class Handler:
    """Answers with what *answer* makes of what comes."""

    decoder = None
    closing = False

    def __init__(self):
        self.ended = False
        self.answer = bytes.upper

    def setup(self):
        """Nothing."""

    flush = finish = setup

    def feed(self, data):
        """Answer."""
        return self.answer(data)

    def end_of_input(self):
        """Note it."""
        self.ended = True
        return b""


@pytest.fixture
def pair():
    """A connection of the multiplexer, and its client."""
    ca = trustme.CA()
    ours, theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    ca.issue_cert("localhost").configure_cert(ours)
    ca.configure_trust(theirs)
    here, there = socket.socketpair()
    there.settimeout(PATIENCE)
    sides = []
    connect = threading.Thread(
        target=lambda: sides.append(theirs.wrap_socket(there, server_hostname="localhost"))
    )
    connect.start()
    request = ours.wrap_socket(here, server_side=True)
    connect.join()
    (client,) = sides
    with request, client:
        yield TLSConnection(request, Handler(), Entry(1, request, "client")), client


def test_it_reads_and_answers(pair):
    """And does nothing where nothing is there."""
    connection, client = pair
    connection.open()
    connection.ready()
    client.sendall(b"hello")
    connection.attend(READ)
    assert client.recv(100) == b"HELLO"
    assert connection.stage is Stage.OPEN
    assert connection.watched == READ


def test_what_has_no_room_is_kept_and_sent_in_order(pair):
    """By and by, as the client takes it."""
    connection, client = pair
    large = b"".join(b"%07d\n" % number for number in range(250_000))
    connection.handler.answer = lambda data: large
    client.sendall(b"x")
    connection.ready()
    assert connection.watched == WRITE
    assert 0 < len(connection.unsent) <= len(large)
    connection.attend(WRITE)
    received = b""
    while len(received) < len(large):
        received += client.recv(1 << 20)
        connection.attend(WRITE)
    assert received == large
    assert connection.unsent == b""


def test_the_end_of_what_tls_brings_is_not_that_of_the_connection(pair):
    """It is closed with a goodbye, and what comes then is thrown away unread."""
    connection, client = pair
    connection.open()
    goodbye = threading.Thread(target=client.unwrap)
    goodbye.start()
    while connection.stage is Stage.OPEN:
        connection.ready()
    assert connection.stage is Stage.CLOSING
    assert connection.handler.ended
    assert not connection.input_ended
    connection.socket.setblocking(True)
    connection.socket.unwrap()
    goodbye.join()
    connection.socket.setblocking(False)
    connection.stage = Stage.LINGERING
    connection.attend(READ)
    assert connection.surplus == 0
    socket.socket.send(client, b"surplus")
    connection.attend(READ)
    assert connection.surplus == 7
    assert not connection.input_ended
    socket.socket.shutdown(client, socket.SHUT_WR)
    connection.attend(READ)
    assert connection.input_ended
