"""Tests of netserve.transports._trusted: which peers are believed."""

import ipaddress
import socket

import pytest

from netserve.transports._trusted import TrustedProxies

INET, INET6 = socket.AF_INET, socket.AF_INET6
UNIX = getattr(socket, "AF_UNIX", None)
MIXED = ("10.0.0.0/8", "192.0.2.7", ipaddress.ip_network("fd00::/8"), ipaddress.ip_address("::1"))


@pytest.mark.parametrize(
    ("family", "address", "trusted"),
    [
        (INET, ("10.255.0.1", 1), True),
        (INET, ("11.0.0.1", 1), False),
        (INET, ("192.0.2.7", 1), True),
        (INET, ("192.0.2.8", 1), False),
        (INET6, ("fd00::1", 1, 0, 0), True),
        (INET6, ("::1", 1, 0, 0), True),
        (INET6, ("::2", 1, 0, 0), False),
        (INET6, ("::ffff:10.0.0.1", 1, 0, 0), True),
        (INET6, ("::ffff:11.0.0.1", 1, 0, 0), False),
        (INET6, ("fd00::1%lo", 1, 0, 1), True),
        (INET, ("10.example", 1), False),
        (INET, ("", 1), False),
        (INET, (), False),
        (INET, None, False),
        (UNIX, "", False),
        (UNIX, ("10.0.0.1", 1), False),
    ],
)
def test_a_peer_in_one_of_the_networks_is_trusted(family, address, trusted):
    """And none that isn't, whatever its address looks like."""
    assert TrustedProxies(MIXED).include(family, address) is trusted


@pytest.mark.skipif(UNIX is None, reason="needs AF_UNIX")
def test_unix_trusts_the_peers_on_unix_domain_sockets():
    """All of them, and no others."""
    trusted = TrustedProxies(["unix:"])
    assert trusted.include(UNIX, "")
    assert trusted.include(UNIX, b"\0name")
    assert not trusted.include(INET, ("127.0.0.1", 1))
    assert trusted.suits(UNIX)
    assert not trusted.suits(INET)


def test_networks_suit_internet_sockets():
    """Of either version, and no others."""
    assert TrustedProxies(MIXED).suits(INET)
    assert TrustedProxies(MIXED).suits(INET6)
    assert UNIX is None or not TrustedProxies(MIXED).suits(UNIX)
    assert not TrustedProxies(()).suits(INET)


@pytest.mark.parametrize("wrong", ["10.0.0.1/8", "10.0.0.0/33", "proxy.example", "", "unix"])
def test_what_is_no_network_is_an_error_that_names_it(wrong):
    """And says what would be right."""
    with pytest.raises(ValueError, match="trusted_proxies has ") as caught:
        TrustedProxies([wrong])
    assert repr(wrong) in str(caught.value)
    assert "such as '10.0.0.0/8', or 'unix:'" in str(caught.value)


def test_a_string_isnt_a_sequence_of_networks():
    """Although Python takes it for a sequence, of letters."""
    with pytest.raises(TypeError, match=r"such as \('10.0.0.0/8',\), not a string"):
        TrustedProxies("10.0.0.0/8")
