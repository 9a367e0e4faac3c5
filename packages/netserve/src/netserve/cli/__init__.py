"""netserve.cli: the ``netserve`` command."""

from netserve.cli._main import main

__all__ = ["main"]
