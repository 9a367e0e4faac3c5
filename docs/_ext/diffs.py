"""What a page shows as a difference of two files names them from the repository's root."""

from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

ROOT = Path(__file__).parents[2]


def shorten(_app: Sphinx, document: nodes.document) -> None:
    """Take the way to the repository on the building machine out of the differences' heads."""
    for block in document.findall(nodes.literal_block):
        if block.get("language") in {"diff", "udiff"}:
            text = block.astext().replace(f"{ROOT}/", "")
            block.rawsource = text
            block.children = [nodes.Text(text)]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register it; see https://www.sphinx-doc.org/en/master/development/."""
    app.connect("doctree-read", shorten)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
