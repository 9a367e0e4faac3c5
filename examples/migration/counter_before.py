"""A line protocol: each client counts words, and asks for all counts together."""

import socketserver
import sys
import threading


class Counter(socketserver.StreamRequestHandler):
    """Adds a word, or tells how many there were."""

    timeout = 60

    def handle(self):
        """One line after the other."""
        for line in self.rfile:
            word = line.strip().decode()
            with self.server.lock:
                self.server.counts[word] = self.server.counts.get(word, 0) + 1
                count = self.server.counts[word]
            self.wfile.write(f"{word} {count}\n".encode())


class CountingServer(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """A thread for each client, and what they share."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.counts = {}
        self.lock = threading.Lock()


if __name__ == "__main__":
    with CountingServer(("127.0.0.1", int(sys.argv[1])), Counter) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()
