"""Several processes want one address at the same moment."""

import contextlib
import errno
import selectors
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from _harness import PATIENCE

RACERS = 8
ROUNDS = 30

# Takes the address at each line of its input, and leaves it at the next. A server may
# have something to do between bind and listen; here it takes a while each time.
RACER = """
import socket, sys, time
from pathlib import Path

framework, name, address = sys.argv[1:]
if framework == "netserve":
    from netserve import transports as module
else:
    import socketserver as module

class Server(getattr(module, name)):
    allow_reuse_address = name == "TCPServer"

    def server_activate(self):
        time.sleep(0.002)
        super().server_activate()

def make_room():
    # The usual recipe: a path that nobody answers on is removed.
    with socket.socket(socket.AF_UNIX, Server.socket_type) as probe:
        try:
            probe.connect(address)
        except ConnectionRefusedError:
            Path(address).unlink(missing_ok=True)
        except FileNotFoundError:
            pass

place = ("127.0.0.1", int(address)) if name == "TCPServer" else address
print("ready", flush=True)
for line in sys.stdin:
    try:
        if framework != "netserve" and name != "TCPServer":
            make_room()
        server = Server(place, print)
    except OSError as error:
        print(error.errno, flush=True)
    else:
        with server:
            print("won", flush=True)
            sys.stdin.readline()
        print("left", flush=True)
"""


@pytest.mark.fault("a race for one address")
@pytest.mark.parametrize("server", ["UnixStreamServer", "UnixDatagramServer", "TCPServer"])
def test_race(seen: Callable[..., None], server: str) -> None:
    """One gets it, whether nobody had it before or a killed server has left it; and keeps it."""
    ours = race("netserve", server)
    theirs = race("socketserver", server)
    words = "{} of {} rounds with one winner, {} with several, {} with none; {} files left"
    seen(server, words.format(*ours), words.format(*theirs))
    assert ours == (ROUNDS, ROUNDS, 0, 0, 0)


def race(framework: str, server: str) -> tuple[int, int, int, int, int]:
    """How many rounds had one winner of how many, several and none; and what is left behind."""
    winners = []
    with tempfile.TemporaryDirectory(prefix="race-") as folder:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = str(free.getsockname()[1])
        path = Path(folder, "s")
        address = port if server == "TCPServer" else str(path)
        with racers(framework, server, address) as processes:
            for number in range(ROUNDS):
                if number % 2 and server != "TCPServer":
                    leave_stale(path, server)
                winners.append(play(processes))
        left = list(Path(folder).iterdir())
    several = sum(count > 1 for count in winners)
    return winners.count(1), len(winners), several, winners.count(0), len(left)


@contextlib.contextmanager
def racers(framework: str, server: str, address: str) -> Iterator[list["subprocess.Popen[str]"]]:
    """The processes, all of them ready."""
    with contextlib.ExitStack() as stack:
        processes = []
        for _ in range(RACERS):
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", RACER, framework, server, address],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    bufsize=1,
                )
            )
            stack.callback(process.kill)
            processes.append(process)
        for process in processes:
            assert read_line(process) == "ready"
        yield processes


def play(processes: list["subprocess.Popen[str]"]) -> int:
    """Have all try at once; returns how many believe that they have it."""
    for process in processes:
        tell(process)
    answers = [read_line(process) for process in processes]
    assert set(answers) <= {"won", str(errno.EADDRINUSE)}
    holders = [
        process for process, answer in zip(processes, answers, strict=True) if answer == "won"
    ]
    for process in holders:
        tell(process)
    for process in holders:
        assert read_line(process) == "left"
    return len(holders)


def tell(process: "subprocess.Popen[str]") -> None:
    """Let *process* go on."""
    assert process.stdin is not None
    process.stdin.write("\n")


def read_line(process: "subprocess.Popen[str]") -> str:
    """The next line of *process*, which comes soon."""
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        assert selector.select(PATIENCE), "no answer"
    return process.stdout.readline().strip()


def leave_stale(path: Path, server: str) -> None:
    """Leave the file of a socket whose server was killed."""
    path.unlink(missing_ok=True)
    kind = socket.SOCK_STREAM if "Stream" in server else socket.SOCK_DGRAM
    with socket.socket(socket.AF_UNIX, kind) as gone:
        gone.bind(str(path))
