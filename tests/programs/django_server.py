"""Django's development server, a thread a connection."""

from netserve import socketserver

socketserver.install()

import threading  # Django must find the drop-in module in place
import urllib.request

import django
from django.conf import settings
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path

urlpatterns = [path("<word>", lambda request, word: HttpResponse(word.upper()))]
settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    LOGGING={"version": 1, "loggers": {"django.server": {"level": "CRITICAL"}}},
)
django.setup()

server = ThreadedWSGIServer(("127.0.0.1", 0), WSGIRequestHandler)
assert isinstance(server, socketserver.TCPServer)
server.set_app(get_wsgi_application())
thread = threading.Thread(target=server.serve_forever)
thread.start()
with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/hello") as reply:
    print(reply.read().decode())
server.shutdown()
thread.join()
server.server_close()
