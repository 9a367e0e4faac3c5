"""Tests of netserve.handlers._message where messages are answered elsewhere."""

import logging
import pickle
import socket

import pytest

from netserve.core import FramingError
from netserve.handlers import Lines, MessageRequestHandler


class Forwarder:
    """A server that has messages answered elsewhere."""

    drives_messages = True
    forwards_messages = True


class Work(MessageRequestHandler):
    """Answers in capitals, by a function of the message."""

    framing = Lines(max_size=10)

    @staticmethod
    def process_message(message):
        """Answer."""
        return message.upper() or None

    def handle_answer(self, message, answer):
        """Say more, or end."""
        if message == b"twice":
            self.send(b"FIRST")
        if message == b"quit":
            self.close()
        return answer

    def handle_framing_error(self, error):
        """Say what was wrong."""
        return b"! wrong"


class Both(Work):
    """Answers in two ways."""

    def handle_message(self, message):
        """Answer."""
        return message


class Connected(MessageRequestHandler):
    """Answers with what only a connection has."""

    def handle_message(self, message):
        """Answer."""
        return message


def make(handler_class=Work):
    """A handler of a connection, and what it has transmitted, in a list."""
    handler = handler_class("a connection", "client", Forwarder())
    sent = []
    handler.transmit = sent.append
    return handler, sent


def answer(handler, messages):
    """Answer *messages* as a server does."""
    function = pickle.loads(pickle.dumps(handler.message_function()))
    for message in messages:
        handler.queue_answer(message, function(message))
    handler.flush()


def test_handle_message_calls_the_function_unless_it_is_defined():
    """So the handler runs on every server."""
    handler, _ = make()
    assert handler.feed(b"one\ntwice\n\nquit\nlate\n") == b"ONE\nFIRST\nTWICE\nQUIT\n"
    assert handler.closing


def test_messages_are_received_and_answered_apart():
    """In their order, with what handle_answer says besides."""
    handler, sent = make()
    messages = handler.receive_messages(b"one\ntwice\n\nhal")
    assert messages == [b"one", b"twice", b""]
    answer(handler, messages)
    assert sent == [b"ONE\nFIRST\nTWICE\n"]
    assert not handler.input_ended
    assert not handler.closing
    answer(handler, handler.receive_messages(b"f\nquit\n"))
    assert sent[1:] == [b"HALF\nQUIT\n"]
    assert handler.closing


def test_the_end_of_the_input():
    """The handler closes when all has been answered."""
    handler, sent = make()
    assert handler.receive_end() == []
    assert handler.input_ended
    assert not handler.closing
    handler.end_messages()
    handler.flush()
    assert handler.closing
    assert sent == []


@pytest.mark.parametrize(
    ("receive", "level"),
    [
        (lambda handler: handler.receive_messages(b"x" * 11), logging.INFO),
        (lambda handler: handler.receive_messages(b"half") + handler.receive_end(), logging.DEBUG),
    ],
)
def test_a_fault_of_the_client(caplog, receive, level):
    """It is told, and answered, after the messages before it."""
    caplog.set_level(logging.DEBUG, "netserve.server")
    handler, sent = make()
    messages = handler.receive_messages(b"one\n") + receive(handler)
    assert messages == [b"one"]
    assert handler.input_ended
    assert caplog.records == []
    answer(handler, messages)
    handler.end_messages()
    handler.flush()
    assert sent == [b"ONE\n", b"! wrong"]
    assert [record.levelno for record in caplog.records] == [level]
    assert handler.closing


def test_a_framing_of_ones_own_may_have_good_messages_before_the_fault():
    """Also at the end."""

    class Strict:
        pending = 0

        def decode(self, data):
            """Find it wrong."""
            raise FramingError("wrong", [b"good"])

        def end(self):
            """Find it wrong too."""
            raise FramingError("wrong", [b"last"])

    handler, _ = make()
    handler.decoder = Strict()
    handler._decode = handler.decoder.decode
    assert handler.receive_messages(b"data") == [b"good"]
    assert handler.receive_end() == [b"last"]


def test_a_datagram_waits_for_its_answer():
    """Its making does nothing; each answer is a datagram."""
    with socket.socket(type=socket.SOCK_DGRAM) as own:
        handler = Work((b"twice", own), "client", Forwarder())
        sent = []
        handler.transmit = sent.append
        answer(handler, [b"twice"])
        assert sent == [b"FIRST", b"TWICE"]


@pytest.mark.parametrize(
    ("handler_class", "reason"),
    [
        (Connected, r"Connected has no process_message\(\)"),
        (MessageRequestHandler, r"MessageRequestHandler has no process_message\(\)"),
        (Both, r"Both has a handle_message\(\) of its own"),
    ],
)
def test_a_class_without_such_a_function(handler_class, reason):
    """The error says what to do."""
    with pytest.raises(TypeError, match=reason):
        handler_class.message_function()


def test_the_function_of_the_base_answers_nothing():
    """It must be defined."""
    with pytest.raises(NotImplementedError):
        MessageRequestHandler.process_message(b"hello")
