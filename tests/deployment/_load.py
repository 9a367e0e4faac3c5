"""Constant load, as a program: a connection for each line, until standard input ends.

Its arguments are host, port and how many clients there are. At the end it prints what
it saw as JSON: answers by replica, the hosts that the service saw, and failures.
"""

import collections
import json
import socket
import sys
import threading
import time

PAUSE = 0.005  # seconds between the lines of a client
PATIENCE = 20  # seconds


def main() -> None:
    """Run the load."""
    host, port, clients = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    replicas: collections.Counter[str] = collections.Counter()
    seen: set[str] = set()
    failures: list[str] = []
    ended = threading.Event()

    def client(number: int) -> None:
        turn = 0
        while not ended.wait(PAUSE):
            turn += 1
            line = f"line {turn} of {number}"
            try:
                with socket.create_connection((host, port), timeout=PATIENCE) as connection:
                    connection.sendall(line.encode() + b"\n")
                    with connection.makefile("rb") as answers:
                        answer = answers.readline().decode()
                replica, address, said = answer.rstrip("\n").split(" ", 2)
                assert said == line.upper(), answer
            except Exception as error:
                failures.append(f"{time.time():.3f} {type(error).__name__}: {error}")
            else:
                replicas[replica] += 1
                seen.add(address)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    print("begun", flush=True)
    sys.stdin.read()
    ended.set()
    for thread in threads:
        thread.join()
    print(json.dumps({"replicas": replicas, "seen": sorted(seen), "failures": failures}))


if __name__ == "__main__":
    main()
