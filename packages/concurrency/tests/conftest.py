"""What every test here gets: nothing may be left behind, and help with serving."""

import contextlib
import gc
import os
import threading
from pathlib import Path

import pytest


def open_descriptors():
    """What this process holds open, as the system lists it; empty where it can't be asked."""
    folder = Path("/proc/self/fd")
    if not folder.exists():
        return {}
    opened = {}
    for entry in folder.iterdir():
        # The listing's own descriptor is gone by now.
        with contextlib.suppress(OSError):
            opened[entry.name] = str(entry.readlink())
    return opened


def has_children():
    """Whether there is any child process, ended or not, that nobody has collected."""
    if not hasattr(os, "waitid"):
        return False
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


@pytest.fixture(autouse=True, scope="session")
def _collections_are_quick():
    """Keep what was there before the first test out of the collections after each."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _nothing_is_left_behind():
    """Fail a test that leaves a thread, a child process or a descriptor."""
    threads = set(threading.enumerate())
    descriptors = open_descriptors()
    yield
    gc.collect()
    assert set(threading.enumerate()) <= threads
    assert not has_children()
    left = {name: path for name, path in open_descriptors().items() if name not in descriptors}
    assert left == {}


@pytest.fixture
def serve():
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
