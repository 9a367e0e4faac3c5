"""Many datagrams in one system call: ``recvmmsg(2)`` and ``sendmmsg(2)`` of Linux.

Theory of operation. Both calls take a vector of message headers, each of which
points to a buffer for the data, one for the address and, if asked for, one for
what the system tells besides. They are made once, in one piece of memory each, and
filled by the system or by us. Python has neither call; :mod:`ctypes` makes them, and
memory is read and written through buffers rather than through ctypes, which is
slow at single fields.

The memory for data is that of a private mapping, of which the system hands out a
page only when it is written to: a server whose datagrams are small has few pages of
it, however long they might be.

Addresses are looked up by their form in memory, because the same clients come again
and again.
"""

import ctypes
import errno
import mmap
import os
import socket as _socket
import struct
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

MOST: Final = 32
"""How many datagrams go through one call."""

_ADDRESS: Final = 128  # bytes of a sockaddr_storage
_TOLD: Final = 64  # bytes for what the system tells of one datagram
_KNOWN: Final = 4096  # addresses that are kept


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


def _reader(*names: str) -> struct.Struct:
    """What unpacks the fields *names*, in the order of their places, from one header."""
    codes = {4: "I", ctypes.sizeof(ctypes.c_size_t): "N"}
    form, place = "@", 0
    for name in names:
        field: Any = getattr(_Message, name)
        form += f"{field.offset - place}x{codes[field.size]}"
        place = field.offset + field.size
    return struct.Struct(form + f"{_SIZE - place}x")


_RECEIVED: Final = _reader("name_length", "control_length", "flags", "length")


_CONTROL: Final = struct.Struct("@Nii")  # struct cmsghdr
_CONTROL_UNIT: Final = ctypes.sizeof(ctypes.c_size_t)

_STEP: Final = _SIZE // 4
_NAME_LENGTH: Final = _Message.name_length.offset // 4

_DONT_WAIT: Final = int(getattr(_socket, "MSG_DONTWAIT", 0))
_TRUNCATED: Final = int(getattr(_socket, "MSG_TRUNC", 0))
_NONE_WAITS: Final = frozenset({errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR})

Ancillary: TypeAlias = list[tuple[int, int, bytes]]
"""As :meth:`socket.socket.recvmsg` returns it, and ``sendmsg`` takes it."""

Answer: TypeAlias = tuple[bytes, Any, Ancillary]
"""A datagram to be sent: its data, its address, and what to tell the system of it."""

_NOTHING: Final[Ancillary] = []


Received: TypeAlias = tuple[bytes, Any, Ancillary, bool]
"""A datagram: its data, its address, what the system tells of it, and whether it was longer."""


class _Messages:
    """Headers for :data:`MOST` messages of at most *size* bytes, and their buffers."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.data, self.names, self.controls = map(_memory, (size, _ADDRESS, _TOLD))
        self._vectors = (_Vector * MOST)()
        self._headers = (_Message * MOST)()
        data, names, controls = map(_place, (self.data, self.names, self.controls))
        for number, (vector, header) in enumerate(zip(self._vectors, self._headers, strict=True)):
            vector.base, vector.length = data + number * size, size
            header.name, header.name_length = names + number * _ADDRESS, _ADDRESS
            header.vector = ctypes.addressof(vector)
            header.vector_length = 1
            header.control, header.control_length = controls + number * _TOLD, _TOLD
        self.place = ctypes.addressof(self._headers)
        self.headers = memoryview(self._headers).cast("B")
        self.pristine = bytes(self.headers)
        self.telling = [True] * MOST
        self.lengths = memoryview(self._vectors).cast("B").cast("L")
        self.name_lengths = self.headers.cast("I")

    def tell_nothing(self) -> None:
        """Tell the system nothing with any message; or have no room for what it tells."""
        self.telling = [False] * MOST
        for header in self._headers:
            header.control_length = 0
        self.pristine = bytes(self.headers)

    def tell(self, number: int, ancillary: Ancillary) -> None:
        """Have message *number* tell the system this."""
        self.telling[number] = bool(ancillary)
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
    """Sends and receives up to :data:`MOST` datagrams at once on sockets of one family.

    *size* is how many bytes of a datagram are read or written at the most; *told*
    says whether the system tells where each has come to, *reported* turns an address
    into the one that programs see. Raises
    :class:`NotImplementedError` where the system has no such calls, or addresses of
    *family* aren't known here.
    """

    def __init__(
        self, family: int, size: int, *, told: bool, reported: Callable[[Any], Any] | None = None
    ) -> None:
        decode = _DECODERS.get(family)
        if decode is None or _recvmmsg is None or _sendmmsg is None or size < 1:
            msg = "datagrams can't be received together here"
            raise NotImplementedError(msg)
        self.size = size
        self.most = MOST
        self._decode: Callable[[bytes], Any] = decode
        self._reported = reported
        self._receive, self._send = _recvmmsg, _sendmmsg
        self._incoming = _Messages(size)
        self._outgoing = _Messages(size)
        self._outgoing.tell_nothing()
        if not told:
            self._incoming.tell_nothing()
        self._addresses: dict[bytes, Any] = {}
        self._names: dict[Any, bytes] = {}

    def receive(self, descriptor: int, limit: int) -> list[Received]:
        """Receive the datagrams that wait, at most *limit*; without waiting for any."""
        messages = self._incoming
        count = self._receive(descriptor, messages.place, min(limit, MOST), _DONT_WAIT, None)
        if count < 0:
            number = ctypes.get_errno()
            if number in _NONE_WAITS:
                return []
            raise OSError(number, os.strerror(number))
        end = count * _SIZE
        headers = bytes(messages.headers[:end])
        # The lengths of what has come stand where those of the room for it did.
        messages.headers[:end] = messages.pristine[:end]
        data, names, known, size = messages.data, messages.names, self._addresses, self.size
        received: list[Received] = []
        start = name = 0
        for name_length, control_length, flags, length in _RECEIVED.iter_unpack(headers):
            raw = names[name : name + name_length]
            address = known[raw] if raw in known else self._learn(raw)
            told = _NOTHING
            if control_length:
                told = _read_control(messages.controls, len(received) * _TOLD, control_length)
            received.append((data[start : start + length], address, told, bool(flags & _TRUNCATED)))
            start += size
            name += _ADDRESS
        return received

    def send(self, descriptor: int, answers: Sequence[Answer]) -> int:
        """Send *answers*, at most :data:`MOST`; returns how many were sent before one failed.

        An answer fails also when it is longer than :attr:`size`, or its address
        none from which a datagram was received here.
        """
        messages, names = self._outgoing, self._names
        data, lengths, name_lengths = messages.data, messages.lengths, messages.name_lengths
        start = name = count = 0
        for number, (answer, address, ancillary) in enumerate(answers):
            raw = names.get(address)
            if raw is None or len(answer) > self.size:
                break
            count += 1
            data[start : start + len(answer)] = answer
            lengths[2 * number + 1] = len(answer)
            messages.names[name : name + len(raw)] = raw
            name_lengths[number * _STEP + _NAME_LENGTH] = len(raw)
            if ancillary or messages.telling[number]:
                messages.tell(number, ancillary)
            start += self.size
            name += _ADDRESS
        sent: int = self._send(descriptor, messages.place, count, 0) if count else 0
        return max(sent, 0)

    def _learn(self, raw: bytes) -> Any:
        if len(self._addresses) >= _KNOWN:
            self._addresses.clear()
            self._names.clear()
        address = self._decode(raw) if raw else None
        if raw and self._reported is not None:
            address = self._reported(address)
        self._addresses[raw] = address
        if raw:
            self._names[address] = raw
        return address


def _aligned(size: int) -> int:
    """*size*, up to where the next of the things told begins."""
    return -(-size // _CONTROL_UNIT) * _CONTROL_UNIT


def _read_control(controls: mmap.mmap, start: int, length: int) -> Ancillary:
    """What the system tells, from *length* bytes at *start*."""
    told: Ancillary = []
    end = start + length
    while start + _CONTROL.size <= end:
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


_DECODERS: Final[dict[int, Callable[[bytes], Any]]] = {
    _socket.AF_INET: _inet,
    _socket.AF_INET6: _inet6,
    getattr(_socket, "AF_UNIX", -1): _unix,
}


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
