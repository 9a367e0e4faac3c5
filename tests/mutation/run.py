"""Put single faults into the four packages, and fail when one goes unnoticed unexplained.

A mutant is one module with one fault: a statement left out, a comparison turned
round, a constant changed. The tests of the module's package run against each;
a mutant that none of them fails on survives. ``survivors.md`` says of each
survivor that is known why no test can tell it from the original.

Usage: ``python tests/mutation/run.py [package ...]``, by default all four.
"""

import ast
import contextlib
import difflib
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import parso
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Operator
from cosmic_ray.plugins import get_operator

ROOT = Path(__file__).parents[2]
PACKAGES = ["core", "transports", "handlers", "concurrency"]
WORKERS = 2
TEST_TIMEOUT = 5  # seconds for one test
RUN_TIMEOUT = 30  # seconds for the whole run; a mutant may hang beyond a test's end

# One replacement for each operator: the others rarely tell anything more.
OPERATORS = [
    "AddNot", "ExceptionReplacer", "NumberReplacer", "RemoveDecorator", "ReplaceAndWithOr",
    "ReplaceOrWithAnd", "ReplaceBreakWithContinue", "ReplaceContinueWithBreak",
    "ReplaceFalseWithTrue", "ReplaceTrueWithFalse", "ZeroIterationForLoop",
    "ReplaceComparisonOperator_Eq_NotEq", "ReplaceComparisonOperator_NotEq_Eq",
    "ReplaceComparisonOperator_Is_IsNot", "ReplaceComparisonOperator_IsNot_Is",
    "ReplaceComparisonOperator_Lt_LtE", "ReplaceComparisonOperator_Lt_GtE",
    "ReplaceComparisonOperator_LtE_Lt", "ReplaceComparisonOperator_Gt_GtE",
    "ReplaceComparisonOperator_GtE_Gt", "ReplaceComparisonOperator_GtE_Lt",
    "ReplaceBinaryOperator_Add_Sub", "ReplaceBinaryOperator_Sub_Add",
    "ReplaceBinaryOperator_BitOr_BitAnd", "ReplaceUnaryOperator_Delete_Not",
    "ReplaceUnaryOperator_USub_UAdd",
]  # fmt: skip


class RemoveStatement(Operator):
    """Leaves out one statement of a function: an assignment, a call, a return, a raise."""

    def mutation_positions(self, node):
        """Where there is a statement other than a docstring, within a function."""
        if node.type == "simple_stmt" and parso.python.tree.search_ancestor(node, "funcdef"):
            statement = node.children[0]
            if statement.type not in {"string", "strings"} and statement != "pass":
                yield node.start_pos, node.end_pos

    def mutate(self, node, index):
        """Put ``pass`` in its place."""
        nothing = parso.parse("pass\n").children[0]
        nothing.get_first_leaf().prefix = node.get_first_leaf().prefix
        return nothing

    @classmethod
    def examples(cls):
        """None; it is no plugin."""
        return ()


@dataclass(frozen=True)
class Mutant:
    """One fault: the module's path, its new text, where it is and which lines differ."""

    path: Path
    code: str
    place: str = ""
    before: str = ""
    after: str = ""

    def __str__(self) -> str:
        place = f"{self.path.parent.name}/{self.path.name} {self.place}"
        return f"`{place}`: `{self.before}` → `{self.after}`"


def mutants(package: str) -> Iterator[Mutant]:
    """Every mutant of the modules of *package*, those of types left out."""
    for path in sorted((ROOT / "packages" / package / "src").rglob("*.py")):
        source = path.read_text()
        behaviour = ast.dump(Behaviour().visit(ast.parse(source)))
        operators = [get_operator(f"core/{name}")() for name in OPERATORS]
        for operator in [*operators, RemoveStatement()]:
            occurrence = 0
            while (code := mutate_code(source, operator, occurrence)) is not None:
                occurrence += 1
                with contextlib.suppress(SyntaxError):
                    if ast.dump(Behaviour().visit(ast.parse(code))) != behaviour:
                        yield Mutant(path.relative_to(ROOT), code, *changed(source, code))


class Behaviour(ast.NodeTransformer):
    """Takes out of a module what only a type checker sees."""

    def visit_arg(self, node):
        """Parameters have no annotation."""
        node.annotation = None
        return node

    def visit_FunctionDef(self, node):
        """Functions have none either."""
        node.returns = None
        return self.generic_visit(node)

    def visit_AnnAssign(self, node):
        """Nor have variables; and an alias of a type is an annotation itself."""
        if node.value is None or getattr(node.annotation, "id", "") == "TypeAlias":
            return None
        node.annotation = ast.Constant(None)
        return self.generic_visit(node)

    def visit_ClassDef(self, node):
        """A Protocol is a type."""
        bases = {getattr(getattr(base, "value", base), "id", "") for base in node.bases}
        return None if "Protocol" in bases else self.generic_visit(node)

    def visit_If(self, node):
        """What stands under TYPE_CHECKING isn't run."""
        if getattr(node.test, "id", "") == "TYPE_CHECKING":
            node.body = [ast.Pass()]
        return self.generic_visit(node)

    def visit_Call(self, node):
        """The words of a cast are for type checkers, and so are a type variable's."""
        function = getattr(node.func, "id", "")
        if function == "cast":
            return self.visit(node.args[1])
        if function == "TypeVar":
            node.keywords = []
        return self.generic_visit(node)


def changed(source: str, code: str) -> tuple[str, str, str]:
    """The function or class in which *code* differs from *source*, the lines, and the new ones."""
    lines = list(difflib.ndiff(source.splitlines(), code.splitlines()))
    place = "module"
    for line in lines:
        if line[0] in "-+":
            break
        if definition := re.match(r"..\s*(?:def|class) (\w+)", line):
            place = definition[1]
    before, after = (
        " ".join(line[2:].strip() for line in lines if line.startswith(mark)) for mark in "-+"
    )
    return place, before, after


class Tree:
    """A copy of the packages to put faults into, with a command that tests it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(
            ROOT / "packages", folder / "packages", ignore=shutil.ignore_patterns("__pycache__")
        )
        for name in ("pyproject.toml", "conftest.py"):
            shutil.copy(ROOT / name, folder)

    def fails(self, package: str, path: Path, code: str) -> bool:
        """Whether the tests of *package* fail when the module at *path* holds *code*."""
        target = self.folder / path
        original = target.read_text()
        target.write_text(code)
        command = [
            sys.executable, "-m", "pytest", "-xq", "-p", "no:cacheprovider",
            f"--timeout={TEST_TIMEOUT}", f"packages/{package}/tests",
        ]  # fmt: skip
        # The copy comes before the packages that are installed; and a file that
        # changes twice a second must not be taken for its old bytecode.
        sources = [str(self.folder / "packages" / name / "src") for name in PACKAGES]
        python = {"PYTHONPATH": os.pathsep.join(sources), "PYTHONDONTWRITEBYTECODE": "1"}
        report = self.folder / "report"
        with report.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=os.environ | python,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            status = process.wait(RUN_TIMEOUT)
            # A fault in forking may end pytest itself, with success, half-way.
            return status != 0 or b" passed" not in report.read_bytes()
        except subprocess.TimeoutExpired:
            return True
        finally:
            # What a mutant has left running ends with its session.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            target.write_text(original)


def explained() -> set[str]:
    """The survivors that are known, as their list names them."""
    text = (Path(__file__).parent / "survivors.md").read_text()
    return set(re.findall(r"^- (`.*?`: `.*` → `.*`)$", text, re.MULTILINE))


def main() -> int:
    """Run the tests against every mutant; 1 when a survivor isn't explained."""
    wanted = sys.argv[1:] or PACKAGES
    known = explained()
    failures = 0
    with contextlib.ExitStack() as stack:
        trees: queue.SimpleQueue[Tree] = queue.SimpleQueue()
        for _ in range(WORKERS):
            trees.put(Tree(Path(stack.enter_context(tempfile.TemporaryDirectory()))))
        pool = stack.enter_context(ThreadPoolExecutor(WORKERS))

        def killed(package: str, mutant: Mutant) -> bool:
            tree = trees.get()
            try:
                return tree.fails(package, mutant.path, mutant.code)
            finally:
                trees.put(tree)

        for package in wanted:
            module = Path(f"packages/{package}/src/netserve/{package}/__init__.py")
            if killed(package, Mutant(module, (ROOT / module).read_text())):
                sys.exit(f"{package}: the tests fail without a fault")
            if not killed(package, Mutant(module, "raise SystemExit")):
                sys.exit(f"{package}: the tests don't see the faults")
            found = list(mutants(package))
            results = pool.map(partial(killed, package), found)
            survivors = unexplained = 0
            for mutant, dead in zip(found, results, strict=True):
                if not dead:
                    survivors += 1
                    if str(mutant) not in known:
                        unexplained += 1
                        print(f"unexplained: {mutant}", flush=True)
            print(
                f"{package}: {len(found)} mutants, {len(found) - survivors} killed,"
                f" {survivors} survived, {unexplained} of them unexplained",
                flush=True,
            )
            failures += unexplained
    return failures > 0


if __name__ == "__main__":
    sys.exit(main())
