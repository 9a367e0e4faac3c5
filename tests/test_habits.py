"""What programs in the wild do with socketserver, done with the drop-in module."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trustme

from netserve import socketserver

HOME = ("127.0.0.1", 0)


class Upper(socketserver.StreamRequestHandler):
    """Sends a line back in capitals."""

    def handle(self) -> None:
        """Answer."""
        self.wfile.write(self.rfile.readline().upper())


@pytest.fixture
def serve() -> Iterator[Callable[[Any], None]]:
    """A function that serves a server in a thread until the test ends."""
    running: list[tuple[Any, threading.Thread]] = []

    def start(server: Any) -> None:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        running.append((server, thread))

    yield start
    for server, thread in running:
        server.shutdown()
        thread.join()
        server.server_close()


def ask(address: Any) -> bytes:
    """Say hello to the server at *address*; returns its answer."""
    with socket.create_connection(address) as client:
        client.sendall(b"hello\n")
        with client.makefile("rb") as answer:
            return answer.read()


@pytest.mark.parametrize("name", ["TCPServer", "UDPServer"])
def test_socket_class_is_looked_up_when_a_server_is_made(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Programs patch ``socket.socket``, before or after they import the module."""

    class Patched(socket.socket):
        """What a proxy or a tracer puts in place."""

    monkeypatch.setattr(socketserver.socket, "socket", Patched)
    with getattr(socketserver, name)(HOME, Upper) as server:
        assert type(server.socket) is Patched


def test_handler_is_made_for_nothing_and_given_another_class() -> None:
    """Programs build the base class of None thrice, and set ``__class__``."""
    handler = socketserver.BaseRequestHandler(None, None, None)
    handler.__class__ = Upper
    assert isinstance(handler, Upper)
    assert (handler.request, handler.client_address, handler.server) == (None, None, None)


def test_server_is_given_another_class() -> None:
    """An instance becomes one of a class that is made later."""
    with socketserver.TCPServer(HOME, Upper) as server:
        server.__class__ = type("Later", (socketserver.TCPServer,), {"greeting": "hello"})
        assert server.greeting == "hello"  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["TCPServer", "ThreadingTCPServer"])
def test_reuse_is_switched_on_for_the_class(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """An attribute that is set on TCPServer counts for the servers that are made from then on."""
    monkeypatch.setattr(socketserver.TCPServer, "allow_reuse_address", True)
    with getattr(socketserver, name)(HOME, Upper) as server:
        assert server.socket.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
    with socketserver.UDPServer(HOME, Upper) as server:
        assert not server.socket.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)


def test_reuse_is_off_until_switched_on() -> None:
    """The option that the test above finds set isn't set by itself."""
    with socketserver.TCPServer(HOME, Upper) as server:
        assert not server.socket.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)


def test_classes_are_mixed_at_run_time(serve: Callable[[Any], None]) -> None:
    """``type`` with three arguments makes a server as a class statement does."""
    kind: Any = type(
        "Server",
        (socketserver.ThreadingMixIn, socketserver.TCPServer),
        {"daemon_threads": True, "allow_reuse_address": True},
    )
    server = kind(HOME, Upper)
    serve(server)
    assert ask(server.server_address) == b"HELLO\n"


def test_methods_are_called_unbound() -> None:
    """Programs take ``serve_forever`` from the class and pass it the server."""
    run = socketserver.TCPServer.serve_forever
    with socketserver.TCPServer(HOME, Upper) as server:
        thread = threading.Thread(target=run, args=(server, 0.1))
        thread.start()
        assert ask(server.server_address) == b"HELLO\n"
        socketserver.BaseServer.shutdown(server)
        thread.join()


def test_base_classes_are_called_by_name() -> None:
    """Programs from before ``super`` name the class whose method they extend."""
    calls = []

    class Old(socketserver.TCPServer):
        def __init__(self, address: Any) -> None:
            socketserver.TCPServer.__init__(self, address, Upper)

        def server_bind(self) -> None:
            calls.append("bind")
            socketserver.TCPServer.server_bind(self)

        def process_request(self, request: Any, client_address: Any) -> None:
            calls.append("process")
            socketserver.BaseServer.process_request(self, request, client_address)

    with Old(HOME) as server:
        with socket.create_connection(server.server_address) as client:
            client.sendall(b"hello\n")
            server.handle_request()
            assert client.recv(10) == b"HELLO\n"
    assert calls == ["bind", "process"]


def test_base_server_is_given_a_socket_of_its_own(serve: Callable[[Any], None]) -> None:
    """A program calls BaseServer's constructor alone, and brings a listening socket."""

    class Own(socketserver.TCPServer):
        def __init__(self, listener: socket.socket) -> None:
            socketserver.BaseServer.__init__(self, listener.getsockname(), Upper)
            self.socket = listener

    server = Own(socket.create_server(HOME))
    serve(server)
    assert ask(server.server_address) == b"HELLO\n"


@pytest.mark.parametrize("name", ["TCPServer", "ThreadingTCPServer", "UDPServer"])
def test_closing_without_shutdown_ends_the_loop_elsewhere(name: str) -> None:
    """The thread in ``serve_forever`` returns, without an exception."""
    entered = threading.Event()
    errors = []
    server = getattr(socketserver, name)(HOME, Upper)
    server.service_actions = entered.set

    def run() -> None:
        try:
            server.serve_forever(0.01)
        except BaseException as error:
            errors.append(error)
            raise

    thread = threading.Thread(target=run)
    thread.start()
    assert entered.wait(30)
    server.server_close()
    thread.join()
    assert errors == []


def test_closing_without_shutdown_ends_a_loop_that_sleeps() -> None:
    """Also when nothing but the closing wakes it."""
    server = socketserver.TCPServer(HOME, Upper)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    # Answered once, so that it is in its loop.
    assert ask(server.server_address) == b"HELLO\n"
    server.server_close()
    thread.join()
    assert server.fileno() == -1


def test_get_request_wraps_tls(serve: Callable[[Any], None]) -> None:
    """A client that doesn't speak it is passed over; one that does is answered."""
    authority = trustme.CA()
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(ours)
    clients = ssl.create_default_context()
    authority.configure_trust(clients)

    class Secure(socketserver.ThreadingMixIn, socketserver.TCPServer):
        def get_request(self) -> Any:
            connection, address = super().get_request()
            return ours.wrap_socket(connection, server_side=True), address

    server = Secure(HOME, Upper)
    serve(server)
    # Its words are no handshake, and so it is turned away, perhaps with a reset.
    with contextlib.suppress(ConnectionError):
        assert b"HELLO" not in ask(server.server_address)
    with socket.create_connection(server.server_address) as plain:
        with clients.wrap_socket(plain, server_hostname="127.0.0.1") as client:
            client.sendall(b"hello\n")
            assert client.recv(10) == b"HELLO\n"


def test_listening_socket_is_wrapped_in_tls(serve: Callable[[Any], None]) -> None:
    """Programs wrap ``server.socket`` itself once the server has been made."""
    authority = trustme.CA()
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(ours)
    clients = ssl.create_default_context()
    authority.configure_trust(clients)

    server = socketserver.TCPServer(HOME, Upper)
    server.socket = ours.wrap_socket(server.socket, server_side=True)
    serve(server)
    with socket.create_connection(server.server_address) as plain:
        with clients.wrap_socket(plain, server_hostname="127.0.0.1") as client:
            client.sendall(b"hello\n")
            assert client.recv(10) == b"HELLO\n"


def test_socket_is_replaced_before_it_is_bound(serve: Callable[[Any], None]) -> None:
    """With ``bind_and_activate=False`` a program brings its own, bound and listening or not."""
    server = socketserver.TCPServer(HOME, Upper, bind_and_activate=False)
    server.socket.close()
    server.socket = socket.create_server(HOME)
    server.server_address = server.socket.getsockname()
    serve(server)
    assert ask(server.server_address) == b"HELLO\n"


def test_server_is_bound_and_activated_by_hand(serve: Callable[[Any], None]) -> None:
    """With ``bind_and_activate=False`` a program sets options, then does both itself."""
    server = socketserver.TCPServer(HOME, Upper, False)
    server.allow_reuse_address = True
    server.server_bind()
    server.server_activate()
    serve(server)
    assert server.socket.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
    assert ask(server.server_address) == b"HELLO\n"


def test_socket_is_replaced_after_closing(serve: Callable[[Any], None]) -> None:
    """A server is closed, given another socket, and serves again."""
    server = socketserver.TCPServer(HOME, Upper)
    server.server_close()
    server.socket = socket.create_server(HOME)
    serve(server)
    assert ask(server.socket.getsockname()) == b"HELLO\n"


def test_private_flag_ends_the_loop_without_waiting() -> None:
    """Programs set CPython's private flag where ``shutdown`` would wait for itself."""
    server: Any = socketserver.TCPServer(HOME, Upper)

    def stop(request: object, client_address: object, server: Any) -> None:
        server._BaseServer__shutdown_request = True

    server.RequestHandlerClass = stop
    with server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        assert ask(server.server_address) == b""
        thread.join()


def test_private_flag_is_set_from_another_thread() -> None:
    """The sleeping loop is woken by it, and it reads as CPython's does."""
    server: Any = socketserver.TCPServer(HOME, Upper)
    with server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        assert ask(server.server_address) == b"HELLO\n"
        assert server._BaseServer__shutdown_request is False
        server._BaseServer__shutdown_request = True
        thread.join()
        assert server._BaseServer__shutdown_request is False


def test_handler_finds_what_a_program_put_on_the_server() -> None:
    """Attributes of the program's own, and a partial in the handler's place."""
    server: Any = socketserver.TCPServer(HOME, Upper)
    server.notes = []
    server.RequestHandlerClass = lambda request, address, server: server.notes.append(address)
    with server, socket.create_connection(server.server_address) as client:
        server.handle_request()
        assert server.notes == [client.getsockname()]
