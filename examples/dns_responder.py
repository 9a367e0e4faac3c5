"""A small name server: the same handler answers over UDP, and over TCP what is too long.

Run ``python dns_responder.py``, then ``dig @127.0.0.1 -p 9953 www.example.test``; or
ask for ``many.example.test``, whose answer doesn't fit in a datagram, so that ``dig``
asks again over TCP.
"""

import argparse
import contextlib
import ipaddress
import struct
from typing import Final

from netserve.core import InetAddress
from netserve.handlers import LengthPrefixed, MessageRequestHandler
from netserve.servers import MultiplexingTCPServer, MultiplexingUDPServer

HEADER: Final = struct.Struct("!6H")  # RFC 1035, section 4.1.1
QUESTION: Final = struct.Struct("!2H")
RECORD: Final = struct.Struct("!3HIH")  # a name given by its place, type, class, time, length
NAME_OF_QUESTION: Final = 0xC00C

A, AAAA, IN = 1, 28, 1
FORMAT_ERROR, NAME_ERROR, NOT_IMPLEMENTED = 1, 3, 4
RESPONSE, AUTHORITATIVE, TRUNCATED, RECURSION_DESIRED = 0x8000, 0x0400, 0x0200, 0x0100
OPCODE = 0x7800

LONGEST_DATAGRAM: Final = 512  # without the extension of RFC 6891
TIME_TO_LIVE: Final = 60  # seconds

NAMES: Final = {
    b"www.example.test": ["192.0.2.1", "2001:db8::1"],
    b"many.example.test": [f"192.0.2.{number}" for number in range(1, 101)],
}


class NameHandler(MessageRequestHandler):
    """Answers one question over UDP, or on TCP as many as a client asks."""

    # RFC 1035, section 4.2.2.
    framing = LengthPrefixed(size=2, max_size=65535)

    def handle_message(self, message: bytes) -> bytes | None:
        """Answer a query; what is no query isn't answered."""
        over_udp = isinstance(self.request, tuple)
        return answer(message, LONGEST_DATAGRAM if over_udp else 65535)


def answer(query: bytes, limit: int) -> bytes | None:
    """The answer to *query*, of at most *limit* bytes; None if it isn't one."""
    if len(query) < HEADER.size:
        return None
    number, flags, questions, *_ = HEADER.unpack_from(query)
    if flags & RESPONSE:
        return None
    flags = RESPONSE | AUTHORITATIVE | flags & (OPCODE | RECURSION_DESIRED)
    if flags & OPCODE:
        return HEADER.pack(number, flags | NOT_IMPLEMENTED, 0, 0, 0, 0)
    try:
        if questions != 1:
            raise ValueError
        name, end = read_name(query, HEADER.size)
        kind, _ = QUESTION.unpack_from(query, end)
    except (ValueError, IndexError, struct.error):
        return HEADER.pack(number, flags | FORMAT_ERROR, 0, 0, 0, 0)
    question = query[HEADER.size : end + QUESTION.size]
    flags |= 0 if name in NAMES else NAME_ERROR
    addresses = [packed(text, kind) for text in NAMES.get(name, [])]
    records = [record(address) for address in addresses if address is not None]
    whole = HEADER.pack(number, flags, 1, len(records), 0, 0) + question + b"".join(records)
    if len(whole) > limit:
        return HEADER.pack(number, flags | TRUNCATED, 1, 0, 0, 0) + question
    return whole


def read_name(query: bytes, place: int) -> tuple[bytes, int]:
    """The name at *place* in small letters, and where it ends."""
    labels: list[bytes] = []
    while length := query[place]:
        if length > 63:
            # A query has no name before this one to refer to.
            raise ValueError(length)
        labels.append(query[place + 1 : place + 1 + length])
        place += 1 + length
    return b".".join(labels).lower(), place + 1


def packed(text: str, kind: int) -> bytes | None:
    """The address *text* in its binary form, if it is one of that *kind*."""
    address = ipaddress.ip_address(text)
    return address.packed if kind == (A if address.version == 4 else AAAA) else None


def record(address: bytes) -> bytes:
    """The resource record of an *address*, of the name in the question."""
    kind = A if len(address) == 4 else AAAA
    return RECORD.pack(NAME_OF_QUESTION, kind, IN, TIME_TO_LIVE, len(address)) + address


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=9953, help="0 takes one that is free")
    address: InetAddress = ("127.0.0.1", parser.parse_args().port)
    with MultiplexingUDPServer(address, NameHandler) as over_udp:
        host, port = over_udp.server_address
        with MultiplexingTCPServer((host, port), NameHandler) as over_tcp:
            print(f"serving on {host}:{port} until Ctrl-C", flush=True)
            # Until run() hears it, Ctrl-C is an exception.
            with contextlib.suppress(KeyboardInterrupt), over_udp.background():
                over_tcp.run()


if __name__ == "__main__":
    main()
