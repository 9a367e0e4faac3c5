"""Importing what a package offers only once somebody asks for it.

A server's program has few of a package's parts in use, and some of them need large
modules of the standard library. What isn't imported costs no time at the start, and no
memory: neither the server's own, nor that of each process that it forks, whose making
takes the longer, the more there is to share.
"""

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence


def import_later(package: str, modules: Mapping[str, Sequence[str]]) -> Callable[[str], object]:
    """The ``__getattr__`` for *package* (:pep:`562`), by which its names come when asked for.

    *modules* has the names of public objects under that of the module below *package*
    that defines them. What is asked for once is an ordinary attribute afterwards.
    """
    places = {name: module for module, names in modules.items() for name in names}

    def get(name: str) -> object:
        place = places.get(name)
        if place is None:
            msg = f"module {package!r} has no attribute {name!r}"
            raise AttributeError(msg, name=name, obj=sys.modules[package])
        found = getattr(importlib.import_module(f"{package}.{place}"), name)
        setattr(sys.modules[package], name, found)
        return found

    return get
