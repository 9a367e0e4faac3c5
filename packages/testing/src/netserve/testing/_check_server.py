"""The check of a server class: its life, and what becomes of requests, with real clients."""

import contextlib
import itertools
import socket as _socket
import tempfile
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, Protocol, cast

from netserve.core import BaseServer, State, StateError, StopResult
from netserve.testing._clients import DatagramClient, StreamClient
from netserve.testing._contract import Contract
from netserve.testing._errors import LeftBehindError
from netserve.testing._probe import BIG, Probe, Told, recording
from netserve.testing._service import free_address, leaving_nothing

_PATIENCE: Final = 10.0
"""What takes longer is broken, in seconds."""

_MARGIN: Final = 2.0  # seconds for what stop() does after its grace

_ADDRESS: Final = "server_address is the real address once the server is bound"
_STATES: Final = "the states follow one another as in TRANSITIONS"
_FILENO: Final = "fileno() is the descriptor to wait on, and -1 when the server is closed"
_CLOSED: Final = "server_close() may be called twice, and ends the server for good"
_ANSWER: Final = "a request that comes is handled, and its answer arrives"
_ONCE: Final = "each request has one handler, and is shut down once, after that has ended"
_ERRORS: Final = "what a handler raises is told once to handle_error(), and ends its request alone"
_VERIFY: Final = "a request that verify_request() denies has no handler, and is shut down"
_PEERS: Final = "a peer that goes away is no error of the handler's"
_SHUTDOWN: Final = "shutdown() ends the loop, also one that is about to begin"
_DRAIN: Final = (
    "stop() ends the input of handlers, which still can answer, and counts them as drained"
)
_FORCE: Final = "stop() cuts off what goes on after the grace, and counts it as forced"
_COUNTS: Final = "each accepted request is counted once, and none is left in progress"
_LEFT: Final = "a closed server leaves no thread, child process or descriptor"
_DRIVER: Final = "a driven handler is called by one at a time: setup, feed, end_of_input, finish"


class Connected(Protocol):
    """The client of a connection, as :class:`StreamClient` is one."""

    def send(self, data: bytes, /) -> None:
        """Send all of *data*."""

    def read_line(self) -> bytes:
        """The next line."""
        ...

    def read_all(self) -> bytes:
        """All until the end."""
        ...

    def end(self) -> None:
        """Send no more."""

    def reset(self) -> None:
        """Leave without regard."""

    def close(self) -> None:
        """Close."""


def check_server(
    server_class: Callable[..., BaseServer[Any, Any]],
    address: object = None,
    *,
    connect: Callable[[Any], Connected] | None = None,
) -> None:
    """Check that *server_class* does what core says of servers, with real clients.

    It derives from :class:`BaseServer`, and its requests are connected sockets, or
    datagrams with their socket; a class with mix-ins will do. *address* is what to
    serve, by default a free port of the loopback or a path in a temporary folder;
    it is bound several times, one after the other. *connect* makes a client for the
    real address, where a :class:`StreamClient` wouldn't be understood, as with TLS.
    A server of several processes is checked only where there are no other threads.

    Raises :class:`ContractError`, which says what is broken, and :class:`TypeError`
    for a class that isn't one of a server.
    """
    given: object = server_class
    if not isinstance(given, type) or not issubclass(given, BaseServer):
        msg = f"check_server takes a class that derives from BaseServer, not {server_class!r}"
        raise TypeError(msg)
    subject = cast("type[BaseServer[Any, Any]]", server_class)
    ServerCheck(Contract("BaseServer", subject), subject, address, connect).run()


class ServerCheck:
    """The check of one class, *subject*; what is broken is told of *contract*."""

    def __init__(
        self,
        contract: Contract,
        subject: type[BaseServer[Any, Any]],
        address: object = None,
        connect: Callable[[Any], Connected] | None = None,
    ) -> None:
        self.contract = contract
        self.subject = subject
        self.address = address
        self.connect = connect
        self.datagrams = getattr(subject, "socket_type", None) == _socket.SOCK_DGRAM
        # A server that drives messages has shut the connection down itself by then.
        driven = getattr(subject, "drives_messages", False) and not self.datagrams
        self.last = "closed" if driven else "shutdown"
        """The hook that is called last for each request, once."""

    def run(self) -> None:
        """Run all scenarios."""
        scenarios = [self._life, self._loops, self._answers, self._failure, self._denial]
        if not self.datagrams:
            scenarios += [self._departure, self._drain, self._force]
        for scenario in scenarios:
            try:
                with leaving_nothing(), tempfile.TemporaryDirectory(prefix="ns-") as folder:
                    with Told() as told:
                        scenario(_Trial(self, told, folder))
            except LeftBehindError as error:
                raise self.contract.broken(_LEFT, str(error)) from error

    def _life(self, trial: "_Trial") -> None:
        require = self.contract.require
        server = trial.make()
        try:
            require(server.state is State.BOUND, _STATES, f"{server.state} after the constructor")
            require(server.fileno() >= 0, _FILENO, f"{server.fileno()} of a bound server")
            address = server.server_address
            unbound = isinstance(address, tuple) and not address[1]
            require(not unbound, _ADDRESS, f"{address!r}")
        finally:
            server.server_close()
        require(server.state is State.CLOSED, _STATES, f"{server.state} after server_close()")
        with self.contract.only(guarantee=_CLOSED, doing="a second server_close()"):
            server.server_close()
        with contextlib.suppress(ValueError, OSError):
            require(server.fileno() < 0, _FILENO, f"{server.fileno()} of a closed server")
        try:
            _bounded(server.serve_forever, self.contract, _CLOSED, "serve_forever()")
        except StateError:
            return
        raise self.contract.broken(_CLOSED, "serve_forever() served a closed server")

    def _loops(self, trial: "_Trial") -> None:
        require = self.contract.require
        server = trial.make()
        try:
            server.shutdown()
            _bounded(server.serve_forever, self.contract, _SHUTDOWN, "a loop after shutdown()")
            for _ in range(2):
                thread = threading.Thread(target=server.serve_forever)
                thread.start()
                try:
                    trial.talk(server)
                finally:
                    _bounded(server.shutdown, self.contract, _SHUTDOWN, "shutdown()")
                    thread.join(_PATIENCE)
                require(not thread.is_alive(), _SHUTDOWN, "the loop goes on")
                require(server.state is State.STOPPED, _STATES, f"{server.state} after a loop")
            # What goes on elsewhere may be a moment behind.
            self._stop(server, _PATIENCE, _SHUTDOWN)
            self._settled(trial, server)
        finally:
            server.server_close()

    def _answers(self, trial: "_Trial") -> None:
        with trial.serving() as server:
            trial.talk(server)
            trial.talk(server)
        counts, order = trial.told.counts(), trial.told.order()
        self._once(trial, 2)
        self.contract.require(
            not any(name.startswith("error") for name in counts), _ERRORS, f"{order}, without one"
        )
        self._settled(trial, server)
        stats = server.stats()
        ended = stats.completed + stats.drained
        self.contract.require(stats.accepted == ended == 2, _COUNTS, f"{stats}")

    def _failure(self, trial: "_Trial") -> None:
        require = self.contract.require
        with trial.serving() as server:
            with trial.client(server) as client:
                client.send(b"fail\n")
                if isinstance(client, DatagramClient):
                    self._await(trial, self.last, 1, _ERRORS)
                else:
                    rest = self._read_all(client, _ERRORS)
                    require(rest == b"", _ERRORS, f"the client got {rest!r}")
            self._await(trial, "error ProbeError", 1, _ERRORS)
            trial.talk(server)
        told = trial.told.counts()["error ProbeError"]
        require(told == 1, _ERRORS, f"{told} calls of handle_error()")
        self._once(trial, 2)
        self._settled(trial, server)
        require(server.stats().failed == 1, _COUNTS, f"{server.stats()}, of which one has failed")

    def _denial(self, trial: "_Trial") -> None:
        with trial.serving(allows=False) as server:
            with trial.client(server) as client:
                if isinstance(client, DatagramClient):
                    client.send(b"one\n")
                else:
                    rest = self._read_all(client, _VERIFY, may_be_reset=True)
                    self.contract.require(rest == b"", _VERIFY, f"the client got {rest!r}")
            self._await(trial, self.last, 1, _VERIFY)
        counts = trial.told.counts()
        self.contract.require(
            not counts["made"] and counts[self.last] == 1, _VERIFY, f"{trial.told.order()}"
        )
        self._settled(trial, server)
        self.contract.require(server.stats().refused == 1, _COUNTS, f"{server.stats()}")

    def _departure(self, trial: "_Trial") -> None:
        with trial.serving() as server:
            with trial.client(server) as client:
                self._exchange(client)
                client.send(b"half a li")
                client.reset()
            trial.talk(server)
        errors = [name for name in trial.told.order() if name.startswith("error")]
        self.contract.require(not errors, _PEERS, f"handle_error() was told {errors}")
        self._once(trial, 2)
        self._settled(trial, server)

    def _drain(self, trial: "_Trial") -> None:
        with trial.serving() as server:
            with trial.client(server) as client:
                self._exchange(client)
                client.send(b"two\n")
                result = self._stop(server, _PATIENCE, _DRAIN)
                rest = self._read_all(client, _DRAIN)
        self.contract.require(rest == b"<two>\nbye\n", _DRAIN, f"the client got {rest!r}")
        self.contract.require(
            (result.drained, result.forced) == (1, 0), _DRAIN, f"of one request it says {result}"
        )
        self._once(trial, 1)
        self._settled(trial, server)

    def _force(self, trial: "_Trial") -> None:
        with trial.serving() as server:
            with trial.client(server) as client:
                client.send(b"flood\n")
                self._await(trial, "line flood", 1, _FORCE)
                result = self._stop(server, 0.1, _FORCE)
                got = len(self._read_all(client, _FORCE, may_be_reset=True))
        self.contract.require(got < BIG, _FORCE, "the answer arrived whole")
        self.contract.require(
            (result.drained, result.forced) == (0, 1), _FORCE, f"of one request it says {result}"
        )
        self._settled(trial, server)

    def _stop(self, server: BaseServer[Any, Any], grace: float, guarantee: str) -> StopResult:
        results: list[StopResult] = []
        _bounded(
            lambda: results.append(server.stop(grace)), self.contract, guarantee, f"stop({grace})"
        )
        return results[0]

    def _exchange(self, client: Connected) -> None:
        client.send(b"one\n")
        try:
            line = client.read_line()
        except OSError as error:
            raise self.contract.broken(_ANSWER, f"the client saw {error!r}") from error
        self.contract.require(line == b"<one>\n", _ANSWER, f"{line!r}")

    def _read_all(self, client: Connected, guarantee: str, *, may_be_reset: bool = False) -> bytes:
        """What comes until the end, which must come; nothing, if it may be a reset and is."""
        try:
            return client.read_all()
        except OSError as error:
            if may_be_reset and isinstance(error, ConnectionError):
                return b""
            raise self.contract.broken(guarantee, f"the client saw {error!r}") from error

    def _await(self, trial: "_Trial", name: str, count: int, guarantee: str) -> None:
        self.contract.require(
            trial.told.wait_for(name, count, _PATIENCE),
            guarantee,
            f"{name!r} hasn't come {count} times; there were {trial.told.order()}",
        )

    def _once(self, trial: "_Trial", count: int) -> None:
        """Check what became of *count* requests, when all is over."""
        counts, order = trial.told.counts(), trial.told.order()
        self.contract.require(
            counts["made"] == counts[self.last] == count, _ONCE, f"{count} requests: {order}"
        )
        # One at a time, so that a request's end is told before the next one's beginning.
        ended = ["ended", "error ProbeError"]
        last = max(place for place, name in enumerate(order) if name in ended)
        self.contract.require(self.last in order[last:], _ONCE, f"shut down too early: {order}")
        if not self.datagrams:
            self.contract.require(
                counts["setup"] == counts["ended"] == count and not counts["two at a time"],
                _DRIVER,
                f"{count} connections: {order}",
            )

    def _settled(self, trial: "_Trial", server: BaseServer[Any, Any]) -> None:
        """Check the counts of a server whose requests have ended."""
        stats = server.stats()
        ends = (
            stats.completed + stats.failed + stats.disconnected + stats.timed_out
            + stats.refused + stats.drained + stats.forced
        )  # fmt: skip
        self.contract.require(stats.active == 0 and stats.accepted == ends, _COUNTS, f"{stats}")


class _Trial:
    """One scenario: servers of *check*'s class, which tell *told*; paths are in *folder*."""

    def __init__(self, check: ServerCheck, told: Told, folder: str) -> None:
        self.check = check
        self.told = told
        self._paths = (f"{folder}/{number}" for number in itertools.count())

    def make(self, *, allows: bool = True) -> BaseServer[Any, Any]:
        """A server, as its constructor leaves it; what forks has done so, before threads start."""
        made = recording(self.check.subject, self.told)
        given = self.check.address
        address = free_address(made, lambda: next(self._paths)) if given is None else given
        server: Any = made(address, partial(Probe, self.told))
        server.allows = allows
        prefork: Callable[[], None] | None = getattr(server, "prefork", None)
        if prefork is not None:
            prefork()
        return cast("BaseServer[Any, Any]", server)

    @contextmanager
    def serving(self, *, allows: bool = True) -> Generator[Any]:
        """A server in the background; closed at the end."""
        server: Any = self.make(allows=allows)
        with server.background(_PATIENCE):
            yield server

    @contextmanager
    def client(self, server: BaseServer[Any, Any]) -> Generator[Any]:
        """A client of *server*."""
        socket: _socket.socket = getattr(server, "socket")  # noqa: B009 not every server has one
        made: Any
        if self.check.connect is not None:
            made = self.check.connect(server.server_address)
        elif self.check.datagrams:
            made = DatagramClient(socket.family, server.server_address, _PATIENCE)
        else:
            made = StreamClient(socket.family, server.server_address, _PATIENCE)
        try:
            yield made
        finally:
            made.close()

    def talk(self, server: BaseServer[Any, Any]) -> None:
        """Exchange a line, and the end of the connection; returns when it is shut down."""
        before = self.told.counts()[self.check.last]
        with self.client(server) as client:
            try:
                client.send(b"one\n")
                if self.check.datagrams:
                    got = client.receive()
                else:
                    client.end()
                    got = client.read_all()
            except OSError as error:
                raise self.check.contract.broken(_ANSWER, f"the client saw {error!r}") from error
        expected = b"<one>\n" if self.check.datagrams else b"<one>\nbye\n"
        self.check.contract.require(
            got == expected, _ANSWER, f"the client got {got!r}, and not {expected!r}"
        )
        self.check.contract.require(
            self.told.wait_for(self.check.last, before + 1, _PATIENCE),
            _ONCE,
            f"a request isn't shut down; there were {self.told.order()}",
        )


def _bounded(call: Callable[[], object], contract: Contract, guarantee: str, doing: str) -> None:
    """Call *call* in a thread, which must return; raises what it raises."""
    errors: list[BaseException] = []

    def work() -> None:
        try:
            call()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work, name=doing, daemon=True)
    thread.start()
    thread.join(2 * _PATIENCE + _MARGIN)
    contract.require(not thread.is_alive(), guarantee, f"{doing} doesn't return")
    if errors:
        raise errors[0]
