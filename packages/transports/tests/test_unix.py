"""Tests of netserve.transports._unix, and of a platform without its sockets."""

import errno
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from netserve import transports
from netserve.transports._bind import MAX_PATH

pytestmark = pytest.mark.skipif(
    not hasattr(socket, "AF_UNIX"), reason="there are no Unix domain sockets"
)

PATIENCE = 20
SERVERS = ["UnixStreamServer", "UnixDatagramServer"]


@pytest.fixture
def folder():
    """A new folder with a path short enough for a socket in it."""
    made = tempfile.mkdtemp(prefix="n")
    yield Path(made)
    shutil.rmtree(made)


@pytest.fixture(params=SERVERS)
def kind(request):
    """Each of the Unix server classes."""
    return getattr(transports, request.param)


def shout(request, client_address, server):
    """Answer in upper case on a stream."""
    request.sendall(request.recv(100).upper())


@pytest.mark.parametrize("form", [str, os.fsencode, Path])
def test_a_path_of_any_form_is_bound(kind, folder, form):
    """A path may be a str, bytes or a Path; the address is what the system reports."""
    path = folder / "s"
    with kind(form(path), print) as server:
        assert path.is_socket()
        assert server.server_address == str(path)
        assert server.socket.family == socket.AF_UNIX


def test_a_path_in_bytes_of_its_own_class_is_bound(kind, folder):
    """A path object may give bytes."""

    class BytesPath:
        def __fspath__(self):
            return os.fsencode(folder / "s")

    with kind(BytesPath(), print) as server:
        assert server.server_address == str(folder / "s")


@pytest.mark.skipif(sys.platform != "linux", reason="abstract names are Linux's")
@pytest.mark.parametrize("form", [bytes, bytes.decode])
def test_an_abstract_name_is_bound(kind, form):
    """On Linux a name that begins with a zero byte is no file."""
    name = b"\0netserve-test-%d" % os.getpid()
    with kind(form(name), print) as server:
        assert server.server_address == name


def test_binding_may_be_left_to_the_user(kind, folder):
    """With bind_and_activate=False there is no file until server_bind."""
    path = folder / "s"
    with kind(path, print, bind_and_activate=False) as server:
        assert server.server_address == str(path)
        assert not path.exists()
        server.server_bind()
        assert path.is_socket()


def test_streams_are_served(folder, serve):
    """Clients of a stream server get their answers; their address is empty."""
    addresses = []

    def handler(request, client_address, server):
        addresses.append(client_address)
        shout(request, client_address, server)

    with transports.UnixStreamServer(folder / "s", handler) as server:
        serve(server)
        for data in [b"one", b"two"]:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(PATIENCE)
                client.connect(server.server_address)
                client.sendall(data)
                assert client.recv(100) == data.upper()
                assert client.recv(100) == b""
        assert addresses == ["", ""]


def test_datagrams_are_answered(folder):
    """A client that bound a path is answered there; one that bound none has no address."""
    addresses = []

    def handler(request, client_address, server):
        data, answers = request
        addresses.append(client_address)
        if client_address:
            answers.sendto(data.upper(), client_address)

    with transports.UnixDatagramServer(folder / "s", handler) as server:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
            client.settimeout(PATIENCE)
            client.sendto(b"nobody", server.server_address)
            server.handle_request()
            client.bind(str(folder / "c"))
            client.sendto(b"hello", server.server_address)
            server.handle_request()
            assert client.recv(100) == b"HELLO"
    assert addresses == [None, str(folder / "c")]


@pytest.mark.parametrize(
    ("path", "error", "words"),
    [
        ("x" * 200, OSError, ["xxx", "has 200 bytes", f"at most {MAX_PATH} bytes"]),
        ("/nowhere/at/all", FileNotFoundError, ["'/nowhere/at/all'", "create that first"]),
        (__file__ + "/s", NotADirectoryError, ["test_unix.py/s'", "is a file"]),
        (("127.0.0.1", 0), TypeError, ["('127.0.0.1', 0)", "give a path such as"]),
        (8000, TypeError, ["8000", "give a path such as '/run/service.sock'"]),
        (None, TypeError, ["None", "give a path such as"]),
        ("\ud800", ValueError, ["'\\ud800'", "give a path such as"]),
    ],
)
def test_a_bad_path_is_explained_and_leaves_no_socket(kind, path, error, words):
    """The constructor's exception names value and remedy; a socket left open would warn."""
    with pytest.raises(error) as caught:
        kind(path, print)
    for word in words:
        assert word in str(caught.value)
    if path == "x" * 200:
        assert caught.value.errno == errno.ENAMETOOLONG


def test_a_path_in_use_is_explained(kind, folder):
    """A file that stands at the path already has to be dealt with by its owner."""
    path = folder / "s"
    with kind(path, print):
        with pytest.raises(OSError, match="another socket holds it") as caught:
            kind(path, print)
    assert caught.value.errno == errno.EADDRINUSE
    assert str(path) in str(caught.value)


def test_a_handler_that_is_not_callable_is_refused(kind, folder):
    """The handler is looked at before a file is made."""
    with pytest.raises(TypeError, match="must be callable"):
        kind(folder / "s", None)
    assert not (folder / "s").exists()


def test_without_unix_sockets_their_servers_are_absent():
    """Where the platform has no AF_UNIX, the module imports, and serves the Internet."""
    program = """if True:
        import socket
        del socket.AF_UNIX
        from netserve import transports
        assert not [name for name in dir(transports) if "Unix" in name]
        assert "UnixStreamServer" not in transports.__all__
        with transports.TCPServer(("127.0.0.1", 0), print):
            pass
        try:
            transports.TCPServer("path", print)
        except TypeError as error:
            assert "(host, port)" in str(error)
    """
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=60)


def test_every_public_name_is_there():
    """What __all__ promises can be imported, the Unix servers included."""
    assert set(SERVERS) < set(transports.__all__)
    assert all(hasattr(transports, name) for name in transports.__all__)


def test_a_refused_client_gets_the_farewell_and_the_end(folder):
    """Although it has sent something that nobody reads, its connection isn't reset."""
    with transports.UnixStreamServer(folder / "s", pytest.fail) as server:
        server.max_connections = 0
        server.overload = "refuse"
        server.farewell = b"busy"
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE)
            client.connect(server.server_address)
            client.sendall(b"x" * 10_000)
            server.handle_request()
            assert client.recv(100) == b"busy"
            assert client.recv(100) == b""
        assert server.stats().refused == 1


def test_the_bytes_of_unix_connections_are_not_known(folder):
    """The system doesn't tell."""
    with transports.UnixStreamServer(folder / "s", shout) as server:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE)
            client.connect(server.server_address)
            client.sendall(b"hello")
            server.handle_request()
            assert client.recv(100) == b"HELLO"
        stats = server.stats()
        assert (stats.completed, stats.bytes_received, stats.bytes_sent) == (1, 0, 0)
