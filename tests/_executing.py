"""Handlers whose messages an executor answers: found by name, as a worker must find them."""

import os
import signal
import time
from pathlib import Path

from netserve.handlers import Lines, MessageRequestHandler


class Heavy(MessageRequestHandler):
    """Answers in capitals; a few words make the worker do something else."""

    framing = Lines(max_size=1 << 24)

    @staticmethod
    def process_message(message: bytes) -> bytes | None:
        """Answer, or do as told, in a worker."""
        word, _, argument = message.partition(b" ")
        if word == b"pid":
            return b"%d" % os.getpid()
        if word == b"nothing":
            return None
        if word == b"big":
            return b"x" * int(argument)
        if word == b"fail":
            msg = "of the work"
            raise RuntimeError(msg)
        if word == b"exit":
            raise SystemExit(3)
        if word == b"die":
            os.kill(os.getpid(), signal.SIGKILL)
        if word == b"die-once":
            return die_once(Path(argument.decode()))
        if word == b"wait":
            return wait_for(Path(argument.decode()))
        return message.upper()

    def handle_answer(self, message: bytes, answer: bytes | None) -> bytes | None:
        """Do as told, where the connection is."""
        if message == b"twice":
            self.send(b"FIRST")
        if message == b"quit":
            self.close()
        if message == b"bug":
            msg = "of handle_answer"
            raise RuntimeError(msg)
        return answer


def wait_for(folder: Path) -> bytes:
    """Tell in *folder* who is at work, and answer when there is a file called ``go``."""
    (folder / f"at-work-{os.getpid()}").touch()
    until = time.monotonic() + 60
    while not (folder / "go").exists():
        assert time.monotonic() < until
        time.sleep(0.005)
    return b"WENT"


def die_once(folder: Path) -> bytes:
    """Kill this process, unless one before has died of it."""
    try:
        (folder / "died").touch(exist_ok=False)
    except FileExistsError:
        return b"ALIVE"
    os.kill(os.getpid(), signal.SIGKILL)
    return b"DEAD"
