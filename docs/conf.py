"""How Sphinx builds the documentation; ``nox -s docs`` runs it."""

import importlib
import sys
from importlib.metadata import version as installed_version
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

# The extensions of this project, which the path above makes importable.
python_inventory = importlib.import_module("python_inventory")

project = "netserve"
project_copyright = "2026, The netserve developers"
author = "The netserve developers"
version = release = installed_version("netserve")

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.intersphinx",
    "diagrams",
    "diffs",
    "plots",
    "public_names",
]
exclude_patterns = ["_build"]
templates_path: list[str] = []
nitpicky = True
nitpick_ignore = [
    ("py:class", "socket.SocketIO"),  # Python doesn't document what makefile returns
    # The build fetches nothing, and so knows no names of others.
    ("py:class", "prometheus_client.registry.CollectorRegistry"),
    ("py:class", "prometheus_client.metrics_core.Metric"),
]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_display_short_literal_types = True
maximum_signature_line_length = 70
toc_object_entries_show_parents = "hide"

# Links into Python's own documentation come from the list beside this file, so
# that a build fetches nothing.
intersphinx_mapping = {
    "python": (
        "https://docs.python.org/3/",
        str(python_inventory.write(HERE / "python_names.txt", HERE / "_build" / "python.inv")),
    )
}
intersphinx_disabled_reftypes = ["std:*"]
manpages_url = "https://man7.org/linux/man-pages/man{section}/{page}.{section}.html"

html_theme = "furo"
html_title = f"netserve {release}"
html_static_path = ["_static"]
html_css_files = ["netserve.css"]
html_copy_source = False
html_show_sourcelink = False
