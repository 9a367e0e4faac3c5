"""Mistakes inside a handler."""

from netserve.core import InetAddress
from netserve.handlers import BaseRequestHandler, DatagramRequestHandler, StreamRequestHandler
from netserve.transports import TCPServer


class MyServer(TCPServer):
    greeting = b"hello\n"


class Stream(StreamRequestHandler[InetAddress, MyServer]):
    def handle(self) -> None:
        # E text-to-stream: Argument; Buffer; write
        self.wfile.write("hello")

        # E line-is-not-text: Argument; Buffer; split
        self.rfile.readline().split(",")

        # E text-to-socket: Argument; Buffer; sendall
        self.request.sendall("hello")

        # E stream-unpacked-as-datagram: not iterable
        data, answer_on = self.request

        # E packet-of-stream: attribute; packet
        self.packet

        # E no-such-member-of-server: attribute; greetings
        self.server.greetings

        # E member-of-server-as-text: attribute; encode
        self.server.greeting.encode()


class Datagram(DatagramRequestHandler):
    def handle(self) -> None:
        # E text-to-datagram: Argument; Buffer; write
        self.wfile.write("hello")

        # E datagram-used-as-socket: attribute; recv
        self.request.recv(1024)

        # E connection-of-datagram: attribute; connection
        self.connection

        # E packet-as-text: attribute; encode
        self.packet.encode()


class Base(BaseRequestHandler[object, InetAddress, TCPServer]):
    def handle(self) -> None:
        # E files-of-base-handler: attribute; rfile
        self.rfile

    # E finish-with-an-argument: finish; BaseRequestHandler
    def finish(self, error: Exception) -> None: ...


class Tuned(StreamRequestHandler):
    # E handler-timeout-as-text: assignable; float; None
    # E handler-timeout-as-text (mypy): assignment; float; None
    timeout = "5"


class Buffered(StreamRequestHandler):
    # E buffer-size-as-text: assignable; int
    # E buffer-size-as-text (mypy): assignment; int
    rbufsize = "8192"


class Nagle(StreamRequestHandler):
    # E option-assigned-none: assignable; None; bool
    # E option-assigned-none (mypy): assignment; None; bool
    disable_nagle_algorithm = None
