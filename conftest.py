"""What every test here gets: nothing may be left behind, and help with serving."""

import contextlib
import gc
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

with contextlib.suppress(ImportError):
    # Not in every session. How long an example takes is the machine's matter; and in CI
    # a test that passes must pass again.
    import hypothesis

    hypothesis.settings.register_profile("here", deadline=None, derandomize="CI" in os.environ)
    hypothesis.settings.load_profile("here")

# A session of its own; it is collected where it is named.
collect_ignore = ["tests/faults"]


@pytest.fixture(autouse=True, scope="module")
def _collections_are_quick() -> None:
    """Keep what was there before a module's first test out of the collections after each.

    Nothing that it could have left behind is among that: each test before was asked.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def _signals_are_heard() -> None:
    """Let SIGINT through, which a shell has ignored by what it runs in the background.

    And SIGHUP, as nohup does. The processes that tests start would inherit that, and never
    end, or reload.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if sys.platform != "win32" and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def _no_address_is_turned_into_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail whatever asks for the name of an address: it may take half a minute.

    The standard library's HTTPServer does, and is told the address.
    """

    def refuse(*arguments: object) -> str:
        caller = sys._getframe(1)  # noqa: SLF001  # inspect is slower, for each test
        if caller.f_globals["__name__"] == "http.server":
            return str(arguments[0])
        raise AssertionError(f"a reverse lookup of {arguments}")

    for name in ("getfqdn", "gethostbyaddr", "getnameinfo"):
        monkeypatch.setattr(socket, name, refuse)


@pytest.fixture(autouse=True)
def _nothing_is_left_behind() -> Iterator[None]:
    """Fail the test that leaves a thread, a child process or an open descriptor."""
    before = _held()
    yield
    gc.collect()
    left = {kind: sorted(held - before[kind]) for kind, held in _held().items()}
    assert not any(left.values()), f"left behind: {left}"


@pytest.fixture
def serve() -> Iterator[Callable[..., threading.Thread]]:
    """A function that serves a server in a thread, until it is stopped or the test ends."""
    with contextlib.ExitStack() as ends:

        def start(server, poll_interval=0.5):
            thread = threading.Thread(target=server.serve_forever, args=(poll_interval,))
            ends.callback(end, server, thread)
            thread.start()
            return thread

        def end(server, thread):
            server.shutdown()
            thread.join(20)
            server.server_close()
            assert not thread.is_alive()

        yield start


@pytest.fixture
def connect() -> Iterator[Callable[..., socket.socket]]:
    """A function that connects to a server, and sends it something; closed when the test ends."""
    with contextlib.ExitStack() as ends:

        def start(server, data=b""):
            own = server.socket
            client = ends.enter_context(socket.socket(own.family, own.type))
            client.settimeout(20)
            client.connect(server.server_address)
            if data:
                client.sendall(data)
            return client

        yield start


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """An empty folder, whose name is short enough for the path of a Unix socket."""
    with tempfile.TemporaryDirectory(prefix="ns-") as name:
        yield Path(name)


def _held() -> dict[str, set[str]]:
    return {
        "threads": {f"{thread.name} ({thread.ident})" for thread in threading.enumerate()},
        "children": set(_children()),
        "descriptors": set(_descriptors()),
    }


def _children() -> Iterator[str]:
    """The children of this process, the dead ones that nobody has collected included."""
    for folder in Path("/proc/self/task").glob("*/children"):
        # The thread may have ended meanwhile.
        with contextlib.suppress(OSError):
            yield from folder.read_text().split()


def _descriptors() -> Iterator[str]:
    folder = Path("/proc/self/fd")
    for entry in folder.iterdir() if folder.exists() else ():
        # The one through which the folder is read is gone.
        with contextlib.suppress(OSError):
            yield f"{entry.name}: {entry.readlink()}"
