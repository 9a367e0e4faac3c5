"""The mix-in that gives each request one of a bounded number of threads.

On a server of this project, the loop stops accepting while all threads are busy
and as many requests wait as may; what comes then waits in the system's backlog.
The standard library's loop can't be told to stop accepting: there,
``process_request`` waits instead until there is room.
"""

import threading
from functools import partial
from typing import Any, Protocol, cast

from typing_extensions import TypeVar

from netserve.concurrency._pool import Work, WorkerPool
from netserve.core import (
    BaseServer,
    HookAddressT,
    HookRequestT,
    RequestHooks,
    ServerMixIn,
    run_request,
)

_RequestT = TypeVar("_RequestT", contravariant=True)
_AddressT = TypeVar("_AddressT", contravariant=True)


class PoolHooks(RequestHooks[_RequestT, _AddressT], Protocol[_RequestT, _AddressT]):
    """What :class:`ThreadPoolMixIn` needs of the class that it is mixed into, and itself."""

    max_workers: int
    max_waiting: int

    @property
    def worker_pool(self) -> WorkerPool:
        """The threads."""
        ...

    @property
    def pool_room(self) -> threading.Semaphore:
        """How many more requests may be taken, where the loop doesn't ask."""
        ...

    def process_request_thread(self, request: _RequestT, client_address: _AddressT, /) -> None:
        """Bring the request to its end, in its thread."""


class ThreadPoolMixIn(ServerMixIn):
    """Handles requests in a bounded number of threads, which it starts when needed.

    It comes before the server class: ``class Server(ThreadPoolMixIn, TCPServer)``.
    A handler that waits for its client keeps its thread meanwhile: where clients
    stay connected, set ``idle_timeout``, or idle clients can hold all threads.
    """

    max_workers: int = 32
    """How many threads there may be (default 32)."""

    max_waiting: int = 32
    """How many requests may have been taken and wait for a thread (default 32).

    More wait in the system's backlog.
    """

    daemon_threads: bool = False
    """Whether the threads are daemons, which end with the main thread (default: no)."""

    block_on_close: bool = True
    """Whether ``server_close`` waits for the requests in progress (default: yes)."""

    @property
    def worker_pool(self) -> WorkerPool:
        """The threads, which are made at first use."""
        pool = vars(self).get("_worker_pool")
        if pool is None:
            made = WorkerPool(self.max_workers, type(self).__name__, daemon=self.daemon_threads)
            # In one step, because the loop and server_close may both be the first.
            pool = vars(self).setdefault("_worker_pool", made)
        return cast("WorkerPool", pool)

    @property
    def pool_room(self) -> threading.Semaphore:
        """What the standard library's loop waits for; one for each request that may be taken."""
        room = vars(self).get("_pool_room")
        if room is None:
            made = threading.Semaphore(self.max_workers + self.max_waiting)
            room = vars(self).setdefault("_pool_room", made)
        return cast("threading.Semaphore", room)

    def may_accept(self) -> bool:
        """Whether a thread is free or another request may wait, and the server has room."""
        server = cast("BaseServer[Any, Any]", self)
        taken = server.requests_in_progress.active
        return taken < self.max_workers + self.max_waiting and super().may_accept()

    def process_request(
        self: PoolHooks[HookRequestT, HookAddressT],
        request: HookRequestT,
        client_address: HookAddressT,
    ) -> None:
        """Have a thread run :meth:`process_request_thread`.

        Raises :class:`~netserve.core.ExhaustedError` when the system can't start
        the first thread.
        """
        work: Work = partial(self.process_request_thread, request, client_address)
        if isinstance(self, BaseServer):
            self.worker_pool.submit(work)
            return
        room = self.pool_room
        room.acquire()
        try:
            self.worker_pool.submit(partial(_release_after, room, work))
        except BaseException:
            room.release()
            raise

    def process_request_thread(
        self: RequestHooks[HookRequestT, HookAddressT],
        request: HookRequestT,
        client_address: HookAddressT,
    ) -> None:
        """Run the handler, report what it raises, and shut the request down."""
        run_request(self, request, client_address)

    def abandon_requests(self) -> None:
        """Wait no longer for the threads: those that are left don't heed their request's end."""
        super().abandon_requests()
        self._ns_take_pool().forget()

    def server_close(self) -> None:
        """Close the server, then the pool, and wait as :attr:`block_on_close` says."""
        super().server_close()
        self._ns_take_pool().close(wait=self.block_on_close and not self.daemon_threads)

    def _ns_take_pool(self) -> WorkerPool:
        """The pool, which the next request won't find any more."""
        pool = self.worker_pool
        del vars(self)["_worker_pool"]
        return pool


def _release_after(room: threading.Semaphore, work: Work) -> None:
    try:
        work()
    finally:
        room.release()
