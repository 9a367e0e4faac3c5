"""Compare netserve's servers with the standard library's and with other frameworks.

Prints one table of medians and ratios. ``benchmarks/README.md`` says how to read it.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.cells import CELLS, QUICK, REFERENCE, Cell, chosen
from benchmarks.entries import ENTRIES, Entry
from benchmarks.measure import Bench, descriptors, query_file
from benchmarks.processes import (
    ROOT,
    Cores,
    Server,
    ServerError,
    cpu_seconds,
    pinned,
    server_command,
)
from benchmarks.ratios import shuffled_rounds
from benchmarks.report import notes, summary, table
from benchmarks.tools import Sample
from benchmarks.versions import versions

SPARE_DESCRIPTORS = 100  # what a server has open besides its connections
SETTLED = 0.02  # share of a core below which a server is at rest


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    names = ", ".join(cell.name for cell in CELLS)
    parser.add_argument("--cells", nargs="+", default=[], metavar="PATTERN", help=names)
    parser.add_argument(
        "--servers", nargs="+", default=[], metavar="PATTERN",
        help=", ".join(entry.name for entry in ENTRIES),
    )  # fmt: skip
    parser.add_argument("--rounds", type=int, help="how often each is measured (default: 5)")
    parser.add_argument("--seconds", type=float, help="how long each time (default: 1)")
    parser.add_argument(
        "--cores", choices=("two", "one", "free"), default="two",
        help="a core each for server and generator (default), one for both, or one for the"
        " generator and all for the server",
    )  # fmt: skip
    parser.add_argument(
        "--quick", action="store_true", help="the cells that say most, 3 rounds of half a second"
    )
    parser.add_argument("--baseline", metavar="NAME", help="the server that ratios refer to")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write every sample")
    parser.add_argument("--loadgen", type=Path, metavar="FILE", help="the compiled loadgen.c")
    options = parser.parse_args(argv)
    options.rounds = options.rounds or (3 if options.quick else 5)
    options.seconds = options.seconds or (0.5 if options.quick else 1.0)
    try:
        options.cells = chosen(
            [cell.name for cell in CELLS], options.cells or (list(QUICK) if options.quick else [])
        )
        options.servers = chosen([entry.name for entry in ENTRIES], options.servers)
        chosen([entry.name for entry in ENTRIES], [options.baseline] if options.baseline else [])
        options.placed = Cores.named(options.cores, sorted(os.sched_getaffinity(0)))
    except ValueError as error:
        parser.error(str(error))
    if not 0 < options.seconds <= 30 or options.rounds < 1:
        parser.error("at most 30 seconds, and at least one round")
    return options


def compiled(folder: Path) -> Path:
    """Compile the load generator into *folder*; ends the program when there is no compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        sys.exit(
            "The load generator is written in C, and there is no compiler called cc.\n"
            "Install one (Debian: apt-get install gcc libc6-dev), or give --loadgen FILE."
        )
    program = folder / "loadgen"
    source = str(Path(__file__).parent / "loadgen.c")
    subprocess.run([compiler, "-O2", "-Wall", "-Wextra", "-o", str(program), source], check=True)
    return program


def participants(cell: Cell, names: list[str], baseline: str | None) -> list[Entry]:
    """The servers for *cell*: those in *names*, and those that the ratios refer to."""
    wanted = {*names, baseline or cell.baseline, REFERENCE}
    return [
        entry
        for entry in ENTRIES
        if entry.name in wanted and entry.plays(cell.service, cell.connections)
    ]


def settle(server: Server) -> None:
    """Wait, three seconds at most, until *server* has nothing more to do."""
    used = cpu_seconds(server.pid)
    for _ in range(60):
        time.sleep(0.05)
        before, used = used, cpu_seconds(server.pid)
        if used - before <= SETTLED * 0.05:
            return


def samples(
    bench: Bench, cell: Cell, entries: list[Entry], rounds: int
) -> Iterator[tuple[int, str, Sample]]:
    """Measure *entries*, round by round; yields the round, the name, the sample.

    Under load the servers live through all the rounds, at rest while another is
    measured; for its memory and its end a server is started each time.
    """
    source = random.Random(cell.name)
    with contextlib.ExitStack() as stack:
        running: dict[str, Server] = {}

        def start(entry: Entry) -> Server:
            command = server_command(entry.program, entry.variant, cell.service)
            return Server(pinned(command, bench.cores.server))

        def sample(entry: Entry) -> Sample:
            if cell.tool in {"idle", "stop"}:
                with start(entry) as server:
                    if cell.tool == "idle":
                        return bench.idle(cell, server)
                    return bench.stop(server, source)
            if entry.name not in running:
                # Its first round; the others are at rest, or not there yet.
                running[entry.name] = stack.enter_context(start(entry))
                bench.warm_up(cell, running[entry.name])
                settle(running[entry.name])
            try:
                return bench.load(cell, running[entry.name])
            finally:
                settle(running[entry.name])

        def sample_or_reason(entry: Entry) -> Sample:
            try:
                return sample(entry)
            except ServerError as error:
                return {"failed": str(error)}

        for number, entry in shuffled_rounds(entries, rounds, seed=rounds):
            yield number, entry.name, sample_or_reason(entry)


def run(options: argparse.Namespace, loadgen: Path, queries: Path) -> dict[str, Any]:
    """Measure everything that was asked for; an interruption leaves what there is."""
    bench = Bench(loadgen, options.seconds, options.placed, queries)
    limit = descriptors()
    reasons = {entry.name: entry.absent() for entry in ENTRIES}
    result: dict[str, Any] = {
        "versions": versions(),
        "options": {
            key: value if isinstance(value, int | float | str | list | None) else str(value)
            for key, value in vars(options).items()
        },
        "absent": {
            name: reason for name, reason in reasons.items() if reason and name in options.servers
        },
        "skipped": {},
        "commands": {},
        "cells": [],
        "samples": [],
    }
    with contextlib.suppress(KeyboardInterrupt):
        for cell in CELLS:
            if cell.name not in options.cells:
                continue
            if cell.package and shutil.which(cell.tool) is None:
                result["skipped"][cell.name] = (
                    f"{cell.tool} is not installed (Debian: apt-get install {cell.package})"
                )
                continue
            if cell.connections + SPARE_DESCRIPTORS > limit:
                result["skipped"][cell.name] = f"a process may have only {limit} descriptors"
                continue
            entries = [
                entry
                for entry in participants(cell, options.servers, options.baseline)
                if not reasons[entry.name]
            ]
            result["cells"].append(asdict(cell) | {"baseline": options.baseline or cell.baseline})
            if cell.tool != "stop":
                result["commands"][cell.name] = bench.command(cell, "PORT")
            for number, name, sample in samples(bench, cell, entries, options.rounds):
                record = {"cell": cell.name, "server": name, "round": number} | sample
                result["samples"].append(record)
                if sys.stderr.isatty():
                    print(f"\r{cell.name} {number} {name}\033[K", end="", file=sys.stderr)
    return result


def main(argv: list[str] | None = None) -> None:
    """Compile, measure, print, and write."""
    options = arguments(argv)
    # Whoever ends this program ends the servers too, as it leaves the spans.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    with tempfile.TemporaryDirectory() as folder, query_file() as queries:
        loadgen = options.loadgen or compiled(Path(folder))
        result = run(options, loadgen.resolve(), queries)
    result["summary"] = summary(result)
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    print(notes(result, str(ROOT)))
    print(table(result))


if __name__ == "__main__":
    main()
