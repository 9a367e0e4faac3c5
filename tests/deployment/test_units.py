"""The unit files of the guide are what systemd takes."""

import shutil
import subprocess
from pathlib import Path

import pytest

FILES = Path(__file__).parent.parent.parent / "examples" / "deployment"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_verifies_the_units(tmp_path: Path) -> None:
    """Without a complaint; the program is where the unit says."""
    program = tmp_path / "opt" / ".venv" / "bin" / "netserve"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for name in ("shout.service", "shout.socket"):
        text = (FILES / name).read_text().replace("/opt/shout", str(tmp_path / "opt"))
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / "shout.service"),
         str(tmp_path / "shout.socket")],
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_wrong_unit_would_be_found(tmp_path: Path) -> None:
    """The check above can fail."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze")
    (tmp_path / "wrong.service").write_text("[Service]\nExecStart=relative\n")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / "wrong.service")],
        capture_output=True,
        check=False,
    )
    assert done.returncode != 0
