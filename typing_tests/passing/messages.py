"""A handler of messages, on the servers that it is for, and framings of one's own."""

import socket
import ssl
from collections.abc import Callable
from typing import Any

from typing_extensions import assert_type

from netserve import socketserver
from netserve.concurrency import ForkingMixIn, ThreadingMixIn
from netserve.core import (
    Decoder,
    Framing,
    FramingError,
    InetAddress,
    MessageDriver,
    MessageHandler,
    UnixAddress,
)
from netserve.handlers import (
    FixedSize,
    LengthPrefixed,
    Lines,
    MessageRequestHandler,
    Netstrings,
)
from netserve.transports import TCPServer, UDPServer, UnixDatagramServer, UnixStreamServer

HERE = ("127.0.0.1", 0)


class Upper(MessageRequestHandler):
    """Without type arguments: fits every server of streams or datagrams."""

    def handle_message(self, message: bytes) -> bytes | None:
        assert_type(self.request, socket.socket | tuple[bytes, socket.socket])
        assert_type(self.client_address, Any)
        assert_type(self.server, Any)
        assert_type(self.framing, Framing)
        assert_type(self.closing, bool)
        assert_type(self.transmit, Callable[[bytes], None])
        assert_type(self.ssl_object, ssl.SSLObject | ssl.SSLSocket | None)
        if self.ssl_object is not None:
            assert_type(self.ssl_object.selected_alpn_protocol(), str | None)
            self.ssl_object.getpeercert()
        return message.upper()


class AlwaysAnswers(MessageRequestHandler):
    """The result of an override may be narrower, and its parameter named as it likes."""

    framing = LengthPrefixed(2, "little", max_size=1000)

    def handle_message(self, data: bytes) -> bytes:
        self.send(b"one")
        self.flush()
        self.close()
        return data

    def handle_framing_error(self, fault: FramingError) -> bytes:
        assert_type(fault.messages, list[bytes])
        return str(fault).encode()


class NeverAnswers(MessageRequestHandler):
    """The same, with nothing to say."""

    framing = Netstrings()

    def handle_message(self, message: bytes) -> None:
        print(message)


class MyServer(TCPServer):
    """A server with a member that its handlers use."""

    greeting = b"hello"


class Greeter(MessageRequestHandler[InetAddress, MyServer]):
    """A handler that needs its own server."""

    def setup(self) -> None:
        assert_type(self.client_address, tuple[str, int])
        assert_type(self.server, MyServer)
        self.send(self.server.greeting)

    def handle_message(self, message: bytes) -> bytes | None:
        return None

    def finish(self) -> None:
        self.send(b"bye")
        super().finish()


class OnUnix(MessageRequestHandler[UnixAddress]):
    """With the server left open."""

    def handle_message(self, message: bytes) -> bytes | None:
        assert_type(self.client_address, str | bytes | None)
        return message


class Everything:
    """A framing of one's own, which is its decoder too: the whole stream is a message."""

    def __init__(self) -> None:
        self.data = b""

    @property
    def pending(self) -> int:
        return len(self.data)

    def decoder(self) -> Decoder:
        return Everything()

    def encode(self, message: bytes) -> bytes:
        return message

    def decode(self, data: bytes) -> list[bytes]:
        self.data += data
        return []

    def end(self) -> list[bytes]:
        return [self.data]


class Whole(Upper):
    """With that framing."""

    framing = Everything()


class Dispatcher(TCPServer):
    """A server that drives messages."""

    drives_messages = True


def servers() -> None:
    for handler in (Upper, AlwaysAnswers, NeverAnswers, Whole):
        TCPServer(HERE, handler)
        UDPServer(HERE, handler)
        UnixStreamServer("socket", handler)
        UnixDatagramServer("socket", handler)
        socketserver.ThreadingTCPServer(HERE, handler)
        socketserver.ThreadingUDPServer(HERE, handler)
    MyServer(HERE, Greeter)
    UnixStreamServer("socket", OnUnix)
    UnixDatagramServer("socket", OnUnix)


class Threading(ThreadingMixIn, TCPServer):
    """With threads."""


class Forking(ForkingMixIn, UDPServer):
    """With processes."""


def mixed() -> None:
    Threading(HERE, Upper)
    Forking(HERE, Upper)


def framings() -> None:
    framings: list[Framing] = [
        Lines(),
        Lines(b"\r\n", max_size=100),
        Lines(tolerate_cr=True),
        LengthPrefixed(),
        FixedSize(16),
        Netstrings(max_size=100),
        Everything(),
    ]
    for framing in framings:
        assert_type(framing.encode(b"x"), bytes)
        decoder = framing.decoder()
        assert_type(decoder.decode(b"x"), list[bytes])
        assert_type(decoder.pending, int)
        assert_type(decoder.end(), list[bytes])
    assert_type(Lines().delimiter, bytes)
    assert_type(LengthPrefixed().max_size, int)


def drive(connection: socket.socket) -> None:
    """What a server does that drives messages."""
    server = Dispatcher(HERE, Upper)
    driver: MessageDriver = server
    assert_type(driver.drives_messages, bool)
    handler: MessageHandler = Upper(connection, HERE, server)
    handler.transmit = connection.sendall
    handler.setup()
    handler.flush()
    assert_type(handler.feed(b"x"), bytes)
    assert_type(handler.closing, bool)
    assert_type(handler.end_of_input(), bytes)
    handler.finish()
