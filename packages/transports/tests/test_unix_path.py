"""The path of a Unix domain socket: taken, kept from others, and given back."""

import contextlib
import errno
import http.server
import os
import socket
import stat
import subprocess
import sys
import threading

import pytest

from netserve import transports

pytestmark = pytest.mark.skipif(
    not hasattr(socket, "AF_UNIX"), reason="there are no Unix domain sockets"
)

PATIENCE = 20
SERVERS = ["UnixStreamServer", "UnixDatagramServer"]

needs_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may give files away"
)


@pytest.fixture(params=SERVERS)
def kind(request):
    """Each of the Unix server classes."""
    return getattr(transports, request.param)


@pytest.fixture
def path(short_folder):
    """Where the server is to be."""
    return short_folder / "s"


def names(path):
    """What is in the folder of *path*."""
    return sorted(entry.name for entry in path.parent.iterdir())


def leave_stale(path, kind):
    """Leave the file of a socket that nobody has."""
    with socket.socket(socket.AF_UNIX, kind.socket_type) as gone:
        gone.bind(str(path))


# --- the end ---


def test_the_path_is_removed_at_the_end(kind, path):
    """Nothing else is left either, the lock included."""
    with kind(path, print):
        assert names(path) == ["s"]
    assert names(path) == []


def test_a_path_that_is_another_ones_now_stays(kind, path):
    """Somebody has removed ours, and made a socket of his own there."""
    with kind(path, print) as server:
        inode = path.stat().st_ino
        path.unlink()
        leave_stale(path, kind)
        assert path.stat().st_ino != inode
        server.server_close()
        assert path.is_socket()


def test_a_path_that_is_gone_already_is_no_error(kind, path):
    """An administrator may remove it."""
    with kind(path, print):
        path.unlink()
    assert names(path) == []


def test_a_path_that_cannot_be_removed_is_no_error(kind, path, monkeypatch):
    """The folder may have become read-only; the socket is closed all the same."""

    def refuse(self, missing_ok=False):
        raise PermissionError(errno.EACCES, "refused")

    server = kind(path, print)
    with monkeypatch.context() as patches:
        patches.setattr("pathlib.Path.unlink", refuse)
        server.server_close()
    assert server.fileno() == -1
    path.unlink()


def test_closing_twice_removes_once(kind, path):
    """The second time, it may be a successor's."""
    server = kind(path, print)
    server.server_close()
    with kind(path, print):
        server.server_close()
        assert path.is_socket()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("activated", [True, False])
def test_a_forked_child_leaves_the_path_to_its_parent(kind, path, activated):
    """Also while it is being taken."""
    with kind(path, print, bind_and_activate=False) as server:
        server.server_bind()
        if activated:
            server.server_activate()
        there = names(path)
        pid = os.fork()
        if not pid:
            try:
                server.server_close()
                code = 0
            except BaseException:
                code = 1
            os._exit(code)
        _, status = os.waitpid(pid, 0)
        assert status == 0
        assert names(path) == there
        if not activated:
            with pytest.raises(OSError, match="another server is taking it"):
                kind(path, print)
    assert names(path) == []


def test_a_relative_path_is_removed_from_where_it_was_made(kind, path, monkeypatch):
    """Though the program has gone elsewhere since."""
    monkeypatch.chdir(path.parent)
    with kind("s", print) as server:
        assert server.server_address == "s"
        monkeypatch.chdir("/")
    assert names(path) == []


# --- who has it ---


def test_a_stale_path_is_taken_over(kind, path):
    """The server that made it was killed."""
    leave_stale(path, kind)
    with kind(path, print):
        with socket.socket(socket.AF_UNIX, kind.socket_type) as client:
            client.connect(str(path))
    assert names(path) == []


def test_the_path_of_a_killed_server_is_taken_over(path):
    """A real one, with whatever it leaves."""
    program = """if True:
        import sys
        from netserve.transports import UnixStreamServer
        server = UnixStreamServer(sys.argv[1], print, bind_and_activate=False)
        server.server_bind()
        print("bound", flush=True)
        sys.stdin.read()
    """
    with subprocess.Popen(
        [sys.executable, "-c", program, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as killed:
        assert killed.stdout.readline() == b"bound\n"
        killed.kill()
    assert names(path) == ["s", "s.lock"]
    with transports.UnixStreamServer(path, print):
        assert names(path) == ["s"]
    assert names(path) == []


def test_a_live_path_is_not_stolen(kind, path):
    """Its server goes on, and nothing is left by the loser."""
    with kind(path, print):
        inode = path.stat().st_ino
        with pytest.raises(OSError, match="another socket holds it") as caught:
            kind(path, print)
        assert caught.value.errno == errno.EADDRINUSE
        assert path.stat().st_ino == inode
        assert names(path) == ["s"]


@pytest.mark.parametrize("other", [socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET])
def test_a_live_path_of_any_program_is_not_stolen(kind, path, other):
    """Of another type of socket, and with a full queue."""
    with socket.socket(socket.AF_UNIX, other) as theirs:
        theirs.bind(str(path))
        if other != socket.SOCK_DGRAM:
            theirs.listen(0)
        with contextlib.ExitStack() as stack:
            for _ in range(3):
                client = stack.enter_context(socket.socket(socket.AF_UNIX, other))
                client.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    client.connect(str(path))
            with pytest.raises(OSError, match="another socket holds it"):
                kind(path, print)
        assert path.is_socket()


@pytest.mark.parametrize("make", ["write_text", "mkdir", "symlink"])
def test_what_is_no_socket_stays(kind, path, make):
    """A file, a folder, or a link, even to a stale socket."""
    if make == "symlink":
        leave_stale(path.with_name("t"), kind)
        path.symlink_to("t")
    else:
        getattr(path, make)(*["precious"][: make == "write_text"])
    before = names(path)
    with pytest.raises(FileExistsError, match="a file that isn't a socket is there"):
        kind(path, print)
    assert names(path) == before


def test_a_server_that_does_not_listen_yet_is_not_taken_for_stale(kind, path):
    """From its bind on others are kept from the path, as long as it is open."""
    with kind(path, print, bind_and_activate=False) as server:
        server.server_bind()
        with pytest.raises(OSError, match="is taking it, and has locked s") as caught:
            kind(path, print)
        assert caught.value.errno == errno.EADDRINUSE
        server.server_activate()
        with pytest.raises(OSError, match="another socket holds it"):
            kind(path, print)
    kind(path, print).server_close()
    assert names(path) == []


def test_a_lock_that_is_removed_meanwhile_is_tried_anew(kind, path, monkeypatch):
    """Its holder has let go between our open and our lock."""
    from netserve.transports import _unix_path

    flock = _unix_path.fcntl.flock
    calls = []

    def remove_first(descriptor, operation):
        calls.append(operation)
        if len(calls) == 1:
            path.with_name("s.lock").unlink()
        flock(descriptor, operation)

    monkeypatch.setattr(_unix_path.fcntl, "flock", remove_first)
    with kind(path, print):
        assert names(path) == ["s"]
    assert len(calls) == 3


def test_a_socket_that_goes_while_it_is_looked_at_is_none(kind, path, monkeypatch):
    """Its owner has removed it just then."""
    leave_stale(path, kind)
    connect = socket.socket.connect

    def remove_first(self, address):
        path.unlink()
        connect(self, address)

    with monkeypatch.context() as patches:
        patches.setattr(socket.socket, "connect", remove_first)
        server = kind(path, print)
    server.server_close()


RACER = """
import socket, sys, time
from netserve import transports

class Slow(getattr(transports, sys.argv[1])):
    # Others look while it is bound and doesn't answer yet.
    def server_activate(self):
        time.sleep(0.005)
        super().server_activate()

kind, path = Slow, sys.argv[2]
print("ready", flush=True)
for line in sys.stdin:
    try:
        server = kind(path, print)
    except OSError as error:
        print("lost", error.errno, flush=True)
    else:
        with server, socket.socket(socket.AF_UNIX, kind.socket_type) as client:
            print("won", flush=True)
            sys.stdin.readline()
            client.connect(path)
"""


@pytest.mark.parametrize("stale", [True, False])
def test_of_many_processes_one_gets_the_path(kind, path, stale):
    """Each time, and it keeps it until it closes."""
    with contextlib.ExitStack() as stack:
        racers = []
        for _ in range(4):
            racer = subprocess.Popen(
                [sys.executable, "-W", "error", "-c", RACER, kind.__name__, path],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                bufsize=1,
            )
            racers.append(stack.enter_context(racer))
            stack.callback(racer.kill)
        for racer in racers:
            assert racer.stdout.readline() == "ready\n"
        for _ in range(10):
            if stale:
                leave_stale(path, kind)
            for racer in racers:
                racer.stdin.write("go\n")
            results = [racer.stdout.readline() for racer in racers]
            assert sorted(results) == [f"lost {errno.EADDRINUSE}\n"] * 3 + ["won\n"]
            assert names(path) == ["s"]
            winner = racers[results.index("won\n")]
            winner.stdin.write("done\n")
            # The next round begins when it has closed.
            while names(path):
                assert winner.poll() is None
        for racer in racers:
            racer.stdin.close()
            assert racer.wait(PATIENCE) == 0


# --- mode and owner ---


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666, 0o777])
def test_the_mode_is_what_is_asked_for(kind, path, mode):
    """Whatever the umask is, and the umask stays."""
    before = os.umask(0o077)
    try:
        with kind(path, print, socket_mode=mode):
            assert stat.S_IMODE(path.stat().st_mode) == mode
        assert os.umask(0o077) == 0o077
    finally:
        os.umask(before)


def test_without_a_mode_the_umask_says(kind, path):
    """As bind does it."""
    before = os.umask(0o027)
    try:
        with kind(path, print):
            assert stat.S_IMODE(path.stat().st_mode) == 0o750
    finally:
        os.umask(before)


@pytest.mark.parametrize("of_socket", [True, False])
def test_nobody_may_connect_before_the_owner_is_set(kind, path, monkeypatch, of_socket):
    """The file is made without permissions: by the socket's mode, or elsewhere by the umask."""
    monkeypatch.setattr("netserve.transports._unix_path._MODE_BY_SOCKET", of_socket)
    seen = []
    chown = os.chown

    def look(*arguments, **keywords):
        seen.append(stat.S_IMODE(path.stat().st_mode))
        chown(*arguments, **keywords)

    monkeypatch.setattr(os, "chown", look)
    with kind(path, print, socket_mode=0o666):
        assert stat.S_IMODE(path.stat().st_mode) == 0o666
    assert seen == [0]


@needs_root
@pytest.mark.parametrize(("owner", "group"), [("nobody", None), (None, "nogroup"), (65534, 65534)])
def test_the_owner_is_whom_it_is_given_to(kind, path, owner, group):
    """By name or number; without a mode both may connect, and nobody else."""
    with kind(path, print, socket_owner=owner, socket_group=group):
        found = path.stat()
        assert found.st_uid == (65534 if owner else 0)
        assert found.st_gid == (65534 if group else os.getegid())
        assert stat.S_IMODE(found.st_mode) == 0o660


def test_attributes_of_the_class_do_too(kind, path):
    """As with every option."""
    derived = type("Derived", (kind,), {"socket_mode": 0o640, "socket_owner": os.geteuid()})
    with derived(path, print):
        assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"socket_owner": "no-such"}, "socket_owner: there is no user 'no-such'"),
        ({"socket_group": "no-such"}, "socket_group: there is no group 'no-such'"),
        ({"socket_mode": 0o1660}, "socket_mode must be permissions such as 0o660, not 944"),
        ({"socket_mode": -1}, "socket_mode must be permissions"),
    ],
)
def test_what_cannot_be_granted_is_refused(kind, path, keywords, words):
    """Before anything is made."""
    with pytest.raises(ValueError, match=words):
        kind(path, print, **keywords)
    assert names(path) == []


def test_an_owner_that_the_system_refuses_leaves_nothing(kind, path, monkeypatch):
    """The path is removed again, and the message says what to do."""

    def refuse(*arguments, **keywords):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "chown", refuse)
    with pytest.raises(PermissionError, match="may not do that there; choose"):
        kind(path, print, socket_owner=0)
    assert names(path) == []


@pytest.mark.skipif(sys.platform != "linux", reason="abstract names are Linux's")
def test_an_abstract_name_has_no_mode(kind):
    """To ask for one is a mistake, because everybody may connect to it."""
    name = b"\0netserve-test-%d" % os.getpid()
    with pytest.raises(ValueError, match="an abstract name has no owner and no mode"):
        kind(name, print, socket_mode=0o600)
    kind(name, print).server_close()


@pytest.mark.skipif(sys.platform != "linux", reason="the system chooses a name on Linux")
def test_the_system_may_choose_a_name(kind):
    """For an empty path, as with bind."""
    with kind("", print) as server:
        assert server.server_address[:1] == b"\0"


# --- who connects ---


def test_an_unnamed_client_breaks_no_handler(path):
    """Not even one that asks for the first part of its address, as HTTP's does for its log."""
    said = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(204)
            self.end_headers()

        def log_message(self, form, *arguments):
            said.append(f"{self.address_string()} {form % arguments}")

    with transports.UnixStreamServer(path, Handler).background() as running:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE)
            client.connect(running.address)
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert client.recv(1000).startswith(b"HTTP/1.0 204")
    assert said == ['unnamed "GET / HTTP/1.0" 204 -']


def test_an_unnamed_address_is_empty_but_prints():
    """A program that tests for it goes on as before."""
    address = transports.UnnamedPeer()
    assert address == ""
    assert not address
    assert f"{address} {address:>8} %s" % address == "unnamed  unnamed unnamed"
    assert address[0] == "unnamed"


def test_a_client_with_a_path_has_it(path):
    """As the system reports it."""
    with transports.UnixStreamServer(path, print) as server:
        with socket.socket(socket.AF_UNIX) as client:
            client.bind(str(path.with_name("c")))
            client.connect(str(path))
            request, address = server.get_request()
            request.close()
            assert type(address) is str
            assert address == str(path.with_name("c"))


def test_many_threads_that_bind_by_the_umask_leave_it(short_folder, monkeypatch):
    """Where the umask has to do it, one after the other."""
    monkeypatch.setattr("netserve.transports._unix_path._MODE_BY_SOCKET", False)
    before = os.umask(0o022)
    os.umask(before)

    def make(number):
        with transports.UnixStreamServer(short_folder / f"{number}", print, socket_mode=0o600):
            pass

    threads = [threading.Thread(target=make, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert os.umask(before) == before
