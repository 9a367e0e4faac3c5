"""Mistakes with the options of sockets, and with sockets that are taken over."""

import socket

from netserve.core import InetAddress, UnixAddress
from netserve.handlers import DatagramRequestHandler, StreamRequestHandler
from netserve.transports import (
    SocketOptions,
    TCPServer,
    UDPServer,
    UnixStreamServer,
    parse_address,
    peer_credentials,
)

HERE = ("127.0.0.1", 0)
listener = socket.socket()


class Handler(StreamRequestHandler):
    pass


class OnDatagram(DatagramRequestHandler[InetAddress, UDPServer]):
    pass


class OnUnix(StreamRequestHandler[UnixAddress, UnixStreamServer]):
    pass


# E queue-size-keyword-as-text: Argument; request_queue_size; int
# E queue-size-keyword-as-text (ty): Expected; int
# E queue-size-keyword-as-text (pyrefly): request_queue_size; int
TCPServer(HERE, Handler, request_queue_size="5")

# E dual-stack-as-text: dual_stack; bool
# E dual-stack-as-text (ty): Expected; bool
TCPServer(HERE, Handler, dual_stack="yes")

# E option-given-by-position: positional
TCPServer(HERE, Handler, True, 5)

# E queue-size-of-datagrams: request_queue_size
UDPServer(HERE, OnDatagram, request_queue_size=5)

# E mode-of-tcp: socket_mode
TCPServer(HERE, Handler, socket_mode=0o660)

# E mode-as-text: socket_mode; int
# E mode-as-text (ty): Expected; int
UnixStreamServer("/run/s", Handler, socket_mode="0660")

# E dual-stack-of-unix: dual_stack
UnixStreamServer("/run/s", Handler, dual_stack=True)

# E options-as-dict: socket_options; SocketOptions
# E options-as-dict (ty): Expected; SocketOptions
TCPServer(HERE, Handler, socket_options={"no_delay": True})

# E no-such-socket-option: nodelay
SocketOptions(nodelay=True)

# E timeout-option-as-text: user_timeout; float
# E timeout-option-as-text (ty): Expected; float
SocketOptions(user_timeout="3")

# E socket-option-by-position: positional
SocketOptions(True)

options = SocketOptions(no_delay=True)

# E options-are-frozen: no_delay
options.no_delay = False

# E datagram-handler-on-given-socket: Argument; from_socket
# E datagram-handler-on-given-socket (pyright): Argument; OnDatagram
# E datagram-handler-on-given-socket (pyrefly): Argument; OnDatagram
TCPServer.from_socket(listener, OnDatagram)

# E unix-handler-on-activated-tcp: Argument; from_systemd
# E unix-handler-on-activated-tcp (pyright): Argument; OnUnix
# E unix-handler-on-activated-tcp (pyrefly): Argument; OnUnix
TCPServer.from_systemd(OnUnix)

# E socket-as-descriptor: Argument; int
TCPServer.from_fd(listener, Handler)

# E parsed-address-to-tcp: Argument; tuple[str, int]
TCPServer(parse_address("127.0.0.1:80"), Handler)

# E credentials-of-datagram: Argument; socket
peer_credentials((b"data", listener))

# E no-such-credential: user
peer_credentials(listener).user
