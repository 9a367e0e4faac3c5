"""The code in the Markdown files at the root and in each package runs."""

import importlib
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

ROOT = Path(__file__).parent.parent
PRINTED = {
    "packages/core/README.md": "b'hello'\n",
    "packages/transports/README.md": "b'HELLO'\n",
    "packages/concurrency/README.md": "200\n",
    "packages/handlers/README.md": "b'HELLO\\n'\n",
    "packages/testing/README.md": "b'HELLO\\n'\n",
    "packages/netserve/README.md": "b'HELLO\\n'\n",
}


def run(path: str) -> dict[str, Any]:
    """Run the code blocks of the file at *path*; returns the names that they define."""
    document = Sybil([PythonCodeBlockParser()]).parse(ROOT / path)
    examples = list(document)
    assert examples, f"{path} has no code"
    for example in examples:
        example.evaluate()
    return document.namespace


@pytest.mark.parametrize("path", PRINTED)
def test_a_packages_example_prints_what_its_readme_says(
    path: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """It runs as it stands, and the README tells the truth about it."""
    run(path)
    assert capfd.readouterr().out == PRINTED[path]
    said = (ROOT / path).read_text("utf-8")
    assert f"It prints `{PRINTED[path].strip()}`" in said


@pytest.mark.parametrize(("server", "handler"), [("Server", "Upper"), ("ShoutServer", "Shout")])
def test_the_servers_of_the_readme_answer(server: str, handler: str) -> None:
    """Both servers of connections in the first README do what they are shown to do."""
    names = run("README.md")
    with names[server](("127.0.0.1", 0), names[handler]) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        with socket.create_connection(serving.server_address, timeout=10) as client:
            client.sendall(b"hello\n")
            assert client.recv(100) == b"HELLO\n"
        serving.shutdown()
        thread.join()


def test_the_web_server_of_the_readme_answers() -> None:
    """The mix-in in front of the standard library's web server works."""
    http_server = importlib.import_module("http.server")

    class Handler(http_server.BaseHTTPRequestHandler):  # type: ignore[name-defined,misc]
        def do_GET(self) -> None:
            self.wfile.write(threading.current_thread().name.encode())

        def log_message(self, *args: object) -> None:
            pass

    with run("README.md")["WebServer"](("127.0.0.1", 0), Handler) as server:
        # Not a daemon as in the README, so that closing waits for the thread.
        server.daemon_threads = False
        with socket.create_connection(server.server_address, timeout=10) as client:
            client.sendall(b"GET /\r\n\r\n")
            server.handle_request()
            with client.makefile("rb") as answer:
                assert answer.read().decode() not in {"", threading.current_thread().name}


def test_the_code_of_the_contributors_guide_runs() -> None:
    """The test that it shows passes."""
    run("CONTRIBUTING.md")["test_shutdown_ends_a_loop_that_nobody_visits"]()
