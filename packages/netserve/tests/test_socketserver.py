"""The drop-in module beside the standard library's: the same names, defaults and classes."""

import contextlib
import errno
import io
import os
import re
import socket
import socketserver as theirs
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from netserve import handlers
from netserve import socketserver as ours
from netserve.core import BaseServer as CoreServer
from netserve.core import State, StateError

# CPython got them with 3.12; here they are whatever the interpreter.
LATER = {"ForkingUnixStreamServer", "ForkingUnixDatagramServer"}

# CPython got it with 3.11.
LATER_ATTRIBUTES = {"allow_reuse_port"}

CLASSES = [name for name in theirs.__all__ if isinstance(getattr(theirs, name), type)]


def public(module: ModuleType) -> set[str]:
    """The names of a module that don't begin with an underscore."""
    return {name for name in dir(module) if not name.startswith("_")}


def test_every_public_name_is_there() -> None:
    """What a program may take from the module, the modules that it imports included."""
    additions = {"install", "uninstall"} | LATER
    assert public(ours) - additions == public(theirs) - LATER
    assert public(ours) >= public(theirs) | {"install", "uninstall"}


def test_star_import_gives_the_same_names() -> None:
    """``__all__`` has CPython's names, in CPython's order."""
    assert [name for name in ours.__all__ if name not in LATER] == [
        name for name in theirs.__all__ if name not in LATER
    ]
    assert set(ours.__all__) >= LATER


def test_modules_within_are_the_real_ones() -> None:
    """Programs patch ``socketserver.socket`` and the like, and mean the module."""
    for name in ("os", "selectors", "socket", "sys", "threading"):
        assert getattr(ours, name) is getattr(theirs, name)
    assert ours.time is theirs.time
    assert ours.BufferedIOBase is theirs.BufferedIOBase
    assert ours.__version__ == theirs.__version__


def test_handlers_are_those_of_the_handlers_package() -> None:
    """A handler written for one module is a handler of the other."""
    assert ours.BaseRequestHandler is handlers.BaseRequestHandler
    assert ours.StreamRequestHandler is handlers.StreamRequestHandler
    assert issubclass(ours.DatagramRequestHandler, handlers.DatagramRequestHandler)


@contextlib.contextmanager
def _datagrams(handler: type[Any]) -> Iterator[tuple[ours.UDPServer, socket.socket]]:
    """The module's server on all addresses, and a client that talks to it."""
    with (
        ours.UDPServer(("", 0), handler) as server,
        socket.socket(type=socket.SOCK_DGRAM) as client,
    ):
        client.settimeout(20)
        client.connect(("127.0.0.1", server.server_address[1]))
        yield server, client


def test_an_empty_answer_is_sent_as_in_cpython() -> None:
    """A handler that writes nothing sends an empty datagram."""
    with _datagrams(ours.DatagramRequestHandler) as (server, client):
        client.send(b"data")
        server.handle_request()
        assert client.recv(100) == b""


def test_a_datagram_is_cut_at_8192_bytes_as_in_cpython() -> None:
    """Without a word, and the request is a plain pair with the server's own socket."""
    seen: list[Any] = []
    with _datagrams(lambda request, *_: seen.append(request)) as (server, client):  # type: ignore[arg-type]  # a function does
        client.send(b"x" * 9000)
        server.handle_request()
        assert seen == [(b"x" * 8192, server.socket)]
        assert type(seen[0]) is tuple
        assert seen[0][1] is server.socket


@pytest.mark.parametrize("name", CLASSES)
def test_every_public_attribute_is_there(name: str) -> None:
    """A class has each method and attribute that CPython's has."""
    their_class, our_class = getattr(theirs, name), getattr(ours, name)
    missing = {
        attribute
        for attribute in dir(their_class)
        if not attribute.startswith("_") and not hasattr(our_class, attribute)
    }
    assert not missing


@pytest.mark.parametrize("name", CLASSES)
def test_defaults_are_cpythons(name: str) -> None:
    """An attribute that is no method has CPython's value."""
    their_class, our_class = getattr(theirs, name), getattr(ours, name)
    values = {
        attribute: getattr(their_class, attribute)
        for attribute in dir(their_class)
        if not attribute.startswith("_") and not callable(getattr(their_class, attribute))
    }
    assert values == {attribute: getattr(our_class, attribute) for attribute in values}


@pytest.mark.parametrize("name", ["TCPServer", "UDPServer", "UnixStreamServer"])
def test_reuse_of_ports_is_off(name: str) -> None:
    """Also on 3.10, whose own classes have no such attribute."""
    assert getattr(ours, name).allow_reuse_port is False


def test_streams_and_datagrams_reuse_apart() -> None:
    """What a program switches on for TCP isn't switched on for UDP, as in CPython."""
    for attribute in ("allow_reuse_address", "allow_reuse_port"):
        for module in (ours, theirs):
            if attribute in LATER_ATTRIBUTES and not hasattr(module.TCPServer, attribute):
                continue
            assert attribute in vars(module.UDPServer)


@pytest.mark.parametrize("name", CLASSES)
def test_class_diagram_is_cpythons(name: str) -> None:
    """``issubclass`` answers for each pair of classes what it answers in CPython."""
    assert {
        other for other in CLASSES if issubclass(getattr(ours, name), getattr(ours, other))
    } == {other for other in CLASSES if issubclass(getattr(theirs, name), getattr(theirs, other))}


@pytest.mark.parametrize("module", [ours, theirs], ids=["ours", "theirs"])
def test_forking_unix_servers_are_forking_and_unix(module: ModuleType) -> None:
    """Those that CPython got later are mixed as CPython mixes them."""
    for name in LATER & public(module):
        kind = getattr(module, name)
        assert issubclass(kind, module.ForkingMixIn)
        assert issubclass(kind, getattr(module, name.removeprefix("Forking")))


def raise_error(request: object, client_address: object, server: object) -> None:
    """A handler with a bug."""
    msg = "a bug"
    raise ValueError(msg)


def printed_error(module: ModuleType, handle: Callable[[Any], None]) -> str:
    """What a server of *module* prints on standard error when its handler raises."""
    errors = io.StringIO()
    with module.TCPServer(("127.0.0.1", 0), raise_error) as server:
        with socket.create_connection(server.server_address) as client:
            with contextlib.redirect_stderr(errors):
                handle(server)
            assert client.recv(1) == b""
            port = client.getsockname()[1]
    return errors.getvalue().replace(str(port), "PORT")


def without_frames(text: str) -> list[str]:
    """The lines without those that tell of the code, which can't be the same."""
    return [line for line in text.splitlines() if not re.match(r"  ", line)]


def test_an_error_is_printed_as_cpython_does() -> None:
    """The rule, the client's address, the traceback, and the rule again, on stderr."""

    def handle(server: Any) -> None:
        server.handle_request()

    our_text, their_text = printed_error(ours, handle), printed_error(theirs, handle)
    assert without_frames(our_text) == without_frames(their_text)
    assert without_frames(their_text) == [
        "-" * 40,
        "Exception occurred during processing of request from ('127.0.0.1', PORT)",
        "Traceback (most recent call last):",
        "ValueError: a bug",
        "-" * 40,
    ]
    assert "raise_error" in our_text


def test_handle_error_prints_the_same_text() -> None:
    """Called with the same exception, it prints what CPython's prints, character for character."""
    texts = []
    for module in (ours, theirs):
        errors = io.StringIO()
        with module.TCPServer(("127.0.0.1", 0), raise_error) as server:
            try:
                raise_error(None, None, None)
            except ValueError:
                with contextlib.redirect_stderr(errors):
                    server.handle_error(None, ("host", 1))
        texts.append(re.sub(r"line \d+", "line N", errors.getvalue()))
    assert texts[0] == texts[1]
    assert texts[0].count("\n") > 5


def test_a_handler_that_is_not_callable_is_not_looked_at() -> None:
    """Programs pass None where they override ``finish_request``."""
    with ours.TCPServer(("127.0.0.1", 0), None) as server:  # type: ignore[arg-type]
        assert server.RequestHandlerClass is None


@pytest.mark.parametrize("mixin", ["ThreadingMixIn", "ForkingMixIn"])
def test_a_mixin_after_the_server_has_no_effect(mixin: str) -> None:
    """As in CPython: no error, and the server's own thread runs the request."""
    ran_in = []

    def note(request: object, client_address: object, server: object) -> None:
        ran_in.append((os.getpid(), threading.get_ident()))

    kind = type("Wrong", (ours.TCPServer, getattr(ours, mixin)), {})
    with kind(("127.0.0.1", 0), note) as server:
        with socket.create_connection(server.server_address):
            server.handle_request()
    assert ran_in == [(os.getpid(), threading.get_ident())]


@pytest.mark.parametrize("name", [name for name in CLASSES if name.endswith("Server")])
def test_classes_have_no_slots(name: str) -> None:
    """Programs put attributes of their own on servers and classes."""
    kind = getattr(ours, name)
    assert vars(kind.__new__(kind)) == {}


def test_this_is_not_the_standard_librarys_module() -> None:
    """The comparisons above compare two modules, not one with itself."""
    assert ours is not theirs
    assert sys.modules["socketserver"] is theirs


# --- what this project adds, and the drop-in leaves out ---

SERVERS = [name for name in CLASSES if name.endswith("Server")]


@pytest.mark.parametrize("name", SERVERS)
def test_no_limit_is_set(name: str) -> None:
    """As in CPython, a program is as patient and as open as it was written to be."""
    kind = getattr(ours, name)
    assert kind.max_connections is None
    assert kind.max_connections_per_peer is None
    assert kind.overload == "wait"
    assert kind.farewell == b""
    for deadline in ("idle_timeout", "message_timeout", "connection_timeout"):
        assert getattr(kind, deadline, None) is None


@pytest.mark.parametrize("module", [ours, theirs], ids=["ours", "theirs"])
def test_a_client_that_went_away_is_an_error_like_any_other(module: ModuleType) -> None:
    """handle_error gets it, and prints it on standard error: programs override that."""

    def read(request: socket.socket, client_address: object, server: object) -> None:
        request.recv(1)

    errors = io.StringIO()
    with module.TCPServer(("127.0.0.1", 0), read) as server:
        with socket.create_connection(server.server_address) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            port = client.getsockname()[1]
        with contextlib.redirect_stderr(errors):
            server.handle_request()
    text = errors.getvalue().replace(str(port), "PORT")
    assert without_frames(text) == [
        "-" * 40,
        "Exception occurred during processing of request from ('127.0.0.1', PORT)",
        "Traceback (most recent call last):",
        f"ConnectionResetError: [Errno {errno.ECONNRESET}] {os.strerror(errno.ECONNRESET)}",
        "-" * 40,
    ]


@pytest.mark.parametrize("module", [ours, theirs], ids=["ours", "theirs"])
def test_an_override_of_handle_error_sees_every_error(module: ModuleType) -> None:
    """Also one that this project doesn't take for a fault of the handler's."""
    seen = []

    def fail(request: socket.socket, client_address: object, server: object) -> None:
        client.close()
        raise BrokenPipeError(errno.EPIPE, "gone")

    class Server(module.TCPServer):  # type: ignore[misc,name-defined]
        def handle_error(self, request: object, client_address: object) -> None:
            seen.append(sys.exc_info()[0])

    with Server(("127.0.0.1", 0), fail) as server:
        with socket.create_connection(server.server_address) as client:
            server.handle_request()
    assert seen == [BrokenPipeError]


def test_what_went_wrong_is_counted_all_the_same() -> None:
    """The statistics tell a client that went away from a bug."""

    def read(request: socket.socket, client_address: object, server: object) -> None:
        request.recv(1)

    with ours.TCPServer(("127.0.0.1", 0), read) as server:
        with socket.create_connection(server.server_address) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with contextlib.redirect_stderr(io.StringIO()):
            server.handle_request()
        stats = server.stats()
    assert (stats.accepted, stats.disconnected, stats.failed) == (1, 1, 0)


@pytest.mark.parametrize("where", ["instance", "class"])
def test_a_program_may_have_a_state_of_its_own(where: str) -> None:
    """The property gives way to it; the server's life goes on as it did."""

    class Server(ours.TCPServer):
        pass

    with Server(("127.0.0.1", 0), print) as server:  # type: ignore[arg-type]
        assert server.state is State.BOUND
        if where == "instance":
            server.state = "mine"  # type: ignore[misc]
        else:
            Server.state = "mine"  # type: ignore[method-assign,assignment]
        assert server.state == "mine"
        assert "bound" in repr(server)
        server.shutdown()
        server.serve_forever()
        assert server.state == "mine"
        assert server.stats().state is State.STOPPED
    assert "closed" in repr(server)


def test_the_state_is_documented() -> None:
    """The class has the property's words, for help()."""
    assert ours.BaseServer.state.__doc__ == CoreServer.state.__doc__


@pytest.mark.parametrize("again", [True, False])
def test_a_closed_server_may_be_given_another_socket(again: bool) -> None:
    """As in CPython it serves on then; without one, the mistake is told."""
    with ours.TCPServer(("127.0.0.1", 0), print) as server:  # type: ignore[arg-type]
        server.server_close()
        if again:
            server.socket = socket.create_server(("127.0.0.1", 0))
            server.shutdown()
            server.serve_forever()
        else:
            with pytest.raises(StateError):
                server.serve_forever()


@pytest.mark.parametrize("module", [ours, theirs], ids=["ours", "theirs"])
def test_the_flag_of_the_loop_may_be_set(module: ModuleType) -> None:
    """Programs end the loop without waiting for it, by the name that CPython's flag has."""
    with module.TCPServer(("127.0.0.1", 0), print) as server:

        def end() -> None:
            server._BaseServer__shutdown_request = True

        server.service_actions = end
        server.serve_forever(0.01)
        assert server._BaseServer__shutdown_request is False


def test_the_flag_of_the_loop_may_be_taken_back() -> None:
    """A stop that was asked for before the loop began is forgotten then."""
    with ours.TCPServer(("127.0.0.1", 0), print) as server:  # type: ignore[arg-type]
        server.shutdown()
        assert server._BaseServer__shutdown_request is True  # type: ignore[attr-defined]
        server._BaseServer__shutdown_request = False  # type: ignore[attr-defined]
        turns = []

        def end() -> None:
            turns.append(True)
            server.shutdown()

        server.service_actions = end  # type: ignore[method-assign]
        server.serve_forever(0.01)
    assert turns == [True]


@pytest.mark.parametrize("name", [name for name in SERVERS if "Datagram" in name or "UDP" in name])
def test_datagram_servers_have_no_connection_to_reach_into(name: str) -> None:
    """Although a stream server stands behind them: in a drain their socket stays open."""
    kind = getattr(ours, name)
    server = kind.__new__(kind)
    one, other = socket.socketpair(type=socket.SOCK_DGRAM)
    with one, other:
        request = (b"data", one)
        server.end_input(request)
        server.abort_request(request)
        assert server.is_connected(request)
        assert server.duplicate_request(request) is request
        server.close_duplicate(request)
        one.send(b"answer")
        assert other.recv(100) == b"answer"


@pytest.mark.parametrize("name", ["ThreadingTCPServer", "ThreadingUDPServer"])
def test_the_new_ways_to_run_and_to_stop_are_there(name: str) -> None:
    """background() and stop() work on the drop-in's servers as on any."""

    def answer(request: Any, client_address: Any, server: Any) -> None:
        if isinstance(request, tuple):
            request[1].sendto(request[0].upper(), client_address)
        else:
            request.sendall(request.recv(100).upper())

    kind = getattr(ours, name)
    with kind(("127.0.0.1", 0), answer).background() as running:
        with socket.socket(type=kind.socket_type) as client:
            client.settimeout(20)
            client.connect(running.address)
            client.sendall(b"hello")
            assert client.recv(100) == b"HELLO"
    stats = running.server.stats()
    assert (stats.accepted, stats.active) == (1, 0)
    assert stats.completed + stats.drained == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform can't fork")
def test_a_forking_server_drains(capfd: pytest.CaptureFixture[str]) -> None:
    """The children of the drop-in's servers are watched, ended and counted like any."""

    def conversation(request: Any, client_address: Any, server: Any) -> None:
        while data := request.recv(100):
            request.sendall(data.upper())
            tells.send(b"answered")

    hears, tells = socket.socketpair()
    with hears, tells, ours.ForkingTCPServer(("127.0.0.1", 0), conversation) as server:
        own = server.process_request

        def process_request(request: Any, client_address: Any) -> None:
            own(request, client_address)
            server.add_reader(hears.fileno(), lambda: (hears.recv(100), server.stop(20)))

        server.process_request = process_request  # type: ignore[method-assign]
        with socket.create_connection(server.server_address, 20) as client:
            client.sendall(b"hello")
            server.serve_forever()
            assert client.recv(100) == b"HELLO"
            assert client.recv(100) == b""
        stats = server.stats()
        assert (stats.accepted, stats.drained, stats.forced, stats.active) == (1, 1, 0, 0)
        assert server.active_children == set()


def test_a_drain_takes_every_datagram_that_waits() -> None:
    """More than CPython's queue of five, which is meant for connections."""
    seen = []

    def note(request: Any, client_address: object, server: Any) -> None:
        seen.append(request[0])
        server.stop(20)

    with ours.UDPServer(("127.0.0.1", 0), note) as server:
        with socket.socket(type=socket.SOCK_DGRAM) as client:
            for number in range(20):
                client.sendto(b"%d" % number, server.server_address)
        server.serve_forever()
        assert seen == [b"%d" % number for number in range(20)]
        assert server.stats().drained == 20


def test_a_program_may_have_private_names_of_its_own(
    serve: Callable[..., threading.Thread],
) -> None:
    """Those that come to mind first, on the instance and in the class, disturb nothing."""
    names = [
        "_lock", "_state", "_loop", "_thread", "_threads_", "_drain", "_paused", "_ledger", "_kept",
        "_serving", "_listen", "_interval", "_stop", "_stop_requested", "_move", "_since", "_pause",
        "_resume", "_admit", "_force", "_await", "_abandon", "_attempt", "_extra", "_start_up",
    ]  # fmt: skip
    own = type("Own", (ours.ThreadingTCPServer,), dict.fromkeys(names, "mine"))

    def shout(request: socket.socket, client_address: object, server: object) -> None:
        request.sendall(request.recv(100).upper())

    with own(("127.0.0.1", 0), shout) as server:
        for name in names:
            setattr(server, name, "the instance's")
        serve(server)
        with socket.create_connection(server.server_address, 20) as client:
            client.sendall(b"hello\n")
            assert client.recv(100) == b"HELLO\n"
        server.stop()
        assert {getattr(server, name) for name in names} == {"the instance's"}


# --- sockets as CPython has them ---


def test_the_family_is_stated_not_found_out():
    """And IPv6 has all four parts, with a client of IPv4 mapped into it."""
    with pytest.raises(socket.gaierror):
        ours.TCPServer(("::1", 0), print)

    class Dual(ours.TCPServer):
        address_family = socket.AF_INET6

        def server_bind(self):
            assert type(self.socket) is socket.socket
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            super().server_bind()

    with Dual(("::", 0), print) as server:
        assert len(server.server_address) == 4
        with socket.create_connection(("127.0.0.1", server.server_address[1])):
            request, address = server.get_request()
            request.close()
            assert address[0] == "::ffff:127.0.0.1"


@pytest.mark.parametrize("name", ["UnixStreamServer", "UnixDatagramServer"])
def test_a_unix_path_is_the_programs_to_look_after(short_folder, name):
    """It stays, and while it is there nobody can bind it; nothing else is made."""
    kind = getattr(ours, name)
    path = short_folder / "s"
    with kind(str(path), print):
        pass
    assert path.is_socket()
    with pytest.raises(OSError, match="Address already in use"):
        kind(str(path), print)
    assert [entry.name for entry in short_folder.iterdir()] == ["s"]


def test_a_unix_path_has_the_mode_that_is_asked_for(short_folder):
    """Which costs a program that doesn't ask nothing."""
    path = short_folder / "s"
    with ours.UnixStreamServer(str(path), print, socket_mode=0o600):
        assert path.stat().st_mode & 0o777 == 0o600


def test_an_unnamed_client_has_an_empty_address(short_folder):
    """A plain string."""
    with ours.UnixStreamServer(str(short_folder / "s"), print) as server:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(server.server_address)
            request, address = server.get_request()
            request.close()
            assert address == ""
            assert type(address) is str


def test_a_given_socket_is_served_here_too():
    """Of the family that the class states."""
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        with pytest.raises(ValueError, match=r"it takes a socket of SOCK_STREAM of AF_INET$"):
            ours.TCPServer.from_socket(listener, print)
    given = socket.create_server(("127.0.0.1", 0))
    with ours.ThreadingTCPServer.from_socket(given, print) as server:
        assert server.socket is given


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs AF_UNIX")
def test_a_unix_servers_bind_goes_on_to_no_other_class(short_folder) -> None:
    """As CPython's tests of asyncio have it, who derive from HTTPServer too and call it so."""
    bound = []

    class Named(ours.TCPServer):
        """Would look a name up."""

        def server_bind(self) -> None:
            """Be called by nobody."""
            bound.append("Named")
            super().server_bind()

    class Mine(ours.UnixStreamServer):
        """Binds as a Unix server does."""

        def server_bind(self) -> None:
            """Only that."""
            ours.UnixStreamServer.server_bind(self)

    class Both(Mine, Named):
        """The diamond."""

    with Both(str(short_folder / "s"), print) as server:
        assert server.server_address == str(short_folder / "s")
    assert bound == []
