"""A server whose answers take long to compute, which other processes do, and clients of it."""

import multiprocessing
import socket
from concurrent.futures import Executor, ProcessPoolExecutor

from netserve.concurrency import MultiplexingMixIn
from netserve.core import InetAddress
from netserve.handlers import MessageRequestHandler
from netserve.transports import TCPServer


class CountPrimes(MessageRequestHandler):
    """Answers each line, a number, with how many primes there are below it."""

    @staticmethod
    def process_message(message: bytes) -> bytes | None:
        """Count; this runs in a worker, which has the message and nothing else."""
        numbers = range(2, int(message))
        return b"%d" % sum(all(n % d for d in range(2, int(n**0.5) + 1)) for n in numbers)


class Server(MultiplexingMixIn, TCPServer):
    """One thread reads and sends for all connections; two processes count."""

    def make_executor(self) -> Executor:
        """A pool, which the server makes when it begins to serve, and shuts down."""
        # Not "fork": there are other threads by then.
        context = multiprocessing.get_context("forkserver")
        return ProcessPoolExecutor(max_workers=2, mp_context=context)


def ask(address: InetAddress, lines: bytes) -> str:
    """Send *lines*; returns all that comes back."""
    with socket.create_connection(address) as connection, connection.makefile("rb") as answers:
        connection.sendall(lines)
        connection.shutdown(socket.SHUT_WR)
        return answers.read().decode()


def main() -> None:
    """Serve in another thread, and be a client in this one."""
    with Server(("localhost", 0), CountPrimes).background() as running:
        print(ask(running.address, b"10\n1000\n100000\n"), end="")


if __name__ == "__main__":
    main()
