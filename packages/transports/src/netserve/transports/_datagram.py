"""Servers of datagrams: UDP."""

import contextlib
import socket as _socket
from collections.abc import Generator
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from netserve.core import (
    AddressT,
    DatagramRequest,
    Entry,
    InetAddress,
    Loop,
    Outcome,
    RequestBatch,
    TruncatedDatagram,
    end_request,
    log,
    report_error,
)
from netserve.transports._batch import Answer, Batch
from netserve.transports._destination import ANCILLARY_SIZE, Destinations, destinations
from netserve.transports._socket_server import INTERNET, SocketServer

if TYPE_CHECKING:
    from netserve.transports._mmsg import Mmsg

_DONT_WAIT: Final = int(getattr(_socket, "MSG_DONTWAIT", 0))
# Windows has it not, and raises an OSError for what is too long.
_HAS_RECVMSG: Final = hasattr(_socket.socket, "recvmsg")
_LONGEST: Final = 65535  # bytes; no UDP datagram is longer
_TRUNCATED: Final = int(getattr(_socket, "MSG_TRUNC", 0))


class DatagramServer(SocketServer[DatagramRequest, AddressT]):
    """A server whose requests are datagrams, each with the socket to answer on."""

    socket_type: int = _socket.SOCK_DGRAM

    max_packet_size: int = 65535
    """How many bytes of a datagram are read (default 65535: no UDP datagram is longer).

    What :meth:`verify_truncated` says happens to a longer one.
    """

    answers_from_destination: bool = True
    """Whether an answer leaves from the address to which its datagram came (default: yes).

    It matters on a server that is bound to all addresses of a host with more than
    one (``""``, ``"0.0.0.0"`` or ``"::"``): its requests then hold a socket that
    sends from that address, and whose ``getsockname`` tells it. On other servers
    they hold the server's own, and so they do where the system doesn't tell the
    address. Looked at in :meth:`server_activate`.
    """

    _ns_destinations: Destinations | None = None
    _ns_mmsg: "Mmsg | None" = None
    _ns_batch: Batch | None = None
    _ns_batches: bool = False
    # How many more datagrams are taken one by one before it is tried whether many
    # wait, and how many they were when that was tried last.
    _ns_singles: int = 0
    _ns_patience_for_many: int = 1
    _ns_runs_singles: bool = False

    def server_activate(self) -> None:
        """Prepare for :attr:`answers_from_destination`; a bound datagram socket receives."""
        if self.answers_from_destination:
            self._ns_destinations = destinations(self.socket)
        self._ns_mmsg = None

    def server_close(self) -> None:
        """Close the server's socket, and those that it answers from."""
        super().server_close()
        if self._ns_destinations is not None:
            self._ns_destinations.close()

    def get_request(self) -> tuple[DatagramRequest, AddressT]:
        """Receive a datagram; returns (data, socket) and the client's address.

        The first is a :class:`~netserve.core.TruncatedDatagram` when the datagram
        was longer than :attr:`max_packet_size`.
        """
        # In the loop, another process may have been faster; elsewhere one waits for it.
        flags = 0 if self._ns_loop is None else _DONT_WAIT
        request, client_address = self._ns_receive(flags)
        self.requests_in_progress.add_bytes(len(request[0]), 0)
        return request, client_address

    def take_requests(self) -> None:
        """Take the datagrams that wait: many with one system call, where that pays.

        It pays when more than one waits, which is tried the more rarely the more
        often it was in vain. They are then a batch for :meth:`process_batch`, unless
        a subclass has hooks of its own that are left out there.
        """
        if not self._ns_batches or self.access_log:
            super().take_requests()
        elif self._ns_stop_requested:
            return
        elif self._ns_singles:
            self._ns_singles -= 1
            self._ns_take_single()
        else:
            requests, size = self._ns_get(self._ns_receive_many) or _NONE
            if len(requests) < 2:
                self._ns_patience_for_many = min(2 * self._ns_patience_for_many, _TRY_MANY)
                self._ns_singles = self._ns_patience_for_many
            else:
                self._ns_patience_for_many = 1
            if requests:
                self._ns_run_batch(requests, size)

    def process_batch(self, batch: RequestBatch) -> None:
        """Run the requests of *batch* here and now.

        Called instead of :meth:`process_request` for each. A mix-in that overrides
        that one overrides this too, or gets no batches.
        """
        self._ns_handles_in_loop = True
        try:
            for _ in batch.run():
                pass
        finally:
            self._ns_handles_in_loop = False

    def queue_answer(
        self, request: DatagramRequest, answer: bytes, client_address: AddressT
    ) -> bool:
        """Send *answer* with others when the handlers of the batch have returned.

        Returns false, and does nothing, when there is no batch whose answers are
        collected in the calling thread; then the handler has to send it.
        """
        batch = self._ns_batch
        if batch is None or batch.collector != get_ident():
            return False
        batch.answers.append((request, answer, client_address))
        return True

    def send_answers(self) -> None:
        """Send now what was queued with :meth:`queue_answer`."""
        if self._ns_batch is not None:
            self._ns_batch.send_answers()

    def send_together(self, answers: list[Answer]) -> int:
        """Send *answers* with one system call; returns how many were sent before one failed."""
        return 0 if self._ns_mmsg is None else self._ns_mmsg.send(answers)

    def verify_truncated(self, request: TruncatedDatagram, client_address: AddressT) -> bool:
        """Whether to process a datagram of which a part is lost; the default says no.

        It was longer than :attr:`max_packet_size`; *request* has what was read of
        it. The default is one INFO record on ``netserve.server``. The datagram
        counts as refused then, and isn't answered. When an override says yes,
        :meth:`verify_request` is asked next.
        """
        log.info(
            "%r: a datagram from %s was refused: it is longer than max_packet_size, %d bytes",
            self,
            client_address,
            self.max_packet_size,
            extra={"server": self, "peer": client_address},
        )
        return False

    def refuse_request(self, request: DatagramRequest, client_address: AddressT) -> None:
        """Send :attr:`farewell`, if there is one, as far as that is possible at once."""
        address: Any = client_address
        if self.farewell:
            with contextlib.suppress(OSError):
                self.socket.sendto(self.farewell, _DONT_WAIT, address)

    def shutdown_request(self, request: DatagramRequest) -> None:
        """Call :meth:`close_request`; a datagram has no connection to end."""
        self.close_request(request)

    def close_request(self, request: DatagramRequest) -> None:
        """Close nothing: the socket is the server's own."""
        self.request_closed(request)

    # A datagram has no connection to reach into. Said here, because in the drop-in
    # module, as in CPython, a stream server stands behind this class.

    def end_input(self, request: DatagramRequest) -> None:
        """Do nothing: the whole datagram is there."""

    def abort_request(self, request: DatagramRequest) -> None:
        """Do nothing: there is no connection to shut."""

    def is_connected(self, request: DatagramRequest) -> bool:
        """True."""
        return True

    def has_unread_input(self, request: DatagramRequest) -> bool:
        """False."""
        return False

    def duplicate_request(self, request: DatagramRequest) -> DatagramRequest:
        """*request* itself."""
        return request

    def request_traffic(self, request: DatagramRequest) -> tuple[int, int]:
        """Zeros: a datagram's bytes are counted when it is received."""
        return 0, 0

    def close_duplicate(self, duplicate: DatagramRequest) -> None:
        """Do nothing: the socket is the server's own."""

    # A handler that answers relies on it.
    _ns_blocks_while_serving = True

    def _ns_receive(self, flags: int = _DONT_WAIT) -> tuple[DatagramRequest, AddressT]:
        own, told = self.socket, self._ns_destinations
        whole = self.max_packet_size >= _LONGEST and self.address_family in INTERNET
        if told is None and (whole or not _HAS_RECVMSG):
            data, client_address = own.recvfrom(self.max_packet_size, flags)
            return (data, own), client_address
        data, ancillary, status, client_address = own.recvmsg(
            self.max_packet_size, 0 if told is None else ANCILLARY_SIZE, flags
        )
        answers = own if told is None else told.find(ancillary)
        if status & _TRUNCATED:
            return TruncatedDatagram((data, answers)), client_address
        return (data, answers), client_address

    @contextlib.contextmanager
    def _ns_serving(self) -> Generator[Loop]:
        with super()._ns_serving() as loop:
            # Not before: whether messages are forwarded is seen from the loop.
            self._ns_batches = self._ns_takes_batches()
            self._ns_runs_singles = _has_own(self, "process_batch")
            yield loop

    def _ns_takes_batches(self) -> bool:
        """Whether a batch leaves nothing out that this server does for each request."""
        if not vars(self).keys().isdisjoint(_LEFT_OUT) or self.overload == "refuse":
            return False
        if getattr(self, "forwards_messages", False):
            # Other processes handle them, each by itself.
            return False
        return self.max_connections_per_peer is None and all(
            _is_left_out_rightly(type(self), name) for name in _LEFT_OUT
        )

    def _ns_take_single(self) -> None:
        """Take a datagram that is alone, as most are."""
        taken = self._ns_get(self._ns_receive)
        if taken is None:
            return
        request, client_address = taken
        if not self._ns_runs_singles:
            self._ns_run_batch([(request, client_address)], len(request[0]))
            return
        # What a batch of one would do, at less expense.
        ledger = self._ns_ledger
        ledger.note(request, client_address, len(request[0]))
        self._ns_handles_in_loop = True
        try:
            if (
                not isinstance(request, TruncatedDatagram)
                or self.verify_truncated(request, client_address)
            ) and self.verify_request(request, client_address):
                self.finish_request(request, client_address)
            else:
                self._ns_end_single(request, Outcome.REFUSED)
        except Exception:
            self._ns_end_single(request, report_error(self, request, client_address))
        except BaseException:
            self._ns_end_single(request, Outcome.FAILED)
            raise
        finally:
            self._ns_handles_in_loop = False
            ledger.end_noted(request)

    def _ns_end_single(self, request: DatagramRequest, outcome: Outcome) -> None:
        """End *request*, which no handler has completed."""
        entry = self._ns_ledger.find(request)
        if entry is not None:
            entry.outcome = outcome
        end_request(self, request)

    def _ns_run_batch(self, requests: list[tuple[DatagramRequest, AddressT]], size: int) -> None:
        """Run *requests*, whose datagrams are *size* bytes in all."""
        outer = self._ns_batch
        # Elsewhere a datagram may have to wait until its receiver has room for it.
        collects = self.address_family in INTERNET
        self._ns_batch = batch = Batch(self, requests, size, collects=collects)
        try:
            self.process_batch(batch)
        finally:
            self._ns_batch = outer
            batch.end()

    def _ns_receive_many(self) -> "_Taken[AddressT] | None":
        """Receive the datagrams that wait, as far as there is room; None where that can't be."""
        mmsg = self._ns_mmsg
        if mmsg is None or mmsg.size != self.max_packet_size or mmsg.own is not self.socket:
            # Not before it is wanted: ctypes is large.
            from netserve.transports._mmsg import Mmsg

            try:
                mmsg = Mmsg(self.socket, self.max_packet_size, self._ns_destinations)
            except NotImplementedError:
                self._ns_batches = False
                return None
            self._ns_mmsg = mmsg
        limit = self.max_connections
        most = mmsg.most if limit is None else limit - self.requests_in_progress.active
        return mmsg.receive(most), mmsg.bytes_received

    def _ns_admit(self, request: DatagramRequest, client_address: AddressT, entry: Entry) -> bool:
        if isinstance(request, TruncatedDatagram) and not self.verify_truncated(
            request, client_address
        ):
            return False
        return super()._ns_admit(request, client_address, entry)

    def _ns_backlog_size(self) -> int:
        # The drop-in module's class has the queue of a stream server too, which isn't meant.
        return _BACKLOG


# How many datagrams are taken one by one, at the most, before it is tried whether more
# than one waits.
_TRY_MANY: Final = 64

# Requests that were received together, and how many bytes they are.
_Taken: TypeAlias = tuple[list[tuple[DatagramRequest, AddressT]], int]
_NONE: Final[tuple[list[Any], int]] = [], 0

# The hooks that aren't called for a datagram of a batch.
_LEFT_OUT: Final = (
    "get_request",
    "process_request",
    "shutdown_request",
    "close_request",
    "request_closed",
    "request_ended",
    "open_request",
    "open_and_wait",
    "_ns_receive",
    "_ns_admit",
    "_ns_attempt",
    "_handle_request_noblock",
)


def _has_own(server: DatagramServer[Any], name: str) -> bool:
    """Whether nobody overrides the hook *name* of *server*."""
    return name not in vars(server) and (
        getattr(type(server), name) is getattr(DatagramServer, name)
    )


def _is_left_out_rightly(server: type[object], name: str) -> bool:
    """Whether the class that defines hook *name* last also says how a batch is processed."""
    if getattr(server, name) is getattr(DatagramServer, name):
        return True
    definer = next(each for each in server.__mro__ if name in vars(each))
    return "process_batch" in vars(definer)


# More of the smallest datagrams than fit in a buffer of the usual size.
_BACKLOG: Final = 1024


class UDPServer(DatagramServer[InetAddress]):
    """A server of UDP datagrams (:rfc:`768`), over IPv4 or IPv6, as its address says.

    Addresses are pairs of host and port in either family. A subclass that sets
    ``address_family`` takes only that one.
    """

    _ns_pairs = True
