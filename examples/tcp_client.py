"""The client of the TCP servers: says what its arguments say, and prints the answer."""

import argparse
import socket


def main() -> None:
    """Send one line, and receive one answer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=9999)
    parser.add_argument("words", nargs="+")
    options = parser.parse_args()
    data = " ".join(options.words)

    with socket.create_connection(("localhost", options.port)) as connection:
        connection.sendall(f"{data}\n".encode())
        received = connection.recv(1024).decode()

    print(f"Sent:     {data}")
    print(f"Received: {received}")


if __name__ == "__main__":
    main()
