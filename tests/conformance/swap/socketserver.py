"""Stands before the standard library's ``socketserver``, and picks the module to test.

``CONFORMANCE_TARGET`` names it: ``socketserver``, for the standard library's own,
or ``netserve.socketserver``. Each server that is built leaves one byte in the
file ``CONFORMANCE_COUNT``, whatever process builds it, so that a run that tested
something else can be told.
"""

import functools
import importlib
import os
import sys
from pathlib import Path

_HERE = Path(__file__).parent


def _load_stock():
    """The standard library's module, which stands in ``sys.modules`` from here on."""
    everywhere = sys.path[:]
    del sys.modules["socketserver"]
    sys.path[:] = [folder for folder in everywhere if Path(folder or ".").resolve() != _HERE]
    try:
        return importlib.import_module("socketserver")
    finally:
        sys.path[:] = everywhere


def _counted(constructor):
    """*constructor* of a server, counting."""

    @functools.wraps(constructor)
    def __init__(*args, **keywords):  # noqa: N807  # its name in a traceback
        # Opened each time: the tests look after descriptors, and some fork.
        with open(os.environ["CONFORMANCE_COUNT"], "ab", buffering=0) as file:  # noqa: PTH123
            file.write(b".")
        constructor(*args, **keywords)

    return __init__


# While the target is loaded, the name means the standard library's.
_load_stock()
_target = importlib.import_module(os.environ["CONFORMANCE_TARGET"])
_target.BaseServer.__init__ = _counted(_target.BaseServer.__init__)
# The import statement hands out what stands here in the end.
sys.modules["socketserver"] = _target
