"""netserve's servers of messages: multiplexed, answered by an executor, or in threads."""

from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

from benchmarks import applications
from benchmarks.servers.blocking import Threads
from benchmarks.service import THREADS, answer, labour
from netserve.concurrency import MultiplexingMixIn
from netserve.handlers import MessageRequestHandler


class Message(MessageRequestHandler):
    """Answers one line after the other."""

    disable_nagle_algorithm = True

    def handle_message(self, message: bytes) -> bytes | None:
        """Return it in upper case."""
        return message.upper()


class OneMessage(Message):
    """Answers one line; the server, finding no more to read, closes."""

    def handle_message(self, message: bytes) -> bytes | None:
        """Return it in upper case, as the last one."""
        self.close()
        return message.upper()


class MixedMessage(Message):
    """Answers lines, some of them late."""

    def handle_message(self, message: bytes) -> bytes | None:
        """Return it in upper case, after blocking when it is marked."""
        return answer(message)


class HeavyMessage(Message):
    """Answers lines after some work."""

    def handle_message(self, message: bytes) -> bytes | None:
        """Return it in upper case, after computing."""
        return labour(message)


class SentMessage(MessageRequestHandler):
    """Answers one line after the other, some of them late, where an executor says."""

    @staticmethod
    def process_message(message: bytes) -> bytes | None:
        """Return it in upper case, after blocking when it is marked."""
        return answer(message)


class SentHeavyMessage(MessageRequestHandler):
    """Answers lines after some work, where an executor says."""

    @staticmethod
    def process_message(message: bytes) -> bytes | None:
        """Return it in upper case, after computing."""
        return labour(message)


class Multiplexing(MultiplexingMixIn):
    """As many workers as the other frameworks have for what blocks."""

    max_workers = THREADS


class Inline(MultiplexingMixIn):
    """No workers: what blocks holds up all."""

    max_workers = 0


class Executing(MultiplexingMixIn):
    """As many threads of an executor as those have."""

    def make_executor(self) -> Executor:
        """Make it."""
        return ThreadPoolExecutor(THREADS)


MIXINS: dict[str, tuple[type, ...]] = {
    "messages": (Threads,), "multiplexing": (Multiplexing,), "inline": (Inline,),
    "executor": (Executing,),
}  # fmt: skip
HANDLERS: dict[str, type] = {
    "echo": Message, "once": OneMessage, "mix": MixedMessage, "cpu": HeavyMessage,
    "udp": Message,
}  # fmt: skip
SENT: dict[str, type] = {"echo": SentMessage, "mix": SentMessage, "cpu": SentHeavyMessage}


def build(variant: str, service: str) -> tuple[tuple[type, ...], Any]:
    """Return the mix-ins and the handler of a row."""
    if service == "resp":
        return MIXINS[variant], applications.redis().RedisHandler
    return MIXINS[variant], (SENT if variant == "executor" else HANDLERS)[service]
