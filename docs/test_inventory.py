"""Every documented name is in the inventory of the built pages.

Needs the pages: ``nox -s docs`` builds them first.
"""

import importlib
import socketserver
import zlib
from pathlib import Path

import pytest

INVENTORY = Path(__file__).parent / "_build" / "html" / "objects.inv"

# Server Objects, RequestHandler Objects and Asynchronous Mixins of the original
# reference, with what Python 3 has added to them.
ORIGINAL = {
    "BaseServer": [
        "fileno", "handle_request", "serve_forever", "shutdown", "server_close",
        "RequestHandlerClass", "server_address", "timeout",
        "finish_request", "get_request", "handle_error", "handle_timeout", "process_request",
        "verify_request", "service_actions", "shutdown_request", "close_request",
        "__enter__", "__exit__",
    ],
    "TCPServer": [
        "address_family", "socket", "socket_type", "allow_reuse_address", "allow_reuse_port",
        "request_queue_size", "server_activate", "server_bind",
    ],
    "UDPServer": ["max_packet_size"],
    "UnixStreamServer": [],
    "UnixDatagramServer": [],
    "ThreadingMixIn": [
        "daemon_threads", "block_on_close", "process_request", "process_request_thread",
        "server_close",
    ],
    "ForkingMixIn": [
        "max_children", "timeout", "collect_children", "block_on_close", "active_children",
        "process_request", "handle_timeout", "service_actions", "server_close",
    ],
    "BaseRequestHandler": ["setup", "handle", "finish", "request", "client_address", "server"],
    "StreamRequestHandler": [
        "rfile", "wfile", "rbufsize", "wbufsize", "timeout", "disable_nagle_algorithm",
        "connection", "setup", "finish",
    ],
    "DatagramRequestHandler": ["rfile", "wfile", "packet", "socket", "setup", "finish"],
}  # fmt: skip
PACKAGES = [
    "core",
    "transports",
    "concurrency",
    "handlers",
    "testing",
    "socketserver",
    "servers",
    "metrics",
    "cli",
]


@pytest.fixture(scope="module")
def documented() -> set[str]:
    """The Python names that the built pages describe."""
    _head, _project, _version, _format, packed = INVENTORY.read_bytes().split(b"\n", 4)
    rows = [line.split() for line in zlib.decompress(packed).decode("utf-8").splitlines()]
    return {name for name, kind, *_ in rows if kind.startswith("py:")}


def test_each_name_of_the_original_is_documented(documented: set[str]) -> None:
    """A reader who looks for a name of the original reference finds it."""
    names = {
        f"netserve.socketserver.{'.'.join(filter(None, (cls, member)))}"
        for cls, members in ORIGINAL.items()
        for member in [None, *members]
    }
    assert names - documented == set()


def test_each_public_name_of_the_standard_library_is_documented(documented: set[str]) -> None:
    """So is what the running interpreter's module has, on the class or on one it derives from."""
    missing = set()
    for name in socketserver.__all__:
        cls = getattr(socketserver, name)
        for member in vars(cls):
            if member.startswith("_"):
                continue
            owners = [base.__name__ for base in cls.__mro__[:-1]] + ["TCPServer"]
            if not {f"netserve.socketserver.{owner}.{member}" for owner in owners} & documented:
                missing.add(f"{name}.{member}")
    assert missing == set()


@pytest.mark.parametrize("package", PACKAGES)
def test_each_public_name_of_a_package_is_documented(package: str, documented: set[str]) -> None:
    """What a package's ``__all__`` lists is in its page."""
    module = importlib.import_module(f"netserve.{package}")
    names = {f"netserve.{package}.{name}" for name in module.__all__}
    assert names - documented == set()
