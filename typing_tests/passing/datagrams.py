"""Datagrams: what is told of them, and what a server may do with those that are cut."""

import socket
from typing import Any

from typing_extensions import assert_type

from netserve.core import DatagramRequest, InetAddress, RequestBatch, TruncatedDatagram
from netserve.handlers import DatagramRequestHandler, MessageRequestHandler
from netserve.servers import MultiplexingUDPServer
from netserve.transports import UDPServer


class Lenient(UDPServer):
    """A server that takes what is left of a datagram, and notes its batches."""

    max_packet_size = 512
    answers_from_destination = False

    def verify_truncated(self, request: TruncatedDatagram, client_address: InetAddress) -> bool:
        data, answers = request
        assert_type(data, bytes)
        assert_type(answers, socket.socket)
        return super().verify_truncated(request, client_address) or len(data) > 100

    def process_batch(self, batch: RequestBatch) -> None:
        for _ in batch.run():
            pass


class Handler(DatagramRequestHandler[InetAddress, Lenient]):
    """A handler that looks at whether its datagram is whole, and where it came to."""

    def handle(self) -> None:
        request: DatagramRequest = self.request
        if not isinstance(request, TruncatedDatagram):
            self.wfile.write(self.packet)
        assert_type(self.socket, socket.socket)


class Message(MessageRequestHandler[InetAddress, MultiplexingUDPServer]):
    """A handler of messages that tells a datagram from a connection."""

    def handle_message(self, message: bytes) -> bytes | None:
        if isinstance(self.request, tuple):
            _, answers = self.request
            assert_type(answers, socket.socket)
        return message


def verify(server: UDPServer, request: DatagramRequest, address: Any) -> bool:
    """Only a cut datagram can be asked about."""
    return isinstance(request, TruncatedDatagram) and server.verify_truncated(request, address)


def main() -> None:
    with Lenient(("127.0.0.1", 0), Handler) as server:
        server.handle_request()
    with MultiplexingUDPServer(("127.0.0.1", 0), Message) as multiplexing:
        multiplexing.handle_request()
