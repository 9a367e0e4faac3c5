"""Requests that were taken together, and answers that are sent together.

A server that can take many datagrams with one system call has them as a batch, and
hands that to its ``process_batch`` instead of each to ``process_request``. The two
Protocols here are what the mix-in that runs a batch, and the handler whose answer is
sent with others, know of that server.
"""

from collections.abc import Callable, Iterator
from typing import Any, Protocol, runtime_checkable


class RequestBatch(Protocol):
    """Requests that were taken together and that one thread runs in turn."""

    def collect(self) -> None:
        """Keep the answers of handlers that the calling thread runs from now on.

        Whoever asks for that calls :meth:`send_answers` at the end, and
        :meth:`hand_over` when a handler is seen to block.
        """

    def run(self) -> Iterator[None]:
        """Run the requests that haven't begun, one in each step of the iterator.

        No :class:`Exception` escapes. Called once.
        """
        ...

    def send_answers(self) -> None:
        """Send what was kept."""

    def hand_over(self, run: Callable[[Callable[[], object]], object]) -> None:
        """Have *run* run each request that hasn't begun, and send the answers until now.

        It may be called from another thread while a request runs.
        """


@runtime_checkable
class AnswerQueue(Protocol):
    """A server that may send the answers to several datagrams together."""

    def queue_answer(self, request: Any, answer: bytes, client_address: Any, /) -> bool:
        """Send *answer* soon, after those that were queued before; false if it won't.

        Soon is when the handlers of the batch have returned, or when one is seen
        to block. False means that the caller has to send it.
        """
        ...

    def send_answers(self) -> None:
        """Send now what the calling thread has queued."""
