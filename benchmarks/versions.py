"""What was measured with what: the versions that a table must name."""

import platform
import re
import shutil
import subprocess
from pathlib import Path

from benchmarks.entries import ENTRIES

# What prints a tool's version, and the package that has the tool.
TOOLS = {
    "wrk": (["wrk", "-v"], "wrk"),
    "redis-benchmark": (["redis-benchmark", "--version"], "redis-tools"),
    "dnsperf": (["dnsperf", "-h"], "dnsperf"),
}


def versions() -> dict[str, str]:
    """The interpreter, the system, the compiler, and every distribution and tool present."""
    found = {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "cc": _first_line(["cc", "--version"]),
    }
    for entry in ENTRIES:
        if version := entry.version():
            found[entry.distribution] = version
    for name, (command, _) in TOOLS.items():
        if shutil.which(name):
            found[name] = _number(_output(command))
    return found


def _processor() -> str:
    text = Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*: (.*)$", text, re.MULTILINE)
    count = len(re.findall(r"^processor\b", text, re.MULTILINE))
    return f"{count} x {model[1] if model else platform.processor() or 'unknown'}"


def _output(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def _first_line(command: list[str]) -> str:
    return _output(command).partition("\n")[0]


def _number(text: str) -> str:
    number = re.search(r"\d+\.\d+[\w.+-]*", text)
    return number[0] if number else "unknown"
