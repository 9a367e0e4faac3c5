"""Mistakes with messages and framings."""

from netserve.core import BaseServer, Framing, InetAddress, UnixAddress
from netserve.handlers import FixedSize, LengthPrefixed, Lines, MessageRequestHandler, Netstrings
from netserve.transports import TCPServer, UDPServer, UnixStreamServer

HERE = ("127.0.0.1", 0)


class MyServer(TCPServer):
    greeting = b"hello"


class Upper(MessageRequestHandler):
    def handle_message(self, message: bytes) -> bytes | None:
        # E message-as-text: attribute; encode
        message.encode()

        # E send-text: Argument; bytes; send
        self.send("hello")

        # E recv-of-stream-or-datagram: attribute; recv
        self.request.recv(1024)

        # E files-of-message-handler: attribute; wfile
        self.wfile

        # E closing-assigned: closing
        self.closing = True

        return message.upper()


class AnswersText(MessageRequestHandler):
    # E answer-as-text: handle_message; MessageRequestHandler
    def handle_message(self, message: bytes) -> str:
        return message.decode()


class TakesText(MessageRequestHandler):
    # E message-taken-as-text: handle_message; MessageRequestHandler
    def handle_message(self, message: str) -> bytes | None:
        return message.encode()


class Coroutine(MessageRequestHandler):
    # E handle-message-as-coroutine: handle_message; MessageRequestHandler
    async def handle_message(self, message: bytes) -> bytes | None:
        return message


class ReturnsText(MessageRequestHandler):
    def handle_message(self, message: bytes) -> bytes | None:
        # E text-returned: bytes; None
        return message.decode()


class FramingClass(MessageRequestHandler):
    # E framing-class-instead-of-framing: Lines; Framing
    framing = Lines


class Delimiter(MessageRequestHandler):
    # E delimiter-instead-of-framing: assignable; Framing
    # E delimiter-instead-of-framing (mypy): assignment; bytes; Framing
    framing = b"\n"


class ForMyServer(MessageRequestHandler[InetAddress, MyServer]):
    pass


class ForUnix(MessageRequestHandler[UnixAddress]):
    pass


class Mailbox(BaseServer[bytes, None]):
    pass


class NoEncode:
    def decoder(self) -> object:
        return self


# E message-handler-for-derived-server: Argument; ForMyServer; TCPServer
TCPServer(HERE, ForMyServer)

# E message-handler-for-stream-server-on-udp: Argument; ForMyServer; UDPServer
UDPServer(HERE, ForMyServer)

# E message-handler-of-unix-on-tcp: Argument; ForUnix; TCPServer
TCPServer(HERE, ForUnix)

# E message-handler-of-tcp-on-unix: Argument; ForMyServer; UnixStreamServer
UnixStreamServer("socket", ForMyServer)

# E message-handler-on-other-requests: Argument; Upper; Mailbox
Mailbox(None, Upper)

# E delimiter-as-text: Argument; bytes
Lines("\n")

# E maximum-by-position: argument
Lines(b"\n", 100)

# E byteorder-misspelled: Argument; little
LengthPrefixed(4, "network")

# E size-missing: issing
# E size-missing (ty): No argument
FixedSize()

# E maximum-is-none: Argument; None; int
Netstrings(None)

# E framing-changed: max_size
Lines().max_size = 100

# E framing-without-encode: NoEncode; Framing
framing: Framing = NoEncode()
