"""The base of the mix-ins: cooperation, and the one order that works.

A mix-in overrides hooks of a server class, so Python must find it before that
class. Behind it, it would be silently without effect; :class:`ServerMixIn`
refuses such a class when it is created.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

from netserve.core._errors import MixInOrderError

if TYPE_CHECKING:
    from collections.abc import Generator
    from contextlib import contextmanager

    from netserve.core._drain import Drain
    from netserve.core._ledger import Entry
    from netserve.core._loop import Loop
    from netserve.core._opening import Opening
    from netserve.core._outcome import Outcome
    from netserve.core._types import StreamRequest

    class _Following:
        """What type checkers may take for granted of the class behind a mix-in."""

        def server_close(self) -> None: ...
        def service_actions(self) -> None: ...
        def serve_forever(self, poll_interval: float = 0.5) -> None: ...
        def shutdown(self) -> None: ...
        def server_activate(self) -> None: ...
        def _ns_check_handler(self, handler: object) -> None: ...
        def _ns_admit_peer(self, request: Any, client_address: Any, entry: Entry) -> bool: ...
        def handle_timeout(self) -> None: ...
        def may_accept(self) -> bool: ...
        def abandon_requests(self) -> None: ...
        def reload(self) -> None: ...
        def open_request(self, request: Any, client_address: Any) -> Opening[Any] | None: ...
        def report_request_error(
            self, error: BaseException, request: Any, client_address: Any
        ) -> Outcome: ...
        def request_opened(self, entry: Entry, address: Any) -> None: ...
        @property
        def current_loop(self) -> Loop | None: ...
        def _ns_take(self, request: StreamRequest) -> StreamRequest: ...
        def become_child(self, entry: Entry) -> None: ...
        def take_requests(self) -> None: ...
        def make_loop(self) -> Loop: ...
        def _ns_listen(self, loop: Loop) -> bool: ...
        @contextmanager
        def _ns_serving(self) -> Generator[Loop]: ...
        def _ns_start_up(self) -> None: ...
        def _ns_announce(self) -> None: ...
        def _ns_serves_in(self, thread: int | None) -> bool: ...
        def _ns_leads(self, thread: int) -> bool: ...
        def _ns_see_through(self, drain: Any, own: Sequence[Entry]) -> None: ...
        def abort_request(self, request: Any) -> None: ...
        def _ns_steps(
            self, loop: Loop, poll_interval: float
        ) -> Generator[float | None, None, None]: ...
        def _ns_checked(self, grace: float | None) -> float: ...
        def _ns_begin_drain(self, grace: float) -> Drain: ...

        drains_backlog: bool
        requests_per_wait: int
        _ns_paused: bool
        _ns_stop_requested: bool
        _ns_drain: Drain | None
        _ns_loop: Loop | None

else:
    _Following = object


# What the stdlib's BaseServer and ours both define.
_HOOKS: Final = (
    "serve_forever",
    "shutdown",
    "handle_request",
    "verify_request",
    "process_request",
    "finish_request",
    "handle_error",
    "server_close",
)


class ServerMixIn(_Following):
    """Base class of mix-ins for server classes, this project's and the stdlib's.

    A mix-in has no constructor: it makes what it needs at first use, and passes
    on with ``super()`` what it overrides. A class that derives from a mix-in
    and, before it, from a server that doesn't, raises
    :class:`MixInOrderError`.
    """

    _enforce_order: ClassVar[bool] = True
    """Whether a wrong order is an error, or left without effect as in CPython."""

    def __init_subclass__(cls, **keywords: object) -> None:
        super().__init_subclass__(**keywords)
        if cls._enforce_order:
            misplaced = misplaced_mixin(cls.__mro__)
            if misplaced is not None:
                mixin, server = misplaced
                msg = (
                    f"{cls.__qualname__}: {mixin.__qualname__} overrides methods of"
                    f" {server.__qualname__} and must come before it:"
                    f" class {cls.__name__}({mixin.__name__}, {server.__name__})"
                )
                raise MixInOrderError(msg)


def misplaced_mixin(mro: Sequence[type[object]]) -> tuple[type[object], type[object]] | None:
    """The first mix-in in *mro* that comes too late to override a server's hooks.

    *mro* is a method resolution order. Returns the mix-in and the server class
    that it should precede, or None when every mix-in comes in time.

    Too late is behind the root of the servers, which passes nothing on. Behind
    another server class it may stand: that one's ``super()`` still finds it.
    """
    servers: list[type[object]] = []
    for candidate in mro:
        if is_server(candidate):
            servers.append(candidate)
        elif issubclass(candidate, ServerMixIn) and candidate is not ServerMixIn:
            made_without = [server for server in servers if not issubclass(server, candidate)]
            if any(map(is_root, made_without)):
                return candidate, made_without[0]
    return None


def is_server(candidate: type[object]) -> bool:
    """Whether *candidate* is a server class: it has every hook, where a mix-in has some."""
    return all(hasattr(candidate, hook) for hook in _HOOKS)


def is_root(server: type[object]) -> bool:
    """Whether *server* derives from no other server class."""
    return not any(is_server(base) for base in server.__bases__)
