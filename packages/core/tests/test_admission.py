"""Tests of netserve.core._admission: the decision, and the key of a peer."""

import ipaddress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from netserve.core import Admission, admit, admit_peer, peer_key

COUNTS = st.integers(0, 1000)


@given(active=COUNTS, overload=st.sampled_from(["wait", "refuse"]))
def test_without_a_limit_everything_is_accepted(active, overload):
    """A limit of None is none, whatever the policy."""
    assert admit(active, None, overload) is Admission.ACCEPT
    assert admit_peer(active, None) is Admission.ACCEPT


@given(active=COUNTS, limit=COUNTS)
@example(active=0, limit=0)
@example(active=1, limit=1)
@example(active=0, limit=1)
def test_the_limit_is_the_most_that_may_be_in_progress(active, limit):
    """One more is accepted exactly while fewer than the limit are in progress."""
    fits = active + 1 <= limit
    assert (admit(active, limit, "wait") is Admission.ACCEPT) is fits
    assert (admit(active, limit, "refuse") is Admission.ACCEPT) is fits
    assert (admit_peer(active, limit) is Admission.ACCEPT) is fits


def test_beyond_the_limit_the_policy_decides():
    """A full server leaves requests waiting or refuses them; a peer over its share is refused."""
    assert admit(2, 2, "wait") is Admission.WAIT
    assert admit(2, 2, "refuse") is Admission.REFUSE
    assert admit_peer(2, 2) is Admission.REFUSE


@given(st.ip_addresses(v=4), st.integers(0, 65535))
def test_an_ipv4_peer_is_its_address(address, port):
    """Two IPv4 peers have the same key exactly when they have the same address."""
    assert peer_key((str(address), port)) == address.packed


@given(st.ip_addresses(v=6), st.integers(0, 65535))
@example(ipaddress.IPv6Address("::"), 0)
@example(ipaddress.IPv6Address("::1"), 0)
@example(ipaddress.IPv6Address("::fffe:192.0.2.1"), 0)
def test_an_ipv6_peer_is_its_network_of_64_bits(address, port):
    """The key of an IPv6 peer is what its addresses have in common; the scope doesn't matter."""
    if address.ipv4_mapped is not None:
        return
    key = address.packed[:8]
    assert peer_key((str(address), port, 0, 0)) == key
    assert peer_key((f"{address}%eth0", port, 0, 2)) == key
    assert peer_key((address.exploded.upper(), port, 0, 0)) == key


@given(st.ip_addresses(v=6), st.integers(1, 2**64 - 1), st.integers(0, 63))
def test_ipv6_peers_differ_in_the_first_64_bits_alone(address, last, bit):
    """Another interface is the same peer, another network is another one."""
    if address.ipv4_mapped is not None:
        return
    here = int(address)
    neighbour = ipaddress.IPv6Address(here ^ last)
    stranger = ipaddress.IPv6Address(here ^ (1 << 64 + bit))
    if neighbour.ipv4_mapped is None:
        assert peer_key((str(neighbour), 1, 0, 0)) == peer_key((str(address), 1, 0, 0))
    assert peer_key((str(stranger), 1, 0, 0)) != peer_key((str(address), 1, 0, 0))


@given(st.ip_addresses(v=4))
def test_a_mapped_ipv4_peer_is_the_ipv4_peer(address):
    """A dual-stack server counts an IPv4 client as an IPv4 server does."""
    assert peer_key((f"::ffff:{address}", 1, 0, 0)) == peer_key((str(address), 2))
    assert len(peer_key((f"::ffff:{address}", 1, 0, 0))) == 4


@given(
    st.none()
    | st.text()
    | st.binary()
    | st.just(())
    | st.tuples(st.none() | st.integers() | st.binary())
    | st.tuples(st.text(alphabet="abcxyz/%: \0é\ud800"), st.integers())
)
@example(("\0", 1))
@example(("::\0", 1))
@example(("\ud800", 1))
@example(("localhost", 80))
@example("/run/socket")
@example(b"\0abstract")
@example((b"127.0.0.1", 1))
def test_what_is_no_internet_address_has_no_key(address):
    """Peers that can't be told apart have no key, and none makes an error."""
    if isinstance(address, tuple) and address and isinstance(address[0], str):
        try:
            ipaddress.ip_address(address[0].partition("%")[0])
        except ValueError:
            pass
        else:
            return
    assert peer_key(address) is None


@pytest.mark.parametrize("host", ["1.2.3", "1.2.3.4.5", "01.2.3.4x", "1:2:3", "::1::", "%eth0"])
def test_a_host_that_is_nearly_an_address_has_no_key(host):
    """Only a numeric address counts."""
    assert peer_key((host, 1)) is None


def test_an_address_without_a_port_has_a_key_too():
    """The host alone decides."""
    assert peer_key(("192.0.2.1",)) == bytes([192, 0, 2, 1])
