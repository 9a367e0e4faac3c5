"""A client of the tutorial's service: sends its arguments as lines, over TLS."""

import socket
import ssl
import sys

context = ssl.create_default_context(cafile="cert.pem")
with (
    socket.create_connection(("127.0.0.1", 8000)) as plain,
    context.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
):
    for word in sys.argv[1:]:
        connection.sendall(word.encode() + b"\n")
        print(connection.recv(1000).decode(), end="")
