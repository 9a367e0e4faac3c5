"""Tests of netserve.transports._addresses: decisions about addresses, without a server."""

import socket

import pytest

from netserve.transports import parse_address
from netserve.transports._addresses import choose_family, for_system, is_inet6, reported


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:80", ("127.0.0.1", 80)),
        ("localhost:0", ("localhost", 0)),
        ("[::1]:80", ("::1", 80)),
        ("[fe80::1%eth0]:65535", ("fe80::1%eth0", 65535)),
        (":80", ("", 80)),
        ("unix:/run/service.sock", "/run/service.sock"),
        ("unix:service.sock", "service.sock"),
        ("/run/a:80", "/run/a:80"),
        ("./service.sock", "./service.sock"),
        ("@name", b"\0name"),
        ("unix:@name:1", b"\0name:1"),
    ],
)
def test_an_address_is_read_as_a_person_writes_it(text, address):
    """Internet addresses become pairs; paths stay; an abstract name begins with a zero byte."""
    assert parse_address(text) == address


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "the port is missing"),
        ("80", "the port is missing"),
        ("localhost", "the port is missing"),
        ("localhost:", "'' isn't a port from 0 to 65535"),
        ("localhost:http", "'http' isn't a port from 0 to 65535"),
        ("localhost:65536", "'65536' isn't a port from 0 to 65535"),
        ("localhost:-1", "'-1' isn't a port from 0 to 65535"),
        ("localhost:٣", "isn't a port from 0 to 65535"),
        ("::1:80", "an IPv6 address stands in brackets"),
        ("[::1:80", "an IPv6 address stands in brackets"),
        ("::1]:80", "an IPv6 address stands in brackets"),
        ("[localhost]:80", "'localhost' isn't an IPv6 address"),
        ("[]:80", "'' isn't an IPv6 address"),
        ("[::1]", "'1]' isn't a port"),
        ("unix:", "the path or name is missing"),
        ("@", "the path or name is missing"),
        ("unix:@", "the path or name is missing"),
        ("/run/\0", "it contains a null character"),
    ],
)
def test_what_is_no_address_is_answered_with_the_forms(text, reason):
    """The message names the text, the reason, and what would be right."""
    with pytest.raises(ValueError, match="isn't an address") as caught:
        parse_address(text)
    assert repr(text) in str(caught.value)
    assert reason in str(caught.value)
    assert "give one as 127.0.0.1:8000, [::1]:8000" in str(caught.value)


@pytest.mark.parametrize(
    ("address", "dual_stack", "family", "bound"),
    [
        (("127.0.0.1", 1), True, socket.AF_INET, ("127.0.0.1", 1)),
        (("::1", 1), False, socket.AF_INET6, ("::1", 1)),
        (("fe80::1%2", 1), False, socket.AF_INET6, ("fe80::1%2", 1)),
        (("::1", 1, 2, 3), False, socket.AF_INET6, ("::1", 1, 2, 3)),
        (("", 1), False, socket.AF_INET, ("", 1)),
        (("", 1), None, socket.AF_INET, ("", 1)),
        (("", 1), True, socket.AF_INET6, ("::", 1)),
        (("<broadcast>", 1), False, socket.AF_INET, ("<broadcast>", 1)),
        ("path", True, socket.AF_INET, "path"),
        (None, False, socket.AF_INET, None),
        ((1, 2), False, socket.AF_INET, (1, 2)),
        ((), False, socket.AF_INET, ()),
    ],
)
def test_a_family_follows_from_the_host(monkeypatch, address, dual_stack, family, bound):
    """A literal says its family; nothing is looked up for it, nor for what isn't a name."""
    monkeypatch.setattr(socket, "getaddrinfo", pytest.fail)
    chosen = choose_family(address, socket.SOCK_STREAM, dual_stack=dual_stack)
    assert chosen == (family, bound)


@pytest.mark.parametrize(
    ("found", "family", "bound"),
    [
        (
            [(socket.AF_INET6, ("::1", 0, 0, 0)), (socket.AF_INET, ("127.0.0.1", 0))],
            socket.AF_INET,
            ("127.0.0.1", 9),
        ),
        ([(socket.AF_INET6, ("::1", 0, 0, 0))], socket.AF_INET6, ("::1", 9)),
        ([(socket.AF_INET6, ("fe80::1", 0, 0, 2))], socket.AF_INET6, ("fe80::1%2", 9)),
    ],
)
def test_a_name_is_resolved_once(monkeypatch, found, family, bound):
    """Of what it stands for, IPv4 comes first, as where a server has no choice."""
    asked = []

    def getaddrinfo(host, port, **keywords):
        asked.append((host, port, keywords))
        return [(family, None, None, "", address) for family, address in found]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    chosen = choose_family(("name", 9), socket.SOCK_DGRAM, dual_stack=False)
    assert chosen == (family, bound)
    keywords = {"type": socket.SOCK_DGRAM, "flags": socket.AI_PASSIVE}
    assert asked == [("name", None, keywords)]


@pytest.mark.parametrize("host", ["::g", "a:b", "1.2.3.4:80"])
def test_a_host_with_a_colon_that_is_no_literal_is_refused(host):
    """It can be no name either, and isn't looked up."""
    with pytest.raises(ValueError, match=f"'{host}' isn't an IPv6 address"):
        choose_family((host, 80), socket.SOCK_STREAM, dual_stack=False)


@pytest.mark.parametrize(
    ("host", "is_literal"),
    [("::1", True), ("fe80::1%eth0", True), ("127.0.0.1", False), ("::1\0", False), ("", False)],
)
def test_literals_of_ipv6_are_known(host, is_literal):
    """With a zone or without."""
    assert is_inet6(host) is is_literal


@pytest.mark.parametrize(
    ("given", "pair", "parts"),
    [
        (("::1", 5, 0, 0), ("::1", 5), ("::1", 5, 0, 0)),
        (("fe80::1", 5, 7, 2), ("fe80::1%2", 5), ("fe80::1", 5, 7, 2)),
        (("::ffff:127.0.0.1", 5, 0, 0), ("127.0.0.1", 5), ("127.0.0.1", 5, 0, 0)),
        (("::ffff:7f00:1:2:3", 5, 0, 0), ("::ffff:7f00:1:2:3", 5), ("::ffff:7f00:1:2:3", 5, 0, 0)),
        ("", "", ""),
        (None, None, None),
        ((16, 2), (16, 2), (16, 2)),
    ],
)
def test_an_address_of_the_system_is_reported_plainly(given, pair, parts):
    """A mapped IPv4 address is the IPv4 address; a scope is the host's zone."""
    assert reported(given, pairs=True) == pair
    assert reported(given, pairs=False) == parts


@pytest.mark.parametrize(
    ("address", "system"),
    [
        (("::1", 5), ("::1", 5)),
        (("::1", 5, 6, 7), ("::1", 5, 6, 7)),
        (("fe80::1%2", 5), ("fe80::1", 5, 0, 2)),
        (("127.0.0.1", 5), ("::ffff:127.0.0.1", 5)),
        (("127.0.0.1", 5, 0, 0), ("::ffff:127.0.0.1", 5, 0, 0)),
        (("localhost", 5), ("localhost", 5)),
        (None, None),
    ],
)
def test_a_plain_address_becomes_the_systems(address, system):
    """So what a handler was told can be answered."""
    assert for_system(address) == system


def test_a_zone_may_be_the_name_of_an_interface():
    """As people write it; one that doesn't exist is an error of the system's."""
    index, name = socket.if_nameindex()[0]
    assert for_system((f"fe80::1%{name}", 5)) == ("fe80::1", 5, 0, index)
    with pytest.raises(OSError, match="no interface"):
        for_system(("fe80::1%no-such", 5))


def test_for_binding_nothing_is_mapped():
    """An IPv4 host on a server that is stated to be of IPv6 is a mistake."""
    assert for_system(("127.0.0.1", 5), mapping=False) == ("127.0.0.1", 5)
