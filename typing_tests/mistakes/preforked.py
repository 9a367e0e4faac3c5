"""Mistakes with servers of several processes."""

from netserve import servers
from netserve.concurrency import PreforkMixIn, ThreadingMixIn
from netserve.handlers import DatagramRequestHandler, MessageRequestHandler, StreamRequestHandler
from netserve.transports import TCPServer

HERE = ("127.0.0.1", 0)


class Upper(MessageRequestHandler):
    pass


class Tuned(servers.PreforkTCPServer):
    # E processes-as-text: assignable; int
    # E processes-as-text (mypy): assignment; int
    processes = "4"


class Mixed(PreforkMixIn, ThreadingMixIn, TCPServer):
    pass


# E stream-handler-on-preforking-multiplexer: Argument; StreamRequestHandler; MessageHandler
servers.PreforkMultiplexingTCPServer(HERE, StreamRequestHandler)

# E datagram-handler-on-preforking-server: Argument; DatagramRequestHandler
servers.PreforkTCPServer(HERE, DatagramRequestHandler)

# E path-for-preforking-tcp: Argument; tuple
servers.PreforkTCPServer("socket", Upper)

# E workers-assigned: worker_pids
Mixed(HERE, Upper).worker_pids = [1]

# E replacing-with-a-grace: rgument; replace_workers
# E replacing-with-a-grace (pyright): Expected 0 positional arguments
Mixed(HERE, Upper).replace_workers(5)
