"""The examples that serve existing protocols, with the clients that people have for these."""

import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from examples.small_redis import RedisHandler, Resp, SmallRedis
from netserve.testing import MessageExchange, check_framing

EXAMPLES = Path(__file__).parent.parent / "examples"


def needs(tool: str) -> pytest.MarkDecorator:
    """Skip a test where *tool* isn't installed."""
    return pytest.mark.skipif(shutil.which(tool) is None, reason=f"needs {tool}")


def run(*command: object) -> str:
    """Run a client to its end; returns what it printed."""
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, check=False, timeout=50
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def start() -> Iterator[Callable[..., str]]:
    """A function that runs an example, and returns its port; it must end at Ctrl-C."""
    processes = []

    def begin(name: str, *arguments: object) -> str:
        process = subprocess.Popen(
            [sys.executable, "-u", EXAMPLES / name, "--port", "0", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        assert process.stdout is not None
        said = re.fullmatch(
            r"serving on 127\.0\.0\.1:(\d+) until Ctrl-C\n", process.stdout.readline()
        )
        assert said, process.communicate()[1]
        return said[1]

    yield begin
    for process in processes:
        process.send_signal(signal.SIGINT)
        _output, errors = process.communicate(timeout=20)
        assert process.returncode == 0
        assert "Traceback" not in errors


@needs("redis-benchmark")
@pytest.mark.parametrize("pipeline", [1, 16])
def test_redis_benchmark(start: Callable[..., str], pipeline: int) -> None:
    """Each command is done as often as asked for, typed ones too, and in pipelines."""
    port = start("small_redis.py")
    printed = run(
        "redis-benchmark", "-h", "127.0.0.1", "-p", port, "-n", 2000, "-c", 20, "-P", pipeline,
        "-r", 100, "-t", "ping,set,get,incr", "--csv",
    )  # fmt: skip
    rates = dict(re.findall(r'^"([A-Z_]+)","([\d.]+)"', printed, re.MULTILINE))
    assert rates.keys() == {"PING_INLINE", "PING_MBULK", "SET", "GET", "INCR"}
    assert all(float(rate) > 0 for rate in rates.values())


@needs("redis-cli")
def test_redis_cli(start: Callable[..., str]) -> None:
    """As a person would use it."""
    port = start("small_redis.py")
    commands = [
        ("ping", "PONG"), ("set greeting hello", "OK"), ("get greeting", "hello"),
        ("get nothing", ""), ("incr count", "1"), ("incr count", "2"), ("exists count", "1"),
        ("del count greeting", "2"), ("echo words", "words"),
    ]  # fmt: skip
    answers = [run("redis-cli", "-p", port, *words.split()).rstrip("\n") for words, _ in commands]
    assert answers == [answer for _, answer in commands]
    assert "unknown command" in run("redis-cli", "-p", port, "flushall")


def test_the_framing_keeps_its_contract() -> None:
    """As our own do; what isn't RESP is refused."""
    check_framing(
        Resp(),
        [
            b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", b"*0\r\n", b"$-1\r\n", b"+OK\r\n", b":5\r\n",
            b"PING\r\n", b"\r\n", b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$4\r\n\r\n\r\n\r\n",
        ],
        malformed=[
            b"*x\r\n", b"*-2\r\n", b"$2000000\r\n", b"$3\r\nabcde", b"*1\r\n*1\r\n",
            b"x" * 5000, b"*1\r\n$5\r\nhal", b"$99999999999\r\n",
            b"*3\r\n" + b"$500000\r\n%b\r\n" % (b"x" * 500_000) * 3,
        ],
    )  # fmt: skip


def test_what_a_client_does_wrong() -> None:
    """It is told, and the connection ends only when the stream makes no sense."""
    with SmallRedis(("127.0.0.1", 0)) as server:
        with MessageExchange(RedisHandler, server=server) as exchange:
            assert exchange.feed(b"\r\nset a\r\n") == (
                b"-ERR wrong number of arguments for 'set'\r\n"
            )
            assert exchange.feed(b"set a b\r\nincr a\r\n") == (
                b"+OK\r\n-ERR value is not an integer\r\n"
            )
            assert exchange.feed(b"ping hello\r\nquit\r\nping\r\n") == (b"$5\r\nhello\r\n+OK\r\n")
            assert exchange.closing
        with MessageExchange(RedisHandler, server=server) as exchange:
            assert exchange.feed(b"ping\r\n*x\r\n") == (
                b"+PONG\r\n-ERR Protocol error: b'x' where a length should be\r\n"
            )


@needs("curl")
def test_curl(start: Callable[..., str], tmp_path: Path) -> None:
    """Two requests share a connection; a file arrives whole, and none is made up."""
    (tmp_path / "file.bin").write_bytes(bytes(range(256)) * 4000)
    url = f"http://127.0.0.1:{start('web.py', '--folder', tmp_path)}"
    said = run("curl", "-sv", "--stderr", "-", f"{url}/hello", f"{url}/hello")
    assert said.count("hello\n") >= 2
    assert re.search("Re-us(ed|ing) existing", said, re.IGNORECASE), said
    run("curl", "-s", "-o", tmp_path / "got", f"{url}/file.bin")
    assert (tmp_path / "got").read_bytes() == (tmp_path / "file.bin").read_bytes()
    assert run("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", f"{url}/none") == "404"


@needs("wrk")
def test_wrk(start: Callable[..., str]) -> None:
    """Kept connections, as many as there are threads, without an error; none waits for an ACK."""
    port = start("web.py")
    said = run("wrk", "-t1", "-c20", "-d1s", f"http://127.0.0.1:{port}/hello")
    assert "Socket errors" not in said
    assert "Non-2xx" not in said
    answered = re.search(r"(\d+) requests in", said)
    assert answered
    # With delayed acknowledgements (40 ms each) it would be 500 at the most.
    assert int(answered[1]) > 600, said
