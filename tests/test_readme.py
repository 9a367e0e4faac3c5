"""What the README and the contributors' guide promise is what the repository does.

Their code is run with the documentation's.
"""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEXTS = [*ROOT.glob("*.md"), *ROOT.glob("packages/*/*.md")]


def test_the_readme_gives_the_command_that_ci_runs() -> None:
    """Whoever follows the README runs what CI runs."""
    command = "python3 -m venv .venv && .venv/bin/pip install nox && .venv/bin/nox"
    assert f"\n{command}\n" in (ROOT / "README.md").read_text("utf-8")
    assert f"\n{command}\n" in (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    ci = (ROOT / ".ci" / "run").read_text("utf-8").replace("install -q ", "install ")
    assert f"\n{command}\n" in ci
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8")
    assert "run: .ci/run\n" in workflow


def test_the_readme_installs_every_package() -> None:
    """No package is forgotten, and core comes first."""
    readme = (ROOT / "README.md").read_text("utf-8")
    installed = re.findall(r"\./packages/(\w+)", readme)
    assert sorted(installed) == sorted(
        path.parent.name for path in ROOT.glob("packages/*/pyproject.toml")
    )
    assert installed[0] == "core"


def test_the_contributors_guide_names_every_session() -> None:
    """Its table is that of the noxfile."""
    guide = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    noxfile = (ROOT / "noxfile.py").read_text("utf-8")
    sessions = re.findall(r"^@nox\.session.*\n(?:@.*\n)*def (\w+)", noxfile, re.MULTILINE)
    table = guide[: guide.index("## Where things are")]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == sessions


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_to_a_file(path: Path) -> None:
    """Links are relative, so that they hold wherever the repository lies."""
    for target in re.findall(r"\]\(([^)]+)\)", path.read_text("utf-8")):
        assert (path.parent / target).is_file(), target
