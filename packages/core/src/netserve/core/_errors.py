"""The errors that netserve raises itself.

Each derives from :class:`NetserveError` and from the built-in exception that
says the same, so that a program may catch either.
"""


class NetserveError(Exception):
    """Any error that netserve itself finds."""


class StateError(NetserveError, RuntimeError):
    """An operation that the server's state doesn't allow.

    The message names the server with its state, the operation, and what would
    be right.
    """


class MixInOrderError(NetserveError, TypeError):
    """A mix-in that stands behind the server class whose hooks it overrides.

    The message names the order that works. The original reference asks for it
    in its *Server Creation Notes*.
    """
