"""A TCP server with a thread for each connection, and three clients, in one program."""

import socket
import threading

from netserve.concurrency import ThreadingMixIn
from netserve.core import InetAddress, StreamRequest
from netserve.handlers import BaseRequestHandler
from netserve.transports import TCPServer


class ThreadedTCPServer(ThreadingMixIn, TCPServer):
    """The mix-in comes first: it overrides a method of the server."""


class ThreadNameHandler(BaseRequestHandler[StreamRequest, InetAddress, ThreadedTCPServer]):
    """Tells which thread it runs in."""

    def handle(self) -> None:
        """Answer with the thread's name and what was said."""
        data = self.request.recv(1024).decode()
        self.request.sendall(f"{threading.current_thread().name}: {data}".encode())


def client(address: InetAddress, message: str) -> None:
    """Say *message* to the server, and print its answer."""
    with socket.create_connection(address) as connection:
        connection.sendall(message.encode())
        print(f"Received: {connection.recv(1024).decode()}")


def main() -> None:
    """Serve in one thread, and be the clients in this one."""
    # Port 0 takes one that is free.
    with ThreadedTCPServer(("localhost", 0), ThreadNameHandler) as server:
        # This thread runs the loop, which starts one more for each connection.
        server_thread = threading.Thread(target=server.serve_forever)
        server_thread.start()
        print(f"Server loop running in thread: {server_thread.name}")

        for number in (1, 2, 3):
            client(server.server_address, f"Hello World {number}")

        server.shutdown()
        server_thread.join()


if __name__ == "__main__":
    main()
