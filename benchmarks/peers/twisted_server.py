"""Twisted: a Protocol that joins the answers to what was received to one write."""

import signal
from typing import Any, cast

from twisted.internet import reactor as default_reactor
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol
from twisted.internet.threads import deferToThread

from benchmarks.service import (
    BACKLOG,
    MAX_LINE,
    THREADS,
    StopWatch,
    announce,
    answer,
    arguments,
    cut,
    join,
)

# Which reactor it is, and so which interfaces it has, is known when it runs.
reactor = cast("Any", default_reactor)


class Echo(Protocol):
    """Answers lines until the client closes."""

    transport: Any
    rest = b""

    def connectionMade(self) -> None:
        """Set TCP_NODELAY."""
        self.transport.setTcpNoDelay(True)

    def dataReceived(self, data: bytes) -> None:
        """Answer the lines that are whole."""
        lines, self.rest = cut(self.rest + data)
        if len(self.rest) >= MAX_LINE:
            self.transport.abortConnection()
        elif lines:
            self.transport.write(join(lines))


class Once(Echo):
    """Answers one line."""

    def dataReceived(self, data: bytes) -> None:
        """Answer, and close once that is sent."""
        lines, self.rest = cut(self.rest + data)
        if lines:
            self.transport.write(join(lines[:1]))
            self.transport.loseConnection()


class Mix(Echo):
    """Answers lines, those that block in a thread, in their order."""

    blocked = False

    def dataReceived(self, data: bytes) -> None:
        """Answer the lines up to one that blocks."""
        self.rest += data
        while not self.blocked and b"\n" in self.rest:
            line, _, self.rest = self.rest.partition(b"\n")
            if line.startswith(b"S"):
                self.blocked = True
                deferToThread(answer, line).addCallback(self._go_on)
            else:
                self.transport.write(line.upper() + b"\n")

    def _go_on(self, reply: bytes) -> None:
        self.blocked = False
        self.transport.write(reply + b"\n")
        self.dataReceived(b"")


class Datagrams(DatagramProtocol):
    """Answers datagrams."""

    transport: Any

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """Send it back in upper case."""
        self.transport.write(datagram.upper(), addr)


def main() -> None:
    """Serve until told to stop."""
    _, service = arguments("twisted")
    if service == "udp":
        port = reactor.listenUDP(0, Datagrams(), interface="127.0.0.1")
    else:
        factory = Factory.forProtocol({"echo": Echo, "once": Once, "mix": Mix}[service])
        factory.noisy = False
        port = reactor.listenTCP(0, factory, backlog=BACKLOG, interface="127.0.0.1")
    reactor.suggestThreadPoolSize(THREADS)
    watch = StopWatch()

    def stop(*_: object) -> None:
        watch.ask(lambda: reactor.callFromThread(reactor.stop))

    signal.signal(signal.SIGUSR1, stop)
    reactor.callWhenRunning(announce, port.getHost().port)
    reactor.run()
    watch.report()


if __name__ == "__main__":
    main()
