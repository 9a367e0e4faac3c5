"""prometheus_client's exporter, a thread a request."""

from netserve import socketserver

socketserver.install()

import urllib.request  # the exporter must find the drop-in module in place

from prometheus_client import CollectorRegistry, Counter, start_http_server

registry = CollectorRegistry()
Counter("greetings", "How many.", registry=registry).inc(3)
server, thread = start_http_server(0, "127.0.0.1", registry)
assert isinstance(server, socketserver.TCPServer)
with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/metrics") as reply:
    page = reply.read().decode()
print(*[line for line in page.splitlines() if line.startswith("greetings_total ")])
server.shutdown()
thread.join()
server.server_close()
