"""netserve's servers whose handlers block: one row for each mix-in."""

from typing import Any

from benchmarks import applications
from benchmarks.service import MAX_LINE, THREADS, answer, labour
from netserve.concurrency import ForkingMixIn, ThreadingMixIn, ThreadPoolMixIn
from netserve.handlers import BaseRequestHandler, StreamRequestHandler


class Echo(StreamRequestHandler):
    """Answers lines until the client closes."""

    disable_nagle_algorithm = True

    def handle(self) -> None:
        """Read, answer, and so on."""
        readline, write = self.rfile.readline, self.wfile.write
        while (line := readline(MAX_LINE)).endswith(b"\n"):
            write(line.upper())


class Once(StreamRequestHandler):
    """Answers one line."""

    def handle(self) -> None:
        """Read, answer."""
        self.wfile.write(self.rfile.readline(MAX_LINE).upper())


class Mix(StreamRequestHandler):
    """Answers lines, some of them late."""

    disable_nagle_algorithm = True

    def handle(self) -> None:
        """Read, answer, and so on."""
        while (line := self.rfile.readline(MAX_LINE)).endswith(b"\n"):
            self.wfile.write(answer(line))


class Heavy(StreamRequestHandler):
    """Answers lines, each after some work."""

    disable_nagle_algorithm = True

    def handle(self) -> None:
        """Read, compute, answer, and so on."""
        while (line := self.rfile.readline(MAX_LINE)).endswith(b"\n"):
            self.wfile.write(labour(line))


class Datagram(BaseRequestHandler):
    """Answers a datagram."""

    def handle(self) -> None:
        """Send it back in upper case."""
        data, answers = self.request
        answers.sendto(data.upper(), self.client_address)


class Threads(ThreadingMixIn):
    """Threads that nobody waits for, as the standard library's have it here."""

    daemon_threads = True


class Forks(ForkingMixIn):
    """As many processes as the load needs; with the default of 40 it would stand still."""

    max_children = 100


class Pool(ThreadPoolMixIn):
    """As many workers as the other frameworks have for what blocks."""

    max_workers = THREADS


MIXINS: dict[str, tuple[type, ...]] = {
    "sync": (), "threading": (Threads,), "forking": (Forks,), "threadpool": (Pool,),
}  # fmt: skip
HANDLERS: dict[str, type] = {
    "echo": Echo, "once": Once, "mix": Mix, "cpu": Heavy, "udp": Datagram,
}  # fmt: skip


def build(variant: str, service: str) -> tuple[tuple[type, ...], Any]:
    """Return the mix-ins and the handler of a row."""
    if service == "http":
        return MIXINS[variant], applications.web_handler()
    if service == "resp":
        return MIXINS[variant], applications.redis_handler(StreamRequestHandler)
    if service == "dns":
        return MIXINS[variant], applications.names_handler(BaseRequestHandler)
    return MIXINS[variant], HANDLERS[service]
