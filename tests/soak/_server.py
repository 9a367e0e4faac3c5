"""A server in a process of its own, which tells how it is when it is asked.

The argument is the name of the server. The first line of standard output is its
address; each line of standard input is answered by one: ``measure`` by what the
process holds, ``stop`` by what came of the drain, and then it ends. All are JSON.
"""

import contextlib
import gc
import json
import logging
import os
import resource
import sys
import threading
import time
from pathlib import Path
from typing import Any

from netserve.concurrency import MultiplexingMixIn, ThreadPoolMixIn
from netserve.handlers import MessageRequestHandler
from netserve.transports import TCPServer


class Words(MessageRequestHandler):
    """Answers in capitals; "nap" blocks for 20 ms, and "fail" fails."""

    def handle_message(self, message: bytes) -> bytes | None:
        """Answer."""
        if message == b"nap":
            time.sleep(0.02)
        if message == b"fail":
            msg = "of the handler"
            raise RuntimeError(msg)
        return message.upper()


class Multiplexing(MultiplexingMixIn, TCPServer):
    """All connections in one thread."""

    max_connections = None
    max_workers = 8
    request_queue_size = 4096
    idle_timeout = 60.0


class ThreadPool(ThreadPoolMixIn, TCPServer):
    """A connection a thread, of eight."""

    max_workers = 8
    request_queue_size = 4096
    idle_timeout = 60.0


SERVERS: dict[str, Any] = {"Multiplexing": Multiplexing, "ThreadPool": ThreadPool}


def measure(server: Any) -> dict[str, int]:
    """What the process holds; memory in KiB."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "memory": pages * os.sysconf("SC_PAGE_SIZE") // 1024,
        "threads": threading.active_count(),
        "descriptors": sum(1 for _ in Path("/proc/self/fd").iterdir()),
        "active": server.stats().active,
        "accepted": server.stats().accepted,
    }


def main() -> None:
    """Serve, and answer."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    logging.disable(logging.CRITICAL)
    with SERVERS[sys.argv[1]](("127.0.0.1", 0), Words) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        print(json.dumps(server.server_address), flush=True)
        for line in sys.stdin:
            if line == "measure\n":
                print(json.dumps(measure(server)), flush=True)
            else:
                result = server.stop(60)
                thread.join()
                told = {"drained": result.drained, "forced": result.forced, **measure(server)}
                print(json.dumps(told), flush=True)
                return


if __name__ == "__main__":
    main()
