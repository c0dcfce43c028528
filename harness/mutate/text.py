"""A source's syntax tree with the place of each node in the text, so that text can be edited."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import NamedTuple

from harness.curriculum.definitions import FUNCTIONS

ATOMS = (
    ast.Name, ast.Constant, ast.Attribute, ast.Subscript, ast.Call, ast.List, ast.Dict, ast.Set,
    ast.ListComp, ast.DictComp, ast.SetComp,
)  # fmt: skip


class Edit(NamedTuple):
    """Put ``text`` in place of the characters from ``start`` to ``end``."""

    start: int
    end: int
    text: str


class Text:
    """``source`` has newlines alone for line ends (``curriculum.source.normalised``)."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.tree = ast.parse(source)
        self._lines = source.split("\n")
        self._starts = [0]
        for line in self._lines:
            self._starts.append(self._starts[-1] + len(line) + 1)
        self._parents: dict[ast.AST, ast.AST] = {}
        for node in ast.walk(self.tree):
            for child in ast.iter_child_nodes(node):
                self._parents[child] = node
        self.triton = "import triton" in source

    def start(self, node: ast.AST) -> int:
        return self._offset(node.lineno, node.col_offset)  # type: ignore[attr-defined]

    def end(self, node: ast.AST) -> int:
        return self._offset(node.end_lineno, node.end_col_offset)  # type: ignore[attr-defined]

    def of(self, node: ast.AST) -> str:
        return self.source[self.start(node) : self.end(node)]

    def atom(self, node: ast.AST) -> str:
        """The node's text, in parentheses where a neighbour could bind closer."""
        text = self.of(node)
        return text if isinstance(node, ATOMS) else f"({text})"

    def parent(self, node: ast.AST) -> ast.AST | None:
        return self._parents.get(node)

    def function(self, node: ast.AST) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
        """The innermost function around ``node``."""
        above = self.parent(node)
        while above is not None and not isinstance(above, FUNCTIONS):
            above = self.parent(above)
        return above

    def in_loop(self, node: ast.AST) -> bool:
        above = self.parent(node)
        while above is not None and not isinstance(above, FUNCTIONS):
            if isinstance(above, (ast.For, ast.While)):
                return True
            above = self.parent(above)
        return False

    def replace(self, node: ast.AST, text: str) -> Edit:
        return Edit(self.start(node), self.end(node), text)

    def token(self, left: int, right: int, pattern: str) -> tuple[int, int] | None:
        """Where ``pattern`` stands between two offsets, comments left out."""
        between = re.sub(r"#[^\n]*", lambda m: " " * len(m[0]), self.source[left:right])
        match = re.search(pattern, between)
        return (left + match.start(), left + match.end()) if match else None

    def operands(self, node: ast.BinOp) -> tuple[str, tuple[int, int], str] | None:
        """The left operand's text, where the operator stands, and the right operand's text."""
        pattern = re.escape(OPERATORS[type(node.op)])
        place = self.token(self.end(node.left), self.start(node.right), pattern)
        if place is None:
            return None
        left = self.source[self.start(node) : place[0]].rstrip()
        return left, place, self.source[place[1] : self.end(node)].lstrip()

    def without_argument(self, call: ast.Call, argument: ast.AST) -> Edit:
        """The edit that takes ``argument`` (positional or keyword) and a comma out of ``call``."""
        arguments = sorted([*call.args, *call.keywords], key=self.start)
        at = next(n for n, one in enumerate(arguments) if one is argument)
        if at:
            comma = self.token(self.end(arguments[at - 1]), self.start(argument), ",")
            assert comma is not None
            return Edit(comma[0], self.end(argument), "")
        if len(arguments) > 1:
            return Edit(self.start(argument), self.start(arguments[1]), "")
        return self.replace(argument, "")

    def _offset(self, line: int, column: int) -> int:
        """Columns in a syntax tree count UTF-8 bytes."""
        text = self._lines[line - 1]
        if not text.isascii():
            column = len(text.encode()[:column].decode())
        return self._starts[line - 1] + column


OPERATORS: dict[type[ast.operator], str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%",
    ast.Pow: "**", ast.LShift: "<<", ast.RShift: ">>", ast.BitAnd: "&", ast.BitOr: "|",
    ast.BitXor: "^", ast.MatMult: "@",
}  # fmt: skip


def called(node: ast.AST | None) -> str:
    """The last part of the name that a call calls: ``sum`` for ``tl.sum(x)`` and ``x.sum()``."""
    if not isinstance(node, ast.Call):
        return ""
    function = node.func
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


MODULES = frozenset(
    ("tl", "torch", "np", "numpy", "triton", "F", "nn", "math", "libdevice", "special", "linalg")
)


def is_method(call: ast.Call) -> bool:
    """Whether a call is ``x.name(...)`` on a value, and not ``module.name(...)``."""
    function = call.func
    if not isinstance(function, ast.Attribute):
        return False
    value = function.value
    if isinstance(value, ast.Attribute):  # torch.special.expm1, np.linalg.norm; self.x is a value
        return value.attr not in MODULES
    return not (isinstance(value, ast.Name) and value.id in MODULES)


def names_read(node: ast.AST) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}


def nodes_to_change(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node but those whose text does not matter: annotations, docstrings, messages."""
    for field, value in ast.iter_fields(tree):
        if field in ("annotation", "returns", "decorator_list"):
            continue
        if isinstance(tree, ast.Assert) and field == "msg":
            continue
        children = value if isinstance(value, list) else [value]
        for child in children:
            if not isinstance(child, ast.AST) or isinstance(child, ast.JoinedStr):
                continue
            if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
                continue
            yield child
            if not isinstance(child, ast.Raise):  # what is raised is a type and a message
                yield from nodes_to_change(child)
