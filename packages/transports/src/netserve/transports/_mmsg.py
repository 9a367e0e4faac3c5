"""Many datagrams in one system call: ``recvmmsg(2)`` and ``sendmmsg(2)`` of Linux.

Theory of operation. Both calls take a vector of message headers, each of which
points to a buffer for the data, one for the address and, if asked for, one for
what the system tells besides. They are made once, in one piece of memory each, and
filled by the system or by us. Python has neither call; :mod:`ctypes` makes them, and
memory is read and written through buffers rather than through ctypes, which is
slow at single fields. What all messages of a call have of one kind is read and
written as a column, because each step that Python takes for one message alone costs
a few hundredths of what the system does for it.

The memory for data is that of a private mapping, of which the system hands out a
page only when it is written to: a server whose datagrams are small has few pages of
it, however long they might be.

Addresses are looked up by their form in memory, because the same clients come again
and again; so is what the system tells besides.
"""

import ctypes
import errno
import mmap
import os
import socket as _socket
import struct
import sys
from array import array
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from typing import Any, Final, TypeAlias

from netserve.core import DatagramRequest, TruncatedDatagram
from netserve.transports._destination import Ancillary, Destinations, in_form_of

MOST: Final = 64
"""How many datagrams go through one call."""

_TOLD: Final = 64  # bytes for what the system tells of one datagram
_KNOWN: Final = 4096  # addresses that are kept, and other things told


class _Vector(ctypes.Structure):
    """``struct iovec``."""

    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Message(ctypes.Structure):
    """``struct mmsghdr``, with the ``struct msghdr`` in it."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("vector", ctypes.c_void_p),
        ("vector_length", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
        # That header ends here, where a pointer would be aligned.
        ("padding", ctypes.c_uint32 * (ctypes.sizeof(ctypes.c_void_p) // 4 - 1)),
        ("length", ctypes.c_uint32),
        ("more_padding", ctypes.c_uint32 * (ctypes.sizeof(ctypes.c_void_p) // 4 - 1)),
    )


_SIZE: Final = ctypes.sizeof(_Message)
_WORD: Final = "L"  # as large as a size_t and a pointer, on Linux

_CONTROL: Final = struct.Struct("@Nii")  # struct cmsghdr
_CONTROL_UNIT: Final = ctypes.sizeof(ctypes.c_size_t)

_DONT_WAIT: Final = int(getattr(_socket, "MSG_DONTWAIT", 0))
_TRUNCATED: Final = int(getattr(_socket, "MSG_TRUNC", 0))
_NONE_WAITS: Final = frozenset({errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR})

Answer: TypeAlias = tuple[DatagramRequest, bytes, Any]
"""What is answered, the answer, and the client's address."""

Received: TypeAlias = tuple[DatagramRequest, Any]
"""A request, and the client's address."""

_NOTHING: Final[Ancillary] = []


class _Messages:
    """Headers for :data:`MOST` messages, and their buffers.

    There are *size* bytes for the data of each, and *name_size* for its address.
    """

    def __init__(self, size: int, name_size: int) -> None:
        self.data, self.names, self.controls = map(_memory, (size, name_size, _TOLD))
        self._vectors = (_Vector * MOST)()
        self._headers = (_Message * MOST)()
        self.start, names, controls = map(_place, (self.data, self.names, self.controls))
        for number, (vector, header) in enumerate(zip(self._vectors, self._headers, strict=True)):
            vector.base, vector.length = self.start + number * size, size
            header.name, header.name_length = names + number * name_size, name_size
            header.vector = ctypes.addressof(vector)
            header.vector_length = 1
            header.control, header.control_length = controls + number * _TOLD, _TOLD
        self.place = ctypes.addressof(self._headers)
        self.headers = memoryview(self._headers).cast("B")
        self.told: list[Ancillary] = [_NOTHING] * MOST
        vectors = memoryview(self._vectors).cast("B").cast(_WORD)
        self.bases, self.lengths = vectors[::2], vectors[1::2]

    def column(self, name: str) -> "memoryview[int]":
        """The field *name* of all headers."""
        field: Any = getattr(_Message, name)
        is_word = field.size == ctypes.sizeof(ctypes.c_size_t)
        fields = self.headers.cast(_WORD) if is_word else self.headers.cast("I")
        start: int = field.offset // field.size
        return fields[start :: _SIZE // field.size]

    def tell_nothing(self) -> None:
        """Tell the system nothing with any message; or have no room for what it tells."""
        for header in self._headers:
            header.control_length = 0

    def tell(self, number: int, ancillary: Ancillary) -> None:
        """Have message *number* tell the system this."""
        self.told[number] = ancillary
        start = number * _TOLD
        end = start
        for level, kind, data in ancillary:
            _CONTROL.pack_into(self.controls, end, _CONTROL.size + len(data), level, kind)
            end += _CONTROL.size
            self.controls[end : end + len(data)] = data
            end += _aligned(len(data))
        self._headers[number].control_length = end - start


def _memory(size: int) -> mmap.mmap:
    """Memory for *size* bytes of each message."""
    # A slice of a mapping is bytes, which one of a bytearray would be only as a copy.
    return mmap.mmap(-1, size * MOST, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def _place(memory: mmap.mmap) -> int:
    """Where *memory* is."""
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


class Mmsg:
    """Sends and receives up to :data:`MOST` datagrams at once on the socket *own*.

    *size* is how many bytes of a datagram are read or written at the most.
    *destinations* has the sockets to answer on, if the system tells where each has
    come to. Raises :class:`NotImplementedError` where the system has no such calls,
    or addresses of the socket's family aren't known here.
    """

    def __init__(
        self, own: _socket.socket, size: int, destinations: Destinations | None = None
    ) -> None:
        form = _FORMS.get(own.family)
        if form is None or _recvmmsg is None or _sendmmsg is None or size < 1:
            msg = "datagrams can't be received together here"
            raise NotImplementedError(msg)
        self.own = own
        self.size = size
        self.most = MOST
        self.bytes_received = 0
        """How many bytes the last :meth:`receive` has brought."""
        self._destinations = destinations
        self._receive, self._send = _recvmmsg, _sendmmsg
        self._name_size, self._decode = form
        self._incoming = _Messages(size, self._name_size)
        self._outgoing = _Messages(size, self._name_size)
        self._outgoing.tell_nothing()
        if destinations is None:
            self._incoming.tell_nothing()
        self._pristine = bytes(self._incoming.headers)
        self._starts = range(0, size * MOST, size)
        self._lengths, self._flags, self._name_lengths, self._control_lengths = map(
            self._incoming.column, ("length", "flags", "name_length", "control_length")
        )
        self._addresses: dict[bytes, Any] = {}
        self._names: dict[Any, bytes] = {}
        self._told: dict[bytes, Ancillary] = {}

    def receive(self, limit: int) -> list[Received]:
        """Receive the datagrams that wait, at most *limit*; without waiting for any."""
        messages, own = self._incoming, self.own
        count = self._receive(own.fileno(), messages.place, min(limit, MOST), _DONT_WAIT, None)
        if count < 0:
            number = ctypes.get_errno()
            if number in _NONE_WAITS:
                return []
            raise OSError(number, os.strerror(number))
        data, known = messages.data, self._addresses
        lengths: list[int] = self._lengths[:count].tolist()
        self.bytes_received = sum(lengths)
        received: list[Received] = [
            ((data[start : start + length], own), known.get(name) or self._learn(name))
            for start, length, name in zip(
                self._starts, lengths, self._read_names(count), strict=False
            )
        ]
        if self._destinations is not None:
            self._find_destinations(self._destinations, received)
        if any(self._flags[:count].tolist()):
            self._mark_truncated(received)
        # The lengths of what has come stand where those of the room for it did.
        end = count * _SIZE
        messages.headers[:end] = self._pristine[:end]
        return received

    def send(self, answers: Sequence[Answer]) -> int:
        """Send *answers*, at most :data:`MOST`; returns how many were sent before one failed.

        An answer fails also when it is longer than :attr:`size`, or its address
        none from which a datagram was received here, or one of the Unix domain.
        """
        known, size = self._names, self.size
        names: list[bytes] = []
        data: list[bytes] = []
        for _, answer, address in answers:
            name = known.get(address)
            if name is None or len(answer) > size:
                break
            names.append(name)
            data.append(answer)
        count = len(names)
        if not count:
            return 0
        messages = self._outgoing
        lengths = array(_WORD, map(len, data))
        # One after the other, rather than each in its own page.
        messages.data[: sum(lengths)] = b"".join(data)
        messages.bases[:count] = array(_WORD, accumulate(lengths[:-1], initial=messages.start))
        messages.lengths[:count] = lengths
        messages.names[: count * self._name_size] = b"".join(names)
        if self._destinations is not None:
            for number in range(count):
                ancillary = getattr(answers[number][0][1], "ancillary", _NOTHING)
                if ancillary is not messages.told[number]:
                    messages.tell(number, ancillary)
        sent: int = self._send(self.own.fileno(), messages.place, count, 0)
        return max(sent, 0)

    def _read_names(self, count: int) -> Iterable[bytes]:
        """The addresses from which *count* datagrams have come, as the system has them."""
        names, size = self._incoming.names, self._name_size
        if self._decode is not _unix:
            return [name for (name,) in struct.iter_unpack(f"{size}s", names[: count * size])]
        lengths: list[int] = self._name_lengths[:count].tolist()
        return [names[size * n : size * n + length] for n, length in enumerate(lengths)]

    def _find_destinations(self, destinations: Destinations, received: list[Received]) -> None:
        """Put the sockets to answer on in the requests."""
        lengths: list[int] = self._control_lengths[: len(received)].tolist()
        for number, length in enumerate(lengths):
            raw = self._incoming.controls[number * _TOLD : number * _TOLD + length]
            told = self._told.get(raw)
            if told is None:
                if len(self._told) >= _KNOWN:
                    self._told.clear()
                told = self._told[raw] = _read_control(raw)
            (data, _), address = received[number]
            received[number] = (data, destinations.find(told)), address

    def _mark_truncated(self, received: list[Received]) -> None:
        """Have the requests that were cut be such."""
        flags: list[int] = self._flags[: len(received)].tolist()
        for number, (request, address) in enumerate(received):
            if flags[number] & _TRUNCATED:
                received[number] = TruncatedDatagram(request), address

    def _learn(self, name: bytes) -> Any:
        """The address that the system has as *name*; None for a client without any."""
        if not name:
            return None
        if len(self._addresses) >= _KNOWN:
            self._addresses.clear()
            self._names.clear()
        address = in_form_of(self.own, self._decode(name))
        self._addresses[name] = address
        # Those of the Unix domain are shorter than their place, and aren't sent together.
        if len(name) == self._name_size:
            self._names[address] = name
        return address


def _aligned(size: int) -> int:
    """*size*, up to where the next of the things told begins."""
    return -(-size // _CONTROL_UNIT) * _CONTROL_UNIT


def _read_control(controls: bytes) -> Ancillary:
    """What the system tells in *controls*."""
    told: Ancillary = []
    start = 0
    while start + _CONTROL.size <= len(controls):
        size, level, kind = _CONTROL.unpack_from(controls, start)
        told.append((level, kind, controls[start + _CONTROL.size : start + size]))
        start += _aligned(size)
    return told


def _inet(raw: bytes) -> tuple[str, int]:
    """The address of IPv4 in a ``struct sockaddr_in``."""
    return _socket.inet_ntoa(raw[4:8]), int.from_bytes(raw[2:4], "big")


def _inet6(raw: bytes) -> tuple[str, int, int, int]:
    """The address of IPv6 in a ``struct sockaddr_in6``."""
    host = _socket.inet_ntop(_socket.AF_INET6, raw[8:24])
    flow, scope = int.from_bytes(raw[4:8], "big"), int.from_bytes(raw[24:28], sys.byteorder)
    return host, int.from_bytes(raw[2:4], "big"), flow, scope


def _unix(raw: bytes) -> str | bytes:
    """The path, or the abstract name, in a ``struct sockaddr_un``."""
    name = raw[2:]
    return name if name[:1] == b"\0" else os.fsdecode(name.partition(b"\0")[0])


_FORMS: Final[dict[int, tuple[int, Callable[[bytes], Any]]]] = {
    _socket.AF_INET: (16, _inet),
    _socket.AF_INET6: (28, _inet6),
    getattr(_socket, "AF_UNIX", -1): (110, _unix),
}
"""How many bytes the address of a family takes, and what reads it."""


def _function(name: str, *arguments: Any) -> Any:
    """The function *name* of the C library, which sets ``errno``; None where there is none."""
    if sys.platform != "linux":
        return None
    function = getattr(ctypes.CDLL(None, use_errno=True), name, None)
    if function is not None:
        function.argtypes = arguments
    return function


_HEADERS: Final = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int)
_recvmmsg: Final = _function("recvmmsg", *_HEADERS, ctypes.c_void_p)
_sendmmsg: Final = _function("sendmmsg", *_HEADERS)
