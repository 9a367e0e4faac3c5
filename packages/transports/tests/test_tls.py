"""Tests of netserve.transports._tls: contexts, what is refused, and the mix-in's hooks."""

import logging
import socket
import socketserver
import ssl
import warnings

import pytest
import trustme

from netserve.core import MixInOrderError, State
from netserve.transports import (
    StreamServer,
    TCPServer,
    TLSConnection,
    TLSMixIn,
    UDPServer,
    server_context,
)

HERE = ("127.0.0.1", 0)


class Server(TLSMixIn, TCPServer):
    """A server that has no certificate yet."""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A certificate, its key, and the authority, as files."""
    folder = tmp_path_factory.mktemp("tls")
    ca = trustme.CA()
    issued = ca.issue_cert("localhost")
    for name, blob in [
        ("cert.pem", issued.cert_chain_pems[0]),
        ("key.pem", issued.private_key_pem),
        ("both.pem", issued.private_key_and_cert_chain_pem),
        ("ca.pem", ca.cert_pem),
        ("other.pem", ca.issue_cert("other").private_key_pem),
    ]:
        blob.write_to_path(str(folder / name))
    (folder / "nonsense.pem").write_text("nonsense")
    return folder


def context(**attributes):
    """A context for servers, with *attributes*."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    for name, value in attributes.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            setattr(made, name, value)
    return made


def test_a_server_without_a_certificate_is_refused_when_made():
    """The error says what to set; nothing is left open."""
    with pytest.raises(TypeError, match=r"Server needs a certificate: set ssl_context, for one"):
        Server(HERE, print)


@pytest.mark.parametrize(
    ("unusable", "error", "words"),
    [
        ("cert.pem", TypeError, "must be an ssl.SSLContext, not 'cert.pem'"),
        (ssl.create_default_context(), ValueError, "is for clients"),
        (
            context(minimum_version=ssl.TLSVersion.TLSv1),
            ValueError,
            "allows TLSv1, TLSv1_1, which have been given up",
        ),
        (
            context(minimum_version=ssl.TLSVersion.MINIMUM_SUPPORTED),
            ValueError,
            r"set its minimum_version to ssl\.TLSVersion\.TLSv1_2",
        ),
    ],
    ids=["name", "client", "tls-1.0", "whatever"],
)
def test_a_context_that_will_not_do_is_refused(unusable, error, words):
    """When the server is made, and when it is given the context later."""

    class Wrong(Server):
        ssl_context = unusable

    with pytest.raises(error, match=words):
        Wrong(HERE, print)
    with Server(HERE, print, bind_and_activate=False) as server:
        server.ssl_context = unusable
        server.server_bind()
        with pytest.raises(error, match=words):
            server.server_activate()


def test_old_versions_may_be_forbidden_one_by_one():
    """As programs did before there was a least version."""
    options = ssl.OP_NO_SSLv3 | ssl.OP_NO_TLSv1 | ssl.OP_NO_TLSv1_1

    class Old(Server):
        ssl_context = context(
            minimum_version=ssl.TLSVersion.TLSv1, options=context().options | options
        )

    Old(HERE, print).server_close()


def test_a_context_may_be_set_before_the_server_listens(files):
    """On the instance."""
    with Server(HERE, print, bind_and_activate=False) as server:
        server.ssl_context = server_context(files / "both.pem")
        server.server_bind()
        server.server_activate()
        assert server.state is State.BOUND


def test_a_context_may_be_made_by_a_hook(files):
    """Once, and again for a reload; one that can't be made changes nothing."""
    made = []

    class Making(Server):
        def make_ssl_context(self):
            if len(made) == 2:
                msg = "no such file"
                raise OSError(msg)
            made.append(server_context(files / "both.pem"))
            return made[-1]

    with Making(HERE, print) as server:
        assert server.ssl_context is made[0]
        server.reload()
        assert server.ssl_context is made[1]
        with pytest.raises(OSError, match="no such file"):
            server.reload_certificates()
        assert server.ssl_context is made[1]


def test_a_reload_without_the_hook_is_a_warning(files, caplog):
    """It says what is missing."""

    class Set(Server):
        ssl_context = server_context(files / "both.pem")

    with Set(HERE, print) as server:
        before = server.ssl_context
        server.reload()
        assert server.ssl_context is before
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "needs make_ssl_context()" in record.getMessage()


def test_tls_is_for_our_servers_of_streams():
    """On others the class itself is an error."""
    for other in (UDPServer, socketserver.TCPServer):
        with pytest.raises(TypeError, match="TLSMixIn is for netserve's servers of streams"):
            type("Wrong", (TLSMixIn, other), {})
    with pytest.raises(MixInOrderError):
        type("Wrong", (TCPServer, TLSMixIn), {})


def test_a_context_has_what_it_was_asked_for(files):
    """TLS 1.2 at least, client certificates on demand, protocols."""
    plain = server_context(files / "cert.pem", files / "key.pem")
    assert plain.minimum_version is ssl.TLSVersion.TLSv1_2
    assert plain.verify_mode is ssl.CERT_NONE
    assert plain.options & ssl.OP_NO_RENEGOTIATION
    asking = server_context(str(files / "both.pem"), client_ca=files / "ca.pem", alpn=["h2"])
    assert asking.verify_mode is ssl.CERT_REQUIRED
    assert len(asking.get_ca_certs()) == 1


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"certfile": "missing.pem"}, FileNotFoundError, r"missing\.pem"),
        ({"certfile": "cert.pem", "keyfile": "missing.pem"}, FileNotFoundError, r"missing\.pem"),
        ({"certfile": "cert.pem"}, ValueError, "with its key"),
        ({"certfile": "nonsense.pem"}, ValueError, r"nonsense\.pem"),
        (
            {"certfile": "cert.pem", "keyfile": "other.pem"},
            ValueError,
            r"with the key '.*other\.pem' \(KEY_VALUES_MISMATCH\): .* belong together",
        ),
        ({"certfile": "both.pem", "client_ca": "nonsense.pem"}, ValueError, "can't use the auth"),
        ({"certfile": "both.pem", "client_ca": "missing.pem"}, FileNotFoundError, "missing"),
    ],
)
def test_what_is_wrong_with_a_file_is_told(files, arguments, error, words):
    """With its name."""
    with pytest.raises(error, match=words):
        server_context(**{name: files / value for name, value in arguments.items()})


def test_an_encrypted_key_needs_its_password(files):
    """Nobody is asked on the terminal."""
    serialization = pytest.importorskip("cryptography.hazmat.primitives.serialization")
    key = serialization.load_pem_private_key((files / "key.pem").read_bytes(), None)
    secret = files / "secret.pem"
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"sesame"),
        )
    )
    with pytest.raises(ValueError, match="the private key is encrypted: give its password"):
        server_context(files / "cert.pem", secret)
    server_context(files / "cert.pem", secret, password="sesame")


def test_connections_are_wrapped_when_they_are_accepted(files):
    """With the deadlines of the server, and its time for lingering; nothing is sent yet."""

    class Patient(Server):
        ssl_context = server_context(files / "both.pem")
        idle_timeout = 2.5
        linger_timeout = 1.5

    with Patient(HERE, print) as server, socket.create_connection(server.server_address):
        request, _ = server.get_request()
        assert isinstance(request, TLSConnection)
        assert request.close_timeout == 1.5
        assert "idle=2.5" in repr(request.deadlines)
        request.close()


def test_a_loop_that_speaks_tls_itself_gets_plain_connections(files):
    """And only what comes before TLS is opened."""

    class Before(StreamServer):
        def open_request(self, request, client_address):
            return iter(("before",))

    class Speaking(TLSMixIn, Before):
        ssl_context = server_context(files / "both.pem")
        speaks_tls_itself = True

    with Speaking(HERE, print) as server, socket.create_connection(server.server_address):
        request, address = server.get_request()
        assert type(request) is socket.socket
        assert list(server.open_request(request, address)) == ["before"]
        server.report_request_error(ConnectionError("x"), request, address)
        request.close()


def test_a_refused_client_is_sent_no_farewell_in_plain_text(files):
    """It may see a bare end, which is less of a puzzle."""

    class Full(Server):
        ssl_context = server_context(files / "both.pem")
        max_connections = 0
        overload = "refuse"
        farewell = b"too many clients"

    with Full(HERE, print).background() as running:
        with socket.create_connection(running.address, 20) as client:
            assert client.recv(100) == b""
    assert running.server.stats().refused == 1
