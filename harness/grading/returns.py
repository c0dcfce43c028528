"""A function that is to give something and has no ``return`` with a value: the commonest slip."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path


def without_return(file: Path, name: str) -> str:
    """A sentence if the function ``name`` of ``file`` can give nothing but None, else "".

    Only for one whose annotation says that it gives something; not where it always raises.
    """
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return ""
    found = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == name]
    if not found or found[-1].returns is None:
        return ""
    function = found[-1]
    gives = function.returns
    if isinstance(gives, ast.Constant) and gives.value is None:
        return ""
    own = list(_own_nodes(function))
    if isinstance(function.body[-1], ast.Raise) or any(
        isinstance(n, (ast.Yield, ast.YieldFrom)) or (isinstance(n, ast.Return) and n.value)
        for n in own
    ):
        return ""
    return f"`{name}` has no `return` with a value, so what it gives is None."


def _own_nodes(function: ast.FunctionDef) -> Iterator[ast.AST]:
    """What belongs to the function itself, not to one that is defined in it."""
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
            waiting.extend(ast.iter_child_nodes(node))
