"""What a header of the PROXY protocol says, whichever of its versions says it.

The specification is HAProxy's ``proxy-protocol.txt``; sections here are its own.
"""

import enum
from dataclasses import dataclass
from typing import Literal, TypeAlias

from netserve.core import InetAddress, PeerError, UnixAddress

ProxyEndpoint: TypeAlias = InetAddress | UnixAddress
"""One end of a proxied connection, as a header has it.

The host and port of an Internet address, IPv6 included; of a Unix domain socket
the path, abstract name or ``""``; None where the header says nothing of it.
"""


class ProxyProtocolError(PeerError):
    """What a proxy has sent is no header of the PROXY protocol; the message says why."""


class ProxyCommand(enum.Enum):
    """On whose behalf a proxy has connected (section 2.2)."""

    LOCAL = 0
    """Its own, for a health check: the connection's addresses are the real ones."""

    PROXY = 1
    """A client's, which the header names."""


class ProxyFamily(enum.Enum):
    """The address family of the proxied connection (section 2.2)."""

    UNSPEC = 0
    """Unknown, or one that the protocol doesn't have."""

    INET = 1
    """IPv4."""

    INET6 = 2
    """IPv6."""

    UNIX = 3
    """A Unix domain socket."""


class ProxyTransport(enum.Enum):
    """The transport of the proxied connection (section 2.2)."""

    UNSPEC = 0
    """Unknown, or one that the protocol doesn't have."""

    STREAM = 1
    """TCP, or a Unix stream."""

    DGRAM = 2
    """UDP, or Unix datagrams."""


class ProxyClientFlags(enum.IntFlag):
    """What a proxy knows of its client's TLS (section 2.2.6)."""

    SSL = 1
    """The client has connected with TLS."""

    CERT_CONN = 2
    """It has shown a certificate on this connection."""

    CERT_SESS = 4
    """It has shown one in the TLS session that this connection belongs to."""


@dataclass(frozen=True)
class ProxyTLV:
    """A type and value that the specification gives no meaning, or none yet (section 2.2.8)."""

    type: int
    """From 0 to 255."""

    value: bytes
    """As it was sent."""


@dataclass(frozen=True)
class ProxySSL:
    """What a proxy tells of the TLS connection that it has ended (section 2.2.6)."""

    client: ProxyClientFlags
    """Whether the client used TLS, and showed a certificate."""

    verify: int
    """The result of verifying the certificate: zero for a good one, or for none at all."""

    version: str | None = None
    """The version of TLS, such as ``"TLSv1.3"``."""

    common_name: str | None = None
    """The common name in the client's certificate."""

    cipher: str | None = None
    """The cipher, such as ``"TLS_AES_256_GCM_SHA384"``."""

    signature_algorithm: str | None = None
    """How the proxy's own certificate is signed, such as ``"RSA-SHA256"``."""

    key_algorithm: str | None = None
    """The key of the proxy's own certificate, such as ``"RSA2048"``."""

    others: tuple[ProxyTLV, ...] = ()
    """What else the proxy has sent in it, in order."""

    @property
    def verified(self) -> bool:
        """Whether the client has shown a certificate, and it was found good."""
        shown = self.client & (ProxyClientFlags.CERT_CONN | ProxyClientFlags.CERT_SESS)
        return bool(shown) and self.verify == 0


@dataclass(frozen=True)
class ProxyHeader:
    """A header of the PROXY protocol."""

    version: Literal[1, 2]
    """1 for the line of text (section 2.1), 2 for the binary form (section 2.2)."""

    command: ProxyCommand = ProxyCommand.PROXY
    """Whether a client or the proxy itself is at the other end."""

    family: ProxyFamily = ProxyFamily.UNSPEC
    """Of the proxied connection; it needn't be this connection's own."""

    transport: ProxyTransport = ProxyTransport.UNSPEC
    """Of the proxied connection."""

    source: ProxyEndpoint = None
    """The client's address; None if it isn't told."""

    destination: ProxyEndpoint = None
    """The address that the client has connected to; None if it isn't told."""

    alpn: bytes | None = None
    """The protocol above, as TLS has negotiated it (section 2.2.1)."""

    authority: str | None = None
    """The host name that the client has asked for, by SNI for instance (section 2.2.2)."""

    checksummed: bool = False
    """Whether it has a CRC32C checksum; one that was parsed had the right one (section 2.2.3)."""

    unique_id: bytes | None = None
    """What the proxy calls the connection, at most 128 bytes (section 2.2.5)."""

    ssl: ProxySSL | None = None
    """The client's TLS connection (section 2.2.6)."""

    netns: str | None = None
    """The name of the network namespace (section 2.2.7)."""

    others: tuple[ProxyTLV, ...] = ()
    """What else the proxy has sent, in order; padding (section 2.2.4) isn't kept."""
