"""Tests of netserve.handlers._tls."""

import socket
import ssl
from unittest import mock

import pytest

from netserve.handlers import MessageRequestHandler, StreamRequestHandler, TLSRequestHandler


def test_a_handler_has_its_connection():
    """It is the one that it was given, with what TLS knows."""
    seen = []

    class Handler(TLSRequestHandler):
        def handle(self):
            seen.append(self.request.getpeercert())
            seen.append(self.connection is self.request)

    connection = mock.create_autospec(ssl.SSLSocket, instance=True)
    connection.getpeercert.return_value = {"serialNumber": "1"}
    connection.deadlines = None
    Handler(connection, ("127.0.0.1", 1), None)
    assert seen == [{"serialNumber": "1"}, True]
    assert issubclass(TLSRequestHandler, StreamRequestHandler)


def test_a_connection_without_tls_is_an_error():
    """It says what to do."""

    class Handler(TLSRequestHandler):
        def handle(self):
            pytest.fail("handled")

    with pytest.raises(TypeError, match=r"put netserve.transports.TLSMixIn before the server"):
        Handler(object(), ("127.0.0.1", 1), "a server")


def test_a_handler_of_messages_has_what_tls_knows():
    """None without TLS; the connection under TLS, unless the server says otherwise."""

    class Driver:
        drives_messages = True

    plain = MessageRequestHandler(mock.create_autospec(socket.socket), "client", Driver())
    assert plain.ssl_object is None
    connection = mock.create_autospec(ssl.SSLSocket, instance=True)
    assert MessageRequestHandler(connection, "client", Driver()).ssl_object is connection
