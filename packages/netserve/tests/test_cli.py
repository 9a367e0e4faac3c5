"""The ``netserve`` command, as real processes with real clients."""

import contextlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

COMMAND = shutil.which("netserve", path=sysconfig.get_path("scripts"))

unix = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs AF_UNIX")


@contextlib.contextmanager
def echo(*arguments: str) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """A running ``netserve echo``, and the line that it has printed."""
    assert COMMAND is not None, "the package is installed without its command"
    with subprocess.Popen(
        [COMMAND, "echo", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline().rstrip("\n")
        finally:
            process.kill()


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the command to its end."""
    assert COMMAND is not None, "the package is installed without its command"
    return subprocess.run([COMMAND, *arguments], capture_output=True, text=True, check=False)


def end(process: "subprocess.Popen[str]", number: signal.Signals = signal.SIGINT) -> None:
    """Send the signal; the process must end well and have nothing more to say."""
    process.send_signal(number)
    assert process.communicate() == ("", "")
    assert process.returncode == 0


def port_in(line: str, transport: str) -> int:
    """The port that the printed line names."""
    said = re.fullmatch(rf"serving {transport} on 127\.0\.0\.1:(\d+) until Ctrl-C", line)
    assert said, line
    return int(said[1])


@pytest.fixture
def path() -> Iterator[str]:
    """A path for a Unix socket, short enough wherever temporary files are."""
    with tempfile.TemporaryDirectory(prefix="ns-") as folder:
        yield f"{folder}/echo"


def test_lines_come_back_in_capitals_over_tcp() -> None:
    """Each line as it arrives, until the client has no more."""
    with echo() as (process, line):
        with socket.create_connection(("127.0.0.1", port_in(line, "TCP"))) as client:
            with client.makefile("rw", newline="\n") as lines:
                for word in ("hello", "world"):
                    print(word, file=lines, flush=True)
                    assert lines.readline() == f"{word.upper()}\n"
                client.shutdown(socket.SHUT_WR)
                assert lines.read() == ""
        end(process)


@pytest.mark.skipif(shutil.which("nc") is None, reason="needs nc")
def test_nc_is_answered() -> None:
    """The client of the command's own help."""
    with echo() as (process, line):
        done = subprocess.run(
            ["nc", "-N", "127.0.0.1", str(port_in(line, "TCP"))],
            input="hello\n",
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.stdout, done.returncode) == ("HELLO\n", 0), done.stderr
        end(process)


def test_clients_do_not_wait_for_each_other() -> None:
    """One that says nothing doesn't keep the next from its answer."""
    with echo() as (process, line):
        address = ("127.0.0.1", port_in(line, "TCP"))
        with socket.create_connection(address), socket.create_connection(address) as client:
            client.sendall(b"hello\n")
            assert client.recv(100) == b"HELLO\n"
        end(process)


def test_datagrams_come_back_in_capitals() -> None:
    """With --udp, each datagram is answered with one."""
    with echo("--udp") as (process, line):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.connect(("127.0.0.1", port_in(line, "UDP")))
            client.send(b"hello")
            assert client.recv(100) == b"HELLO"
        end(process)


@unix
def test_unix_connections_are_answered_and_the_path_is_removed(path: str) -> None:
    """With --unix, on that path, which is gone when the command has ended."""
    with echo("--unix", path) as (process, line):
        assert line == f"serving Unix stream on {path} until Ctrl-C"
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            client.sendall(b"hello\n")
            assert client.recv(100) == b"HELLO\n"
        end(process)
    assert not Path(path).exists()


@unix
def test_unix_datagrams_are_answered_and_the_path_is_removed(path: str) -> None:
    """With --unix and --udp, datagrams on that path."""
    with echo("--unix", path, "--udp") as (process, line):
        assert line == f"serving Unix datagrams on {path} until Ctrl-C"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
            client.bind(f"{path}-client")
            client.connect(path)
            client.send(b"hello")
            assert client.recv(100) == b"HELLO"
        end(process, signal.SIGTERM)
    assert not Path(path).exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_a_signal_ends_it_well(number: signal.Signals) -> None:
    """Ctrl-C and a service manager end it with status 0, a connected client or not."""
    with echo() as (process, line):
        with socket.create_connection(("127.0.0.1", port_in(line, "TCP"))) as client:
            client.sendall(b"hello\n")
            assert client.recv(100) == b"HELLO\n"
            end(process, number)


def test_the_port_can_be_chosen() -> None:
    """With --host and --port, at that address."""
    with socket.create_server(("127.0.0.1", 0)) as placeholder:
        port = placeholder.getsockname()[1]
    with echo("--host", "127.0.0.1", "--port", str(port)) as (process, line):
        assert port_in(line, "TCP") == port
        end(process)


@pytest.mark.parametrize("udp", [False, True], ids=["TCP", "UDP"])
def test_a_port_in_use_is_one_clear_sentence(udp: bool) -> None:
    """On standard error, with the address and the remedy, and status 1."""
    kind = socket.SOCK_DGRAM if udp else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        if not udp:
            taken.listen()
        port = taken.getsockname()[1]
        done = run("echo", "--port", str(port), *(["--udp"] if udp else []))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"Error: can't bind ('127.0.0.1', {port}) (Address already in use):"
        " another socket holds it; stop its owner, or choose another address\n"
    )


@unix
def test_a_path_in_use_is_one_clear_sentence_and_stays(path: str) -> None:
    """The socket of another server, or a file, isn't removed."""
    Path(path).write_text("precious")
    done = run("echo", "--unix", path)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"Error: can't bind '.*' \(File exists\): .*\n", done.stderr)
    assert Path(path).read_text() == "precious"


@unix
def test_a_path_that_somebody_has_removed_is_no_error(path: str) -> None:
    """The command ends well although there is nothing to remove."""
    with echo("--unix", path) as (process, _):
        Path(path).unlink()
        end(process)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--port", "1"], "--unix takes no --port"),
        (["--host", "::1"], "--unix takes no --host"),
        (["--host", "::1", "--port", "1"], "--unix takes no --host and no --port"),
    ],
)
def test_a_path_and_a_port_is_a_mistake(path: str, options: list[str], complaint: str) -> None:
    """--unix with --port or --host is refused with status 2, and nothing is served."""
    done = run("echo", "--unix", path, *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"Error: {complaint}: choose one of the two" in done.stderr
    assert not Path(path).exists()


@pytest.mark.parametrize("port", ["65536", "-1", "http"])
def test_a_port_that_is_none_is_a_mistake(port: str) -> None:
    """It is refused with status 2 and named."""
    done = run("echo", "--port", port)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Invalid value for '--port'" in done.stderr
    assert port in done.stderr


def test_a_host_that_is_none_is_one_clear_sentence() -> None:
    """An address that no interface has is named, with status 1."""
    done = run("echo", "--host", "192.0.2.1")
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"Error: can't bind \('192\.0\.2\.1', 0\) .*\n", done.stderr)


def test_help_and_version() -> None:
    """The command says what it does and which one it is."""
    assert "echo" in run("--help").stdout
    assert "--unix" in run("echo", "-h").stdout
    assert re.fullmatch(r"netserve, version \d+\.\d+\.\d+\S*\n", run("--version").stdout)


def test_the_command_does_not_need_its_script() -> None:
    """``netserve.cli.main`` is the command."""
    done = subprocess.run(
        [sys.executable, "-c", "from netserve.cli import main; main(['--version'])"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "version" in done.stdout
