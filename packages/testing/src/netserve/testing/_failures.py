"""What handlers raise while a test runs, in this process and in its children.

Theory of operation. ``handle_error`` is the hook that every server calls for what
a handler raised, the standard library's servers too; so an attribute of that name
on the server sees all of it, in whatever thread. In a child, which shares no
memory with the test, it appends the traceback to a file that both have open.
"""

import json
import os
import socket as _socket
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable
from typing import Final, cast

from netserve.core import BaseServer
from netserve.testing._errors import HandlerFailedError

_PEEK: Final = _socket.MSG_PEEK | getattr(_socket, "MSG_DONTWAIT", 0)


class Failures:
    """The errors that *server* is told of, from now on, until it is closed.

    The server's own ``handle_error`` is called as well.
    """

    def __init__(self, server: object) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._errors: list[BaseException] = []
        self._file = tempfile.TemporaryFile("a+b", buffering=0)  # noqa: SIM115 closed by close
        self._read = 0
        self._server = server
        self._report = cast(
            "Callable[[object, object], None]",
            server.handle_error,  # type: ignore[attr-defined]  # both kinds of server have it
        )
        vars(server)["handle_error"] = self._handle_error

    def close(self) -> None:
        """Let go of the server, and of the file."""
        vars(self._server).pop("handle_error", None)
        self._file.close()

    def take(self) -> list[BaseException]:
        """The errors so far, which from now on don't count any more, in order of each process.

        One of a child process is a :class:`HandlerFailedError` with its traceback.
        """
        with self._lock:
            errors, self._errors = self._errors, []
            self._file.seek(self._read)
            told = self._file.read()
            self._read += len(told)
        return errors + [HandlerFailedError(json.loads(line)) for line in told.splitlines()]

    def check(self) -> None:
        """Raise :class:`HandlerFailedError` if there are any."""
        errors = self.take()
        if not errors:
            return
        first, others = errors[0], errors[1:]
        texts = [_text(other) for other in others]
        if isinstance(first, HandlerFailedError):
            raise HandlerFailedError("\n".join([str(first), *texts]))
        count = f"; and {len(others)} more:\n" + "\n".join(texts) if others else ""
        msg = f"a handler raised {type(first).__name__}: {first}{count}"
        raise HandlerFailedError(msg) from first

    def _handle_error(self, request: object, client_address: object) -> None:
        error = sys.exc_info()[1]
        if error is not None and not self._is_the_peers(error, request):
            if os.getpid() == self._process:
                with self._lock:
                    self._errors.append(error)
            else:
                line = json.dumps(f"in a child process:\n{_text(error)}")
                self._file.write(line.encode() + b"\n")
        self._report(request, client_address)

    def _is_the_peers(self, error: BaseException, request: object) -> bool:
        """Whether it tells that the client has left, which netserve's servers find out."""
        return (
            not isinstance(self._server, BaseServer)
            and isinstance(error, ConnectionError)
            and isinstance(request, _socket.socket)
            and _has_left(request)
        )


def _has_left(connection: _socket.socket) -> bool:
    """Whether nothing can come from the other end any more."""
    try:
        connection.getpeername()
        return not connection.recv(1, _PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True


def _text(error: BaseException) -> str:
    if isinstance(error, HandlerFailedError):
        return str(error)
    return "".join(traceback.format_exception(type(error), error, error.__traceback__))
