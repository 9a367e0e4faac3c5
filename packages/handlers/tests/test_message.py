"""Tests of netserve.handlers._message and _peers."""

import gc
import logging
import socket
import struct
import threading
import weakref

import pytest

from netserve.core import FramingError, MessageHandler, UnnamedPeerError
from netserve.handlers import LengthPrefixed, Lines, MessageRequestHandler, StreamRequestHandler

PATIENCE = 20


class Driver:
    """A server that drives messages."""

    drives_messages = True


class Upper(MessageRequestHandler):
    """Answers in capitals; a few words make it do something else."""

    framing = Lines(max_size=100)

    def handle_message(self, message):
        """Answer."""
        match message:
            case b"nothing":
                return None
            case b"empty":
                return b""
            case b"twice":
                self.send(b"FIRST")
            case b"flush":
                self.send(b"FLUSHED")
                self.flush()
            case b"quit":
                self.close()
            case b"fail":
                self.send(b"BEFORE")
                raise ConnectionResetError("of the database")
            case b"framing":
                raise FramingError("of the handler's own")
        return message.upper()


class Telling(Upper):
    """Tells the client what was wrong."""

    def handle_framing_error(self, error):
        """Answer without framing."""
        return f"! {error}".encode()


@pytest.fixture
def pair():
    """Both ends of a connection: the server's and the client's."""
    server, client = socket.socketpair()
    with server, client:
        client.settimeout(PATIENCE)
        yield server, client


@pytest.fixture
def datagrams():
    """A server's and a client's datagram socket."""
    with (
        socket.socket(type=socket.SOCK_DGRAM) as server,
        socket.socket(type=socket.SOCK_DGRAM) as client,
    ):
        for each in (server, client):
            each.bind(("127.0.0.1", 0))
            each.settimeout(PATIENCE)
        yield server, client


@pytest.fixture
def records(caplog):
    """The records of netserve.server so far, as level and message."""
    caplog.set_level(logging.DEBUG, "netserve.server")
    return lambda: [(record.levelname, record.getMessage()) for record in caplog.records]


def drive(handler_class=Upper):
    """A handler that a server drives, and what it has transmitted, in a list."""
    handler = handler_class("a connection", "client", Driver())
    transmitted = []
    handler.transmit = transmitted.append
    return handler, transmitted


def talk(pair, data, handler_class=Upper):
    """What the client gets for *data* on a connection that it then half-closes."""
    server, client = pair
    client.sendall(data)
    client.shutdown(socket.SHUT_WR)
    handler_class(server, "client", None)
    server.shutdown(socket.SHUT_WR)
    with client.makefile("rb") as file:
        return file.read()


# --- on a server that drives messages ---


def test_making_a_driven_handler_calls_nothing():
    """The server does, when it likes; the handler has the three attributes already."""

    class Handler(MessageRequestHandler):
        def setup(self):
            raise AssertionError

        handle = finish = setup

    server = Driver()
    handler = Handler("a connection", "client", server)
    assert (handler.request, handler.client_address, handler.server) == (
        "a connection",
        "client",
        server,
    )
    assert handler.closing is False
    handler.transmit = print
    assert isinstance(handler, MessageHandler)


@pytest.mark.parametrize("server", [None, object(), type("Server", (), {"drives_messages": False})])
def test_other_servers_drive_nothing(pair, server):
    """Without the attribute, or when it is false, the constructor handles the connection."""
    pair[1].sendall(b"hello\n")
    pair[1].shutdown(socket.SHUT_WR)
    Upper(pair[0], "client", server)
    assert pair[1].recv(100) == b"HELLO\n"


@pytest.mark.parametrize(
    ("data", "answers"),
    [
        (b"", b""),
        (b"hel", b""),
        (b"hello\n", b"HELLO\n"),
        (b"\n", b"\n"),
        (b"one\ntwo\nthree\nfo", b"ONE\nTWO\nTHREE\n"),
        (b"nothing\n", b""),
        (b"nothing\none\nnothing\n", b"ONE\n"),
        (b"empty\n", b"\n"),
        (b"twice\n", b"FIRST\nTWICE\n"),
        (b"one\ntwice\ntwo\n", b"ONE\nFIRST\nTWICE\nTWO\n"),
    ],
)
def test_feed_returns_all_answers_at_once(data, answers):
    """Framed, in order; an empty answer is one, and None isn't. Nothing is transmitted."""
    handler, transmitted = drive()
    assert handler.feed(data) == answers
    assert handler.feed(b"") == b""
    assert transmitted == []


def test_feed_goes_on_with_half_a_message():
    """What one call left is completed by the next."""
    handler, _ = drive()
    assert handler.feed(b"he") == b""
    assert handler.feed(b"llo\nwor") == b"HELLO\n"
    assert handler.feed(b"ld\n") == b"WORLD\n"


def test_flush_transmits_what_is_queued():
    """The answers before it included, in order, and once; the rest is returned."""
    handler, transmitted = drive()
    assert handler.feed(b"one\nflush\ntwo\n") == b"FLUSH\nTWO\n"
    assert transmitted == [b"ONE\nFLUSHED\n"]
    handler.flush()
    assert transmitted == [b"ONE\nFLUSHED\n"]


def test_close_ends_after_what_was_queued():
    """Later messages aren't handled, of the same read or another; a fault doesn't matter."""
    handler, transmitted = drive(Telling)
    assert handler.feed(b"one\nquit\ntwo\n" + b"x" * 200) == b"ONE\nQUIT\n"
    assert handler.closing is True
    assert handler.feed(b"three\n") == b""
    assert handler.end_of_input() == b""
    assert transmitted == []


def test_close_before_the_first_message():
    """A handler may refuse the client in setup."""
    handler, transmitted = drive()
    handler.send(b"busy")
    handler.close()
    handler.flush()
    assert handler.feed(b"one\n") == b""
    assert transmitted == [b"busy\n"]


def test_an_error_in_handle_message_goes_on_after_the_answers_before_it():
    """They are transmitted, with what was sent before the error, then it is raised."""
    handler, transmitted = drive()
    with pytest.raises(ConnectionResetError, match="database"):
        handler.feed(b"one\ntwo\nfail\nthree\n")
    assert transmitted == [b"ONE\nTWO\nBEFORE\n"]
    handler.finish()
    assert len(transmitted) == 1


def test_an_error_of_the_handler_isnt_taken_for_the_clients(records):
    """A FramingError that handle_message raises goes on as any other."""
    handler, _ = drive(Telling)
    with pytest.raises(FramingError, match="own"):
        handler.feed(b"framing\n")
    assert records() == []


def test_an_answer_that_cant_be_framed_is_an_error():
    """It is the handler's, and goes on after the answers before it."""

    class Handler(Upper):
        def handle_message(self, message):
            return message + b"\n" if message == b"bad" else message

    handler, transmitted = drive(Handler)
    with pytest.raises(ValueError, match="delimiter"):
        handler.feed(b"good\nbad\n")
    assert transmitted == [b"good\n"]
    with pytest.raises(ValueError, match="delimiter"):
        handler.send(b"a\nb")


def test_the_error_is_raised_although_the_answers_cant_be_sent():
    """What goes wrong in sending them is worth less."""
    handler, _ = drive()

    def fail(data):
        raise OSError(data)

    handler.transmit = fail
    with pytest.raises(ConnectionResetError, match="database"):
        handler.feed(b"fail\n")


def test_a_framing_error_ends_the_connection_with_a_record(records):
    """The good messages are answered first; the record names the client and the fault."""
    handler, transmitted = drive()
    assert handler.feed(b"one\ntwo\n" + b"x" * 200 + b"\nthree\n") == b"ONE\nTWO\n"
    assert handler.closing is True
    assert transmitted == []
    fault = "a line is longer than the maximum of 100 bytes"
    assert records() == [("INFO", f"'client' broke the framing: {fault}")]


def test_handle_framing_error_has_the_last_word(records):
    """Its answer goes out as it is, after the framed ones."""
    handler, _ = drive(Telling)
    answers = handler.feed(b"one\n" + b"x" * 200)
    assert answers == b"ONE\n! a line is longer than the maximum of 100 bytes"
    assert len(records()) == 1


def test_an_error_in_handle_framing_error_goes_on(records):
    """After the answers to the good messages, and the record."""

    class Handler(Upper):
        def handle_framing_error(self, error):
            raise KeyError("hook")

    handler, transmitted = drive(Handler)
    with pytest.raises(KeyError, match="hook"):
        handler.feed(b"one\n" + b"x" * 200)
    assert transmitted == [b"ONE\n"]
    assert handler.closing is True
    assert [level for level, _ in records()] == ["INFO"]


def test_the_end_of_input_ends_the_connection(records):
    """Between two messages without a word."""
    handler, _ = drive(Telling)
    handler.feed(b"one\n")
    assert handler.end_of_input() == b""
    assert handler.closing is True
    assert records() == []


def test_half_a_message_at_the_end_of_input_is_a_fault_of_less_weight(records):
    """The record has level DEBUG; the hook may answer, as the client may still read."""
    handler, _ = drive(Telling)
    handler.feed(b"one\nhalf")
    fault = "the stream ended within a message, 4 bytes after its beginning"
    assert handler.end_of_input() == f"! {fault}".encode()
    assert handler.closing is True
    assert records() == [("DEBUG", f"'client' broke the framing: {fault}")]


def test_a_decoder_may_complete_a_message_at_the_end():
    """A framing of one's own, in which the end of the stream ends a message."""

    class ToTheEnd:
        pending = 0

        def __init__(self):
            self.data = b""

        def decoder(self):
            return ToTheEnd()

        def encode(self, message):
            return message

        def decode(self, data):
            self.data += data
            return []

        def end(self):
            return [self.data]

    class Handler(Upper):
        framing = ToTheEnd()

    handler, _ = drive(Handler)
    assert handler.feed(b"hel") == handler.feed(b"lo") == b""
    assert handler.end_of_input() == b"HELLO"
    assert handler.closing is True


def test_finish_transmits_what_is_still_queued():
    """A farewell, for one."""
    handler, transmitted = drive()
    handler.send(b"bye")
    handler.finish()
    assert transmitted == [b"bye\n"]


def test_handle_message_must_be_defined():
    """The error names the class and the method."""
    handler, _ = drive(MessageRequestHandler)
    with pytest.raises(NotImplementedError, match=r"MessageRequestHandler.*handle_message\(\)"):
        handler.feed(b"hello\n")


def test_the_type_parameters_are_optional():
    """The bare class and the parametrised one are the same at run time."""
    handler = MessageRequestHandler[str, Driver]("a connection", "client", Driver())
    assert isinstance(handler, MessageRequestHandler)
    assert handler.framing == Lines()


# --- on a connection that it reads itself ---


def test_a_connection_is_handled_to_its_end(pair):
    """All messages are answered, until the client sends no more."""
    assert talk(pair, b"one\ntwo\nnothing\nthree\n") == b"ONE\nTWO\nTHREE\n"


def test_each_read_is_answered_with_one_send():
    """However many messages and answers there are; and with none when there is no answer."""
    sent = []

    class Connection:
        def __init__(self, *reads):
            self.reads = list(reads)

        def recv(self, size):
            assert size == 65536
            return self.reads.pop(0)

        def sendall(self, data):
            sent.append(data)

    Upper(Connection(b"one\ntwice\n", b"nothing\n", b"th", b"ree\n", b""), "client", None)
    assert sent == [b"ONE\nFIRST\nTWICE\n", b"THREE\n"]


def test_another_framing_frames_both_directions(pair):
    """Here a length of two bytes."""

    class Handler(Upper):
        framing = LengthPrefixed(2)

    assert talk(pair, b"\0\3abc\0\0", Handler) == b"\0\3ABC\0\0"


def test_setup_may_greet_and_finish_may_take_leave(pair):
    """What they queue is sent, the greeting before the client has said anything."""
    server, client = pair

    class Handler(Upper):
        def setup(self):
            super().setup()
            self.send(b"welcome")

        def finish(self):
            self.send(b"bye")
            super().finish()

    thread = threading.Thread(target=Handler, args=(server, "client", None))
    thread.start()
    assert client.recv(100) == b"welcome\n"
    client.sendall(b"quit\n")
    thread.join(PATIENCE)
    server.close()
    with client.makefile("rb") as file:
        assert file.read() == b"QUIT\nbye\n"


def test_close_ends_handle_while_the_client_stays(pair):
    """handle returns although the client could send more."""
    server, client = pair
    client.sendall(b"one\nquit\ntwo\n")
    Upper(server, "client", None)
    assert client.recv(100) == b"ONE\nQUIT\n"


def test_a_framing_error_ends_handle_while_the_client_stays(pair, records):
    """With the last answer and the record."""
    server, client = pair
    client.sendall(b"one\n" + b"x" * 101 + b"\n")
    Telling(server, "client", None)
    assert client.recv(200) == b"ONE\n! a line is longer than the maximum of 100 bytes"
    assert [level for level, _ in records()] == ["INFO"]


def test_an_error_in_handle_message_ends_handle_after_the_answers(pair):
    """It isn't taken for the client's, whatever its class, and finish is called."""
    server, client = pair
    client.sendall(b"one\nfail\n")
    with pytest.raises(ConnectionResetError, match="database"):
        Upper(server, "client", None)
    assert client.recv(100) == b"ONE\nBEFORE\n"


def test_half_a_message_is_answered_by_the_hook(pair, records):
    """A client that sends no more may still read."""
    assert talk(pair, b"one\nhalf", Telling).startswith(b"ONE\n! the stream ended")
    assert [level for level, _ in records()] == ["DEBUG"]


def test_a_client_that_resets_the_connection_is_no_error(records):
    """One record at level DEBUG, in reading."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        client = socket.create_connection(listening.getsockname(), PATIENCE)
        server, address = listening.accept()
    with server:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        Upper(server, address, None)
    ((level, message),) = records()
    assert level == "DEBUG"
    assert message.startswith(f"{address!r} has left: ")


def test_a_client_that_doesnt_wait_for_its_answers_is_no_error(pair, records):
    """One record at level DEBUG, at the first answer that can't be sent."""
    server, client = pair
    client.sendall(b"flush\nquit\n")
    client.close()
    Upper(server, "client", None)
    ((level, message),) = records()
    assert level == "DEBUG"
    assert message.startswith("'client' has left: ")


def test_a_client_that_has_left_is_read_no_more(records):
    """What it sent before it left can't be answered."""
    reads = [b"one\n", b"two\n", b""]

    class Connection:
        def recv(self, size):
            return reads.pop(0)

        def sendall(self, data):
            raise BrokenPipeError(data)

    Upper(Connection(), "client", None)
    assert reads == [b"two\n", b""]
    assert len(records()) == 1


@pytest.mark.parametrize("method", ["recv", "sendall"])
def test_other_errors_of_the_connection_go_on(method):
    """A timeout of the socket, for one, is for the server to report."""

    class Connection:
        def recv(self, size):
            self.fail("recv")
            return b"one\n"

        def sendall(self, data):
            self.fail("sendall")

        def fail(self, name):
            if name == method:
                raise TimeoutError(name)

    with pytest.raises(TimeoutError, match=method):
        Upper(Connection(), "client", None)


def test_nothing_keeps_a_handler_alive(pair):
    """It is gone as soon as nobody holds it, without a collection."""
    pair[1].close()
    gc.disable()
    try:
        handler = Upper(pair[0], "client", None)
        gone = weakref.ref(handler)
        del handler
        assert gone() is None
    finally:
        gc.enable()


# --- on datagrams ---


@pytest.mark.parametrize("server_object", [None, Driver()])
def test_each_datagram_is_a_message(datagrams, server_object):
    """Unframed in both directions; also on a server that drives messages."""
    server, client = datagrams
    Upper((b"one\ntwo", server), client.getsockname(), server_object)
    assert client.recv(100) == b"ONE\nTWO"


def test_each_answer_is_a_datagram(datagrams):
    """In the order of sending; an empty one is one too."""
    server, client = datagrams
    Upper((b"twice", server), client.getsockname(), None)
    Upper((b"empty", server), client.getsockname(), None)
    Upper((b"flush", server), client.getsockname(), None)
    received = [client.recv(100) for _ in range(5)]
    assert received == [b"FIRST", b"TWICE", b"", b"FLUSHED", b"FLUSH"]


def test_nothing_is_sent_when_nothing_was_answered(datagrams):
    """Not even an empty datagram; also when the client could not be answered."""
    server, client = datagrams
    Upper((b"nothing", server), client.getsockname(), None)
    Upper((b"nothing", server), None, None)
    Upper((b"next", server), client.getsockname(), None)
    assert client.recv(100) == b"NEXT"


def test_a_datagram_may_exceed_the_framings_maximum(datagrams):
    """The framing has no part in it."""
    server, client = datagrams
    Upper((b"x" * 200, server), client.getsockname(), None)
    assert client.recv(300) == b"X" * 200


def test_setup_and_finish_surround_a_datagram(datagrams):
    """What they send is sent, and close in setup prevents the handling."""
    server, client = datagrams

    class Handler(Upper):
        def setup(self):
            self.send(b"first")
            self.close()

        def finish(self):
            self.send(b"last")
            super().finish()

    Handler((b"one", server), client.getsockname(), None)
    server.sendto(b"end", client.getsockname())
    assert [client.recv(100) for _ in range(3)] == [b"first", b"last", b"end"]


def test_an_error_with_a_datagram_goes_on_after_the_answers(datagrams):
    """What was sent before the error is."""
    server, client = datagrams
    with pytest.raises(ConnectionResetError, match="database"):
        Upper((b"fail", server), client.getsockname(), None)
    assert client.recv(100) == b"BEFORE"


def test_an_answer_doesnt_depend_on_finish(datagrams):
    """An override that forgets super() may lose its own farewell, and no answer."""

    class Handler(Upper):
        def finish(self):
            pass

    server, client = datagrams
    Handler((b"twice", server), client.getsockname(), None)
    assert [client.recv(100) for _ in range(2)] == [b"FIRST", b"TWICE"]


@pytest.mark.parametrize("address", [None, ""])
def test_a_client_without_a_name_cant_be_answered(datagrams, address):
    """A clear error, when there is an answer."""
    with pytest.raises(UnnamedPeerError, match="no address"):
        Upper((b"one", datagrams[0]), address, None)


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs AF_UNIX")
def test_a_datagrams_sender_that_has_left_is_no_error(short_folder, records):
    """One record at level DEBUG, whether its socket is closed or its name gone too."""
    path = short_folder / "client"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
            client.bind(str(path))
        Upper((b"one", server), str(path), None)
        path.unlink()
        Upper((b"one", server), str(path), None)
    assert [level for level, _ in records()] == ["DEBUG", "DEBUG"]


def test_other_errors_in_answering_go_on(datagrams):
    """An answer that is too long for a datagram is the handler's fault."""

    class Handler(MessageRequestHandler):
        def handle_message(self, message):
            return b"x" * 100_000

    server, client = datagrams
    with pytest.raises(OSError, match="too long"):
        Handler((b"one", server), client.getsockname(), None)


def test_a_stream_handler_isnt_one_of_messages():
    """A server that drives messages can tell."""
    handler = object.__new__(StreamRequestHandler)
    assert not isinstance(handler, MessageHandler)


def test_flushing_sends_the_answers_to_earlier_messages_too():
    """A handler that flushes in the midst of what was read at once sends what waits, in order."""

    class Flushing(MessageRequestHandler):
        def handle_message(self, message):
            if message == b"flush":
                self.send(b"now")
                self.flush()
                return None
            return message

    class Driving:
        drives_messages = True

    sent = []
    handler = Flushing(object(), "client", Driving())
    handler.transmit = sent.append
    assert handler.feed(b"one\ntwo\nflush\nthree\n") == b"three\n"
    assert sent == [b"one\ntwo\nnow\n"]
    handler._answers.append(b"left")
    handler.flush()
    assert sent[1:] == [b"left\n"]
