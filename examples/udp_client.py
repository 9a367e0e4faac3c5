"""The client of the UDP server: says what its arguments say, and prints the answer."""

import argparse
import socket


def main() -> None:
    """Send one datagram, and receive one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=9999)
    parser.add_argument("words", nargs="+")
    options = parser.parse_args()
    data = " ".join(options.words)

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        # Nothing is connected: each datagram goes to an address of its own.
        sender.sendto(f"{data}\n".encode(), ("localhost", options.port))
        received = sender.recv(1024).decode()

    print(f"Sent:     {data}")
    print(f"Received: {received}")


if __name__ == "__main__":
    main()
