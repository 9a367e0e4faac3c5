"""The asyncio mix-in on uvloop, for the tests that try every mix-in."""

import uvloop

from netserve.concurrency import AsyncioMixIn

# libuv opens two descriptors when it is used first, and keeps them.
uvloop.new_event_loop().close()


class UvloopMixIn(AsyncioMixIn):
    """As its base, on the other event loop."""

    loop_factory = uvloop.new_event_loop
