"""Werkzeug's development server: one thread, a thread a request, a process a request."""

from netserve import socketserver

socketserver.install()

import threading  # Werkzeug must find the drop-in module in place
import urllib.request

from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response

WSGIRequestHandler.log = lambda *args: None


@Request.application
def application(request):
    """Answer with the path in capitals."""
    return Response(request.path.upper())


for options in ({}, {"threaded": True}, {"processes": 2}):
    server = make_server("127.0.0.1", 0, application, **options)
    assert isinstance(server, socketserver.TCPServer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    for path in ("/one", "/two"):
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}") as reply:
            print(options, reply.read().decode())
    server.shutdown()
    thread.join()
    server.server_close()
