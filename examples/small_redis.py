"""A small Redis: values in memory, for any client of Redis.

Run ``python small_redis.py``, then ``redis-cli -p 6379 set greeting hello``, or
``redis-benchmark -p 6379 -t ping,set,get,incr``.

The protocol is RESP 2 (https://redis.io/docs/latest/develop/reference/protocol-spec/).
Its framing is one of our own: a class whose decoder cuts the stream into values, and
knows nothing of what they mean. The handler knows nothing of the stream.
"""

import argparse
from collections.abc import Callable
from threading import Lock

from netserve.concurrency import MultiplexingMixIn
from netserve.core import Decoder, FramingError, InetAddress
from netserve.handlers import MessageRequestHandler
from netserve.transports import TCPServer

MAX_LINE = 4096
MAX_VALUE = 1 << 20
MAX_WORDS = 1024


class Resp:
    """The framing: each message is a value of RESP, as it was sent, its line ends included.

    A line that begins like no value is one as well: a command for those who type it.
    """

    def decoder(self) -> Decoder:
        """A new decoder, for one connection."""
        return RespDecoder()

    def encode(self, message: bytes, /) -> bytes:
        """*message* as it is; raises :class:`ValueError` unless it is one whole value."""
        if not message or find_end(message, 0) != len(message):
            raise ValueError(f"{message!r} isn't one value of RESP")
        return message


class RespDecoder:
    """Cuts a stream into values."""

    def __init__(self) -> None:
        self._held = bytearray()
        # How many bytes have to be there before it is worth looking at them again.
        self._wanted = 0

    @property
    def pending(self) -> int:
        """How many bytes are held of a value that isn't complete."""
        return len(self._held)

    def decode(self, data: bytes, /) -> list[bytes]:
        """Take the next bytes; return the values that they complete."""
        if self._held:
            self._held += data
            if len(self._held) < self._wanted:
                return []
            data = bytes(self._held)
            self._held.clear()
        values: list[bytes] = []
        start = end = 0
        try:
            while start < len(data) and (end := find_end(data, start)) <= len(data):
                values.append(data[start:end])
                start = end
        except FramingError as error:
            raise FramingError(str(error), values) from None
        if start < len(data):
            self._held += data[start:]
            self._wanted = end - start
        return values

    def end(self) -> list[bytes]:
        """Nothing more comes; half a value is an error."""
        if self._held:
            raise FramingError(f"the stream ended {len(self._held)} bytes into a value")
        return []


def find_end(data: bytes, start: int) -> int:
    """Where the value ends that begins at *start*; somewhere beyond *data*, if it isn't there."""
    end = data.find(b"\n", start) + 1
    if (end or len(data)) - start > MAX_LINE:
        raise FramingError(f"a line is longer than {MAX_LINE} bytes")
    if not end:
        return len(data) + 1
    match data[start : start + 1]:
        case b"$":
            return end_of_string(data, end, length_in(data[start + 1 : end], MAX_VALUE))
        case b"*":
            return end_of_array(data, end, length_in(data[start + 1 : end], MAX_WORDS))
        case _:
            return end


def end_of_string(data: bytes, start: int, length: int) -> int:
    """Where the string of *length* bytes ends that begins at *start*, with its line end."""
    if length < 0:  # the string that isn't there
        return start
    end = start + length + 2
    if end <= len(data) and data[end - 2 : end] != b"\r\n":
        raise FramingError(f"no line end after a string of {length} bytes")
    return end


def end_of_array(data: bytes, start: int, length: int) -> int:
    """Where the array of *length* values ends, the first of which begins at *start*."""
    end = start
    for _ in range(length):
        if data[end : end + 1] == b"*":
            raise FramingError("an array within an array")
        end = find_end(data, end)
        if end - start > MAX_VALUE:
            raise FramingError(f"an array is longer than {MAX_VALUE} bytes")
        if end > len(data):
            break
    return end


def length_in(line: bytes, most: int) -> int:
    """The number in a line, from -1 to *most*."""
    digits = line.strip()
    if not digits.removeprefix(b"-").isdigit() or len(digits) > 10:
        raise FramingError(f"{digits!r} where a length should be")
    length = int(digits)
    if not -1 <= length <= most:
        raise FramingError(f"a length of {length}, which isn't from -1 to {most}")
    return length


def words_of(value: bytes) -> list[bytes]:
    """The words of a command, which is an array of strings or a line."""
    if not value.startswith(b"*"):
        return value.split()
    words: list[bytes] = []
    end = value.index(b"\n") + 1
    while end < len(value):
        start = value.index(b"\n", end) + 1
        length = int(value[end + 1 : start]) if value[end : end + 1] == b"$" else 0
        words.append(value[start : start + length])
        end = start + length + 2
    return words


class Values:
    """What the server keeps, and the commands on it: each takes words, and returns a reply."""

    def __init__(self) -> None:
        self._values: dict[bytes, bytes] = {}
        self._lock = Lock()
        self._commands: dict[bytes, Callable[..., bytes]] = {
            b"PING": self._ping,
            b"ECHO": string,
            b"SET": self._set,
            b"GET": self._get,
            b"DEL": self._delete,
            b"EXISTS": self._exists,
            b"INCR": self._increment,
            b"CONFIG": self._config,
        }

    def answer(self, words: list[bytes]) -> bytes:
        """The reply to a command; to one that can't be done, an error."""
        name = words[0].upper()
        command = self._commands.get(name)
        if command is None:
            return b"-ERR unknown command\r\n"
        try:
            return command(*words[1:])
        except TypeError:
            return b"-ERR wrong number of arguments for '%b'\r\n" % name.lower()

    def _ping(self, *text: bytes) -> bytes:
        return string(*text) if text else b"+PONG\r\n"

    def _set(self, key: bytes, value: bytes) -> bytes:
        self._values[key] = value
        return b"+OK\r\n"

    def _get(self, key: bytes) -> bytes:
        value = self._values.get(key)
        return b"$-1\r\n" if value is None else string(value)

    def _delete(self, *keys: bytes) -> bytes:
        gone = [key for key in keys if self._values.pop(key, None) is not None]
        return b":%d\r\n" % len(gone)

    def _exists(self, *keys: bytes) -> bytes:
        return b":%d\r\n" % sum(key in self._values for key in keys)

    def _increment(self, key: bytes) -> bytes:
        # Handlers may run in several threads, as long as some of them block.
        with self._lock:
            try:
                number = int(self._values.get(key, b"0")) + 1
            except ValueError:
                return b"-ERR value is not an integer\r\n"
            self._values[key] = b"%d" % number
        return b":%d\r\n" % number

    def _config(self, _verb: bytes, name: bytes) -> bytes:
        # redis-benchmark asks, to print it.
        return b"*2\r\n" + string(name) + string(b"")


def string(text: bytes) -> bytes:
    """A reply that is a string."""
    return b"$%d\r\n%b\r\n" % (len(text), text)


class SmallRedis(MultiplexingMixIn, TCPServer):
    """One thread for all clients; the values are the server's."""

    def __init__(self, server_address: InetAddress) -> None:
        self.values = Values()
        super().__init__(server_address, RedisHandler)


class RedisHandler(MessageRequestHandler[InetAddress, SmallRedis]):
    """Answers commands."""

    framing = Resp()

    def handle_message(self, message: bytes) -> bytes | None:
        """Answer one command; an empty line is none."""
        words = words_of(message)
        if not words:
            return None
        if words[0].upper() == b"QUIT":
            self.close()
            return b"+OK\r\n"
        return self.server.values.answer(words)

    def handle_framing_error(self, error: FramingError) -> bytes | None:
        """Tell the client, before the connection ends."""
        return f"-ERR Protocol error: {error}\r\n".encode()


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=6379, help="0: any free port")
    arguments = parser.parse_args()
    with SmallRedis(("127.0.0.1", arguments.port)) as server:
        print("serving on {}:{} until Ctrl-C".format(*server.server_address))
        server.run()


if __name__ == "__main__":
    main()
