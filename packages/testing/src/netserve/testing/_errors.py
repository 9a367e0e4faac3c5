"""The errors with which a test fails.

Each is an :class:`AssertionError`, which pytest and :mod:`unittest` count as a
failure of the test and not as an error in it.
"""

from netserve.core import NetserveError


class ContractError(NetserveError, AssertionError):
    """A guarantee that an implementation doesn't keep.

    *contract* is the Protocol or class that gives it, such as ``"Decoder"``;
    *guarantee* is the promise, in words; *found* is what was seen instead. All
    three are attributes, and in the message.
    """

    def __init__(self, contract: str, guarantee: str, found: str) -> None:
        super().__init__(contract, guarantee, found)
        self.contract: str = contract
        self.guarantee: str = guarantee
        self.found: str = found

    def __str__(self) -> str:
        return f"{self.contract} guarantees: {self.guarantee}.\nFound: {self.found}"


class HandlerFailedError(NetserveError, AssertionError):
    """A handler, or a hook, that raised while the test ran.

    The first error is its ``__cause__``, unless it was raised in another process;
    then, and for all further ones, the message has the traceback.
    """


class LeftBehindError(NetserveError, AssertionError):
    """Requests, threads, child processes or descriptors that the server has left behind."""


class StarvedError(NetserveError, AssertionError):
    """A handler that waits for input which the test has neither given nor ended."""
