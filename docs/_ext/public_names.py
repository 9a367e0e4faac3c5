"""Links and comments for objects that a package re-exports from a private module.

An object's ``__module__`` is the private module that defines it, but readers
know it by the package whose ``__all__`` has it. This extension leads a link to
the private name, or to a bare name in an inherited docstring, to the page of the
public one; lets autodoc find the docstring of a re-exported constant; puts
the types of a server, its address for one, in the place of type variables; and
spells out keyword options that are typed together.
"""

import importlib
import pkgutil
import re
import typing
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import typing_extensions
from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.typing import stringify_annotation

# The first that has a name is the one that a bare name means.
PACKAGES = [
    "netserve.core",
    "netserve.transports",
    "netserve.concurrency",
    "netserve.handlers",
    "netserve.testing",
    "netserve.socketserver",
    "netserve.servers",
    "netserve.metrics",
    "netserve.cli",
]
_OPTIONS = re.compile(r"\*\*\w+: ~typing_extensions\.Unpack\[~([\w.]+)\.(\w+)\]")
_TYPE_VARIABLES = (typing.TypeVar, typing_extensions.TypeVar)


def private_modules(package: ModuleType) -> Iterator[ModuleType]:
    """The modules of *package* itself, imported."""
    for info in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        yield importlib.import_module(info.name)


def collect() -> tuple[dict[str, str], set[str]]:
    """Public names by private and by bare name; and type variables without a public one."""
    public: dict[str, str] = {}
    unnamed: set[str] = set()
    for name in PACKAGES:
        package = importlib.import_module(name)
        analyzer = ModuleAnalyzer.for_module(name)
        analyzer.analyze()
        for module in private_modules(package):
            private = ModuleAnalyzer.for_module(module.__name__)
            private.analyze()
            for key, comment in private.attr_docs.items():
                if not key[0]:
                    analyzer.attr_docs.setdefault(key, comment)
            for attribute, value in vars(module).items():
                if attribute in package.__all__:
                    public.setdefault(f"{module.__name__}.{attribute}", f"{name}.{attribute}")
                    public.setdefault(attribute, f"{name}.{attribute}")
                elif isinstance(value, _TYPE_VARIABLES):
                    unnamed.add(f"{module.__name__}.{attribute}")
    # An overload's signature is shown as it stands in the source, with bare names.
    unnamed |= {name.rpartition(".")[2] for name in unnamed} - public.keys()
    return public, unnamed


def type_arguments(cls: type) -> dict[object, object]:
    """What the bases of *cls* say for the type variables of the classes that they derive from."""
    arguments: dict[object, object] = {}
    for base in cls.__mro__:
        for generic in vars(base).get("__orig_bases__", ()):
            origin = typing.get_origin(generic)
            parameters = getattr(origin, "__parameters__", ())
            for parameter, argument in zip(parameters, typing.get_args(generic), strict=False):
                arguments.setdefault(parameter, arguments.get(argument, argument))
    return arguments


def spell_out(options: re.Match[str]) -> str:
    """The keywords of a dictionary of *options*, each of which may be left out, as None."""
    kind = getattr(importlib.import_module(options[1]), options[2])
    types = typing.get_type_hints(kind).items()
    return "*, " + ", ".join(
        f"{name}: {stringify_annotation(annotation, 'smart')} = None" for name, annotation in types
    )


def render_types(*event: Any) -> tuple[str, str | None] | None:
    """The signature of a class, with the types that it gives to its bases' type variables."""
    _app, _what, _name, obj, _options, signature, return_annotation = event
    if not isinstance(obj, type) or signature is None:
        return None
    for variable, argument in type_arguments(obj).items():
        if not isinstance(argument, _TYPE_VARIABLES):
            shown = stringify_annotation(argument, "smart")
            signature = re.sub(rf"~netserve[\w.]*\.{variable.__name__}\b", shown, signature)  # type: ignore[attr-defined]
    return _OPTIONS.sub(spell_out, signature), return_annotation


def inherited(node: pending_xref, public: dict[str, str]) -> Iterator[str]:
    """What *node*, a member of the class that it stands in, may be called by its bases' names."""
    module, cls = node.get("py:module"), node.get("py:class")
    if module and cls:
        for base in getattr(importlib.import_module(module), cls).__mro__:
            name = f"{base.__module__}.{base.__qualname__}"
            yield f"{public.get(name, name)}.{node['reftarget']}"


def resolve(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.TextElement
) -> nodes.Node | None:
    """The link for *node*, which names a private module, a bare object or an inherited member."""
    if node.get("refdomain") != "py":
        return None
    target: str = node["reftarget"]
    public, unnamed = app.netserve_names  # type: ignore[attr-defined]
    if target in unnamed:
        return content
    head, dot, member = target.partition(".")
    candidates = [public.get(target), public.get(head, head) + dot + member]
    python = env.domains.python_domain
    for name in [*candidates, *inherited(node, public)]:
        if name in python.objects:
            return python.resolve_xref(env, node["refdoc"], app.builder, "obj", name, node, content)
    return None


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    app.netserve_names = collect()  # type: ignore[attr-defined]
    app.connect("missing-reference", resolve)
    app.connect("autodoc-process-signature", render_types)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
