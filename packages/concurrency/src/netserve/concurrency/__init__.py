"""netserve.concurrency: who runs a request.

The mix-ins of the original reference, for this project's servers and for the
standard library's. The forking one is absent where the platform can't fork.
"""

import os

from netserve.concurrency._threading import ThreadingHooks, ThreadingMixIn
from netserve.concurrency._threads import RequestThread, ThreadGroup

__all__ = ["RequestThread", "ThreadGroup", "ThreadingHooks", "ThreadingMixIn"]

if hasattr(os, "fork"):
    from netserve.concurrency._children import Children
    from netserve.concurrency._forking import ForkingHooks, ForkingMixIn

    __all__ += ["Children", "ForkingHooks", "ForkingMixIn"]
