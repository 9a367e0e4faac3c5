"""Proxies that don't say whose connection it is, or not all of it."""

import socket
from collections.abc import Callable

import pytest
from _harness import KINDS, Program, ask, collect, connect, level, read_to_end

from netserve.transports import ProxyFamily, ProxyHeader, ProxyTransport, encode_proxy_header

ENDS = {"source": ("192.0.2.1", 56324), "destination": ("192.0.2.11", 443)}
INET = {"family": ProxyFamily.INET, "transport": ProxyTransport.STREAM}
HEADERS = [
    encode_proxy_header(ProxyHeader(1, **INET, **ENDS)),
    encode_proxy_header(ProxyHeader(2, **INET, **ENDS, unique_id=b"one", checksummed=True)),
]
CUTS = [(header, cut) for header in HEADERS for cut in range(len(header))]

# The synchronous server has them one after the other.
DEADLINES = {kind: 0.01 if kind == "TCPServer" else 0.5 for kind in KINDS}


@pytest.mark.fault("PROXY headers cut at each byte")
@pytest.mark.parametrize("server", KINDS)
def test_cut_headers(seen: Callable[..., None], server: str) -> None:
    """Whoever ends there, or falls silent, is closed; whoever goes on is served."""
    attributes = {"max_children": 2 * len(CUTS), "request_queue_size": 1024}
    with Program(server, bases=["Proxied"], attributes=attributes) as program:
        answers = [ask(program.port, header[:cut]) for header, cut in CUTS]
        served = [go_on(program.port, header, cut) for header, cut in CUTS]
        stats = program.settle()["stats"]
        records = program.records()
    attributes["proxy_timeout"] = DEADLINES[server]
    with Program(server, bases=["Proxied"], attributes=attributes) as program:
        silent = []
        for header, cut in CUTS:
            silent.append(connect(program.port))
            silent[-1].sendall(header[:cut])
        answers += collect(silent)
        for client in silent:
            client.close()
        late = program.settle()["stats"]
        records += program.records()
    seen(
        server,
        f"{stats['failed'] + stats['disconnected']} of {len(CUTS)} that ended and"
        f" {late['timed_out']} of {len(CUTS)} silent ones closed without a byte;"
        f" {served.count(b'HELLO' + bytes([10]))} of {len(CUTS)} that went on served",
    )
    assert set(answers) == {b""}
    assert set(served) == {b"HELLO\n"}
    # Two of them had sent nothing, and only left.
    assert (stats["failed"], stats["disconnected"]) == (len(CUTS) - 2, 2)
    assert stats["completed"] == len(CUTS)
    assert late["timed_out"] == late["accepted"] == len(CUTS)
    assert len(level(records, "INFO")) == 2 * len(CUTS) - 2
    assert level(records, "WARNING", "ERROR") == []


def go_on(port: int, header: bytes, cut: int) -> bytes:
    """What comes back for *header* in two parts, and a line."""
    with connect(port) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.sendall(header[:cut])
        client.sendall(header[cut:] + b"hello\n")
        client.shutdown(socket.SHUT_WR)
        return read_to_end(client)
