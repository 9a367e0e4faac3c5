"""Certificates, and a client under TLS that can end its sending and go on receiving."""

import socket
import ssl
import threading
from pathlib import Path
from typing import Any

import trustme
from typing_extensions import Self

PATIENCE = 20
NAME = "localhost"


class Authority:
    """A certificate authority, with its files in *folder*."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca = trustme.CA()
        self.bundle = folder / "ca.pem"
        self.files = folder / "server.pem", folder / "server.key"
        self.ca.cert_pem.write_to_path(str(self.bundle))

    def issue(self, stem: str, *names: str) -> tuple[Path, Path]:
        """Write ``stem.pem`` and ``stem.key``; returns both."""
        issued = self.ca.issue_cert(*(names or (NAME, "127.0.0.1")))
        certificate, key = self.folder / f"{stem}.pem", self.folder / f"{stem}.key"
        # In one step each, so that a server that reads them meanwhile finds a whole one.
        for path, blobs in (
            (certificate, issued.cert_chain_pems),
            (key, [issued.private_key_pem]),
        ):
            part = path.with_suffix(".part")
            part.write_bytes(b"".join(blob.bytes() for blob in blobs))
            part.rename(path)
        return certificate, key

    def client(self, **options: Any) -> ssl.SSLContext:
        """What a client trusts that knows this authority; *options* are attributes of it."""
        context = ssl.create_default_context(cafile=str(self.bundle))
        for name, value in options.items():
            setattr(context, name, value)
        return context


class Client:
    """A connection under TLS to *address*; it can do what :mod:`ssl`'s own can't.

    It ends its sending with :meth:`end`, and goes on receiving; and it knows in
    :attr:`whole` whether the server has told that it has sent everything.
    """

    def __init__(self, address: Any, context: ssl.SSLContext) -> None:
        family = socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX
        self.socket = socket.socket(family)
        self.socket.settimeout(PATIENCE)
        self.whole = False
        # OpenSSL doesn't let two threads use a connection at once.
        self._lock = threading.Lock()
        try:
            self.socket.connect(address)
            if family == socket.AF_INET:
                self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
            self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
            self.tls = context.wrap_bio(self._in, self._out, server_hostname=NAME)
            self._through(self.tls.do_handshake)
        except BaseException:
            self.socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.socket.close()

    def _through(self, step: Any, *arguments: Any) -> Any:
        while True:
            try:
                with self._lock:
                    result = step(*arguments)
            except ssl.SSLWantReadError:
                self._send()
                data = self.socket.recv(65536)
                if not data:
                    raise EOFError from None
                self._in.write(data)
            else:
                self._send()
                return result

    def _send(self) -> None:
        if self._out.pending:
            self.socket.sendall(self._out.read())

    def sendall(self, data: bytes) -> None:
        """Send *data*."""
        with self._lock:
            self.tls.write(data)
        self._send()

    def recv(self, size: int) -> bytes:
        """At most *size* bytes; none at the end."""
        try:
            data: bytes = self._through(self.tls.read, size)
        except ssl.SSLZeroReturnError:
            data = b""
        except EOFError:
            return b""
        self.whole = self.whole or not data
        return data

    def end(self) -> None:
        """Send ``close_notify``."""
        try:
            self.tls.unwrap()
        except ssl.SSLWantReadError:
            self._send()
