"""Tests of netserve.transports._tls_connection, over a pair of connected sockets."""

import contextlib
import errno
import io
import selectors
import socket
import ssl
import threading
import time

import pytest
import trustme

from netserve.core import (
    Deadline,
    DeadlineError,
    Deadlines,
    PlainTextError,
    TLSError,
    TruncatedError,
    finish_opening,
)
from netserve.transports import TLSConnection, _closing, _tls_connection

PATIENCE = 20
CA = trustme.CA()


def server_side(**attributes):
    """What a server speaks."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    CA.issue_cert("localhost").configure_cert(made)
    for name, value in attributes.items():
        setattr(made, name, value)
    return made


def client_side():
    """What a client speaks that trusts it."""
    made = ssl.create_default_context()
    CA.configure_trust(made)
    return made


SERVER = server_side()
CLIENT = client_side()


@pytest.fixture
def pair():
    """A connection that hasn't been opened, and the plain socket of its client."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname(), PATIENCE)
        ours, _ = listener.accept()
    # Little room, so that it is soon full.
    with theirs, TLSConnection.adopt(ours, Deadlines(None, None, None, 0.0)) as connection:
        yield connection, theirs


def shake_hands(connection, theirs, context=SERVER, client=CLIENT):
    """Open *connection*; returns its client's side."""
    sides = []

    def connect():
        with contextlib.suppress(ssl.SSLError, OSError):
            sides.append(
                client.wrap_socket(
                    theirs.dup(), server_hostname="localhost", suppress_ragged_eofs=False
                )
            )

    thread = threading.Thread(target=connect)
    thread.start()
    try:
        finish_opening(opening(connection, context), connection.fileno())
    except BaseException:
        thread.join()
        for side in sides:
            side.close()
        raise
    thread.join()
    return sides[0]


def opening(connection, context=SERVER, timeout=PATIENCE):
    """The handshake, as an opening whose address nobody needs."""
    yield from connection.opening(context, timeout)
    return "address"


@pytest.fixture
def opened(pair):
    """A connection, and its client's side of it."""
    connection, theirs = pair
    with shake_hands(connection, theirs) as client:
        client.settimeout(PATIENCE)
        yield connection, client


def test_it_is_a_socket_of_ssls(opened):
    """Whoever asks finds what an SSLSocket tells of itself."""
    connection, client = opened
    assert isinstance(connection, ssl.SSLSocket)
    assert connection.version() == client.version()
    assert connection.cipher()[0] == client.cipher()[0]
    assert connection.getpeercert() is None
    assert connection.selected_alpn_protocol() is None
    assert connection.get_channel_binding("tls-unique") == client.get_channel_binding("tls-unique")
    assert connection.context is SERVER
    connection.context = SERVER
    assert connection.session_reused is False
    assert connection.server_side
    assert connection.do_handshake() is None
    assert "cipher" in TLSConnection.cipher.__doc__


def test_nothing_goes_past_tls(opened):
    """The methods of a socket that would are refused, and so are flags."""
    connection, _ = opened
    for name in ("accept", "connect", "dup", "recvfrom", "recvmsg", "sendmsg", "sendto"):
        with pytest.raises(NotImplementedError, match=rf"has no {name}\(\)"):
            getattr(connection, name)()
    with pytest.raises(ValueError, match="a connection under TLS has no flags"):
        connection.recv(1, socket.MSG_PEEK)
    with pytest.raises(ValueError, match="no flags"):
        connection.send(b"x", socket.MSG_OOB)


def test_before_the_handshake_there_is_no_tls(pair):
    """Neither what is read nor what is written is plain text."""
    connection, _ = pair
    for use in (connection.version, lambda: connection.recv(1), lambda: connection.send(b"x")):
        with pytest.raises(ValueError, match="there has been none on this connection"):
            use()


def test_bytes_go_both_ways(opened):
    """By all the methods, in small and in large."""
    connection, client = opened
    client.sendall(b"hello")
    assert connection.recv(2) == b"he"
    assert connection.pending() == 3
    assert connection.read(100) == b"llo"
    assert connection.recv(0) == b""
    client.sendall(b"into")
    buffer = bytearray(10)
    assert connection.recv_into(buffer) == 4
    assert buffer[:4] == b"into"
    client.sendall(b"more")
    assert connection.read(2, buffer) == 2
    assert connection.recv_into(memoryview(buffer), 1) == 1
    assert connection.recv(10) == b"e"
    assert connection.bytes_received == 7
    assert connection.send(b"") == 0
    assert connection.write(b"written") == 7
    assert client.recv(100) == b"written"
    large = b"x" * 3_000_000
    thread = threading.Thread(target=connection.sendall, args=(large,))
    thread.start()
    received = 0
    while received < len(large):
        received += len(client.recv(1 << 20))
    thread.join()


def test_one_receiving_takes_all_that_is_there(opened):
    """Several records, if so many have come."""
    connection, client = opened
    for _ in range(5):
        client.sendall(b"record")
    received = b""
    until = time.monotonic() + PATIENCE
    while len(received) < 30 and time.monotonic() < until:
        received += connection.recv(1000)
    assert received == b"record" * 5
    with selectors.DefaultSelector() as selector:
        selector.register(connection, selectors.EVENT_READ)
        assert selector.select(0) == []
    assert connection.pending() == 0


def test_files_read_and_write_it(opened):
    """As with makefile and sendfile."""
    connection, client = opened
    with connection.makefile("rb") as reader:
        client.sendall(b"one\ntwo\n")
        assert reader.readline() == b"one\n"
        assert reader.readline() == b"two\n"
    assert connection.sendfile(io.BytesIO(b"a file")) == 6
    assert client.recv(100) == b"a file"


def test_close_notify_is_the_end_and_leaves_the_other_way_open(opened):
    """What follows can still be sent, and is followed by our own."""
    connection, client = opened
    client.sendall(b"last")
    asker = threading.Thread(target=client.unwrap)
    asker.start()
    received = b""
    while data := connection.recv(100):
        received += data
    assert received == b"last"
    assert connection.recv(100) == b""
    assert connection.pending() == 1
    assert connection.unwrap() is connection
    asker.join()
    with pytest.raises(BrokenPipeError):
        connection.send(b"more")


def test_unwrapping_waits_for_the_end_of_the_peer(opened):
    """What the peer sends before it is thrown away."""
    connection, client = opened
    client.sendall(b"late")
    # Its close_notify; it waits for the other, which is sent first.
    client.settimeout(PATIENCE)
    ended = threading.Thread(target=client.unwrap)
    ended.start()
    assert connection.unwrap() is connection
    ended.join(PATIENCE)
    assert connection.recv(100) == b""


def test_a_connection_that_breaks_off_has_no_end(opened):
    """It raises, each time; and the connection counts as gone."""
    connection, client = opened
    client.sendall(b"half")
    assert connection.recv(100) == b"half"
    socket.socket.shutdown(client, socket.SHUT_WR)
    for _ in range(2):
        with pytest.raises(TruncatedError, match="may not be all that was sent") as raised:
            connection.recv(100)
        assert raised.value.errno == errno.ECONNRESET
    assert connection.is_broken_off


def test_within_a_record_it_breaks_off_too(opened):
    """As somebody in the middle would do it."""
    connection, client = opened
    socket.socket.send(client, b"\x17\x03\x03\x01\x00half a record")
    socket.socket.shutdown(client, socket.SHUT_WR)
    with pytest.raises(TruncatedError):
        connection.recv(100)


def test_an_end_that_this_side_has_put_is_one(opened):
    """What has come before is read; and the answer can be sent."""
    connection, client = opened
    client.sendall(b"before")
    assert connection.recv(3) == b"bef"
    connection.shutdown(socket.SHUT_RD)
    assert connection.recv(100) == b"ore"
    assert connection.recv(100) == b""
    connection.sendall(b"answer")
    assert client.recv(100) == b"answer"


@pytest.mark.skipif(not _closing._TELLS, reason="Linux alone tells")
def test_so_is_one_that_another_process_has_put(opened):
    """As the parent does of a forked child, which isn't told."""
    connection, _ = opened
    with socket.fromfd(connection.fileno(), socket.AF_INET, socket.SOCK_STREAM) as copy:
        copy.shutdown(socket.SHUT_RD)
    assert connection.recv(100) == b""
    assert not connection.is_broken_off


def test_where_the_system_does_not_tell_it_breaks_off(opened, monkeypatch):
    """To be careful."""
    connection, _ = opened
    monkeypatch.setattr(_closing, "_TELLS", False)
    with socket.fromfd(connection.fileno(), socket.AF_INET, socket.SOCK_STREAM) as copy:
        copy.shutdown(socket.SHUT_RD)
    with pytest.raises(TruncatedError):
        connection.recv(100)


def test_what_is_no_tls_any_more_is_the_peers_fault(opened):
    """What came before it is read first."""
    connection, client = opened
    client.sendall(b"good")
    socket.socket.send(client, b"this is no record of TLS")
    time.sleep(0.05)
    assert connection.recv(100) == b"good"
    with pytest.raises(TLSError, match="isn't one of TLS any more"):
        connection.recv(100)
    with pytest.raises(TLSError):
        connection.send(b"x")
    assert not connection.is_whole


def fill(connection):
    """Send on *connection*, which must not block, until there is no room; returns how much."""
    connection.setblocking(False)
    sent = refusals = 0
    # The systems on both sides may be about to make some, and don't tell of a little.
    while refusals < 10:
        try:
            sent += connection.send(b"x" * 16384)
            refusals = 0
        except ssl.SSLWantWriteError:
            refusals += 1
            time.sleep(0.02)
    return sent


def test_it_need_not_block(opened):
    """What can't be done now is asked for as SSLSocket does; nothing is lost or doubled."""
    connection, client = opened
    sent = fill(connection)
    with pytest.raises(ssl.SSLWantReadError):
        connection.recv(100)
    received = 0
    last = b"x" * 16384
    while True:
        received += len(client.recv(1 << 20))
        with contextlib.suppress(ssl.SSLWantWriteError):
            sent += connection.send(last)
            break
    connection.setblocking(True)
    connection.sendall(b"end")
    while received < sent + 3:
        received += len(client.recv(1 << 20))
    assert received == sent + 3


def test_where_there_is_no_room_shutting_waits_for_it(opened, monkeypatch):
    """Nothing is shut before close_notify is on its way, once."""
    connection, client = opened
    connection.setblocking(False)

    def no_room():
        raise BlockingIOError

    with monkeypatch.context() as patch:
        patch.setattr(connection, "_push_now", no_room)
        for _ in range(2):
            with pytest.raises(BlockingIOError):
                connection.shutdown(socket.SHUT_WR)
    with pytest.raises(BrokenPipeError):
        connection.send(b"x")
    connection.shutdown(socket.SHUT_WR)
    assert client.recv(100) == b""
    # Not a second one, but the end of the connection.
    assert socket.socket.recv(client, 100) == b""


def test_a_peer_that_takes_nothing_is_waited_for_so_long(opened):
    """Then the sending side is shut without a goodbye."""
    connection, _ = opened
    fill(connection)
    connection.setblocking(True)
    connection.close_timeout = 0.05
    connection.shutdown(socket.SHUT_WR)
    connection.shutdown(socket.SHUT_RD)


def test_a_thread_that_is_sending_keeps_the_goodbye_back(opened):
    """It is waited for, for a while."""
    connection, _ = opened
    connection.close_timeout = 0.05
    with connection._sending:
        connection.shutdown(socket.SHUT_WR)
    assert not connection._said_goodbye


@pytest.mark.parametrize("how", ["not whole", "expired", "both sides"])
def test_who_has_not_got_everything_is_not_told_so(opened, how):
    """No close_notify is sent."""
    connection, client = opened
    connection.sendall(b"half")
    assert client.recv(100) == b"half"
    if how == "not whole":
        connection.is_whole = False
    elif how == "expired":
        connection.expired = Deadline.IDLE
    connection.shutdown(socket.SHUT_RDWR if how == "both sides" else socket.SHUT_WR)
    with pytest.raises(ssl.SSLEOFError):
        client.recv(100)


def test_timeouts_of_the_program_are_for_a_whole_operation(opened):
    """A record that comes in parts doesn't stretch it."""
    connection, client = opened
    connection.settimeout(0.1)
    socket.socket.send(client, b"\x17\x03\x03\x01\x00")
    stopped = threading.Event()

    def drip():
        while not stopped.wait(0.02):
            socket.socket.send(client, b"x")

    thread = threading.Thread(target=drip)
    thread.start()
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        connection.recv(10)
    stopped.set()
    thread.join()
    assert time.monotonic() - began < PATIENCE / 4
    assert connection.gettimeout() == 0.1


def test_a_sending_that_failed_leaves_the_stream_in_order(opened):
    """What was encrypted goes first, whatever the program sends next."""
    connection, client = opened
    sent = fill(connection)
    connection.settimeout(0.05)
    with pytest.raises(TimeoutError):
        connection.sendall(b"y" * 100)
    connection.settimeout(None)
    thread = threading.Thread(target=connection.sendall, args=(b"z" * 10,))
    thread.start()
    received = b""
    while not received.endswith(b"z" * 10):
        received += client.recv(1 << 20)
    thread.join()
    # The record on which the filling came to its end had been encrypted too.
    assert len(received) - sent in {10 + 16384, 110 + 16384}


def test_deadlines_hold(pair):
    """Below TLS, for what comes and what goes."""
    connection, theirs = pair
    connection.deadlines = Deadlines(0.1, None, None, 0.0)
    with shake_hands(connection, theirs):
        with pytest.raises(DeadlineError):
            connection.recv(1)
        with pytest.raises(DeadlineError):
            connection.send(b"x")
    assert connection.expired is Deadline.IDLE


def test_what_waits_in_a_buffer_begins_a_message(opened):
    """As it would in the system's."""
    connection, client = opened
    client.sendall(b"one two")
    assert connection.recv(3) == b"one"
    connection.message_ended()
    assert connection.recv(4) == b" two"
    assert connection.deadlines._message_since is not None


def test_two_threads_may_receive_and_send(opened):
    """One each."""
    connection, client = opened
    echoed = []

    def send():
        for _ in range(200):
            connection.sendall(b"down" * 500)

    def echo():
        for _ in range(200):
            client.sendall(b"up")
        total = 0
        while total < 200 * 2000:
            total += len(client.recv(65536))
        echoed.append(total)

    threads = [threading.Thread(target=send), threading.Thread(target=echo)]
    for thread in threads:
        thread.start()
    received = b""
    while len(received) < 400:
        received += connection.recv(100)
    for thread in threads:
        thread.join()
    assert echoed == [400_000]


class TestOpening:
    """The handshake."""

    def test_it_never_blocks(self, pair):
        """It says what it waits for, and until when; and leaves the socket as it was."""
        connection, theirs = pair
        connection.settimeout(2.5)
        steps = opening(connection, timeout=5.0)
        wait = next(steps)
        assert not wait.writing
        assert wait.deadline is Deadline.HANDSHAKE
        assert wait.limit == 5.0
        assert 0 < wait.until - time.monotonic() <= 5
        steps.close()
        steps = opening(connection, timeout=None)
        assert next(steps).until == float("inf")
        steps.close()
        connection.settimeout(2.5)
        with shake_hands(connection, theirs):
            assert connection.gettimeout() == 2.5

    def test_it_waits_for_room(self, pair, monkeypatch):
        """A peer that takes nothing is waited for, too."""
        connection, theirs = pair
        push = connection._push_now
        tries = []

        def no_room():
            tries.append(True)
            if len(tries) == 1:
                raise BlockingIOError
            push()

        monkeypatch.setattr(connection, "_push_now", no_room)
        with shake_hands(connection, theirs):
            assert len(tries) > 1

    def test_plain_text_is_told_apart(self, pair):
        """And the client gets nothing but the end."""
        connection, theirs = pair
        theirs.sendall(b"EHLO somewhere\r\n")
        with pytest.raises(PlainTextError, match=r"doesn't speak TLS: .*EHLO") as raised:
            finish_opening(opening(connection), connection.fileno())
        assert raised.value.beginning == b"EHLO somewhere\r\n"
        assert isinstance(raised.value, ssl.SSLError)
        connection.shutdown(socket.SHUT_WR)
        assert theirs.recv(100) == b""

    def test_a_client_that_leaves_is_gone(self, pair):
        """As it would be later."""
        connection, theirs = pair
        theirs.shutdown(socket.SHUT_WR)
        with pytest.raises(ConnectionResetError, match="left in the handshake"):
            finish_opening(opening(connection), connection.fileno())
        assert connection.is_broken_off

    def test_a_client_that_is_not_understood_is_told(self, pair):
        """With TLS's alert."""
        connection, theirs = pair
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname = False
        old.verify_mode = ssl.CERT_NONE
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        told = []

        def connect():
            with pytest.raises(ssl.SSLError) as raised, theirs.dup() as copy:
                old.wrap_socket(copy, server_hostname="localhost")
            told.append(raised.value.reason)

        thread = threading.Thread(target=connect)
        thread.start()
        only = server_side(minimum_version=ssl.TLSVersion.TLSv1_3)
        with pytest.raises(TLSError, match=r"handshake of TLS failed \(unsupported protocol\)"):
            finish_opening(opening(connection, only), connection.fileno())
        thread.join()
        assert told == ["TLSV1_ALERT_PROTOCOL_VERSION"]

    def test_a_client_without_a_good_certificate_is_refused(self, pair):
        """The reason is told."""
        connection, theirs = pair
        asking = server_side(verify_mode=ssl.CERT_REQUIRED)
        CA.configure_trust(asking)
        stranger = client_side()
        trustme.CA().issue_cert("me").configure_cert(stranger)
        with pytest.raises(TLSError, match="certificate can't be verified: "):
            shake_hands(connection, theirs, asking, stranger)


def test_a_client_that_asks_and_takes_no_answer_is_refused(opened, monkeypatch):
    """What TLS has to say is kept for it up to a limit."""
    connection, client = opened
    fill(connection)
    monkeypatch.setattr(_tls_connection, "_MOST_UNASKED", 100)
    connection._outgoing.write(b"a")
    client.sendall(b"x")
    with pytest.raises(TLSError, match="takes no answer"):
        connection.recv(10)


def test_what_tls_has_to_say_goes_with_a_receiving(opened):
    """Unless another thread is sending, which takes it along."""
    connection, client = opened
    client.sendall(b"x")
    record = bytes([21, 3, 3, 0, 0])
    with connection._sending:
        connection._outgoing.write(record)
        assert connection.recv(10) == b"x"
    assert connection._outgoing.pending
    client.sendall(b"y")
    assert connection.recv(10) == b"y"
    assert not connection._outgoing.pending
    assert connection._backlog == b""
