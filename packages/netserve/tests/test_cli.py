"""The ``netserve`` command, as real processes with real clients."""

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

COMMAND = shutil.which("netserve", path=sysconfig.get_path("scripts"))
PATIENCE = 30  # seconds

# To fork beside threads is a warning from 3.12 on, which Python drops where it is an error.
STRICT = {**os.environ, "PYTHONWARNINGS": "error,always:This process"}

CONCURRENCY = ["threads", "pool", "fork", "prefork", "multiplex", "asyncio"]

unix = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs AF_UNIX")

SERVICE = """
import socketserver
from netserve.handlers import (
    BaseRequestHandler, DatagramRequestHandler, MessageRequestHandler, StreamRequestHandler,
)

class Message(MessageRequestHandler):
    def handle_message(self, message):
        if message == b"fail":
            raise RuntimeError("as asked")
        return message.upper()

class Stream(StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(line.upper())

class Datagram(DatagramRequestHandler):
    def handle(self):
        self.wfile.write(self.packet.upper())

class Anything(BaseRequestHandler):
    def handle(self):
        if isinstance(self.request, tuple):
            packet, listener = self.request
            listener.sendto(packet.upper(), self.client_address)
        else:
            self.request.sendall(self.request.recv(100).upper())

class Stdlib(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(self.rfile.readline().upper())
"""


class Service:
    """A running command, and what it has printed."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process

    def line(self) -> str:
        """The next line of its standard output."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def port(self, transport: str = "TCP") -> int:
        """The port that the next line names."""
        line = self.line()
        said = re.fullmatch(rf"serving {transport} on 127\.0\.0\.1:(\d+) until Ctrl-C", line)
        assert said, line or self.process.communicate()[1]
        return int(said[1])

    def end(self, number: signal.Signals = signal.SIGTERM) -> str:
        """Send the signal; it must end well. Returns what it has logged."""
        self.process.send_signal(number)
        output, errors = self.process.communicate(timeout=PATIENCE)
        assert (output, self.process.returncode) == ("", 0), errors
        return errors


@contextlib.contextmanager
def serving(*arguments: str, folder: "Path | str | None" = None, **more) -> Iterator[Service]:
    """A running ``netserve`` with *arguments*."""
    assert COMMAND is not None, "the package is installed without its command"
    with subprocess.Popen(
        [COMMAND, *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **more,
    ) as process:
        try:
            yield Service(process)
        finally:
            process.kill()


def run(*arguments: str, folder: "Path | None" = None) -> "subprocess.CompletedProcess[str]":
    """Run the command to its end."""
    assert COMMAND is not None, "the package is installed without its command"
    return subprocess.run(
        [COMMAND, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )


def refused(*arguments: str, folder: "Path | None" = None) -> str:
    """The sentence with which the command refuses *arguments*."""
    done = run(*arguments, folder=folder)
    assert (done.returncode, done.stdout) == (2, ""), done
    said = re.fullmatch(r"Error: ([^\n]*)\n", done.stderr)
    assert said, done.stderr
    return said[1]


def ask(port: int, message: bytes = b"hello\n") -> bytes:
    """The answer to a line over TCP."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as client:
        client.sendall(message)
        return client.recv(100)


def fetch(port: int, path: str) -> str:
    """The page at *path*, over HTTP."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", path)
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def ask_datagram(port: int) -> bytes:
    """The answer to a datagram."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(PATIENCE)
        client.connect(("127.0.0.1", port))
        client.send(b"hello")
        return client.recv(100)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder with the module ``service``."""
    (tmp_path / "service.py").write_text(SERVICE)
    return tmp_path


@pytest.fixture
def path() -> Iterator[str]:
    """A path for a Unix socket, short enough wherever temporary files are."""
    with tempfile.TemporaryDirectory(prefix="ns-") as folder:
        yield f"{folder}/echo"


def test_lines_come_back_in_capitals_over_tcp() -> None:
    """Each line as it arrives, until the client has no more."""
    with serving("echo") as service:
        with socket.create_connection(("127.0.0.1", service.port()), timeout=PATIENCE) as client:
            with client.makefile("rw", newline="\n") as lines:
                for word in ("hello", "world"):
                    print(word, file=lines, flush=True)
                    assert lines.readline() == f"{word.upper()}\n"
                client.shutdown(socket.SHUT_WR)
                assert lines.read() == ""
        assert service.end() == ""


@pytest.mark.skipif(shutil.which("nc") is None, reason="needs nc")
def test_nc_is_answered() -> None:
    """The client of the command's own help."""
    with serving("echo") as service:
        done = subprocess.run(
            ["nc", "-N", "127.0.0.1", str(service.port())],
            input="hello\n",
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.stdout, done.returncode) == ("HELLO\n", 0), done.stderr
        service.end()


@unix
@pytest.mark.parametrize("concurrency", CONCURRENCY)
def test_several_listeners_are_served_at_once(path: str, concurrency: str) -> None:
    """Each prints its line, and one signal ends all; the paths are gone then."""
    with serving(
        "echo", "--tcp", "127.0.0.1:0", "--udp", "127.0.0.1:0", "--unix", path,
        "--unix-datagram", f"{path}-d", "--concurrency", concurrency, env=STRICT,
    ) as service:  # fmt: skip
        tcp, udp = service.port("TCP"), service.port("UDP")
        assert service.line() == f"serving Unix stream on {path} until Ctrl-C"
        assert service.line() == f"serving Unix datagrams on {path}-d until Ctrl-C"
        assert ask(tcp) == b"HELLO\n"
        assert ask_datagram(udp) == b"HELLO"
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            client.sendall(b"hello\n")
            assert client.recv(100) == b"HELLO\n"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
            client.bind(f"{path}-client")
            client.connect(f"{path}-d")
            client.send(b"hello")
            assert client.recv(100) == b"HELLO"
        assert service.end() == ""
    assert not Path(path).exists()
    assert not Path(f"{path}-d").exists()


@pytest.mark.parametrize("several", [False, True], ids=["alone", "with another"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("concurrency", ["multiplex", "fork"])
def test_a_signal_drains(number: signal.Signals, several: bool, concurrency: str) -> None:
    """The connected client's input ends, and the status is 0."""
    more = ["--udp", "127.0.0.1:0"] if several else []
    with serving(
        "echo", "--tcp", "127.0.0.1:0", *more, "--concurrency", concurrency, env=STRICT
    ) as service:
        port = service.port()
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as client:
            client.sendall(b"hello\n")
            assert client.recv(100) == b"HELLO\n"
            if several:
                service.port("UDP")
            service.end(number)
            assert client.recv(100) == b""


@pytest.mark.parametrize("several", [False, True], ids=["alone", "with another"])
@pytest.mark.parametrize("concurrency", ["threads", "fork"])
def test_a_second_signal_ends_the_grace(several: bool, concurrency: str, tmp_path: Path) -> None:
    """A handler that goes on is cut off."""
    (tmp_path / "slow.py").write_text(
        "def handler(request, address, server):\n"
        "    request.sendall(b'begun')\n"
        "    while request.send(b'.'): pass\n"
    )
    more = ["--udp", "127.0.0.1:0"] if several else []
    # The handler fills the buffers and then blocks in sending.
    with serving(
        "run", "slow:handler", "--tcp", "127.0.0.1:0", *more, "--grace", "600",
        "--concurrency", concurrency, folder=tmp_path, env=STRICT,
    ) as service:  # fmt: skip
        port = service.port()
        if several:
            service.port("UDP")
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as client:
            assert client.recv(5) == b"begun"
            service.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(OSError):
                # Nobody is let in any more: the first signal has been heard.
                while True:
                    with socket.create_connection(("127.0.0.1", port), timeout=0.2):
                        pass
            service.end()


@pytest.mark.parametrize("concurrency", CONCURRENCY)
def test_a_handler_of_messages_runs_with_every_concurrency(here: Path, concurrency: str) -> None:
    """And nothing is logged where nothing is wrong."""
    # With as many processes as clients, it would be said that more would have to wait.
    workers = ["--workers", "3"] if concurrency not in {"threads", "asyncio"} else []
    with serving(
        "run", "service:Message", "--tcp", "127.0.0.1:0", "--concurrency", concurrency, *workers,
        folder=here,
    ) as service:  # fmt: skip
        port = service.port()
        assert ask(port) == b"HELLO\n"
        assert ask(port) == b"HELLO\n"
        assert service.end() == ""


@pytest.mark.parametrize("name", ["Message", "Stream", "Stdlib"])
def test_handlers_run_with_what_suits_them(here: Path, name: str) -> None:
    """Those of the standard library too."""
    with serving("run", f"service:{name}", "--tcp", "127.0.0.1:0", folder=here) as service:
        assert ask(service.port()) == b"HELLO\n"
        service.end()


def test_a_handler_of_datagrams_is_served(here: Path) -> None:
    """On --udp."""
    with serving("run", "service:Datagram", "--udp", "127.0.0.1:0", folder=here) as service:
        assert ask_datagram(service.port("UDP")) == b"HELLO"
        service.end()


def test_an_inherited_socket_is_served(here: Path) -> None:
    """It says itself what it is."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        fd = listener.fileno()
        with serving(
            "run", "service:Stream", "--fd", str(fd), folder=here, pass_fds=[fd]
        ) as service:
            assert service.port() == port
            assert ask(port) == b"HELLO\n"
            service.end()


@pytest.mark.skipif(
    shutil.which("systemd-socket-activate") is None, reason="needs systemd-socket-activate"
)
def test_systemd_passes_its_sockets_on(here: Path, path: str) -> None:
    """Each becomes a listener, whatever it is."""
    assert COMMAND is not None
    with subprocess.Popen(
        ["systemd-socket-activate", "-l", path, "--", COMMAND, "echo", "--systemd"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stderr is not None
            # It says so when it listens.
            assert "Listening on" in process.stderr.readline()
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(PATIENCE)
                client.connect(path)
                client.sendall(b"hello\n")
                assert client.recv(100) == b"HELLO\n"
            service = Service(process)
            assert service.line() == f"serving Unix stream on {path} until Ctrl-C"
            service.end()
        finally:
            process.kill()


def test_a_file_may_hold_the_options(here: Path) -> None:
    """The command line goes before the environment, that before the file."""
    (here / "service.toml").write_text(
        'handler = "service:Message"\n'
        'tcp = "127.0.0.1:0"\n'
        'concurrency = "pool"\n'
        "max-connections = 7\n"
        "access-log = true\n"
        'log_format = "json"\n'
    )
    environment = {**os.environ, "NETSERVE_RUN_LOG_FORMAT": "text"}
    with serving("run", "--config", "service.toml", folder=here, env=environment) as service:
        assert ask(service.port()) == b"HELLO\n"
        # It may have been drained, if the signal was faster than the end of its input.
        assert re.search(r"INFO netserve\.access: .* (completed|drained) in ", service.end())
    with serving(
        "run", "--config", "service.toml", "--log-format", "json", folder=here, env=environment
    ) as service:
        assert ask(service.port()) == b"HELLO\n"
        record = json.loads(service.end().splitlines()[0])
        assert record["logger"] == "netserve.access"
        assert record["level"] == "INFO"
        assert record["outcome"] in {"completed", "drained"}
        assert record["handler"] == "Message"
        assert record["peer"][0] == "127.0.0.1"


def test_an_error_is_an_object_with_its_traceback(here: Path) -> None:
    """With --log-format json, one line."""
    with serving(
        "run", "service:Message", "--tcp", "127.0.0.1:0", "--log-format", "json", folder=here
    ) as service:
        assert ask(service.port(), b"fail\n") == b""
        (line,) = service.end().splitlines()
        record = json.loads(line)
        assert record["level"] == "ERROR"
        assert "RuntimeError: as asked" in record["exc_info"]


@pytest.mark.parametrize("concurrency", ["threads", "fork", "prefork"])
def test_metrics_are_served_beside(here: Path, concurrency: str) -> None:
    """With --metrics, over HTTP, of each listener; all end together."""
    pytest.importorskip("prometheus_client", reason="needs the extra [metrics]")
    with serving(
        "run", "service:Anything", "--tcp", "127.0.0.1:0", "--udp", "127.0.0.1:0",
        "--metrics", "127.0.0.1:0", "--concurrency", concurrency, folder=here, env=STRICT,
    ) as service:  # fmt: skip
        tcp, udp = service.port("TCP"), service.port("UDP")
        said = re.fullmatch(r"serving metrics on http://127\.0\.0\.1:(\d+)/metrics", service.line())
        assert said
        page = partial(fetch, int(said[1]), "/metrics")
        assert [ask(tcp), ask(tcp), ask_datagram(udp)] == [b"HELLO\n", b"HELLO\n", b"HELLO"]
        for name, count in ((f"TCP on 127.0.0.1:{tcp}", 2), (f"UDP on 127.0.0.1:{udp}", 1)):
            label = f'server="{name}"'
            assert f"netserve_server_accepted_requests_total{{{label}}} {count}.0\n" in page()
            ended = f'netserve_server_requests_total{{outcome="completed",{label}}} {count}.0\n'
            until = time.monotonic() + PATIENCE
            while ended not in page():
                assert time.monotonic() < until
            assert f"netserve_server_active_requests{{{label}}} 0.0\n" in page()
        assert service.end() == ""


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path, Path]:
    """A certificate for localhost, its key, and the authority's certificate."""
    trustme = pytest.importorskip("trustme", reason="needs trustme")
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", "127.0.0.1")
    files = (tmp_path / "cert.pem", tmp_path / "key.pem", tmp_path / "ca.pem")
    issued.cert_chain_pems[0].write_to_path(files[0])
    issued.private_key_pem.write_to_path(files[1])
    authority.cert_pem.write_to_path(files[2])
    return files


def test_files_are_served_over_https(certificate: tuple[Path, Path, Path], tmp_path: Path) -> None:
    """``netserve http``, with a certificate."""
    cert, key, ca = certificate
    site = tmp_path / "site"
    site.mkdir()
    (site / "page.txt").write_text("as it stands")
    with serving("http", str(site), "--tls-cert", str(cert), "--tls-key", str(key)) as service:
        connection = http.client.HTTPSConnection(
            "127.0.0.1",
            service.port(),
            timeout=PATIENCE,
            context=ssl.create_default_context(cafile=str(ca)),
        )
        for _ in range(2):
            connection.request("GET", "/page.txt")
            answer = connection.getresponse()
            assert (answer.status, answer.read()) == (200, b"as it stands")
        connection.close()
        assert "GET /page.txt" in service.end()


@unix
def test_files_are_served_on_a_unix_socket(tmp_path: Path, path: str) -> None:
    """Where a client has no host."""
    (tmp_path / "page.txt").write_text("as it stands")
    with serving("http", str(tmp_path), "--unix", path) as service:
        service.line()
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE)
            client.connect(path)
            client.sendall(b"GET /page.txt HTTP/1.0\r\n\r\n")
            answer = b"".join(iter(lambda: client.recv(4096), b""))
        assert answer.startswith(b"HTTP/1.1 200")
        assert answer.endswith(b"as it stands")
        assert "GET /page.txt" in service.end()


def test_a_changed_file_starts_the_service_anew(here: Path) -> None:
    """With --reload, which drains the one before."""
    pytest.importorskip("watchfiles", reason="needs the extra [reload]")
    with serving(
        "run", "service:Message", "--tcp", "127.0.0.1:0", "--reload", folder=here
    ) as service:
        assert ask(service.port()) == b"HELLO\n"
        # Longer, too: Python takes a file of the same second and size for the one it has compiled.
        changed = SERVICE.replace(".upper()", ".title()") + "# changed\n"
        (here / "service.py").write_text(changed)
        assert ask(service.port()) == b"Hello\n"
        service.process.send_signal(signal.SIGTERM)
        service.process.communicate(timeout=PATIENCE)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["echo", "--tcp", "there"], "--tcp 'there' isn't an address (the port is missing)"),
        (["echo", "--tcp", "127.0.0.1:65536"], "'65536' isn't a port from 0 to 65535"),
        (["echo", "--udp", "/run/echo"], "that is a path; give HOST:PORT, or use --unix"),
        (["echo", "--fd", "17"], "--fd 17 is no socket that this process has inherited"),
        (["echo", "--port", "1"], "No such option"),
        (["echo", "--concurrency", "magic"], "Invalid value for '--concurrency'"),
        (["echo", "--workers", "0"], "Invalid value for '--workers'"),
        (["echo", "--workers", "2", "--concurrency", "threads"],
         "--workers needs a --concurrency that has them: pool, multiplex, fork, prefork"),
        (["echo", "--tls-key", "service.py"], "--tls-key needs --tls-cert"),
        (["echo", "--tls-client-ca", "service.py"], "--tls-client-ca needs --tls-cert"),
        (["echo", "--tls-cert", "nowhere.pem"], "'nowhere.pem' does not exist"),
        (["echo", "--tls-cert", "service.py"], "--tls-cert: "),
        (["echo", "--tls-cert", "service.py", "--udp", "127.0.0.1:0"],
         "--tls-cert is for connections, and --udp has none"),
        (["echo", "--trusted", "127.0.0.0/8"], "--trusted needs --proxy-protocol"),
        (["echo", "--proxy-protocol"], "--proxy-protocol needs --trusted"),
        (["echo", "--proxy-protocol", "--trusted", "there"], "'there'"),
        (["echo", "--idle-timeout", "1", "--udp", "127.0.0.1:0"],
         "--idle-timeout is for connections, and --udp has none"),
        (["echo", "--idle-timeout", "0"], "Invalid value for '--idle-timeout'"),
        (["echo", "--metrics", "here"], "--metrics 'here' isn't an address"),
        (["run", "service:Stream"], "there is nothing to listen on"),
        (["run"], "Missing argument 'MODULE:HANDLER'"),
        (["run", "service:Stream", "--udp", "127.0.0.1:0"],
         "a handler that reads a connection as a file doesn't take the datagrams of --udp"),
        (["run", "service:Datagram", "--tcp", ":0", "--concurrency", "threads"],
         "a handler of datagrams doesn't take the connections of --tcp"),
        (["run", "service:Nothing", "--tcp", ":0"], "'service' has no 'Nothing'"),
        (["run", "--config", "service.py"], "service.py isn't TOML"),
        (["run", "--config", "wrong.toml"], "wrong.toml says 'wrokers', which is none of"),
        (["http", "nowhere"], "does not exist"),
        (["check", "nowhere"], "'nowhere' names no handler"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)  # fmt: skip
def test_nonsense_is_refused_in_one_sentence(
    here: Path, arguments: list[str], sentence: str
) -> None:
    """With status 2, before anything is bound."""
    (here / "wrong.toml").write_text("wrokers = 3\n")
    assert sentence in refused(*arguments, folder=here)


@pytest.mark.parametrize("udp", [False, True], ids=["TCP", "UDP"])
def test_a_port_in_use_is_one_clear_sentence(udp: bool) -> None:
    """On standard error, with the address and the remedy, and status 1."""
    kind = socket.SOCK_DGRAM if udp else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        if not udp:
            taken.listen()
        port = taken.getsockname()[1]
        done = run("echo", "--udp" if udp else "--tcp", f"127.0.0.1:{port}")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"Error: can't bind ('127.0.0.1', {port}) (Address already in use):"
        " another socket holds it; stop its owner, or choose another address\n"
    )


@unix
def test_a_file_in_the_way_is_one_clear_sentence_and_stays(path: str) -> None:
    """It isn't removed."""
    Path(path).write_text("precious")
    done = run("echo", "--unix", path)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"Error: [^\n]*\n", done.stderr)
    assert Path(path).read_text() == "precious"


def test_check_says_where_a_handler_can_run(here: Path) -> None:
    """And why not elsewhere."""
    done = run("check", "service:Stream", folder=here)
    assert (done.returncode, done.stderr) == (0, "")
    assert "service:Stream is a handler that reads a connection as a file\n" in done.stdout
    assert re.search(r"^--tcp +yes +yes +yes +yes +no +no$", done.stdout, re.MULTILINE)


def test_help_and_version() -> None:
    """The command says what it does and which one it is."""
    assert all(word in run("--help").stdout for word in ("run", "check", "echo", "http"))
    for command in ("run", "echo", "http"):
        assert "--unix" in run(command, "-h").stdout
    assert re.fullmatch(r"netserve, version \d+\.\d+\.\d+\S*\n", run("--version").stdout)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_can_complete_it(shell: str) -> None:
    """As click has it: the shell asks the command itself."""
    assert COMMAND is not None
    done = subprocess.run(
        [COMMAND],
        env={**os.environ, "_NETSERVE_COMPLETE": f"{shell}_source"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    assert "_NETSERVE_COMPLETE" in done.stdout


@pytest.mark.parametrize("program", ["-m netserve.cli", "-c from_main"])
def test_the_command_does_not_need_its_script(program: str) -> None:
    """It is a module too, and ``netserve.cli.main``."""
    flag, name = program.split()
    source = "from netserve.cli import main; main()" if name == "from_main" else name
    done = subprocess.run(
        [sys.executable, flag, source, "--version"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "version" in done.stdout


def children(pid: int) -> set[int]:
    """The processes that *pid* has forked."""
    return set(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


needs_proc = pytest.mark.skipif(
    not Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").exists(),
    reason="needs Linux's /proc with the children of processes",
)


@needs_proc
def test_each_of_several_listeners_forks_in_a_process_of_its_own() -> None:
    """So that none does beside threads, and one that is killed isn't the others' matter."""
    with serving(
        "echo", "--concurrency", "fork", "--tcp", "127.0.0.1:0", "--tcp", "127.0.0.1:0", env=STRICT
    ) as service:
        first, second = service.port(), service.port()
        assert [ask(first), ask(second)] == [b"HELLO\n", b"HELLO\n"]
        workers = set().union(*map(children, children(service.process.pid)))
        assert len(workers) == 2
        for pid in (service.process.pid, *workers):
            threads = len(list(Path(f"/proc/{pid}/task").iterdir()))
            assert (threads == 1) == (pid in workers)
        with socket.create_connection(("127.0.0.1", second), timeout=PATIENCE) as client:
            client.sendall(b"hello\n")
            assert client.recv(100) == b"HELLO\n"
            until = time.monotonic() + PATIENCE
            # The first clients' processes may be about to end.
            while len(idle := [pid for pid in workers if not children(pid)]) != 1:
                assert time.monotonic() < until
            (other,) = idle
            os.kill(other, signal.SIGKILL)
            assert ask(first) == b"HELLO\n"
            client.sendall(b"again\n")
            assert client.recv(100) == b"AGAIN\n"
        assert re.search(rf"worker {other} ended untold, by SIGKILL", service.end())


@needs_proc
def test_a_listener_that_fails_ends_the_command() -> None:
    """The others are drained, and the status says so."""
    with serving(
        "echo", "--concurrency", "fork", "--tcp", "127.0.0.1:0", "--tcp", "127.0.0.1:0"
    ) as service:
        first, second = service.port(), service.port()
        assert [ask(first), ask(second)] == [b"HELLO\n", b"HELLO\n"]
        os.kill(min(children(service.process.pid)), signal.SIGKILL)
        _, errors = service.process.communicate(timeout=PATIENCE)
        assert service.process.returncode == 1
        assert "the process that forks its workers was killed" in errors


def test_a_drain_of_forking_listeners_loses_nothing() -> None:
    """Who has connected is answered, and who still waits in a backlog; the records tell of all."""
    with serving(
        "echo", "--concurrency", "fork", "--workers", "3", "--access-log",
        "--tcp", "127.0.0.1:0", "--tcp", "127.0.0.1:0", env=STRICT,
    ) as service, contextlib.ExitStack() as stack:  # fmt: skip
        ports = service.port(), service.port()
        clients = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE))
            for port in ports * 10
        ]
        for client in clients:
            client.sendall(b"hello\n")
        assert [client.recv(100) for client in clients[:6]] == [b"HELLO\n"] * 6
        logged = service.end()
        for client in clients[6:]:
            assert client.recv(100) == b"HELLO\n"
        assert {client.recv(100) for client in clients} == {b""}
    assert re.findall(r"INFO netserve\.access: .* (\w+) in ", logged) == ["drained"] * 20
    assert len(re.findall("3 requests are in progress, and the next ones wait", logged)) == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_a_signal_for_all_processes_of_forking_listeners_drains(number: signal.Signals) -> None:
    """As from a terminal, or a service manager: what was sent before is answered."""
    with serving(
        "echo", "--concurrency", "fork", "--tcp", "127.0.0.1:0", "--tcp", "127.0.0.1:0",
        env=STRICT, start_new_session=True,
    ) as service, contextlib.ExitStack() as stack:  # fmt: skip
        clients = [
            stack.enter_context(
                socket.create_connection(("127.0.0.1", service.port()), timeout=PATIENCE)
            )
            for _ in range(2)
        ]
        for client in clients:
            client.sendall(b"hello\n")
            assert client.recv(100) == b"HELLO\n"
            client.sendall(b"last\n")
        os.killpg(service.process.pid, number)
        for client in clients:
            with client.makefile("rb") as answers:
                assert answers.read() == b"LAST\n"
        output, errors = service.process.communicate(timeout=PATIENCE)
        assert (output, errors, service.process.returncode) == ("", "", 0)


def test_forking_listeners_take_a_new_certificate(
    certificate: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    """At SIGHUP, which replaces their processes one after the other."""
    trustme = pytest.importorskip("trustme", reason="needs trustme")
    cert, key, ca = certificate

    def names(port: int) -> str:
        context = ssl.create_default_context(cafile=str(ca))
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as client:
            with context.wrap_socket(client, server_hostname="127.0.0.1") as tls:
                tls.sendall(b"hello\n")
                assert tls.recv(100) == b"HELLO\n"
                return str(tls.getpeercert())

    with serving(
        "echo", "--concurrency", "fork", "--tcp", "127.0.0.1:0", "--tcp", "127.0.0.1:0",
        "--tls-cert", str(cert), "--tls-key", str(key), env=STRICT,
    ) as service:  # fmt: skip
        ports = service.port(), service.port()
        assert all("localhost" in names(port) for port in ports)
        authority = trustme.CA()
        issued = authority.issue_cert("renewed.example", "127.0.0.1")
        issued.private_key_pem.write_to_path(key)
        issued.cert_chain_pems[0].write_to_path(cert)
        with ca.open("ab") as file:
            file.write(authority.cert_pem.bytes())
        service.process.send_signal(signal.SIGHUP)
        until = time.monotonic() + PATIENCE
        while not all("renewed.example" in names(port) for port in ports):
            assert time.monotonic() < until
        # The command, and its two new processes that serve.
        assert service.end().count("new connections get the certificates") == 4
