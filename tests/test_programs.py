"""Programs that we didn't write, on the drop-in module: each in a process of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).parent / "programs"


@pytest.mark.parametrize(
    ("program", "printed"),
    [
        ("dns_server", ["False 192.0.2.1", "True 192.0.2.1"]),
        ("django_server", ["HELLO"]),
        ("prometheus_exporter", ["greetings_total 3.0"]),
        (
            "werkzeug_server",
            [
                f"{options} {reply}"
                for options in ({}, {"threaded": True}, {"processes": 2})
                for reply in ("/ONE", "/TWO")
            ],
        ),
    ],
)
def test_program_runs_on_the_drop_in_module(program: str, printed: list[str]) -> None:
    """A program that finds the drop-in module under the stdlib's name serves as before."""
    run = subprocess.run(
        [sys.executable, PROGRAMS / f"{program}.py"],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert (run.stdout.splitlines(), run.returncode) == (printed, 0), run.stderr
