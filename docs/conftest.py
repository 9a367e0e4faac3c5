"""Makes pytest run the code in the documentation.

A block of ``python`` runs in the order of its page, with the names of the blocks
before it. A block of ``python3`` is a program of its own, and runs in a fresh
interpreter: for what can't be undone, such as ``install()``.
"""

import subprocess
import sys

from sybil import Example, Sybil
from sybil.parsers.rest import CodeBlockParser, PythonCodeBlockParser, SkipParser


def run_as_program(example: Example) -> None:
    """Run the code of *example* in a fresh interpreter; it must exit with 0."""
    subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", example.parsed], check=True
    )


pytest_collect_file = Sybil(
    parsers=[
        PythonCodeBlockParser(),
        CodeBlockParser(language="python3", evaluator=run_as_program),
        SkipParser(),
    ],
    patterns=["*.rst"],
    excludes=["_build/**"],
).pytest()
