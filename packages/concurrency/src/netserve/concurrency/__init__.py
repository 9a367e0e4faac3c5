"""netserve.concurrency: who runs a request.

The mix-ins of the original reference, for this project's servers and for the
standard library's. The forking one is absent where the platform can't fork. What
needs much of the standard library is imported when it is asked for.
"""

import os
from typing import TYPE_CHECKING

from netserve.concurrency._pool import WorkerPool
from netserve.concurrency._thread_pool import PoolHooks, ThreadPoolMixIn
from netserve.concurrency._threading import ThreadingHooks, ThreadingMixIn
from netserve.concurrency._threads import RequestThread, ThreadGroup
from netserve.core import import_later

if TYPE_CHECKING:
    from netserve.concurrency._asyncio import AsyncioHooks, AsyncioMixIn
    from netserve.concurrency._multiplexing import MultiplexingHooks, MultiplexingMixIn

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

_LATER = {
    "_asyncio": ["AsyncioHooks", "AsyncioMixIn"],
    "_multiplexing": ["MultiplexingHooks", "MultiplexingMixIn"],
}

if hasattr(os, "fork"):
    from netserve.concurrency._children import Children
    from netserve.concurrency._forking import ForkingHooks, ForkingMixIn

    if TYPE_CHECKING:
        from netserve.concurrency._prefork import PreforkMixIn, WorkerError

    _LATER["_prefork"] = ["PreforkMixIn", "WorkerError"]
    __all__ += ["Children", "ForkingHooks", "ForkingMixIn", "PreforkMixIn", "WorkerError"]

if not TYPE_CHECKING:
    # A checker would take any name for one that it has.
    __getattr__ = import_later(__name__, _LATER)
