"""A server whose answers a Dask cluster computes, and a client of it.

It needs ``pip install distributed``. The cluster here is two processes on this
machine; with ``Client("tcp://scheduler:8786")`` it would be one that runs already.
"""

from distributed import Client, LocalCluster
from process_pool import CountPrimes, ask

from netserve.concurrency import MultiplexingMixIn
from netserve.transports import TCPServer


class Server(MultiplexingMixIn, TCPServer):
    """One thread reads and sends for all connections; the cluster counts."""

    max_in_flight_per_connection = 8


def main() -> None:
    """Start a cluster, serve in another thread, and be a client in this one."""
    cluster = LocalCluster(
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None
    )
    with cluster, Client(cluster) as client:
        server = Server(("localhost", 0), CountPrimes)
        # The cluster isn't the server's: it goes on when that is closed.
        server.executor = client.get_executor()
        with server.background() as running:
            print(ask(running.address, b"10\n1000\n100000\n"), end="")


if __name__ == "__main__":
    main()
