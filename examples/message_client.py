"""The client of the message server: says each argument as a line, and prints the answers."""

import argparse
import socket


def main() -> None:
    """Send all lines at once, and receive an answer to each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=9999)
    parser.add_argument("lines", nargs="+")
    options = parser.parse_args()
    lines: list[str] = options.lines

    with socket.create_connection(("localhost", options.port)) as connection:
        connection.sendall("".join(f"{line}\n" for line in lines).encode())
        # No more will follow; the server answers what it has, and ends as well.
        connection.shutdown(socket.SHUT_WR)
        with connection.makefile() as answers:
            for answer in answers:
                print(f"Received: {answer}", end="")


if __name__ == "__main__":
    main()
