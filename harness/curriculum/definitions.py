"""The functions and classes at the top level of a module, and whose kernel is whose."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass

from harness.curriculum.source import normalised, split_lines

Node = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


@dataclass(frozen=True)
class Definition:
    """A top-level function or class. ``start`` is its first decorator's line, ``end`` its last
    line, comments that still stand inside its body included."""

    name: str
    node: Node
    start: int
    end: int

    @property
    def public(self) -> bool:
        return not self.name.startswith("_")

    @property
    def example(self) -> bool:
        return self.name.startswith("test_")

    @property
    def kernel(self) -> bool:
        """A Triton kernel that belongs to another definition, its launcher."""
        return self.name.endswith("_kernel") and is_jit(self.node)


def first_line(node: ast.stmt) -> int:
    """The line on which a statement begins, its decorators included."""
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])


def last_line(node: ast.stmt) -> int:
    return node.end_lineno or node.lineno


def is_jit(node: ast.stmt) -> bool:
    """Whether a function is compiled by Triton: ``@triton.jit``, ``@gluon.jit``, ``@jit``, with or
    without arguments, alone or under others such as ``@triton.autotune(...)``."""
    for decorator in getattr(node, "decorator_list", []):
        called = decorator.func if isinstance(decorator, ast.Call) else decorator
        if ast.unparse(called) in ("triton.jit", "gluon.jit", "jit"):
            return True
    return False


def definitions_of(tree: ast.Module, source: str) -> list[Definition]:
    """The top-level functions and classes in order."""
    lines = split_lines(normalised(source))
    found = []
    for node in tree.body:
        if isinstance(node, DEFINITIONS):
            end = last_line(node)
            for number in range(end + 1, len(lines) + 1):
                line = lines[number - 1]
                if line.strip() and not (line[0] in " \t" and line.lstrip().startswith("#")):
                    break
                if line.strip():
                    end = number
            found.append(Definition(node.name, node, first_line(node), end))
    return found


def launcher_of(kernel: str, names: Iterable[str]) -> str | None:
    """The longest of ``names`` that the kernel's name begins with: ``softmax_rows_kernel`` and
    ``softmax_kernel`` belong to ``softmax``, unless there is a ``softmax_rows``."""
    stem = kernel.removesuffix("_kernel")
    fitting = [name for name in names if stem == name or stem.startswith(name + "_")]
    return max(fitting, key=len, default=None)


def exercise_owning(definition: Definition, definitions: Iterable[Definition]) -> str | None:
    """The name of the exercise that a definition is a part of: its own, or its launcher's."""
    if definition.kernel:
        launchers = [d.name for d in definitions if d.public and not d.kernel and not d.example]
        return launcher_of(definition.name, launchers)
    return definition.name if definition.public and not definition.example else None
