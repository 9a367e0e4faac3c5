"""The drop-in module beside the standard library's: the same names, defaults and classes."""

import contextlib
import io
import os
import re
import socket
import socketserver as theirs
import sys
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from netserve import handlers
from netserve import socketserver as ours

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
    assert ours.DatagramRequestHandler is handlers.DatagramRequestHandler


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
