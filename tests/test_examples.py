"""The programs in ``examples``, run as a reader would: they print what the reference shows."""

import importlib.util
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def start(name: str, *arguments: str) -> "subprocess.Popen[str]":
    """Run an example beside the test."""
    return subprocess.Popen(
        [sys.executable, "-u", "-W", "error", EXAMPLES / name, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(name: str, *arguments: str) -> str:
    """Run an example to its end; returns what it printed."""
    with start(name, *arguments) as process:
        output, errors = process.communicate()
    assert (process.returncode, errors) == (0, "")
    return output


@pytest.mark.parametrize(
    ("server", "client"),
    [
        ("tcp_server.py", "tcp_client.py"),
        ("tcp_stream_server.py", "tcp_client.py"),
        ("udp_server.py", "udp_client.py"),
    ],
)
def test_server_and_client_print_what_the_reference_shows(server: str, client: str) -> None:
    """The server prints who wrote what; the client, what it sent and received."""
    with start(server, "--port", "0") as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline()
            said = re.fullmatch(r"serving on 127\.0\.0\.1:(\d+) until Ctrl-C\n", address)
            assert said, address + process.communicate()[1]
            sent = [
                run(client, "--port", said[1], *words.split())
                for words in ("hello world with TCP", "python is nice")
            ]
            # The printed lines are out, as the answers were sent after them.
            process.send_signal(signal.SIGINT)
            wrote, errors = process.communicate()
        finally:
            process.kill()
    assert sent == [
        "Sent:     hello world with TCP\nReceived: HELLO WORLD WITH TCP\n",
        "Sent:     python is nice\nReceived: PYTHON IS NICE\n",
    ]
    assert wrote == ("127.0.0.1 wrote:\nhello world with TCP\n127.0.0.1 wrote:\npython is nice\n")
    assert (process.returncode, errors) == (0, "")


@pytest.mark.parametrize("server", ["message_server.py", "async_server.py"])
def test_server_answers_each_line(server: str) -> None:
    """In one connection, until the client has no more, says bye, or goes too far."""
    with start(server, "--port", "0") as process:
        try:
            assert process.stdout is not None
            port = process.stdout.readline().removesuffix(" until Ctrl-C\n").rpartition(":")[2]
            received = [
                run("message_client.py", "--port", port, *lines)
                for lines in (["hello world", "python is nice"], ["bye", "more"], ["x" * 1001])
            ]
            # The printed lines are out, as the answers were sent after them.
            process.send_signal(signal.SIGINT)
            wrote, errors = process.communicate()
        finally:
            process.kill()
    assert received == [
        "Received: HELLO WORLD\nReceived: PYTHON IS NICE\n",
        "Received: BYE\n",
        "Received: a line is longer than the maximum of 1000 bytes\n"
        if server == "message_server.py"
        else "Received: a line of more than 1000 bytes, which is max_line_size\n",
    ]
    said = ["hello world", "python is nice", "bye"]
    assert wrote == "".join(f"127.0.0.1 wrote: {line}\n" for line in said)
    assert (process.returncode, errors) == (0, "")


@pytest.mark.parametrize(
    "program", sorted(EXAMPLES.glob("*_server.py")), ids=lambda path: path.name
)
def test_default_port_is_the_originals(program: Path) -> None:
    """The servers and clients meet at 9999 unless told otherwise, as in the reference."""
    # Those with coroutines and with messages have one client.
    name = program.name.split("_")[0].replace("async", "message")
    client = program.with_name(name + "_client.py")
    assert "default=9999" in program.read_text()
    assert "default=9999" in client.read_text()


def test_threaded_program_prints_what_the_reference_shows() -> None:
    """Each request has a thread of its own, named as today's Python names it."""
    assert run("threaded.py") == (
        "Server loop running in thread: Thread-1 (serve_forever)\n"
        "Received: Thread-2 (process_request_thread): Hello World 1\n"
        "Received: Thread-3 (process_request_thread): Hello World 2\n"
        "Received: Thread-4 (process_request_thread): Hello World 3\n"
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_forking_program_prints_what_the_reference_shows() -> None:
    """Each request has a process of its own."""
    output = run("forking.py")
    numbers = [int(number) for number in re.findall(r"[Pp]rocess:? (\d+)", output)]
    assert len(set(numbers)) == 4
    assert output == (
        "Server loop running in process: {}\n"
        "Received: Process {}: Hello World 1\n"
        "Received: Process {}: Hello World 2\n"
        "Received: Process {}: Hello World 3\n"
    ).format(*numbers)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs forkserver")
@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    "program",
    [
        "process_pool.py",
        pytest.param(
            "dask_cluster.py",
            marks=pytest.mark.skipif(
                importlib.util.find_spec("distributed") is None, reason="needs distributed"
            ),
        ),
    ],
)
def test_heavy_programs_count_primes(program: str) -> None:
    """The answers come in the order of the questions."""
    assert run(program) == "4\n168\n9592\n"
