"""Servers behind proxies, on every mix-in: HAProxy, curl, and proxies that do wrong."""

import http.server
import importlib.util
import json
import os
import selectors
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar

import pytest
import trustme

from netserve import transports
from netserve.concurrency import ThreadingMixIn
from netserve.transports import (
    ProxyCommand,
    ProxyFamily,
    ProxyHeader,
    ProxyProtocolMixIn,
    ProxyTransport,
    TCPServer,
    encode_proxy_header,
)

if not hasattr(socket, "AF_UNIX") or not hasattr(os, "fork"):
    pytest.skip("needs fork and AF_UNIX", allow_module_level=True)

ROOT = Path(__file__).parent.parent
PROGRAM = Path(__file__).with_name("_proxied.py")
CONFIG = ROOT / "examples" / "haproxy.cfg"
PATIENCE = 30.0

# These run a request beside others.
CONCURRENT = [
    "ThreadingMixIn",
    "ForkingMixIn",
    "ThreadPoolMixIn",
    "MultiplexingMixIn",
    "PreforkMixIn ThreadingMixIn",
    "PreforkMixIn MultiplexingMixIn",
    "AsyncioMixIn",
    *(["_uvloop:UvloopMixIn"] if importlib.util.find_spec("uvloop") else []),
]
MIXINS = ["", "PreforkMixIn", *CONCURRENT]

CLIENT = ("192.0.2.1", 56324)
LINE = b"PROXY TCP4 192.0.2.1 192.0.2.11 56324 443\r\n"


def binary(host: str, port: int = 1, **more: Any) -> bytes:
    """A header of version 2 for a client at *host*."""
    family = ProxyFamily.INET6 if ":" in host else ProxyFamily.INET
    ends = (host, port)
    return encode_proxy_header(
        ProxyHeader(2, ProxyCommand.PROXY, family, ProxyTransport.STREAM, ends, ends, **more)
    )


LOCAL = encode_proxy_header(ProxyHeader(2, ProxyCommand.LOCAL))


class Served:
    """A process that serves; see ``_proxied.py``."""

    def __init__(self, folder: Path, mixin: str, **attributes: Any) -> None:
        self.folder = folder
        base = "UnixStreamServer" if attributes.pop("on_path", False) else "TCPServer"
        bases = [name if ":" in name else f"netserve.concurrency:{name}" for name in mixin.split()]
        attributes.setdefault("trusted_proxies", ["127.0.0.1"])
        asked: dict[str, Any] = {
            "bases": [*bases, f"netserve.transports:{base}"],
            "attributes": attributes,
        }
        if "certificate" in attributes:
            asked["certificate"] = attributes.pop("certificate")
        if base == "UnixStreamServer":
            asked["path"] = str(folder / "socket")
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", PROGRAM, json.dumps(asked)],
            stdout=subprocess.PIPE,
            cwd=folder,
        )
        try:
            self.address: Any = self.answer()
        except BaseException:
            self.end()
            raise
        if isinstance(self.address, list):
            self.address = tuple(self.address)

    def answer(self) -> Any:
        """The next line that it prints."""
        assert self.process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            assert selector.select(PATIENCE), "no answer"
        line = self.process.stdout.readline()
        assert line, self.records()
        return json.loads(line)

    def report(self) -> dict[str, Any]:
        """Its statistics, and the clients that are served."""
        self.process.send_signal(signal.SIGUSR1)
        return dict(self.answer())

    def wait_for(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait until *condition* holds of the report, and return that."""
        until = time.monotonic() + PATIENCE
        while not condition(report := self.report()):
            assert time.monotonic() < until, (report, self.records())
            time.sleep(0.02)
        return report

    def settle(self, accepted: int) -> dict[str, Any]:
        """Wait until *accepted* requests, or more, have come and ended."""
        return self.wait_for(lambda report: report["accepted"] >= accepted and not report["active"])

    def records(self) -> list[dict[str, Any]]:
        """What it and its children have logged."""
        lines = (self.folder / "log").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def messages(self, logger: str = "netserve.server") -> list[str]:
        """The records of *logger*, without those of the run itself; none has a traceback."""
        records = [record for record in self.records() if record.get("logger") == logger]
        assert not any(record["traceback"] for record in records), records
        return [
            f"{record['level']} {record['message']}"
            for record in records
            if ": (" in record["message"] or logger == "netserve.access"
        ]

    def seen(self) -> list[Any]:
        """The addresses that handlers have seen."""
        return [record["seen"] for record in self.records() if "seen" in record]

    def stop(self) -> None:
        """End it, as a service manager does."""
        self.process.terminate()
        assert self.process.wait(PATIENCE) == 0

    def end(self) -> None:
        """Kill it, if it hasn't ended."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


Start = Callable[..., Served]


@pytest.fixture
def start(short_folder: Path) -> Iterator[Start]:
    """A function that starts a server with a mix-in and attributes."""
    with ExitStack() as ends:

        def begin(mixin: str, **attributes: Any) -> Served:
            served = Served(short_folder, mixin, **attributes)
            ends.callback(served.end)
            return served

        yield begin


def connect(address: Any) -> socket.socket:
    """A connection to *address*, a pair or a path."""
    connection = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
    connection.settimeout(PATIENCE)
    try:
        connection.connect(address)
    except BaseException:
        connection.close()
        raise
    return connection


def ask_on(connection: socket.socket, data: bytes = b"hello\n") -> dict[str, Any]:
    """Send *data* and read one line of JSON."""
    connection.sendall(data)
    with connection.makefile("rb") as file:
        return dict(json.loads(file.readline()))


def ask(address: Any, header: bytes) -> dict[str, Any]:
    """What the handler knows of a connection that begins with *header*."""
    with connect(address) as connection:
        known = ask_on(connection, header + b"hello\n")
        assert known["message"] == "hello"
        return known


def rest_of(address: Any, data: bytes) -> bytes:
    """What comes back for *data* and the end of the input, until a clean end."""
    with connect(address) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        return connection.recv(1000)


def serves(client: tuple[str, int]) -> Callable[[dict[str, Any]], bool]:
    """Whether a report has *client* among those that are served."""
    return lambda report: list(client) in report["clients"]


@pytest.mark.parametrize("mixin", MIXINS)
def test_the_real_client_is_known_everywhere(start: Start, mixin: str) -> None:
    """To the handler, in the ledger, and in the access log; whoever runs the request."""
    served = start(mixin)
    for number, (header, client) in enumerate(
        [
            (LINE, CLIENT),
            (binary("2001:db8::7", 9, unique_id=b"id", checksummed=True), ("2001:db8::7", 9)),
        ],
        start=1,
    ):
        with connect(served.address) as connection:
            known = ask_on(connection, header + b"hello\n")
            assert known["client"] == list(client)
            assert known["proxy"] == list(connection.getsockname())
            assert known["header"]["source"] == list(client)
            assert known["in_progress"] == [list(client)]
            # The ledgers of workers are their own.
            if mixin and "Prefork" not in mixin:
                served.wait_for(serves(client))
        # The next one may have the same worker, where this one isn't to be in progress any more.
        served.settle(number)
    with connect(served.address) as connection:
        known = ask_on(connection, LOCAL + b"hello\n")
        own = connection.getsockname()
        assert known["client"] == known["proxy"] == list(own)
        assert known["header"]["command"] == "LOCAL"
    report = served.settle(3)
    assert report["completed"] == 3
    served.stop()
    access = served.messages("netserve.access")
    assert {message.partition(" completed")[0] for message in access} == {
        f"INFO {client}" for client in (CLIENT, ("2001:db8::7", 9), own)
    }


@pytest.mark.parametrize("mixin", MIXINS)
def test_what_is_wrong_is_one_record_and_reaches_no_handler(start: Start, mixin: str) -> None:
    """Whether it is malformed, cut off, late, or from nobody."""
    served = start(mixin, proxy_timeout=0.3)
    assert rest_of(served.address, b"GET / HTTP/1.1\r\n\r\n") == b""
    assert rest_of(served.address, LINE.replace(b"TCP4", b"TCP5") + b"hello\n") == b""
    assert (
        rest_of(served.address, binary("192.0.2.1").replace(b"\x21", b"\x31") + b"hello\n") == b""
    )
    assert rest_of(served.address, LINE[:-3]) == b""
    assert rest_of(served.address, binary("192.0.2.1")[:-3]) == b""
    assert rest_of(served.address, b"") == b""
    with connect(served.address) as late:
        late.sendall(LINE[:-3])
        assert late.recv(1000) == b""
    report = served.settle(7)
    counts = (report["failed"], report["disconnected"], report["timed_out"])
    assert counts == (5, 1, 1)
    served.stop()
    assert served.seen() == []
    assert sorted(message.partition(" ")[0] for message in served.messages()) == [
        "DEBUG",
        *["INFO"] * 6,
    ]


@pytest.mark.parametrize("mixin", MIXINS)
def test_only_trusted_proxies_are_believed(start: Start, mixin: str) -> None:
    """Others are refused, with one record, and no handler sees them."""
    served = start(mixin, trusted_proxies=["192.0.2.0/24"])
    assert rest_of(served.address, LINE + b"hello\n") == b""
    assert served.settle(1)["refused"] == 1
    served.stop()
    assert served.seen() == []
    (message,) = served.messages()
    assert "was refused (it is none of trusted_proxies" in message


@pytest.mark.parametrize("mixin", CONCURRENT)
def test_mute_proxies_hold_up_nobody(start: Start, mixin: str) -> None:
    """The header is waited for where the request runs."""
    served = start(mixin)
    with ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(connect(served.address)).sendall(LINE[:9])
        served.wait_for(lambda report: report["active"] == 20)
        assert ask(served.address, LINE)["client"] == list(CLIENT)


@pytest.mark.parametrize("mixin", CONCURRENT)
def test_the_limit_of_a_peer_holds_for_the_real_one(start: Start, mixin: str) -> None:
    """However many come at once, each client gets as many as it may have, of one process."""
    limits = {"max_connections_per_peer": 3, "processes": 1}
    served = start(mixin, farewell="too many\n", **limits)
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(served.address)) for _ in range(10)]
        for number, client in enumerate(clients):
            client.sendall(binary("192.0.2.1", number) + b"hello\n")
        answers = [client.recv(1000) for client in clients]
        assert answers.count(b"too many\n") == 7
        assert ask(served.address, binary("192.0.2.2"))["client"] == ["192.0.2.2", 1]
    assert served.settle(11)["refused"] == 7
    assert ask(served.address, binary("192.0.2.1"))["client"] == ["192.0.2.1", 1]


# --- HAProxy ---


class HAProxy:
    """HAProxy with the configuration of the documentation, in front of *service*."""

    def __init__(self, folder: Path, service: Any, authority: trustme.CA) -> None:
        self._ends = ExitStack()
        plain, tls = (
            self._ends.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)
        )
        self.plain: Any = plain.getsockname()
        self.tls: Any = tls.getsockname()
        authority.cert_pem.write_to_path(folder / "authorities.pem")
        certificate = authority.issue_cert("service.example")
        certificate.private_key_and_cert_chain_pem.write_to_path(folder / "service.pem")
        at = f"unix@{service}" if isinstance(service, str) else f"{service[0]}:{service[1]}"
        environment = {
            "PLAIN": f"fd@{plain.fileno()}",
            "TLS": f"fd@{tls.fileno()}",
            "CERTIFICATE": str(folder / "service.pem"),
            "AUTHORITIES": str(folder / "authorities.pem"),
            "SERVICE": at,
        }
        self.process = subprocess.Popen(
            ["haproxy", "-db", "-f", CONFIG],
            env={**os.environ, **environment},
            pass_fds=[plain.fileno(), tls.fileno()],
            stderr=subprocess.DEVNULL,
        )
        self._ends.callback(self.process.wait)
        self._ends.callback(self.process.kill)

    def end(self) -> None:
        """Kill it."""
        self._ends.close()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Who signs the certificates."""
    return trustme.CA()


@pytest.fixture
def haproxy(short_folder: Path, authority: trustme.CA) -> Iterator[Callable[[Any], HAProxy]]:
    """A function that starts HAProxy in front of an address."""
    if shutil.which("haproxy") is None:
        pytest.skip("needs haproxy")
    with ExitStack() as ends:

        def begin(service: Any) -> HAProxy:
            proxy = HAProxy(short_folder, service, authority)
            ends.callback(proxy.end)
            return proxy

        yield begin


def client_context(authority: trustme.CA, certified: bool) -> ssl.SSLContext:
    """What a client of the proxy uses; with a certificate of its own if *certified*."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    context.set_alpn_protocols(["upper/1"])
    if certified:
        authority.issue_cert("client@example.org", common_name="client.example").configure_cert(
            context
        )
    return context


@pytest.mark.parametrize("on_path", [False, True], ids=["TCP", "Unix"])
@pytest.mark.parametrize("mixin", MIXINS)
def test_behind_haproxy(
    start: Start,
    haproxy: Callable[[Any], HAProxy],
    authority: trustme.CA,
    mixin: str,
    on_path: bool,
) -> None:
    """Version 1, version 2 with what HAProxy knows of TLS, and its health checks."""
    trusted = ["unix:"] if on_path else ["127.0.0.0/8"]
    served = start(mixin, trusted_proxies=trusted, on_path=on_path)
    proxy = haproxy(served.address)
    with connect(proxy.plain) as connection:
        known = ask_on(connection)
        own = list(connection.getsockname())
    assert (known["client"], known["header"]["version"]) == (own, 1)
    assert known["header"]["destination"] == list(proxy.plain)
    for certified in (False, True):
        context = client_context(authority, certified)
        with (
            connect(proxy.tls) as plain,
            context.wrap_socket(plain, server_hostname="service.example") as connection,
        ):
            known = ask_on(connection)
            own = list(connection.getsockname())
            version, cipher = connection.version(), connection.cipher()
        header = known["header"]
        assert (known["client"], header["source"]) == (own, own)
        assert (header["version"], header["command"], header["family"]) == (2, "PROXY", "INET")
        assert header["destination"] == list(proxy.tls)
        assert header["authority"] == "service.example"
        assert header["alpn"] == "upper/1"
        assert header["checksummed"]
        assert header["unique_id"].startswith(f"{own[0]}:{own[1]}-")
        assert header["others"] == 0
        told = header["ssl"]
        assert cipher is not None
        assert (told["version"], told["cipher"]) == (version, cipher[0])
        assert told["client"] & 3 == (3 if certified else 1)
        assert told["verified"] is certified
        assert told["common_name"] == ("client.example" if certified else None)
        assert told["signature_algorithm"] is not None
        assert told["key_algorithm"] is not None
        assert told["others"] == 0
    # A health check is the proxy's own connection.
    until = time.monotonic() + PATIENCE
    while not any(record.get("command") == "LOCAL" for record in served.records()):
        assert time.monotonic() < until
        time.sleep(0.05)
    assert not [message for message in served.messages() if "isn't allowed" in message]


@pytest.mark.skipif(not hasattr(transports, "TLSMixIn"), reason="needs TLS")
@pytest.mark.parametrize("mixin", MIXINS)
def test_behind_haproxy_with_tls_of_our_own(
    start: Start,
    haproxy: Callable[[Any], HAProxy],
    authority: trustme.CA,
    short_folder: Path,
    mixin: str,
) -> None:
    """HAProxy passes it through: its header comes before the handshake."""
    certificate = short_folder / "own.pem"
    issued = authority.issue_cert("own.example")
    issued.private_key_and_cert_chain_pem.write_to_path(str(certificate))
    served = start(mixin, certificate=str(certificate))
    proxy = haproxy(served.address)
    with (
        connect(proxy.plain) as plain,
        client_context(authority, certified=False).wrap_socket(
            plain, server_hostname="own.example"
        ) as connection,
    ):
        known = ask_on(connection)
        own = list(connection.getsockname())
    assert (known["client"], known["header"]["version"]) == (own, 1)
    assert known["message"] == "hello"


# --- curl ---


class Tells(http.server.BaseHTTPRequestHandler):
    """Answers with the client's address, as http.server's logs have it too."""

    addresses: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        """Answer."""
        body = json.dumps(self.client_address).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Note the address."""
        self.addresses.append(self.address_string())


class Web(ThreadingMixIn, ProxyProtocolMixIn, TCPServer):
    """A server of HTTP behind a proxy."""

    trusted_proxies = ("127.0.0.1",)
    server_name = "service.example"
    server_port = 80


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_curl_says_whose_connection_it_is() -> None:
    """It sends version 1, with the addresses of the connection itself."""
    handler: Any = Tells
    with Web(("127.0.0.1", 0), handler).background() as running:
        host, port = running.address
        command = ["curl", "-sS", "-m", "20", "-w", "\n%{local_port}", f"http://{host}:{port}/"]
        said = subprocess.run(
            [*command, "--haproxy-protocol"], capture_output=True, text=True, check=True
        )
        address, own_port = said.stdout.split("\n")
        assert json.loads(address) == ["127.0.0.1", int(own_port)]
        without = subprocess.run(command, capture_output=True, text=True, check=False)
        assert without.returncode != 0
    assert Tells.addresses == ["127.0.0.1"]
    assert running.server.stats().failed == 1
