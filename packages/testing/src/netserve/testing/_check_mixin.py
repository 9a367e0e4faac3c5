"""The check of a mix-in: in front of a plain server of this project, and of the stdlib's."""

import socketserver
from functools import partial
from typing import Any, Final

from netserve.core import BaseServer, MixInOrderError, ServerMixIn
from netserve.testing._check_server import ServerCheck
from netserve.testing._clients import PATIENCE
from netserve.testing._contract import Contract
from netserve.testing._errors import LeftBehindError
from netserve.testing._loopback import LoopbackServer
from netserve.testing._probe import Probe, Told, recording
from netserve.testing._service import leaving_nothing, serving

_NO_CONSTRUCTOR: Final = "a mix-in has no constructor, so that it composes with any server"
_ORDER: Final = "a class that puts the mix-in behind the server it should change is refused"
_COOPERATES: Final = "a mix-in passes on with super() what it overrides"
_COMPOSES: Final = "a mix-in composes with every class that has the hooks, the stdlib's included"
_HOOKS: Final = "each request comes to its end once: handler, handle_error if it raised, shutdown"
_LEFT: Final = "a closed server leaves no thread, child process or descriptor"


def check_mixin(mixin: type[object], *, stdlib: bool = True) -> None:
    """Check that *mixin*, put in front of a server class, does what core says of mix-ins.

    It is run with real clients, in front of a plain server of TCP connections, as
    :func:`check_server` does it; then, unless *stdlib* is false because it refuses
    that, in front of :class:`socketserver.TCPServer`.

    Raises :class:`ContractError`, which says what is broken, and :class:`TypeError`
    for a class that is a server itself.
    """
    if issubclass(mixin, (BaseServer, socketserver.BaseServer)):
        msg = f"check_mixin takes a mix-in alone, not the server class {mixin.__qualname__}"
        raise TypeError(msg)
    contract = Contract("ServerMixIn", mixin)
    made = [cls for cls in mixin.__mro__ if cls is not object and "__init__" in vars(cls)]
    contract.require(not made, _NO_CONSTRUCTOR, f"{made} have one")
    if issubclass(mixin, ServerMixIn):
        _check_order(contract, mixin)
    composed: type[LoopbackServer]
    try:
        composed = _compose(mixin, LoopbackServer)
    except TypeError as error:
        raise contract.broken(_COMPOSES, f"{error!r}") from error
    _check_cooperation(contract, mixin)
    ServerCheck(Contract("RequestHooks", mixin), composed).run()
    if stdlib:
        _check_stdlib(contract, mixin)


def _compose(first: type[object], second: type[object]) -> type[Any]:
    """A class that derives from both, in this order."""
    bases: tuple[Any, ...] = (first, second)
    return type(first.__name__, bases, {})


def _check_order(contract: Contract, mixin: type[object]) -> None:
    try:
        _compose(LoopbackServer, mixin)
    except MixInOrderError:
        return
    raise contract.broken(_ORDER, "it has no effect there, and nobody is told")


def _check_cooperation(contract: Contract, mixin: type[object]) -> None:
    """Check that the hooks around a server's life reach the class behind the mix-in."""
    reached: list[str] = []

    class Behind(LoopbackServer):
        def server_activate(self) -> None:
            reached.append("server_activate")
            super().server_activate()

        def server_close(self) -> None:
            reached.append("server_close")
            super().server_close()

    server = _compose(mixin, Behind)(("127.0.0.1", 0), print)
    try:
        server.server_close()
        for name in ("server_activate", "server_close"):
            contract.require(name in reached, _COOPERATES, f"{name}() ends in the mix-in")
    finally:
        LoopbackServer.server_close(server)


def _check_stdlib(contract: Contract, mixin: type[object]) -> None:
    try:
        with Told() as told, leaving_nothing():
            try:
                composed = recording(_compose(mixin, socketserver.TCPServer), told)
            except TypeError as error:
                raise contract.broken(_COMPOSES, f"{error!r}") from error
            with serving(composed, partial(Probe, told)) as service:
                for line, answer in [(b"one\n", b"<one>\nbye\n"), (b"fail\n", b"")]:
                    client = service.connect()
                    try:
                        client.send(line)
                        client.end()
                        got = client.read_all()
                    except OSError as error:
                        raise contract.broken(_HOOKS, f"the client saw {error!r}") from error
                    contract.require(got == answer, _HOOKS, f"{line!r} was answered {got!r}")
                told.wait_for("error ProbeError", 1, PATIENCE)
                service.take_failures()
            counts = told.counts()
            expected = {"made": 2, "shutdown": 2, "error ProbeError": 1, "ended": 2}
            found = {name: counts[name] for name in expected}
            contract.require(found == expected, _HOOKS, f"two requests: {told.order()}")
    except LeftBehindError as error:
        raise contract.broken(_LEFT, str(error)) from error
