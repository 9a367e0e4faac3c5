"""A line protocol: each client counts words, and asks for all counts together."""

import sys
import threading

from netserve.concurrency import ThreadPoolMixIn
from netserve.core import InetAddress
from netserve.handlers import StreamRequestHandler
from netserve.transports import TCPServer


class Counter(StreamRequestHandler[InetAddress, "CountingServer"]):
    """Adds a word, or tells how many there were."""

    max_line_size = 1000

    def handle(self) -> None:
        """One line after the other."""
        for line in self.rfile:
            word = line.strip().decode()
            with self.server.lock:
                self.server.counts[word] = self.server.counts.get(word, 0) + 1
                count = self.server.counts[word]
            self.wfile.write(f"{word} {count}\n".encode())


class CountingServer(ThreadPoolMixIn, TCPServer):
    """At most so many threads, and what they share."""

    max_workers = 50
    idle_timeout = 60.0
    message_timeout = 60.0

    def __init__(self, address: InetAddress) -> None:
        super().__init__(address, Counter)
        self.counts: dict[str, int] = {}
        self.lock = threading.Lock()


if __name__ == "__main__":
    with CountingServer(("127.0.0.1", int(sys.argv[1]))) as server:
        print(server.server_address[1], flush=True)
        server.run()
