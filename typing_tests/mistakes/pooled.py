"""Mistakes with the pool, the multiplexer and the ready-made servers."""

from concurrent.futures import ThreadPoolExecutor

from netserve import servers
from netserve.concurrency import MultiplexingMixIn, ThreadPoolMixIn, WorkerPool
from netserve.core import InetAddress
from netserve.handlers import DatagramRequestHandler, MessageRequestHandler, StreamRequestHandler
from netserve.transports import TCPServer

HERE = ("127.0.0.1", 0)


class Upper(MessageRequestHandler):
    def handle_message(self, message: bytes) -> bytes | None:
        return message.upper()


class MyServer(servers.MultiplexingTCPServer):
    greeting = b"hello"


class ForMyServer(MessageRequestHandler[InetAddress, MyServer]):
    pass


class Pooled(ThreadPoolMixIn, TCPServer):
    pass


class Multiplexed(MultiplexingMixIn, TCPServer):
    pass


class Tuned(servers.MultiplexingTCPServer):
    # E workers-as-text: assignable; int
    # E workers-as-text (mypy): assignment; int
    max_workers = "4"

    # E message-timeout-as-text: assignable; float
    # E message-timeout-as-text (mypy): assignment; float
    message_timeout = "30"

    # E requests-per-wait-is-none: assignable; int
    # E requests-per-wait-is-none (mypy): assignment; int
    requests_per_wait = None

    # E in-flight-as-text: assignable; int
    # E in-flight-as-text (mypy): assignment; int
    max_in_flight = "8"

    # E executor-class-instead-of-executor: assignable; Executor
    # E executor-class-instead-of-executor (mypy): assignment; Executor
    executor = ThreadPoolExecutor

    # E makes-no-executor: make_executor
    def make_executor(self) -> WorkerPool:
        return WorkerPool(1, "work")


class WorkWithConnection(MessageRequestHandler):
    # E work-of-an-instance: process_message
    def process_message(self, message: bytes) -> bytes | None:
        return message


class WorkAsCoroutine(MessageRequestHandler):
    @staticmethod
    # E work-as-coroutine: process_message
    async def process_message(message: bytes) -> bytes | None:
        return message


class TunedPool(servers.ThreadPoolUDPServer):
    # E waiting-is-none: assignable; int
    # E waiting-is-none (mypy): assignment; int
    max_waiting = None


class NoHooks:
    pass


class PoolWithoutServer(ThreadPoolMixIn, NoHooks):
    def run(self) -> None:
        # E pool-in-front-of-no-server: process_request; PoolHooks
        self.process_request(object(), HERE)


# E stream-handler-on-multiplexing-mix-in: MessageHandler
Multiplexed(HERE, StreamRequestHandler)

# E stream-handler-on-multiplexing-server: Argument; StreamRequestHandler; MessageHandler
servers.MultiplexingTCPServer(HERE, StreamRequestHandler)

# E datagram-handler-on-multiplexing-server: Argument; DatagramRequestHandler; MessageHandler
servers.MultiplexingUDPServer(HERE, DatagramRequestHandler)

# E function-on-multiplexing-server: Argument; MessageHandler
servers.MultiplexingTCPServer(HERE, print)

# E datagram-handler-on-pool-of-streams: Argument; DatagramRequestHandler
servers.ThreadPoolTCPServer(HERE, DatagramRequestHandler)

# E handler-for-derived-multiplexing-server: Argument; ForMyServer; MultiplexingTCPServer
servers.MultiplexingTCPServer(HERE, ForMyServer)

# E path-for-tcp-pool: Argument; tuple
servers.ThreadPoolTCPServer("socket", Upper)

# E address-for-unix-pool: Argument; tuple
servers.ThreadPoolUnixStreamServer(HERE, Upper)

# E workers-of-engine-as-text: Argument; int
WorkerPool("4", "work")

# E name-of-engine-missing: issing; name
# E name-of-engine-missing (ty): No argument; name
WorkerPool(4)

# E work-that-takes-arguments: Argument; submit
WorkerPool(4, "work").submit(len)

# E pool-assigned: worker_pool
Pooled(HERE, Upper).worker_pool = WorkerPool(4, "work")
