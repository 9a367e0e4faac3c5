"""Tests of netserve.transports._credentials: who has connected, as the system says."""

import errno
import os
import socket
import subprocess
import sys

import pytest

from netserve.transports import PeerCredentials, TCPServer, peer_credentials

PATIENCE = 20

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux tells")


def test_the_system_says_who_has_connected(short_folder):
    """Process, user and group of another process."""
    from netserve.transports import UnixStreamServer

    seen = []
    path = short_folder / "s"
    program = (
        "import socket, sys; c = socket.socket(socket.AF_UNIX); c.connect(sys.argv[1]); c.recv(1)"
    )
    with UnixStreamServer(
        path, lambda request, *_: seen.append(peer_credentials(request))
    ) as server:
        with subprocess.Popen([sys.executable, "-c", program, path]) as client:
            server.handle_request()
            assert client.wait(PATIENCE) == 0
    assert seen == [PeerCredentials(client.pid, os.geteuid(), os.getegid())]
    assert seen[0].pid == client.pid


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root")
def test_a_client_of_another_user_is_denied(short_folder):
    """verify_request is the place, before any handler runs."""
    from netserve.transports import UnixStreamServer

    class OnlyRoot(UnixStreamServer):
        def verify_request(self, request, client_address):
            return peer_credentials(request).uid == 0

    short_folder.chmod(0o755)
    path = short_folder / "s"
    program = (
        "import os, socket, sys; os.setgid(65534); os.setuid(65534);"
        "c = socket.socket(socket.AF_UNIX); c.connect(sys.argv[1]); sys.exit(len(c.recv(1)))"
    )
    with OnlyRoot(path, pytest.fail, socket_mode=0o666) as server:
        with subprocess.Popen([sys.executable, "-c", program, path]) as client:
            server.handle_request()
            assert client.wait(PATIENCE) == 0
        assert server.stats().refused == 1


def test_a_pair_has_credentials():
    """Both ends are this process."""
    here, there = socket.socketpair()
    with here, there:
        assert peer_credentials(here) == (os.getpid(), os.geteuid(), os.getegid())


def test_a_socket_without_a_peer_has_nobodys():
    """An id of -1 is shown without its sign, as the system shows it."""
    with socket.socket(socket.AF_UNIX) as alone:
        assert peer_credentials(alone) == (0, 0xFFFFFFFF, 0xFFFFFFFF)


def test_other_families_have_none():
    """The message says which family it is."""
    with TCPServer(("127.0.0.1", 0), print) as server:
        with pytest.raises(ValueError, match="not one of AF_INET"):
            peer_credentials(server.socket)


def test_another_system_says_that_it_does_not_tell(monkeypatch):
    """With an error that says so."""
    monkeypatch.setattr("netserve.transports._credentials._TELLS", False)
    with socket.socket(socket.AF_UNIX) as some:
        with pytest.raises(OSError, match="doesn't tell the credentials") as caught:
            peer_credentials(some)
    assert caught.value.errno == errno.EOPNOTSUPP
