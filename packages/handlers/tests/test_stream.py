"""Tests of netserve.handlers._stream."""

import io
import socket

import pytest

from netserve.handlers import SocketWriter, StreamRequestHandler

PATIENCE = 20


@pytest.fixture
def pair():
    """Both ends of a TCP connection: the server's and the client's."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        with socket.create_connection(listening.getsockname(), PATIENCE) as client:
            request, _ = listening.accept()
            with request:
                yield request, client


class Looking(StreamRequestHandler):
    """Calls its server, which is a function, to look at it while it handles."""

    def handle(self):
        """Show this handler."""
        self.server(self)


def test_handle_reads_and_writes_files(pair):
    """rfile is what the client sends; what is written to wfile reaches it."""
    request, client = pair
    client.sendall(b"line one\nline two\n")
    client.shutdown(socket.SHUT_WR)

    def look(handler):
        assert handler.connection is handler.request is request
        assert handler.rfile.readline() == b"line one\n"
        assert handler.wfile.write(b"LINE ONE\n") == 9
        assert handler.rfile.read() == b"line two\n"

    Looking(request, "client", look)
    assert client.recv(100) == b"LINE ONE\n"


def test_finish_closes_the_files_and_leaves_the_connection(pair):
    """After finish both files are closed; the socket is the server's to close."""
    request, client = pair
    handler = StreamRequestHandler(request, "client", None)
    assert handler.rfile.closed
    assert handler.wfile.closed
    request.sendall(b"still open")
    assert client.recv(100) == b"still open"


def test_the_documented_defaults():
    """A buffered rfile, an unbuffered wfile, no timeout, Nagle's algorithm at work."""
    assert StreamRequestHandler.rbufsize == -1
    assert StreamRequestHandler.wbufsize == 0
    assert StreamRequestHandler.timeout is None
    assert StreamRequestHandler.disable_nagle_algorithm is False


def test_by_default_each_write_is_sent_at_once(pair):
    """The unbuffered wfile holds nothing back."""
    request, client = pair

    def look(handler):
        assert isinstance(handler.wfile, SocketWriter)
        handler.wfile.write(b"now")
        assert client.recv(100) == b"now"

    Looking(request, "client", look)


@pytest.mark.parametrize("size", [-1, 1, 64])
def test_a_buffered_wfile_is_flushed_in_finish(pair, size):
    """With wbufsize the writes wait in a buffer of that size, until finish flushes it."""
    request, client = pair
    client.setblocking(False)

    def look(handler):
        assert isinstance(handler.wfile, io.BufferedWriter)
        if size != 1:
            handler.wfile.write(b"held back")
            with pytest.raises(BlockingIOError):
                client.recv(100)
        else:
            handler.wfile.write(b"h")

    class Buffered(Looking):
        wbufsize = size

    Buffered(request, "client", look)
    client.settimeout(PATIENCE)
    assert client.recv(100) in (b"held back", b"h")


def test_finish_flushes_an_override_of_wfile(pair):
    """A wfile of the user's own whose close doesn't flush is flushed in finish."""
    calls = []

    class Own(io.BufferedIOBase):
        def flush(self):
            calls.append("flush")

        def close(self):
            calls.append("close")

    class Handler(StreamRequestHandler):
        def setup(self):
            super().setup()
            self.wfile = Own()

    Handler(pair[0], "client", None)
    assert calls[:2] == ["flush", "close"]


@pytest.mark.parametrize(("size", "kind"), [(0, socket.SocketIO), (-1, io.BufferedReader)])
def test_rbufsize_chooses_the_buffer(pair, size, kind):
    """With 0 rfile is the bare SocketIO; otherwise it is buffered."""

    class Sized(Looking):
        rbufsize = size

    Sized(pair[0], "client", lambda handler: None if isinstance(handler.rfile, kind) else 1 / 0)


@pytest.mark.parametrize(("timeout", "expected"), [(None, 7.0), (0.5, 0.5), (0, 0.0)])
def test_timeout_is_set_on_the_connection(pair, timeout, expected):
    """A timeout, 0 included, is set; None leaves the socket's own."""

    class Timed(StreamRequestHandler):
        pass

    Timed.timeout = timeout
    pair[0].settimeout(7)
    Timed(pair[0], "client", None)
    assert pair[0].gettimeout() == expected


@pytest.mark.parametrize("wanted", [True, False])
def test_disable_nagle_algorithm_sets_tcp_nodelay(pair, wanted):
    """TCP_NODELAY is set exactly when asked for."""

    class Handler(StreamRequestHandler):
        disable_nagle_algorithm = wanted

    Handler(pair[0], "client", None)
    assert bool(pair[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)) is wanted


def test_finish_after_handle_raised_sends_and_closes(pair):
    """What was written before the error is sent, the files are closed, the error goes on."""
    request, client = pair
    handlers = []

    class Buffered(Looking):
        wbufsize = -1

    def fail(handler):
        handlers.append(handler)
        handler.wfile.write(b"so far")
        raise ValueError("handle")

    with pytest.raises(ValueError, match="handle"):
        Buffered(request, "client", fail)
    assert client.recv(100) == b"so far"
    assert handlers[0].rfile.closed
    assert handlers[0].wfile.closed


@pytest.mark.parametrize("size", [-1, 0])
def test_a_client_that_left_is_no_error_in_finish(size):
    """What can't be sent any more is dropped without a word, and both files are closed."""
    request, client = socket.socketpair()
    handlers = []

    class Sized(Looking):
        wbufsize = size

    def leave(handler):
        handlers.append(handler)
        if size:
            handler.wfile.write(b"in the buffer")
        client.close()

    with request:
        Sized(request, "client", leave)
    assert handlers[0].rfile.closed
    assert handlers[0].wfile.closed


def test_the_user_may_close_wfile(pair):
    """finish doesn't flush a wfile that handle has closed already."""
    request, client = pair

    class Buffered(Looking):
        wbufsize = -1

    def end(handler):
        handler.wfile.write(b"all")
        handler.wfile.close()

    Buffered(request, "client", end)
    assert client.recv(100) == b"all"


# --- SocketWriter ---


def test_a_socket_writer_is_a_writable_binary_file(pair):
    """It is an io object, which can be written, not read, and has the socket's descriptor."""
    with SocketWriter(pair[0]) as writer:
        assert isinstance(writer, io.BufferedIOBase)
        assert writer.writable() is True
        assert writer.readable() is False
        assert writer.seekable() is False
        assert writer.fileno() == pair[0].fileno()


@pytest.mark.parametrize(
    ("data", "length"),
    [
        (b"abcd", 4),
        (bytearray(b"abcd"), 4),
        (memoryview(b"abcd").cast("H"), 4),
        (memoryview(b"abcdefgh")[::1].cast("I"), 8),
        (b"", 0),
    ],
)
def test_a_socket_writer_sends_all_and_returns_the_bytes(pair, data, length):
    """Whatever the buffer's items, the length is in bytes and all of it arrives."""
    request, client = pair
    assert SocketWriter(request).write(data) == length
    request.shutdown(socket.SHUT_WR)
    received = client.makefile("rb")
    with received:
        assert received.read() == bytes(data)


def test_a_socket_writer_sends_more_than_the_system_buffers():
    """A write of any size returns when all has been handed over."""
    sent = []

    class Slow:
        def sendall(self, data):
            sent.append(bytes(data))

    assert SocketWriter(Slow()).write(b"x" * 10_000_000) == 10_000_000
    assert [len(each) for each in sent] == [10_000_000]


def test_a_socket_writer_raises_what_the_socket_does(pair):
    """A failed sendall is the writer's error."""
    pair[0].shutdown(socket.SHUT_WR)
    with pytest.raises(BrokenPipeError):
        SocketWriter(pair[0]).write(b"data")


def test_closing_a_socket_writer_leaves_the_socket_open(pair):
    """The socket belongs to somebody else."""
    request, client = pair
    writer = SocketWriter(request)
    writer.close()
    assert writer.closed
    request.sendall(b"open")
    assert client.recv(100) == b"open"
