"""Tests of the PROXY protocol's codec: what a header says, to the byte, and nothing beyond it."""

import struct

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from netserve.core import PeerError
from netserve.transports import (
    ProxyClientFlags,
    ProxyCommand,
    ProxyFamily,
    ProxyHeader,
    ProxyParser,
    ProxyProtocolError,
    ProxySSL,
    ProxyTLV,
    ProxyTransport,
    encode_proxy_header,
)
from netserve.transports._proxy_binary import SIGNATURE, crc32c

# A busy machine generates slowly.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

STREAM = ProxyTransport.STREAM
INET = {"family": ProxyFamily.INET, "transport": STREAM}
INET6 = {"family": ProxyFamily.INET6, "transport": STREAM}
UNIX = {"family": ProxyFamily.UNIX, "transport": STREAM}
ENDS = {"source": ("192.0.2.1", 56324), "destination": ("192.0.2.11", 443)}

TCP4 = ProxyHeader(1, **INET, **ENDS)
TCP4_LINE = b"PROXY TCP4 192.0.2.1 192.0.2.11 56324 443\r\n"
TCP6 = ProxyHeader(1, **INET6, source=("2001:db8::1", 0), destination=("::", 65535))
TCP6_LINE = b"PROXY TCP6 2001:db8::1 :: 0 65535\r\n"

LINES = {
    TCP4_LINE: TCP4,
    TCP6_LINE: TCP6,
    b"PROXY TCP6 2001:0DB8:0:0:0:0:0:0001 0:0:0:0:0:0:0:0 0 65535\r\n": TCP6,
    b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n": ProxyHeader(
        1, **INET, source=("255.255.255.255", 65535), destination=("255.255.255.255", 65535)
    ),
    b"PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n": ProxyHeader(
        1, **INET, source=("0.0.0.0", 0), destination=("0.0.0.0", 0)
    ),
    b"PROXY TCP6 :: :: 0 0\r\n": ProxyHeader(1, **INET6, source=("::", 0), destination=("::", 0)),
    b"PROXY TCP6 " + b" ".join([b":".join([b"ffff"] * 8)] * 2) + b" 65535 65535\r\n": ProxyHeader(
        1,
        **INET6,
        source=(":".join(["ffff"] * 8), 65535),
        destination=(":".join(["ffff"] * 8), 65535),
    ),
    b"PROXY UNKNOWN\r\n": ProxyHeader(1),
    b"PROXY UNKNOWN \r\n": ProxyHeader(1),
    b"PROXY UNKNOWN x\r\n": ProxyHeader(1),
    b"PROXY UNKNOWN xy\rz\r\n": ProxyHeader(1),
    b"PROXY UNKNOWN " + b"f" * 91 + b"\r\n": ProxyHeader(1),
}

BAD_LINES = {
    b"PROXY TCP4 192.0.2.1 192.0.2.11 56324 443\n": "it has PROXY",
    b"PROXY TCP4 192.0.2.1 192.0.2.11 56324 443\r\r\n": "it has PROXY",
    b"PROXY TCP4 192.0.2.1\r\nGET / HTTP/1.1\r\n": "it has PROXY",
    b"PROXY UNKNOWN a line\n of text\r\n": "it has PROXY",
    b"PROXY UNKNOWNS\r\n": "it has PROXY",
    b"PROXY  TCP4 192.0.2.1 192.0.2.11 56324 443\r\n": "it has PROXY",
    b"PROXY TCP4 192.0.2.1  192.0.2.11 56324 443\r\n": "it has PROXY",
    b"PROXY TCP4 192.0.2.1 192.0.2.11 56324 443 \r\n": "it has PROXY",
    b"PROXY TCP4 192.0.2.1 192.0.2.11 56324\r\n": "it has PROXY",
    b"PROXY TCP4 192.0.2.1 192.0.2.11 56324 443 1\r\n": "it has PROXY",
    b"PROXY TCP5 192.0.2.1 192.0.2.11 56324 443\r\n": "it has PROXY",
    b"PROXY UDP4 192.0.2.1 192.0.2.11 56324 443\r\n": "it has PROXY",
    b"PROXY tcp4 192.0.2.1 192.0.2.11 56324 443\r\n": "it has PROXY",
    b"PROXY TCP4 192.0.2.1 192.0.2.11 056324 443\r\n": "it has PROXY",
    b"PROXY TCP4 192.0.2.1 192.0.2.11 -1 443\r\n": "it has PROXY",
    b"PROXY TCP4 192.0.2.1 192.0.2.11 \xd9\xa1 443\r\n": "it has PROXY",
    b"PROXY TCP4 192.0.2.1 192.0.2.11 65536 443\r\n": "65536 isn't a port: the last is 65535",
    b"PROXY TCP4 192.0.2.01 192.0.2.11 1 443\r\n": "'192.0.2.01' isn't an address of TCP4",
    b"PROXY TCP4 192.0.2.256 192.0.2.11 1 443\r\n": "'192.0.2.256' isn't an address of TCP4",
    b"PROXY TCP4 192.0.513 192.0.2.11 1 443\r\n": "'192.0.513' isn't an address of TCP4",
    b"PROXY TCP4 ::1 192.0.2.11 1 443\r\n": "'::1' isn't an address of TCP4",
    b"PROXY TCP4 192.0.2.1 \0 1 443\r\n": "it has PROXY",
    b"PROXY TCP6 ::1 192.0.2.11 1 443\r\n": "'192.0.2.11' isn't an address of TCP6",
    b"PROXY TCP6 ::1%lo ::2 1 443\r\n": "it has PROXY",
    b"PROXY TCP6 1::2::3 ::2 1 443\r\n": "'1::2::3' isn't an address of TCP6",
    b"PROXY UNKNOWN " + b"f" * 92 + b"\r\n": "the line is longer than 107 bytes",
    b"PROXY UNKNOWN " + b"f" * 500: "the line is longer than 107 bytes",
    b"PROXY" + b"!" * 20: "isn't how a header of the PROXY protocol begins",
    b"GET / HTTP/1.1\r\n\r\n": "isn't how a header of the PROXY protocol begins",
    b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + bytes(20): "isn't how a header",
    b"\r\n\r\n\0\r\nQUIT\r\n....": "isn't how a header",
}


def binary(rest=b"", command=0x21, protocol=0x11, length=None, signature=SIGNATURE):
    """A header of version 2, from its parts."""
    size = len(rest) if length is None else length
    return signature + struct.pack("!BBH", command, protocol, size) + rest


def vector(kind, value):
    """A TLV."""
    return struct.pack("!BH", kind, len(value)) + value


FOUR = bytes([192, 0, 2, 1, 192, 0, 2, 11]) + struct.pack("!HH", 56324, 443)
SIX = bytes.fromhex("20010db8" + "00" * 11 + "01" + "00" * 16) + struct.pack("!HH", 0, 65535)
PATHS = b"/run/a".ljust(108, b"\0") + b"\0abstract".ljust(108, b"\0")

BINARIES = {
    "TCP over IPv4": (binary(FOUR), ProxyHeader(2, **INET, **ENDS)),
    "UDP over IPv4": (
        binary(FOUR, protocol=0x12),
        ProxyHeader(2, family=ProxyFamily.INET, transport=ProxyTransport.DGRAM, **ENDS),
    ),
    "TCP over IPv6": (
        binary(SIX, protocol=0x21),
        ProxyHeader(2, **INET6, source=("2001:db8::1", 0), destination=("::", 65535)),
    ),
    "UDP over IPv6": (
        binary(SIX, protocol=0x22),
        ProxyHeader(
            2,
            family=ProxyFamily.INET6,
            transport=ProxyTransport.DGRAM,
            source=("2001:db8::1", 0),
            destination=("::", 65535),
        ),
    ),
    "Unix stream": (
        binary(PATHS, protocol=0x31),
        ProxyHeader(2, **UNIX, source="/run/a", destination=b"\0abstract"),
    ),
    "Unix datagram": (
        binary(bytes(216), protocol=0x32),
        ProxyHeader(
            2,
            family=ProxyFamily.UNIX,
            transport=ProxyTransport.DGRAM,
            source="",
            destination="",
        ),
    ),
    "LOCAL": (binary(command=0x20, protocol=0), ProxyHeader(2, ProxyCommand.LOCAL)),
    "LOCAL with what is to be discarded": (
        binary(b"whatever", command=0x20, protocol=0xFF),
        ProxyHeader(2, ProxyCommand.LOCAL),
    ),
    "unspecified": (binary(protocol=0), ProxyHeader(2)),
    "unspecified with vectors": (
        binary(vector(5, b"id"), protocol=0),
        ProxyHeader(2, unique_id=b"id"),
    ),
    "unspecified with what may be addresses": (
        binary(b"\xff" * 30, protocol=0),
        ProxyHeader(2),
    ),
    "unspecified transport": (
        binary(FOUR, protocol=0x10),
        ProxyHeader(2, family=ProxyFamily.INET),
    ),
    "vectors": (
        binary(
            FOUR
            + vector(1, b"h2")
            + vector(4, b"padding")
            + vector(2, "bücher.example".encode())
            + vector(4, b"")
            + vector(5, b"\0" * 128)
            + vector(0x30, b"blue")
            + vector(0xEA, b"\x01vpce-1")
            + vector(0xEA, b"again")
        ),
        ProxyHeader(
            2,
            **INET,
            **ENDS,
            alpn=b"h2",
            authority="bücher.example",
            unique_id=b"\0" * 128,
            netns="blue",
            others=(ProxyTLV(0xEA, b"\x01vpce-1"), ProxyTLV(0xEA, b"again")),
        ),
    ),
    "TLS": (
        binary(
            FOUR
            + vector(
                0x20,
                b"\x03\0\0\0\0"
                + vector(0x21, b"TLSv1.3")
                + vector(0x22, b"client.example")
                + vector(0x23, b"TLS_AES_256_GCM_SHA384")
                + vector(0x24, b"RSA-SHA256")
                + vector(0x25, b"RSA2048")
                + vector(0x26, b"new"),
            )
        ),
        ProxyHeader(
            2,
            **INET,
            **ENDS,
            ssl=ProxySSL(
                ProxyClientFlags.SSL | ProxyClientFlags.CERT_CONN,
                0,
                "TLSv1.3",
                "client.example",
                "TLS_AES_256_GCM_SHA384",
                "RSA-SHA256",
                "RSA2048",
                (ProxyTLV(0x26, b"new"),),
            ),
        ),
    ),
}

BAD_BINARIES = {
    "version 1 in binary": (binary(FOUR, command=0x11), "version is 1, not 2"),
    "a later version": (binary(FOUR, command=0x31), "version is 3, not 2"),
    "unassigned command": (binary(FOUR, command=0x22), "2 isn't a command of version 2"),
    "unassigned family": (binary(FOUR, protocol=0x41), "4 isn't an address family of version 2"),
    "unassigned transport": (binary(FOUR, protocol=0x13), "3 isn't a transport of version 2"),
    "addresses too short": (
        binary(FOUR[:-1]),
        "leaves 11 bytes for the addresses of ProxyFamily.INET, which have 12",
    ),
    "too long": (binary(b"", length=5000), "has 5016 bytes, and may have 4096"),
    "half a vector": (binary(FOUR + b"\x01\0"), "2 bytes are too few for a vector"),
    "a vector beyond the end": (
        binary(FOUR + b"\x01\0\x03h2"),
        "type 0x01 has 3 bytes, beyond the header's end",
    ),
    "twice the same": (
        binary(FOUR + vector(2, b"one") + vector(2, b"two")),
        "two vectors (TLV) of type 0x02",
    ),
    "authority in another encoding": (binary(FOUR + vector(2, b"\xff")), "isn't text in UTF-8"),
    "a long unique id": (binary(FOUR + vector(5, bytes(129))), "129 bytes, and may have 128"),
    "wrong checksum": (binary(FOUR + vector(3, bytes(4))), "checksum (CRC32C) isn't that"),
    "checksum of another size": (binary(FOUR + vector(3, b"")), "checksum (CRC32C) isn't that"),
    "wrong checksum, unspecified": (
        binary(vector(3, bytes(4)), protocol=0),
        "checksum (CRC32C) isn't that",
    ),
    "too little of TLS": (binary(FOUR + vector(0x20, b"\x01")), "1 bytes are too few for what"),
    "a broken part of TLS": (
        binary(FOUR + vector(0x20, b"\x01\0\0\0\0\x21")),
        "1 bytes are too few for a vector",
    ),
    "twice the same of TLS": (
        binary(FOUR + vector(0x20, bytes(5) + vector(0x21, b"a") * 2)),
        "two vectors (TLV) of type 0x21",
    ),
}


def parse(data, sizes=()):
    """Feed *data* to a parser, at most the next of *sizes* at a time; returns header and rest."""
    parser = ProxyParser()
    sizes = iter(sizes)
    while parser.wanted:
        size = min(next(sizes, parser.wanted), parser.wanted)
        part, data = data[:size], data[size:]
        if not part:
            return None, data
        assert parser.feed(part) is parser.header
    return parser.header, data


@pytest.mark.parametrize(("line", "header"), LINES.items(), ids=repr)
def test_a_line_is_a_header(line, header):
    """Section 2.1; and what comes after it stays where it is."""
    assert parse(line + b"GET / HTTP/1.1\r\n") == (header, b"GET / HTTP/1.1\r\n")


@pytest.mark.parametrize(("data", "header"), BINARIES.values(), ids=BINARIES)
def test_a_binary_header_is_a_header(data, header):
    """Section 2.2; and what comes after it stays where it is."""
    assert parse(data + b"GET / HTTP/1.1\r\n") == (header, b"GET / HTTP/1.1\r\n")


@pytest.mark.parametrize(("line", "reason"), BAD_LINES.items(), ids=repr)
def test_what_isnt_exactly_the_line_is_an_error(line, reason):
    """It names what was wrong, and is the peer's fault."""
    with pytest.raises(ProxyProtocolError) as caught:
        parse(line)
    assert reason in str(caught.value)
    assert isinstance(caught.value, PeerError)


@pytest.mark.parametrize(("data", "reason"), BAD_BINARIES.values(), ids=BAD_BINARIES)
def test_a_bad_binary_header_is_an_error(data, reason):
    """It names what was wrong."""
    with pytest.raises(ProxyProtocolError) as caught:
        parse(data)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    "data", [*LINES, *(data for data, _ in BINARIES.values())], ids=lambda data: repr(data[:40])
)
def test_a_header_may_be_cut_at_each_byte(data):
    """It is incomplete until its last byte, and then the same."""
    whole, _ = parse(data)
    for cut in range(len(data)):
        assert parse(data[:cut]) == (None, b"")
        assert parse(data, [cut or 1]) == (whole, b"")
    assert parse(data, [1] * len(data)) == (whole, b"")


@pytest.mark.parametrize(
    "data", [b"X", b"\r\nX", b"PROXX", b"PROXY\t", SIGNATURE[:-1] + b"\r"], ids=repr
)
def test_what_cant_become_a_header_is_refused_at_its_first_wrong_byte(data):
    """A client that waits for an answer to something else isn't kept waiting."""
    parser = ProxyParser()
    parser.feed(data[:-1])
    with pytest.raises(ProxyProtocolError):
        parser.feed(data[-1:])


def test_a_parser_takes_no_more_than_it_wants():
    """Bytes beyond the header would be lost in it."""
    parser = ProxyParser()
    assert repr(parser) == "<ProxyParser has 0 bytes, wants 15>"
    with pytest.raises(ValueError, match="can't take 16 bytes") as caught:
        parser.feed(bytes(16))
    assert not isinstance(caught.value, ProxyProtocolError)
    assert parser.received == b""
    assert parse(b"PROXY UNKNOWN\r\n")[0]


def test_the_limit_of_a_binary_header_is_the_parsers():
    """It is counted with the first 16 bytes."""
    data = binary(FOUR)
    parser = ProxyParser(max_size=len(data))
    parser.feed(data[:15])
    parser.feed(data[15:16])
    assert parser.feed(data[16:]) is not None
    assert parser.wanted == 0
    assert parser.received == data
    parser = ProxyParser(max_size=len(data) - 1)
    parser.feed(data[:15])
    with pytest.raises(ProxyProtocolError, match="has 28 bytes, and may have 27"):
        parser.feed(data[15:16])


def test_the_checksum_is_castagnolis():
    """The check value of CRC-32C, and of 32 zero bytes in RFC 3720, B.4."""
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA


def test_a_bit_that_changes_is_noticed_by_the_checksum():
    """Wherever it is, behind the fixed part."""
    data = encode_proxy_header(ProxyHeader(2, **INET, **ENDS, unique_id=b"x", checksummed=True))
    header, _ = parse(data)
    assert header.checksummed
    for place in range(16, len(data)):
        changed = bytearray(data)
        changed[place] ^= 1
        with pytest.raises(ProxyProtocolError):
            parse(bytes(changed))


@pytest.mark.parametrize(
    ("client", "verify", "verified"),
    [(1, 0, False), (3, 0, True), (5, 0, True), (7, 0, True), (3, 18, False), (0, 0, False)],
)
def test_only_a_certificate_that_was_shown_is_verified(client, verify, verified):
    """A proxy reports zero too when there was none."""
    assert ProxySSL(ProxyClientFlags(client), verify).verified is verified


# --- encoding ---


@pytest.mark.parametrize(
    "header",
    [
        ProxyHeader(1, ProxyCommand.LOCAL),
        ProxyHeader(1, **INET, **ENDS, unique_id=b"1"),
        ProxyHeader(1, **INET, **ENDS, checksummed=True),
        ProxyHeader(1, **UNIX, source="/a", destination="/b"),
        ProxyHeader(1, family=ProxyFamily.INET, transport=ProxyTransport.DGRAM, **ENDS),
        ProxyHeader(1, source=("192.0.2.1", 1)),
        ProxyHeader(1, **INET),
        ProxyHeader(1, **INET, source=("example.org", 1), destination=("192.0.2.1", 1)),
        ProxyHeader(1, **INET, source=("192.0.2.1\0", 1), destination=("192.0.2.1", 1)),
        ProxyHeader(1, **INET6, **ENDS),
        ProxyHeader(2, **INET, source=("192.0.2.1", -1), destination=("192.0.2.1", 1)),
        ProxyHeader(2, **INET, source=("192.0.2.1", 1), destination=("192.0.2.1", 65536)),
        ProxyHeader(2, **INET, source="/a", destination="/b"),
        ProxyHeader(2, **INET),
        ProxyHeader(2, **ENDS),
        ProxyHeader(2, family=ProxyFamily.INET, **ENDS),
        ProxyHeader(2, ProxyCommand.LOCAL, **INET, **ENDS),
        ProxyHeader(2, ProxyCommand.LOCAL, unique_id=b"1"),
        ProxyHeader(2, **UNIX, **ENDS),
        ProxyHeader(2, **UNIX, source="/a", destination=None),
        ProxyHeader(2, **UNIX, source="/a" * 55, destination="/b"),
        ProxyHeader(2, **UNIX, source="/a\0b", destination="/b"),
        ProxyHeader(2, **UNIX, source=b"/a", destination="/b"),
        ProxyHeader(2, unique_id=bytes(129)),
        ProxyHeader(2, alpn=bytes(65536)),
        ProxyHeader(2, alpn=bytes(65000), authority="x" * 1000),
        ProxyHeader(2, others=(ProxyTLV(1, b"h2"),)),
        ProxyHeader(2, others=(ProxyTLV(4, b""),)),
        ProxyHeader(2, others=(ProxyTLV(256, b""),)),
        ProxyHeader(2, ssl=ProxySSL(ProxyClientFlags(256), 0)),
        ProxyHeader(2, ssl=ProxySSL(ProxyClientFlags.SSL, 1 << 32)),
        ProxyHeader(2, ssl=ProxySSL(ProxyClientFlags.SSL, 0, others=(ProxyTLV(0x21, b""),))),
    ],
    ids=repr,
)
def test_what_a_version_cant_say_isnt_encoded(header):
    """Rather than said wrongly."""
    with pytest.raises(ValueError, match=r".") as caught:
        encode_proxy_header(header)
    assert not isinstance(caught.value, ProxyProtocolError)


ports = st.integers(0, 65535)
ipv4 = st.tuples(st.ip_addresses(v=4).map(str), ports)
ipv6 = st.tuples(
    st.one_of(st.ip_addresses(v=6, network="2000::/3"), st.ip_addresses(v=6)).map(
        lambda host: str(host) if host.ipv4_mapped is None else "::1"
    ),
    ports,
)
paths = st.one_of(
    st.just(""),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=27),
    st.binary(min_size=1, max_size=107).map(lambda name: b"\0" + name.rstrip(b"\0") + b"."[:1]),
).filter(lambda path: len(path) <= 108)
texts = st.one_of(st.none(), st.text(max_size=30))


def tlvs(*reserved):
    """Vectors that have none of the types *reserved*."""
    kinds = st.integers(0, 255).filter(lambda kind: kind not in reserved)
    return st.lists(st.builds(ProxyTLV, kinds, st.binary(max_size=30)), max_size=3).map(tuple)


ssls = st.builds(
    ProxySSL,
    st.integers(0, 255).map(ProxyClientFlags),
    st.integers(0, (1 << 32) - 1),
    *[texts] * 5,
    tlvs(0x21, 0x22, 0x23, 0x24, 0x25),
)


@st.composite
def headers(draw):
    """Any header that can be said."""
    version = draw(st.sampled_from([1, 2]))
    families = [ProxyFamily.UNSPEC, ProxyFamily.INET, ProxyFamily.INET6]
    family = draw(st.sampled_from([*families, ProxyFamily.UNIX] if version == 2 else families))
    ends = {
        ProxyFamily.UNSPEC: st.none(),
        ProxyFamily.INET: ipv4,
        ProxyFamily.INET6: ipv6,
        ProxyFamily.UNIX: paths,
    }[family]
    transport = ProxyTransport.UNSPEC
    if family is not ProxyFamily.UNSPEC:
        transports = [STREAM] if version == 1 else [STREAM, ProxyTransport.DGRAM]
        transport = draw(st.sampled_from(transports))
    more = {}
    if version == 2:
        if draw(st.booleans()) and family is ProxyFamily.UNSPEC:
            return ProxyHeader(2, ProxyCommand.LOCAL)
        more = {
            "alpn": draw(st.one_of(st.none(), st.binary(max_size=30))),
            "authority": draw(texts),
            "checksummed": draw(st.booleans()),
            "unique_id": draw(st.one_of(st.none(), st.binary(max_size=128))),
            "ssl": draw(st.one_of(st.none(), ssls)),
            "netns": draw(texts),
            "others": draw(tlvs(1, 2, 3, 4, 5, 0x20, 0x30)),
        }
    return ProxyHeader(
        version, ProxyCommand.PROXY, family, transport, draw(ends), draw(ends), **more
    )


@unhurried
@given(headers(), st.binary(max_size=20), st.lists(st.integers(1, 50), max_size=20))
def test_what_is_encoded_is_parsed_as_the_same(header, after, sizes):
    """However it is cut, and whatever comes behind it."""
    data = encode_proxy_header(header)
    assert parse(data + after, sizes) == (header, after)


def survive(data):
    """Feed *data*: a header, more to come, or the one error."""
    try:
        header, _ = parse(data)
    except ProxyProtocolError:
        return
    assert header is None or isinstance(header, ProxyHeader)


@unhurried
@given(st.binary(max_size=600))
@example(b"")
def test_any_bytes_are_a_header_or_the_one_error(data):
    """Nothing else is raised."""
    survive(data)


@unhurried
@given(
    st.binary(max_size=600), st.integers(0x1F, 0x23), st.sampled_from([0, 0x10, 0x11, 0x21, 0x31])
)
def test_any_bytes_in_a_binary_header_are_one_or_the_one_error(rest, command, protocol):
    """Nothing else is raised."""
    survive(binary(rest, command, protocol))


@unhurried
@given(headers(), st.data())
def test_any_change_of_a_header_is_one_or_the_one_error(header, data):
    """Nothing else is raised."""
    changed = bytearray(encode_proxy_header(header))
    for _ in range(data.draw(st.integers(1, 5))):
        place = data.draw(st.integers(0, len(changed) - 1))
        changed[place] = data.draw(st.integers(0, 255))
    survive(bytes(changed))


@unhurried
@given(st.text("PROXYTCUNKW46 .:0123456789abcdef\r\n", max_size=130).map(str.encode))
def test_any_line_is_a_header_or_the_one_error(text):
    """Nothing else is raised."""
    survive(b"PROXY TCP4 " + text)
    survive(b"PROXY TCP6 " + text)
    survive(b"PROXY UNKNOWN " + text)
