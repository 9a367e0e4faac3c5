"""A syslog server: prints what comes over UDP, over TCP and on a Unix datagram socket.

Run ``python syslog_receiver.py --path log.sock``, then ``logger --server 127.0.0.1
--port 9514 --udp hello``, the same with ``--tcp``, or ``logger --socket log.sock hello``.
"""

import argparse
import contextlib
import re
from typing import Final

from netserve.core import InetAddress
from netserve.handlers import Lines, MessageRequestHandler
from netserve.servers import (
    MultiplexingTCPServer,
    MultiplexingUDPServer,
    MultiplexingUnixDatagramServer,
)

# RFC 5424, section 6.2.1.
SEVERITIES: Final = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")
FACILITIES: Final = (
    *("kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron"),
    *("authpriv", "ftp", "ntp", "audit", "alert", "clock"),
    *(f"local{number}" for number in range(8)),
)
PRIORITY: Final = re.compile(rb"<(\d{1,3})>")


class SyslogHandler(MessageRequestHandler):
    """Prints one line for each message: the transport, facility and severity, the text."""

    # RFC 6587, section 3.4.2.
    framing = Lines(max_size=8192)

    def handle_message(self, message: bytes) -> bytes | None:
        """Print a message; syslog knows no answer."""
        transport = "stream" if not isinstance(self.request, tuple) else "datagram"
        print(f"{transport} {describe(message)}", flush=True)
        return None


def describe(message: bytes) -> str:
    """*message* with its priority in words."""
    priority = PRIORITY.match(message)
    if priority is None or int(priority[1]) >= 8 * len(FACILITIES):
        # RFC 5424, section 6: then it is from a user, and to be noticed.
        facility, severity, text = "user", "notice", message
    else:
        code, text = int(priority[1]), message[priority.end() :]
        facility, severity = FACILITIES[code // 8], SEVERITIES[code % 8]
    # Nothing that a terminal would obey.
    printable = ascii(text.rstrip(b"\r\n\0").decode(errors="replace"))
    return f"{facility}.{severity} {printable}"


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=9514, help="0 takes one that is free")
    parser.add_argument("--path", required=True, help="where to make the Unix socket")
    options = parser.parse_args()
    address: InetAddress = ("127.0.0.1", options.port)
    with (
        MultiplexingUDPServer(address, SyslogHandler) as over_udp,
        MultiplexingUnixDatagramServer(options.path, SyslogHandler) as local,
    ):
        host, port = over_udp.server_address
        with MultiplexingTCPServer((host, port), SyslogHandler) as over_tcp:
            print(f"serving on {host}:{port} and {options.path} until Ctrl-C", flush=True)
            # Until run() hears it, Ctrl-C is an exception.
            with contextlib.suppress(KeyboardInterrupt), over_udp.background(), local.background():
                over_tcp.run()


if __name__ == "__main__":
    main()
