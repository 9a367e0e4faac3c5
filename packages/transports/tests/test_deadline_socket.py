"""Tests of netserve.transports._deadline_socket and _timed_socket, on real connections.

Where a test is about the arithmetic, time stands still until the test moves it.
"""

import contextlib
import errno
import io
import itertools
import os
import socket
import threading
import time

import pytest

from netserve.core import Deadline, DeadlineError, Deadlines
from netserve.transports import _closing, _timed_socket
from netserve.transports._deadline_socket import DeadlineSocket

PATIENCE = 20
BUSY = 0.4  # seconds that a machine may be late which has other things to do

RECEIVING = {
    "recv": lambda connection: connection.recv(100),
    "recv_into": lambda connection: filled(connection.recv_into),
    "recvfrom": lambda connection: connection.recvfrom(100)[0],
    "recvfrom_into": lambda connection: filled(lambda buffer: connection.recvfrom_into(buffer)[0]),
}

SENDING = {
    "send": lambda connection: connection.send(b"data"),
    "sendall": lambda connection: connection.sendall(b"data"),
    "sendfile": lambda connection: connection.sendfile(io.BytesIO(b"data")),
}

if hasattr(socket.socket, "recvmsg"):
    RECEIVING["recvmsg"] = lambda connection: connection.recvmsg(100)[0]
    RECEIVING["recvmsg_into"] = lambda connection: filled(
        lambda buffer: connection.recvmsg_into([buffer])[0]
    )
    SENDING["sendmsg"] = lambda connection: connection.sendmsg([b"da", b"ta"])

receiving = pytest.mark.parametrize("operation", RECEIVING.values(), ids=RECEIVING)
sending = pytest.mark.parametrize("operation", SENDING.values(), ids=SENDING)
both = pytest.mark.parametrize(
    "operation", [*RECEIVING.values(), *SENDING.values()], ids=[*RECEIVING, *SENDING]
)


def filled(receive):
    """What *receive* puts into a buffer."""
    buffer = bytearray(100)
    return bytes(buffer[: receive(buffer)])


def fill(connection):
    """Send until nothing more fits between *connection* and its peer."""
    with contextlib.suppress(BlockingIOError):
        while True:
            connection.send(bytes(10_000), socket.MSG_DONTWAIT)


class Clock:
    """Stands in for the module ``time``: moved by the test, or by *step* with each look."""

    def __init__(self, step=0.0):
        self.now = 100.0
        self.step = step

    def monotonic(self):
        """The time."""
        self.now += self.step
        return self.now


@pytest.fixture
def clock(monkeypatch):
    """The time of the deadlines, which stands still."""
    clock = Clock()
    monkeypatch.setattr(_timed_socket, "time", clock)
    return clock


@pytest.fixture
def connect():
    """A function that makes a DeadlineSocket with limits, and its peer; *full*: with no room."""
    with contextlib.ExitStack() as ends:

        def make(idle=None, message=None, connection=None, *, full=False):
            limits = Deadlines(idle, message, connection, _timed_socket.time.monotonic())
            if full:
                # TCP's buffers grow by themselves; these stay full.
                accepted, client = socket.socketpair()
                fill(accepted)
                ends.enter_context(client).settimeout(PATIENCE)
                return ends.enter_context(DeadlineSocket.adopt(accepted, limits)), client
            listening = ends.enter_context(socket.create_server(("127.0.0.1", 0)))
            client = ends.enter_context(socket.create_connection(listening.getsockname(), PATIENCE))
            accepted, _ = listening.accept()
            return ends.enter_context(DeadlineSocket.adopt(accepted, limits)), client

        yield make


@contextlib.contextmanager
def expires(deadline, seconds, began=None):
    """A span that *deadline*, which is of *seconds*, ends in time: to 10 % or 100 ms.

    It counts from *began*, which is now unless given.
    """
    began = began or time.monotonic()
    with pytest.raises(DeadlineError, match=f"the {deadline.value} deadline of {seconds:g} s"):
        yield
    elapsed = time.monotonic() - began
    assert seconds * 0.9 <= elapsed <= seconds + max(0.1, seconds / 10) + BUSY


# --- taking over ---


def test_adopting_takes_the_descriptor_over():
    """The same connection, in a socket of the same kind; the old one is left closed."""
    one, other = socket.socketpair()
    with other:
        descriptor, kind = one.fileno(), (one.family, one.type, one.proto)
        with DeadlineSocket.adopt(one, Deadlines(None, None, None, 0)) as adopted:
            assert one.fileno() == -1
            assert adopted.fileno() == descriptor
            assert (adopted.family, adopted.type, adopted.proto) == kind
            assert adopted.expired is None
            assert os.get_blocking(descriptor)
            other.sendall(b"data")
            assert adopted.recv(100) == b"data"


@pytest.mark.parametrize("timeout", [None, 0.0, 7.0])
def test_adopting_keeps_the_timeout(timeout):
    """The program's timeout is what it was."""
    one, other = socket.socketpair()
    with other:
        one.settimeout(timeout)
        with DeadlineSocket.adopt(one, Deadlines(1, 1, 1, 0)) as adopted:
            assert adopted.gettimeout() == timeout


# --- without a deadline that passes ---


@receiving
@pytest.mark.parametrize("limit", [None, PATIENCE])
def test_every_way_to_receive_gives_what_came(connect, operation, limit):
    """Each method returns what its original does, with limits and without."""
    connection, client = connect(limit, limit, limit)
    client.sendall(b"data")
    assert operation(connection) == b"data"
    client.shutdown(socket.SHUT_WR)
    assert operation(connection) == b""
    assert connection.expired is None


@sending
@pytest.mark.parametrize("limit", [None, PATIENCE])
def test_every_way_to_send_sends(connect, operation, limit):
    """Each method sends what its original does, and returns what that does."""
    connection, client = connect(limit, limit, limit)
    assert operation(connection) in (4, None)
    assert client.recv(100) == b"data"


@receiving
def test_a_receiver_waits_for_its_data(connect, operation):
    """Without a limit it waits until something comes."""
    connection, client = connect()
    sender = threading.Timer(0.02, client.sendall, [b"data"])
    sender.start()
    assert operation(connection) == b"data"
    sender.join()


def test_flags_and_sizes_are_passed_on(connect):
    """MSG_PEEK and limits in size work as on every socket."""
    connection, client = connect(PATIENCE)
    client.sendall(b"data")
    peek = socket.MSG_PEEK
    assert connection.recv(3, peek) == connection.recvfrom(3, peek)[0] == b"dat"
    assert connection.recvmsg(3, 0, peek)[0] == b"dat"
    buffer = bytearray(b"....")
    assert connection.recv_into(buffer, 2, peek) == 2
    assert connection.recvfrom_into(memoryview(buffer)[2:], 1, peek)[0] == 1
    assert buffer == b"dad."
    assert connection.recvmsg_into([buffer], 0, peek)[0] == 4
    assert connection.recv(100) == b"data"


def test_a_sender_may_be_told_not_to_wait(connect):
    """The flags of the ways to send are passed on as well."""
    connection, _ = connect(full=True)
    with pytest.raises(BlockingIOError):
        connection.send(b"x", socket.MSG_DONTWAIT)
    with pytest.raises(BlockingIOError):
        connection.sendall(b"x", socket.MSG_DONTWAIT)
    with pytest.raises(BlockingIOError):
        connection.sendmsg([b"x"], [], socket.MSG_DONTWAIT)


# --- idle ---


@receiving
def test_a_silent_peer_ends_every_way_to_receive(connect, operation):
    """The idle deadline ends the wait in time, and is told."""
    connection, _ = connect(idle=0.15)
    with expires(Deadline.IDLE, 0.15):
        operation(connection)
    assert connection.expired is Deadline.IDLE


@sending
def test_a_peer_that_takes_nothing_ends_every_way_to_send(connect, operation):
    """The idle deadline holds in the other direction too."""
    connection, _ = connect(idle=0.15, full=True)
    with expires(Deadline.IDLE, 0.15):
        operation(connection)
    assert connection.expired is Deadline.IDLE


@both
def test_after_a_deadline_every_operation_raises(connect, operation):
    """A handler that catches the error can't go on, although there are data and room."""
    connection, client = connect(idle=0.01)
    with pytest.raises(DeadlineError) as first:
        connection.recv(1)
    client.sendall(b"data")
    assert socket.socket.recv(connection, 1, socket.MSG_PEEK) == b"d"
    with pytest.raises(DeadlineError) as second:
        operation(connection)
    assert second.value.deadline is first.value.deadline is Deadline.IDLE
    assert isinstance(second.value, TimeoutError)


@both
def test_after_a_message_that_was_too_slow_nothing_can_be_sent_either(connect, clock, operation):
    """The message's deadline limits waits for input; once passed, it ends all."""
    connection, client = connect(message=1)
    client.sendall(b"data")
    connection.recv(1)
    clock.now += 1
    with pytest.raises(DeadlineError):
        connection.recv(1)
    with pytest.raises(DeadlineError, match="message"):
        operation(connection)


def test_the_first_deadline_that_passed_is_the_one_that_is_told(connect, clock):
    """Later errors name it too, although others have passed since."""
    connection, client = connect(idle=50, connection=1000)
    client.sendall(b"d")
    connection.recv(1)
    connection.setblocking(False)
    with pytest.raises(BlockingIOError):
        connection.recv(1)
    clock.now += 50
    with pytest.raises(DeadlineError, match="the idle deadline of 50 s has passed"):
        connection.recv(1)
    clock.now += 1000
    with pytest.raises(DeadlineError, match="the idle deadline of 50 s has passed"):
        connection.send(b"x")


@pytest.mark.skipif(not _closing._TELLS, reason="what was delivered is told by Linux alone")
def test_a_reader_that_takes_its_time_is_not_idle(connect, monkeypatch):
    """What gets delivered counts, before there is room for more; no more, and it is idle."""
    connection, _ = connect(idle=0.1, full=True)
    # Something is delivered in each of the first thirty looks, ten of which are the limit.
    looks = itertools.count()
    monkeypatch.setattr(
        _timed_socket, "undelivered_bytes", lambda _connection: 1000 - min(next(looks), 30)
    )
    began = time.monotonic()
    with pytest.raises(DeadlineError, match=r"the idle deadline of 0\.1 s has passed"):
        connection.send(b"more")
    assert time.monotonic() - began >= 0.35
    assert connection.expired is Deadline.IDLE


def test_only_waiting_counts_as_idle(connect, clock):
    """A handler that works for long between two operations isn't at fault."""
    connection, client = connect(idle=1)
    for _ in range(3):
        client.sendall(b"d")
        assert connection.recv(1) == b"d"
        clock.now += 100
        connection.sendall(b"x")
        clock.now += 100
    assert connection.expired is None


def test_asking_again_and_again_is_one_wait(connect, clock):
    """A handler that polls with a timeout of its own, or doesn't block, is idle all the time."""
    connection, client = connect(idle=1)
    connection.setblocking(False)
    for _ in range(3):
        with pytest.raises(BlockingIOError):
            connection.recv(1)
        clock.now += 0.4
    client.sendall(b"late")
    with pytest.raises(DeadlineError):
        connection.recv(1)


# --- message ---


def test_a_message_that_drips_in_ends(connect, clock):
    """Each byte ends an idle time, and none the message's."""
    connection, client = connect(idle=10, message=1)
    for _ in range(4):
        client.sendall(b"d")
        assert connection.recv(1) == b"d"
        clock.now += 0.3
    client.sendall(b"d")
    with pytest.raises(DeadlineError, match="the message deadline of 1 s has passed"):
        connection.recv(1)


def test_a_dripping_peer_is_ended_in_time(connect):
    """In real time: a byte every 20 ms doesn't keep a message alive beyond its limit."""
    connection, client = connect(idle=PATIENCE, message=0.3)
    stop = threading.Event()

    def drip():
        while not stop.wait(0.02):
            client.send(b"d")

    dripping = threading.Thread(target=drip)
    dripping.start()
    try:
        with expires(Deadline.MESSAGE, 0.3):
            while True:
                connection.recv(1)
    finally:
        stop.set()
        dripping.join(PATIENCE)


def test_time_before_a_message_is_not_its_own(connect, clock):
    """It counts from the message's first byte."""
    connection, client = connect(message=1)
    connection.setblocking(False)
    with pytest.raises(BlockingIOError):
        connection.recv(1)
    clock.now += 100
    client.sendall(b"dd")
    assert connection.recv(1) == b"d"
    clock.now += 0.9
    assert connection.recv(1) == b"d"


@sending
def test_a_reply_ends_the_message(connect, clock, operation):
    """What was received until the reply is a message; the next one has its own time."""
    connection, client = connect(message=1)
    for _ in range(3):
        client.sendall(b"d")
        assert connection.recv(1) == b"d"
        clock.now += 0.6
        operation(connection)


def test_a_message_may_end_without_a_reply(connect, clock):
    """message_ended is for a reader that knows where messages end."""
    connection, client = connect(message=1)
    for _ in range(3):
        client.sendall(b"d")
        assert connection.recv(1) == b"d"
        clock.now += 0.6
        connection.message_ended()


def test_a_message_may_begin_with_what_was_read_already(connect, clock):
    """message_began starts the clock before the next byte comes."""
    connection, client = connect(message=1)
    connection.message_began()
    clock.now += 1
    client.sendall(b"d")
    with pytest.raises(DeadlineError, match="message"):
        connection.recv(1)


def test_the_end_of_the_input_begins_no_message(connect, clock):
    """A peer that has ended its input isn't sending anything slowly."""
    connection, client = connect(message=1)
    client.shutdown(socket.SHUT_WR)
    assert connection.recv(1) == b""
    clock.now += 2
    assert connection.recv(1) == b""


# --- connection ---


@both
def test_the_whole_life_is_limited(connect, clock, operation):
    """However busy it is, the connection ends."""
    connection, client = connect(idle=10, message=10, connection=5)
    for _ in range(5):
        client.sendall(b"data")
        assert connection.recv(4) == b"data"
        clock.now += 1
    client.sendall(b"data")
    with pytest.raises(DeadlineError, match="the connection deadline of 5 s has passed"):
        operation(connection)


@receiving
def test_the_end_of_a_life_ends_a_wait(connect, operation):
    """In real time: the wait is cut when the time is over."""
    began = time.monotonic()
    connection, _ = connect(idle=PATIENCE, connection=0.15)
    with expires(Deadline.CONNECTION, 0.15, began):
        operation(connection)


# --- the program's own timeout ---


@both
def test_a_shorter_timeout_of_the_program_is_its_own_error(connect, operation):
    """It ends one operation, and the next one may succeed."""
    connection, client = connect(PATIENCE, PATIENCE, PATIENCE, full=True)
    connection.settimeout(0.01)
    with pytest.raises(TimeoutError) as caught:
        operation(connection)
    assert not isinstance(caught.value, DeadlineError)
    assert connection.expired is None
    assert connection.gettimeout() == 0.01
    client.sendall(b"data")
    connection.settimeout(PATIENCE)
    assert connection.recv(100) == b"data"


def test_a_longer_timeout_of_the_program_gives_way(connect):
    """The deadline ends the wait, and the program's timeout stays what it was."""
    connection, _ = connect(idle=0.15)
    connection.settimeout(PATIENCE)
    with expires(Deadline.IDLE, 0.15):
        connection.recv(1)
    assert connection.gettimeout() == PATIENCE


def test_no_timeout_is_none_again(connect):
    """A timeout that a deadline has shortened for one operation isn't seen, nor kept."""
    connection, client = connect(idle=PATIENCE)
    client.sendall(b"d")
    connection.recv(1)
    assert connection.gettimeout() is None


@pytest.mark.parametrize(("flag", "timeout"), [(True, None), (False, 0.0)])
def test_setblocking_is_settimeout(connect, flag, timeout):
    """True waits without limit of the program's, False not at all."""
    connection, _ = connect(idle=PATIENCE)
    connection.settimeout(5)
    connection.setblocking(flag)
    assert connection.gettimeout() == timeout


def test_a_wrong_timeout_changes_nothing(connect):
    """What the socket refuses isn't noted."""
    connection, _ = connect()
    connection.settimeout(5)
    with pytest.raises(ValueError, match="out of range"):
        connection.settimeout(-1)
    assert connection.gettimeout() == 5


@both
def test_without_blocking_nothing_waits(connect, operation):
    """BlockingIOError at once, which no deadline changes."""
    connection, _ = connect(PATIENCE, PATIENCE, PATIENCE, full=True)
    connection.setblocking(False)
    with pytest.raises(BlockingIOError):
        operation(connection)
    assert connection.expired is None


@both
def test_a_connection_that_the_system_gave_up_is_no_deadline(connect, operation, monkeypatch):
    """ETIMEDOUT is a TimeoutError too, but says that the peer is gone."""
    connection, _ = connect(PATIENCE, PATIENCE, PATIENCE)

    def gone(*arguments):
        raise OSError(errno.ETIMEDOUT, "gone")

    for name in [*RECEIVING, "send", "sendmsg"]:
        monkeypatch.setattr(socket.socket, name, gone, raising=False)
    with pytest.raises(TimeoutError) as caught:
        operation(connection)
    assert caught.value.errno == errno.ETIMEDOUT
    assert not isinstance(caught.value, DeadlineError)
    assert connection.expired is None


# --- sendall ---


class Taker(threading.Thread):
    """Receives from a connection until its end, with a pause of *pause* seconds each time."""

    def __init__(self, connection, pause=0.0):
        super().__init__()
        self.connection = connection
        self.pause = pause
        self.stop = threading.Event()
        self.taken = 0
        self.start()

    def run(self):
        """Receive."""
        with contextlib.suppress(ConnectionResetError):
            while part := self.connection.recv(65536):
                self.taken += len(part)
                self.stop.wait(self.pause)


@pytest.mark.parametrize("limit", [None, PATIENCE])
def test_sendall_sends_more_than_the_buffers_hold(connect, limit):
    """It returns when all has been handed over, and all of it arrives."""
    connection, client = connect(limit, limit, limit)
    taker = Taker(client)
    assert connection.sendall(bytes(20_000_000)) is None
    connection.shutdown(socket.SHUT_WR)
    taker.join(PATIENCE)
    assert taker.taken == 20_000_000


def test_each_part_that_gets_away_ends_an_idle_time(connect, monkeypatch):
    """A peer that takes slowly, but takes, isn't idle, however long the whole lasts."""
    connection, client = connect(idle=1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 10_000)
    clock = Clock(step=0.3)
    monkeypatch.setattr(_timed_socket, "time", clock)
    taker = Taker(client)
    connection.sendall(bytes(1_000_000))
    connection.close()
    taker.join(PATIENCE)
    assert taker.taken == 1_000_000
    assert clock.now > 101


def test_sendall_to_nobody_is_ended_in_time(connect):
    """A peer that takes nothing ends it, after what the buffers hold."""
    connection, _ = connect(idle=0.2)
    with expires(Deadline.IDLE, 0.2):
        connection.sendall(bytes(50_000_000))


def test_the_programs_timeout_is_one_for_the_whole_of_sendall(connect, monkeypatch):
    """A peer that takes steadily doesn't prolong it, and the timeout stays what it was."""
    connection, client = connect()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 10_000)
    monkeypatch.setattr(_timed_socket, "time", Clock(step=2))
    connection.settimeout(PATIENCE)
    taker = Taker(client, pause=0.002)
    with pytest.raises(TimeoutError) as caught:
        connection.sendall(bytes(30_000_000))
    assert not isinstance(caught.value, DeadlineError)
    assert connection.gettimeout() == PATIENCE
    taker.stop.set()
    connection.close()
    taker.join(PATIENCE)


@pytest.mark.parametrize("timeout", [None, PATIENCE])
def test_sendall_takes_every_buffer(connect, timeout):
    """Empty ones, and those whose items are larger than a byte."""
    connection, client = connect(idle=PATIENCE)
    connection.settimeout(timeout)
    connection.sendall(b"")
    connection.sendall(memoryview(b"abcdefgh").cast("I"))
    connection.sendall(bytearray(b"ij"))
    connection.close()
    with client.makefile("rb") as file:
        assert file.read() == b"abcdefghij"


# --- sendfile ---


@pytest.mark.parametrize(
    ("offset", "count", "sent"),
    [
        (0, None, slice(None)),
        (3, None, slice(3, None)),
        (3, 100_000, slice(3, 100_003)),
        (0, 65536, slice(0, 65536)),
        (0, 10_000_000, slice(None)),
        (200_000, None, slice(0)),
    ],
)
def test_sendfile_sends_a_part_of_a_file(connect, tmp_path, offset, count, sent):
    """As the original: from the offset, at most as many bytes; it leaves the position behind."""
    path = tmp_path / "file"
    content = os.urandom(200_000)
    path.write_bytes(content)
    connection, client = connect(idle=PATIENCE)
    parts = []
    with client.makefile("rb") as incoming:
        taker = threading.Thread(target=lambda: parts.append(incoming.read()))
        taker.start()
        with path.open("rb") as file:
            total = connection.sendfile(file, offset, count)
            position = file.tell()
        connection.close()
        taker.join(PATIENCE)
    assert parts == [content[sent]]
    assert total == len(content[sent])
    assert position == offset + total


def test_sendfile_takes_a_file_without_positions(connect):
    """Something that can only be read is sent too."""

    class Source:
        parts = [b"one ", b"two"]  # noqa: RUF012

        def read(self, size):
            return self.parts.pop(0) if self.parts else b""

    connection, client = connect(idle=PATIENCE)
    assert connection.sendfile(Source()) == 7
    connection.close()
    with client.makefile("rb") as file:
        assert file.read() == b"one two"


# --- files, and copies ---


def test_a_file_keeps_the_deadlines(connect):
    """A handler that is blocked in rfile is ended too, and can't go on reading."""
    connection, client = connect(idle=0.15)
    client.sendall(b"half a line")
    with connection.makefile("rb") as file:
        with expires(Deadline.IDLE, 0.15):
            file.readline()
        with pytest.raises(OSError, match=r"timed out object|deadline"):
            file.readline()
    assert connection.expired is Deadline.IDLE


def test_a_file_that_is_written_keeps_the_deadlines(connect):
    """A handler that is blocked in wfile is ended too."""
    connection, _ = connect(idle=0.15, full=True)
    file = connection.makefile("wb", 0)
    with expires(Deadline.IDLE, 0.15):
        file.write(b"data")
    file.close()


def test_bytes_into_buffers_are_counted(connect):
    """What recv_into has read is summed up, for a reader that buffers."""
    connection, client = connect(idle=PATIENCE)
    assert connection.bytes_received == 0
    client.sendall(b"data and more")
    connection.recv_into(bytearray(4))
    connection.recv_into(bytearray(100))
    assert connection.bytes_received == 13


def test_a_duplicate_keeps_the_deadlines(connect):
    """dup gives a second hold on the connection, with the same limits."""
    connection, client = connect(idle=0.15)
    with connection.dup() as copy:
        assert copy.fileno() != connection.fileno()
        client.sendall(b"data")
        assert copy.recv(100) == b"data"
        with expires(Deadline.IDLE, 0.15):
            copy.recv(1)
