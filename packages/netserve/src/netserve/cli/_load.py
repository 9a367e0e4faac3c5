"""From ``module:Handler`` to the handler."""

import importlib
import sys
from collections.abc import Callable
from operator import attrgetter
from pathlib import Path

from netserve.cli._errors import Refusal


def load_handler(reference: str) -> Callable[..., object]:
    """Import what *reference*, as ``package.module:Class``, names.

    The current folder is searched first, as by ``python -m``. Raises
    :class:`Refusal` when there is no such module, or nothing callable of that name
    in it; what the module itself raises goes on.
    """
    module_name, colon, attribute = reference.partition(":")
    if not (module_name and colon and attribute):
        msg = f"{reference!r} names no handler: give module:Handler, such as service:Echo"
        raise Refusal(msg)
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        # One that the module itself imports in vain is its own fault.
        if not f"{module_name}.".startswith(f"{error.name}."):
            raise
        msg = f"there is no module {module_name!r} in {here} or among the installed ones"
        raise Refusal(msg) from error
    try:
        handler: object = attrgetter(attribute)(module)
    except AttributeError as error:
        msg = f"{module_name!r} has no {attribute!r}"
        raise Refusal(msg) from error
    if not callable(handler):
        msg = f"{reference!r} is no handler: it can't be called, being {handler!r}"
        raise Refusal(msg)
    return handler
