"""What works at run time, but not for a type checker that reads typeshed.

typeshed lets a server of the standard library take only its own handlers, and
lets its own handlers take only its own servers. Each line here is an error that
is none; ``passing/stdlib.py`` has the casts that say so.
"""

import http.server
import socket
import socketserver

from netserve.handlers import DatagramRequestHandler, StreamRequestHandler
from netserve.transports import TCPServer, UDPServer

HERE = ("127.0.0.1", 0)


class Stream(StreamRequestHandler):
    pass


class Datagram(DatagramRequestHandler):
    pass


def on_stream(request: socket.socket, client_address: object, server: object) -> None: ...


# E limit-our-handler-on-stdlib-tcp: Argument; Stream; TCPServer; BaseRequestHandler
socketserver.TCPServer(HERE, Stream)

# E limit-our-handler-on-stdlib-udp: Argument; Datagram; UDPServer; BaseRequestHandler
socketserver.UDPServer(HERE, Datagram)

# E limit-our-handler-on-stdlib-threading: Argument; Stream; ThreadingTCPServer; BaseRequestHandler
socketserver.ThreadingTCPServer(HERE, Stream)

# E limit-our-handler-on-stdlib-http: Argument; Stream; HTTPServer; BaseRequestHandler
http.server.HTTPServer(HERE, Stream)

# E limit-function-on-stdlib: Argument; None; BaseRequestHandler
socketserver.TCPServer(HERE, on_stream)

# E limit-stdlib-http-handler-on-tcp: Argument; SimpleHTTPRequestHandler; TCPServer
TCPServer(HERE, http.server.SimpleHTTPRequestHandler)

# E limit-stdlib-stream-handler-on-tcp: Argument; StreamRequestHandler; TCPServer
TCPServer(HERE, socketserver.StreamRequestHandler)

# E limit-stdlib-datagram-handler-on-udp: Argument; DatagramRequestHandler; UDPServer
UDPServer(HERE, socketserver.DatagramRequestHandler)
