"""A TCP server with a process for each connection, and three clients, in one program.

A process should not fork while it has several threads: so the clients are a
process too, not the main thread beside a thread for the server.
"""

import multiprocessing
import os
import socket

from netserve.concurrency import ForkingMixIn
from netserve.core import InetAddress, StreamRequest
from netserve.handlers import BaseRequestHandler
from netserve.transports import TCPServer

MESSAGES = ("Hello World 1", "Hello World 2", "Hello World 3")


class ForkingTCPServer(ForkingMixIn, TCPServer):
    """The mix-in comes first: it overrides a method of the server."""


class ProcessNumberHandler(BaseRequestHandler[StreamRequest, InetAddress, ForkingTCPServer]):
    """Tells which process it runs in."""

    def handle(self) -> None:
        """Answer with the process's number and what was said."""
        data = self.request.recv(1024).decode()
        self.request.sendall(f"Process {os.getpid()}: {data}".encode())


def clients(address: InetAddress) -> None:
    """Say each message to the server on a connection of its own, and print the answer."""
    for message in MESSAGES:
        with socket.create_connection(address) as connection:
            connection.sendall(message.encode())
            print(f"Received: {connection.recv(1024).decode()}", flush=True)


def main() -> None:
    """Be the clients in another process, and serve as many requests as they make."""
    # Port 0 takes one that is free.
    with ForkingTCPServer(("localhost", 0), ProcessNumberHandler) as server:
        print(f"Server loop running in process: {os.getpid()}", flush=True)
        client_process = multiprocessing.get_context("fork").Process(
            target=clients, args=(server.server_address,)
        )
        client_process.start()
        for _ in MESSAGES:
            server.handle_request()
        client_process.join()


if __name__ == "__main__":
    main()
