"""A service on a socket that systemd has opened, or on one of its own where it hasn't."""

from netserve.core import InetAddress
from netserve.handlers import StreamRequestHandler
from netserve.servers import ThreadingTCPServer
from netserve.transports import ActivationError


class Upper(StreamRequestHandler[InetAddress, ThreadingTCPServer]):
    """Sends each line back in capitals."""

    def handle(self) -> None:
        """Answer line by line."""
        for line in self.rfile:
            self.wfile.write(line.upper())


def make_server() -> ThreadingTCPServer:
    """The server: on the socket named upper, if there is one."""
    try:
        return ThreadingTCPServer.from_systemd(Upper, "upper")
    except ActivationError:
        return ThreadingTCPServer(("127.0.0.1", 0), Upper)


def main() -> None:
    """Serve until SIGTERM."""
    server = make_server()
    print("serving on {}:{}".format(*server.server_address), flush=True)
    server.run()


if __name__ == "__main__":
    main()
