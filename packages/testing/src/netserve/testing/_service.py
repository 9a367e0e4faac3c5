"""A server under test: served in the background, and ended within its grace.

Theory of operation. A server of this project drains itself, and says how many
requests it had to force. One of the standard library's has no bound: its
``server_close`` joins the threads of handlers for as long as these run. So the end
is carried out in a thread of its own, which the test waits for no longer than the
grace and a moment; shortly before that is over, it notes where the threads stand.

The clients that the test has made are closed first, so that a handler which waits
for its client comes to its end by itself.
"""

import contextlib
import socket as _socket
import tempfile
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, Final, Generic, Protocol, cast, overload

from typing_extensions import TypeVar

from netserve.core import BaseServer
from netserve.testing._clients import PATIENCE, DatagramClient, StreamClient
from netserve.testing._errors import LeftBehindError
from netserve.testing._failures import Failures
from netserve.testing._held import held, left_behind, stacks

GRACE: Final = 5.0
"""How long requests in progress have at the end of a test unless it says otherwise, in seconds."""

_MARGIN: Final = 3.0  # seconds for what a server does after its grace


class Servable(Protocol):
    """What is asked of a server: the methods of the original reference.

    It needs ``handle_error`` besides.
    """

    def serve_forever(self, poll_interval: float = ..., /) -> None:
        """Serve until :meth:`shutdown` is called."""

    def shutdown(self) -> None:
        """End the loop."""

    def server_close(self) -> None:
        """Close the server."""


ServerT = TypeVar("ServerT", bound=Servable)


class Service(Generic[ServerT]):
    """A server that is being served, and what a test does with it."""

    def __init__(self, server: ServerT, failures: Failures, clients: contextlib.ExitStack) -> None:
        self.server: ServerT = server
        """The server."""

        self._failures = failures
        self._clients = clients

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.server!r}>"

    @property
    def address(self) -> object:
        """The server's address, with the port that the system has chosen, or its path."""
        return getattr(self.server, "server_address", None)

    @property
    def port(self) -> int:
        """The port number; raises :class:`TypeError` when the address has none."""
        address = self.address
        if not isinstance(address, tuple):
            msg = f"{self.server!r} has no port: its address is {address!r}"
            raise TypeError(msg)
        return int(cast("tuple[str, int]", address)[1])

    def connect(self, timeout: float = PATIENCE) -> StreamClient:
        """A client with a connection, which is closed at the end of the test at the latest.

        *timeout* is how long each of its operations may take, in seconds (default
        10). Raises :class:`TypeError` for a server of datagrams.
        """
        if self._takes_datagrams():
            msg = f"{self.server!r} takes datagrams: use datagram_client()"
            raise TypeError(msg)
        return self._clients.enter_context(StreamClient(self._family(), self.address, timeout))

    def datagram_client(self, timeout: float = PATIENCE) -> DatagramClient:
        """A client for datagrams, which is closed at the end of the test at the latest.

        *timeout* is how long to wait for an answer, in seconds (default 10).
        Raises :class:`TypeError` for a server of streams.
        """
        if not self._takes_datagrams():
            msg = f"{self.server!r} takes connections: use connect()"
            raise TypeError(msg)
        return self._clients.enter_context(DatagramClient(self._family(), self.address, timeout))

    def take_failures(self) -> list[BaseException]:
        """What handlers have raised so far, for a test that wants them to.

        These don't fail the test any more. An error of another process is a
        :class:`HandlerFailedError` with its traceback.
        """
        return self._failures.take()

    def _takes_datagrams(self) -> bool:
        return getattr(self.server, "socket_type", None) == _socket.SOCK_DGRAM

    def _family(self) -> int:
        listener: _socket.socket = cast("Any", self.server).socket
        return listener.family


@overload
def serving(
    server: Callable[..., ServerT],
    handler: Callable[..., object],
    address: object = None,
    *,
    grace: float = GRACE,
) -> contextlib.AbstractContextManager[Service[ServerT]]: ...
@overload
def serving(
    server: ServerT, *, grace: float = GRACE
) -> contextlib.AbstractContextManager[Service[ServerT]]: ...
@contextmanager
def serving(
    server: object,
    handler: Callable[..., object] | None = None,
    address: object = None,
    *,
    grace: float = GRACE,
) -> Generator[Service[Any]]:
    """Serve for the time of a ``with`` statement, and fail it for what goes wrong.

    *server* is a class, which is made with *address* and *handler*; or a server
    that is ready to be served, without these. Netserve's and the standard
    library's will do. *address* is by default a free port of the loopback, or a
    path in a temporary folder.

    At the end the clients are closed, and the server is drained and closed.
    *grace* is how long that may take, in seconds (default 5).

    Raises :class:`HandlerFailedError` at the end for what a handler has raised, and
    :class:`LeftBehindError` when requests were still in progress at the end of the
    grace.
    """
    with contextlib.ExitStack() as ends:
        if isinstance(server, type):

            def path() -> str:
                return f"{ends.enter_context(tempfile.TemporaryDirectory(prefix='ns-'))}/server"

            made = server(free_address(server, path) if address is None else address, handler)
        elif handler is not None or address is not None:
            msg = f"a handler and an address go with a server class, not with {server!r}"
            raise TypeError(msg)
        else:
            made = server
        failures = Failures(made)
        ends.callback(failures.close)
        with _served(cast("Servable", made), grace) as clients:
            yield Service(made, failures, clients)
        failures.check()


def free_address(server: type, path: Callable[[], str]) -> object:
    """An address that *server* can be bound to; *path* gives one that is free."""
    family = getattr(server, "address_family", _socket.AF_INET)
    if family == getattr(_socket, "AF_UNIX", None):
        return path()
    return ("::1" if family == _socket.AF_INET6 else "127.0.0.1", 0)


@contextmanager
def _served(server: Servable, grace: float) -> Generator[contextlib.ExitStack]:
    """Serve *server* in the background; gives the stack that closes the clients."""
    others = set(threading.enumerate())
    span = _background(server, grace)
    span.__enter__()
    with contextlib.ExitStack() as ends:
        ends.callback(_end, span, server, grace, others)
        # On top, so that it ends first.
        yield ends.enter_context(contextlib.ExitStack())


def _background(
    server: Servable, grace: float
) -> contextlib.AbstractContextManager[object, bool | None]:
    if isinstance(server, BaseServer):
        return _ours(server, grace)  # pyright: ignore[reportUnknownArgumentType]  # of any kind
    return _foreign(server)


@contextmanager
def _ours(server: BaseServer[Any, Any], grace: float) -> Generator[None]:
    with server.background(grace) as running:
        yield
    result = running.result
    if result is not None and result.forced:
        msg = f"{server!r}: {result.forced} requests hadn't ended {grace:g} s after the test"
        raise LeftBehindError(msg)


@contextmanager
def _foreign(server: Servable) -> Generator[None]:
    """For a server that can't drain itself: end the loop, then close."""
    errors: list[BaseException] = []

    def serve() -> None:
        try:
            server.serve_forever(0.02)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=serve, name=f"{type(server).__name__} under test")
    thread.start()
    try:
        yield
        if thread.is_alive():
            server.shutdown()
        thread.join()
    finally:
        server.server_close()
    if errors:
        raise errors[0]


def _end(
    span: contextlib.AbstractContextManager[object, bool | None],
    server: Servable,
    grace: float,
    others: set[threading.Thread],
) -> None:
    """Leave *span*, within *grace* and a moment; raises what that does."""
    errors: list[BaseException] = []

    def leave() -> None:
        try:
            span.__exit__(None, None, None)
        except BaseException as error:
            errors.append(error)

    ending = threading.Thread(target=leave, name="end of a server under test", daemon=True)
    ending.start()
    ending.join(grace * 0.9)
    late = [thread for thread in threading.enumerate() if thread not in {*others, ending}]
    where = stacks(late) if ending.is_alive() else ""
    ending.join(grace * 0.1 + _MARGIN)
    if ending.is_alive():
        msg = f"{server!r} hasn't ended {grace:g} s after the test\n{where}"
        raise LeftBehindError(msg)
    if errors and isinstance(errors[0], LeftBehindError):
        msg = f"{errors[0]}\n{where}"
        raise LeftBehindError(msg)
    if errors:
        raise errors[0]


@contextmanager
def leaving_nothing(checks: Callable[[], bool] = lambda: True) -> Generator[None]:
    """Raise :class:`LeftBehindError` for what the body of a ``with`` statement leaves behind.

    Threads, and on Linux child processes and open descriptors. What is about to go
    has two seconds to. *checks* is asked at the end whether to look (default: yes).
    """
    before = held()
    yield
    left = left_behind(before) if checks() else {}
    if left:
        kinds = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in left.items())
        msg = f"left behind: {kinds}"
        raise LeftBehindError(msg)
