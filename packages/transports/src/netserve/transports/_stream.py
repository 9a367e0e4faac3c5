"""Servers of connected streams: TCP."""

import contextlib
import os
import socket as _socket
import sys
import time
from collections.abc import Callable
from typing import Final

from typing_extensions import Self

from netserve.core import AddressT, Deadlines, InetAddress, Outcome, StreamRequest
from netserve.transports._closing import discard, has_unread_input, linger, peer_is_gone, traffic
from netserve.transports._deadline_socket import DeadlineSocket
from netserve.transports._options import SocketOptions, set_all
from netserve.transports._socket_server import SocketServer

# Elsewhere than on Linux an accepted connection doesn't block if the listener doesn't.
_INHERITS_BLOCKING: Final = sys.platform != "linux"

# The loop ends the first, and must not wait; the second has had its time.
_NO_LINGERING: Final = frozenset({Outcome.REFUSED, Outcome.TIMED_OUT})


class StreamServer(SocketServer[StreamRequest, AddressT]):
    """A server whose requests are connections.

    Derive from it for a family that has no class here, or for all four parts of
    IPv6 addresses: ``StreamServer[Inet6Address]`` with
    ``address_family = socket.AF_INET6``.
    """

    request_queue_size: int = 128
    """How many connections the system keeps waiting (see :manpage:`listen(2)`)."""

    idle_timeout: float | None = None
    """How long a handler may wait without a byte coming or going, in seconds.

    None, the default, is for ever: only the protocol knows whether a silent
    client is at fault. A wait beyond it raises
    :class:`~netserve.core.DeadlineError` in the handler.
    """

    message_timeout: float | None = None
    """How long a message may take to arrive, in seconds; None, the default: for ever.

    It counts from the message's first byte, however steadily more bytes come.
    Through ``rfile`` a message is what one call reads; for a handler that reads
    the socket itself, all that it receives until it sends.
    """

    connection_timeout: float | None = None
    """How long a connection may last, in seconds; None, the default: for ever."""

    linger_timeout: float = 5.0
    """How long a connection is kept, in seconds, for its client to take the whole reply.

    Only when the client has sent what no handler has read: to close then would
    reset the connection, and with it the reply. A handler in a thread or process
    of its own also waits while the client hasn't taken all yet, as it may still
    be sending. Zero closes at once.
    """

    linger_bytes: int = 1 << 20
    """How many bytes of surplus input are thrown away meanwhile (default 1 MiB)."""

    # Another process may take the connection between the wait and accept, which
    # would block until the next one comes.
    _ns_blocks_while_serving = False

    # Whether what is sent to a client needs nothing before it.
    _ns_speaks_plainly: bool = True

    def __init__(
        self,
        server_address: AddressT,
        RequestHandlerClass: Callable[[StreamRequest, AddressT, Self], object],
        bind_and_activate: bool = True,
        *,
        request_queue_size: int | None = None,
        allow_reuse_address: bool | None = None,
        allow_reuse_port: bool | None = None,
        dual_stack: bool | None = None,
        socket_options: SocketOptions | None = None,
    ) -> None:
        self._ns_set("request_queue_size", request_queue_size)
        super().__init__(
            server_address,
            RequestHandlerClass,
            bind_and_activate,
            allow_reuse_address=allow_reuse_address,
            allow_reuse_port=allow_reuse_port,
            dual_stack=dual_stack,
            socket_options=socket_options,
        )

    def server_activate(self) -> None:
        """Listen, with a queue of :attr:`request_queue_size`.

        A socket that listens already, because somebody else made it so, is left alone.
        """
        if not self._ns_listens:
            self.socket.listen(self.request_queue_size)

    def get_request(self) -> tuple[StreamRequest, AddressT]:
        """Accept a connection; returns its socket and the client's address.

        The socket keeps the deadlines that are set, unless the listening socket
        is of a class of its own, as for TLS.
        """
        request, client_address = self.socket.accept()
        return self._ns_take(request), client_address

    def _ns_take(self, request: StreamRequest) -> StreamRequest:
        """The socket that the handler is to have of *request*, which was accepted."""
        if _INHERITS_BLOCKING:
            request.settimeout(_socket.getdefaulttimeout())
        if self._ns_plan.connection:
            # It may be gone already. That the values are right, was tried before.
            with contextlib.suppress(OSError):
                set_all(request, self._ns_plan.connection)
        limits = (self.idle_timeout, self.message_timeout, self.connection_timeout)
        # A server that reads the connections itself keeps the deadlines itself.
        blocks = not getattr(self, "drives_messages", False)
        if blocks and limits != (None, None, None) and type(request) is _socket.socket:
            request = DeadlineSocket.adopt(request, Deadlines(*limits, time.monotonic()))
        return request

    def refuse_request(self, request: StreamRequest, client_address: AddressT) -> None:
        """Send :attr:`farewell`, as far as that is possible at once; nothing under TLS.

        There it would take a handshake first, for which a server that is full
        has no time.
        """
        request.setblocking(False)
        if self.farewell and self._ns_speaks_plainly:
            with contextlib.suppress(OSError):
                request.send(self.farewell)

    def shutdown_request(self, request: StreamRequest) -> None:
        """Tell the client that nothing more will come, and close *request*.

        The connection ends even where another process still holds a copy of
        the socket. See :attr:`linger_timeout` for when it waits.
        """
        try:
            request.shutdown(_socket.SHUT_WR)
            entry = self._ns_ledger.find(request)
            if entry is not None and entry.outcome in _NO_LINGERING:
                discard(request)
            elif self.linger_timeout > 0:
                # Where requests are handled one by one, nobody waits for what may yet come.
                patient = not self._ns_handles_in_loop
                linger(request, self.linger_timeout, self.linger_bytes, patient=patient)
        except OSError:
            # A connection that is gone already has nothing to shut down.
            pass
        self.close_request(request)

    def close_request(self, request: StreamRequest) -> None:
        """Close this process's socket of the connection."""
        entry = self._ns_ledger.find(request)
        if entry is not None and not entry.held and not self._ns_is_child:
            entry.traffic = self.request_traffic(request)
        request.close()
        self.request_closed(request)

    def end_input(self, request: StreamRequest) -> None:
        """Shut the reading side; what has come in already can still be read."""
        request.shutdown(_socket.SHUT_RD)

    def abort_request(self, request: StreamRequest) -> None:
        """Shut both sides, which ends every wait on the connection."""
        request.shutdown(_socket.SHUT_RDWR)

    def request_traffic(self, request: StreamRequest) -> tuple[int, int]:
        """How many bytes went over the connection; zeros where the system doesn't tell."""
        return traffic(request)

    def is_connected(self, request: StreamRequest) -> bool:
        """Whether the connection is open in either direction, and hasn't broken off."""
        return not (getattr(request, "is_broken_off", False) or peer_is_gone(request))

    def has_unread_input(self, request: StreamRequest) -> bool:
        """Whether input lies unread."""
        return has_unread_input(request)

    def duplicate_request(self, request: StreamRequest) -> StreamRequest:
        """A socket of its own on the same connection."""
        # The system needn't be asked for what this one knows.
        return _socket.socket(
            request.family, request.type, request.proto, fileno=os.dup(request.fileno())
        )

    def close_duplicate(self, duplicate: StreamRequest) -> None:
        """Close that socket, when the other process has ended."""
        duplicate.close()


class TCPServer(StreamServer[InetAddress]):
    """A server of TCP connections (:rfc:`9293`), over IPv4 or IPv6, as its address says.

    Addresses are pairs of host and port in either family. A subclass that sets
    ``address_family`` takes only that one.
    """

    _ns_pairs = True

    # On Windows the option would let two servers take one port.
    allow_reuse_address: bool = os.name == "posix"
