"""Putting this module in the place of the standard library's.

``import socketserver`` looks in :data:`sys.modules` first; what stands there is
what the importer gets. A module that has imported the standard library's before
keeps what it has, classes derived from it included, and so is worth a warning.
"""

import sys
import types
import warnings
from collections.abc import Iterable
from typing import Final, cast

_NAME: Final = "socketserver"
_OURS: Final = "netserve.socketserver"


def install() -> None:
    """Make ``import socketserver`` mean this module, for modules imported from now on.

    Warns with a :class:`RuntimeWarning` that names the modules which have
    imported the standard library's already and keep it. May be called twice.
    """
    ours = sys.modules[_OURS]
    replaced = sys.modules.get(_NAME)
    if replaced is ours:
        return
    sys.modules[_NAME] = ours
    if replaced is None:
        return
    _replaced.append(replaced)
    holders = sorted(modules_that_hold(replaced, list(sys.modules.values())))
    if holders:
        warnings.warn(
            f"{', '.join(holders)} imported the standard library's socketserver before"
            " install() and will keep it: call install() before they are imported",
            RuntimeWarning,
            stacklevel=2,
        )


def uninstall() -> None:
    """Undo :func:`install`, for modules imported from now on; harmless without it."""
    if sys.modules.get(_NAME) is sys.modules[_OURS]:
        del sys.modules[_NAME]
        if _replaced:
            sys.modules[_NAME] = _replaced.pop()


def modules_that_hold(held: types.ModuleType, modules: Iterable[object]) -> set[str]:
    """The names of those of *modules* that refer to *held*, or to a class defined in it.

    A class that derives from one in *held* counts where it is defined.
    """
    return {
        module.__name__
        for module in modules
        if isinstance(module, types.ModuleType)
        and module is not held
        and any(_comes_from(value, held) for value in list(vars(module).values()))
    }


def _comes_from(value: object, held: types.ModuleType) -> bool:
    if value is held:
        return True
    # Not isinstance(value, type), which on 3.10 takes list[int] for a type.
    return issubclass(type(value), type) and any(
        base.__module__ == held.__name__ for base in type.mro(cast("type", value))[:-1]
    )


_replaced: list[types.ModuleType] = []
