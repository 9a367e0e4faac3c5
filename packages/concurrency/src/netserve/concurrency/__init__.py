"""netserve.concurrency: who runs a request.

The mix-ins of the original reference, for this project's servers and for the
standard library's. The forking one is absent where the platform can't fork.
"""

import os

from netserve.concurrency._asyncio import AsyncioHooks, AsyncioMixIn
from netserve.concurrency._multiplexing import MultiplexingHooks, MultiplexingMixIn
from netserve.concurrency._pool import WorkerPool
from netserve.concurrency._thread_pool import PoolHooks, ThreadPoolMixIn
from netserve.concurrency._threading import ThreadingHooks, ThreadingMixIn
from netserve.concurrency._threads import RequestThread, ThreadGroup

__all__ = [
    "AsyncioHooks",
    "AsyncioMixIn",
    "MultiplexingHooks",
    "MultiplexingMixIn",
    "PoolHooks",
    "RequestThread",
    "ThreadGroup",
    "ThreadPoolMixIn",
    "ThreadingHooks",
    "ThreadingMixIn",
    "WorkerPool",
]

if hasattr(os, "fork"):
    from netserve.concurrency._children import Children
    from netserve.concurrency._forking import ForkingHooks, ForkingMixIn
    from netserve.concurrency._prefork import PreforkMixIn, WorkerError

    __all__ += ["Children", "ForkingHooks", "ForkingMixIn", "PreforkMixIn", "WorkerError"]
