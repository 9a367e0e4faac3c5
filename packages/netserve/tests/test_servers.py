"""The ready-made servers: each is made as its name says, and serves a real client."""

import inspect
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from netserve import concurrency, servers, transports
from netserve.core import State
from netserve.handlers import MessageRequestHandler, StreamRequestHandler
from netserve.servers import _options

MIXINS = ["Threading", "Forking", "ThreadPool", "Multiplexing", "Asyncio"]
PREFORKED = ["Prefork", "PreforkThreadPool", "PreforkMultiplexing"]
TRANSPORTS = ["TCPServer", "UDPServer", "UnixStreamServer", "UnixDatagramServer"]
PATIENCE = 30  # seconds

pytestmark = pytest.mark.skipif(
    not (hasattr(os, "fork") and hasattr(socket, "AF_UNIX")),
    reason="needs every class; test_absent is for platforms that lack some",
)


class Upper(MessageRequestHandler):
    """Answers in capitals, and says who handles it."""

    def handle_message(self, message: bytes) -> bytes | None:
        """Return the message, and the ids of process and thread."""
        return message.upper() + b" %d %d" % (os.getpid(), threading.get_ident())


def ask(address: Any, *, stream: bool, here: str) -> tuple[bytes, int, int]:
    """The answer to a message, the process and the thread that gave it."""
    family = socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX
    kind = socket.SOCK_STREAM if stream else socket.SOCK_DGRAM
    with socket.socket(family, kind) as client:
        client.settimeout(PATIENCE)
        if family == socket.AF_UNIX:
            client.bind(here)
        client.connect(address)
        client.sendall(b"hello\n" if stream else b"hello")
        if stream:
            with client.makefile("rb") as answers:
                answer = answers.readline()
        else:
            answer = client.recv(100)
    word, process, thread = answer.split()
    return word, int(process), int(thread)


def test_there_is_each_combination_and_nothing_else() -> None:
    """The names are made of the mix-in's and the transport's."""
    names = {mixin + kind for mixin in [*MIXINS, *PREFORKED] for kind in TRANSPORTS}
    assert set(servers.__all__) == names


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("mixin", MIXINS)
def test_it_is_what_its_name_says_with_the_defaults_of_today(mixin: str, transport: str) -> None:
    """No attribute differs from those of the mix-in and the transport."""
    kind = getattr(servers, mixin + transport)
    bases = (getattr(concurrency, f"{mixin}MixIn"), getattr(transports, transport))
    assert kind.__bases__ == bases
    assert not {name for name in vars(kind) if not name.startswith("_")}


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("mixin", PREFORKED)
def test_a_preforking_one_is_another_one_with_the_mixin_in_front(
    mixin: str, transport: str
) -> None:
    """And no attribute differs either."""
    kind = getattr(servers, mixin + transport)
    behind = mixin.removeprefix("Prefork") + transport
    module = servers if behind != transport else transports
    assert kind.__bases__ == (concurrency.PreforkMixIn, getattr(module, behind))
    assert not {name for name in vars(kind) if not name.startswith("_")}


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("mixin", [*MIXINS, *PREFORKED])
def test_it_serves_a_client(mixin: str, transport: str, short_folder: Path) -> None:
    """The answer comes from the process or thread that the mix-in's name says."""
    kind = getattr(servers, mixin + transport)
    address = short_folder / "server" if "Unix" in transport else ("127.0.0.1", 0)
    stream = transport in {"TCPServer", "UnixStreamServer"}
    with kind(address, Upper).background() as running:
        word, process, thread = ask(
            running.address, stream=stream, here=str(short_folder / "client")
        )
        names = {each.ident: each.name for each in threading.enumerate()}
    assert word == b"HELLO"
    assert (process == os.getpid()) == (mixin != "Forking" and mixin not in PREFORKED)
    if mixin == "ThreadPool":
        assert names[thread].startswith(f"{mixin}{transport}-")
    assert running.result.forced == 0
    assert running.server.state is State.CLOSED
    stats = running.server.stats()
    # A drain comes next, and may be faster than the end of the request.
    assert (stats.accepted, stats.completed + stats.drained) == (1, 1)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_multiplexing_server_takes_handlers_of_messages_alone(
    transport: str, short_folder: Path
) -> None:
    """Another kind of handler is an error at once, as it is to type checkers."""
    kind = getattr(servers, f"Multiplexing{transport}")
    address = short_folder / "server" if "Unix" in transport else ("127.0.0.1", 0)
    with pytest.raises(TypeError, match="handlers of messages"):
        kind(address, StreamRequestHandler)


def test_a_server_may_be_made_without_being_bound() -> None:
    """The third argument of the constructor is as on every server."""
    server = servers.MultiplexingTCPServer(("127.0.0.1", 0), Upper, False)
    assert server.state is State.CREATED
    server.server_close()


@pytest.mark.parametrize(
    ("transport", "typed"),
    [
        ("TCPServer", _options.InternetStreamOptions),
        ("UDPServer", _options.InternetOptions),
        ("UnixStreamServer", _options.UnixStreamOptions),
        ("UnixDatagramServer", _options.UnixOptions),
    ],
)
def test_every_server_takes_the_options_of_its_transport(
    transport: str, typed: Any, short_folder: Path
) -> None:
    """By name; what type checkers are told of them is the same."""
    parameters = inspect.signature(getattr(transports, transport)).parameters.values()
    names = {each.name for each in parameters if each.kind is each.KEYWORD_ONLY}
    assert typed.__optional_keys__ == names
    address = short_folder / "server" if "Unix" in transport else ("127.0.0.1", 0)
    own = transports.SocketOptions()
    for mixin in MIXINS + PREFORKED:
        kind = getattr(servers, f"{mixin}{transport}")
        server = kind(address, Upper, False, **dict.fromkeys(names) | {"socket_options": own})
        assert server.socket_options is own
        server.server_close()


@pytest.mark.parametrize(
    ("missing", "absent"),
    [
        ("vars(os).pop('fork', None)", "Forking"),
        ("vars(socket).pop('AF_UNIX', None)", "Unix"),
        ("vars(os).pop('fork', None); vars(socket).pop('AF_UNIX', None)", "Unix Forking"),
    ],
)
def test_names_of_what_the_platform_lacks_are_absent(missing: str, absent: str) -> None:
    """As in ``netserve.socketserver``."""
    program = f"""if True:
        import os, socket
        {missing}
        from netserve import servers
        for word in {absent!r}.split():
            assert not [name for name in dir(servers) if word in name], dir(servers)
            assert not [name for name in servers.__all__ if word in name]
        assert all(hasattr(servers, name) for name in servers.__all__)
        assert ("Unix" in {absent!r}) != hasattr(servers, "MultiplexingUnixStreamServer")
        assert ("Forking" in {absent!r}) != hasattr(servers, "ForkingTCPServer")
        assert ("Forking" in {absent!r}) != hasattr(servers, "PreforkTCPServer")
        with servers.ThreadPoolTCPServer(("127.0.0.1", 0), print):
            pass
    """
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=60)
