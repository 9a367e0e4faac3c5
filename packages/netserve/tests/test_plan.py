"""Which handler runs where, decided from its class alone."""

import socketserver

import pytest

from netserve.cli._check import report
from netserve.cli._plan import (
    ABILITIES,
    Concurrency,
    Kind,
    Transport,
    kind_of,
    objection,
    usual_concurrency,
)
from netserve.handlers import (
    BaseRequestHandler,
    DatagramRequestHandler,
    MessageRequestHandler,
    StreamRequestHandler,
)


class Message(MessageRequestHandler):
    """Of messages."""


class Stream(StreamRequestHandler):
    """Of connections."""


class Datagram(DatagramRequestHandler):
    """Of datagrams."""


class Base(BaseRequestHandler):
    """Of anything."""


class AsyncStreamRequestHandler:
    """Known by its name."""


class AsyncDatagramRequestHandler:
    """Known by its name."""


class AsyncStream(AsyncStreamRequestHandler):
    """Of connections, in a coroutine."""


class AsyncDatagram(AsyncDatagramRequestHandler):
    """Of datagrams, in a coroutine."""


HANDLERS = {
    Kind.MESSAGE: Message,
    Kind.STREAM: Stream,
    Kind.DATAGRAM: Datagram,
    Kind.OTHER: Base,
    Kind.ASYNC_STREAM: AsyncStream,
    Kind.ASYNC_DATAGRAM: AsyncDatagram,
}


@pytest.mark.parametrize("kind", Kind)
def test_a_handlers_kind_is_seen_from_what_it_derives_from(kind: Kind) -> None:
    """Each has its own."""
    assert kind_of(HANDLERS[kind]) is kind


def test_the_standard_librarys_handlers_count_too() -> None:
    """And what isn't a class can be anything."""
    assert kind_of(socketserver.StreamRequestHandler) is Kind.STREAM
    assert kind_of(socketserver.DatagramRequestHandler) is Kind.DATAGRAM
    assert kind_of(print) is Kind.OTHER


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_runs_somewhere_by_default(kind: Kind) -> None:
    """What suits it is among what it can."""
    handler = HANDLERS[kind]
    usual = usual_concurrency(handler)
    assert usual in ABILITIES[kind].concurrency
    assert any(objection(handler, transport, usual) is None for transport in Transport)


@pytest.mark.parametrize(
    ("handler", "transport", "concurrency", "why"),
    [
        (Stream, Transport.UDP, Concurrency.THREADS,
         "a handler that reads a connection as a file doesn't take the datagrams of --udp"),
        (Datagram, Transport.UNIX, Concurrency.THREADS,
         "a handler of datagrams doesn't take the connections of --unix"),
        (Stream, Transport.TCP, Concurrency.MULTIPLEX,
         "a handler that reads a connection as a file can't run with --concurrency multiplex;"
         " choose threads or pool or fork or prefork"),
        (AsyncStream, Transport.TCP, Concurrency.POOL,
         "a handler of connections with async def handle can't run with --concurrency pool;"
         " choose prefork or asyncio"),
        (Base, Transport.TCP, Concurrency.ASYNCIO,
         "a callable of request, client_address and server can't run with --concurrency asyncio;"
         " choose threads or pool or fork or prefork"),
    ],
)  # fmt: skip
def test_what_doesnt_fit_is_told_in_a_sentence(handler, transport, concurrency, why) -> None:
    """It says what would be right."""
    assert objection(handler, transport, concurrency) == why


@pytest.mark.parametrize("transport", Transport)
@pytest.mark.parametrize("concurrency", Concurrency)
def test_a_handler_of_messages_runs_everywhere(transport, concurrency) -> None:
    """That is what it is for."""
    assert objection(Message, transport, concurrency) is None


def test_the_report_has_the_table_and_the_reasons() -> None:
    """Each reason once."""
    lines = list(report("service:Stream", Stream))
    assert lines[0] == "service:Stream is a handler that reads a connection as a file"
    assert lines[2].split() == [each.value for each in Concurrency]
    rows = {line.split()[0]: line.split()[1:] for line in lines if line.startswith("--")}
    assert rows["--tcp"] == ["yes", "yes", "yes", "yes", "no", "no"]
    assert rows["--udp"] == ["no"] * 6
    reasons = [line for line in lines if line.startswith("no: ")]
    assert len(reasons) == len(set(reasons)) == 4
    assert lines[-1] == "unless --concurrency is given: threads"
