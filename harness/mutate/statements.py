"""Mutants of statements: one left out, a condition that always or never holds, a loop cut short."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from itertools import pairwise

from harness.mutate.text import Edit, Text, called, names_read

RANGES = ("range", "static_range")


def removed(node: ast.AST, text: Text) -> Iterator[Edit]:
    """A call, a check, an update or a jump left out."""
    forgettable = isinstance(node, (ast.AugAssign, ast.Raise, ast.Assert, ast.Break, ast.Continue))
    if isinstance(node, ast.Expr):
        forgettable = isinstance(node.value, ast.Call)
    elif isinstance(node, ast.Assign):
        forgettable = all(_known_before(target, node, text) for target in node.targets)
    if forgettable:
        lines = text.of(node).count("\n")
        yield text.replace(node, "pass" + "\n" * lines)


def assignment(node: ast.AST, text: Text) -> Iterator[Edit]:
    """``=`` for ``+=``, and ``+=`` for ``=`` where there is something to add to."""
    if isinstance(node, ast.AugAssign) and isinstance(node.op, (ast.Add, ast.Sub, ast.Mult)):
        place = text.token(text.end(node.target), text.start(node.value), r"\S+=")
        if place is not None:
            yield Edit(*place, "=")
    elif isinstance(node, ast.Assign) and len(node.targets) == 1:
        target = node.targets[0]
        if isinstance(target, ast.Tuple) or not _known_before(target, node, text):
            return
        if isinstance(target, ast.Name) and target.id in names_read(node.value):
            return  # x = f(x) is not meant to be a sum
        if isinstance(target, ast.Subscript) and not text.in_loop(node):
            return  # written once: it adds to what was made for it
        place = text.token(text.end(target), text.start(node.value), "=")
        if place is not None:
            yield Edit(*place, "+=")


def condition(node: ast.AST, text: Text) -> Iterator[Edit]:
    """The condition of an ``if`` always or never holds; that of a ``while`` never."""
    if isinstance(node, ast.If):
        guard = len(node.body) == 1 and isinstance(node.body[0], ast.Raise) and not node.orelse
        if not guard:  # `removed` deletes the raise
            yield text.replace(node.test, "False")
            yield text.replace(node.test, "True")
    elif isinstance(node, ast.While):
        yield text.replace(node.test, "False")


def loop(node: ast.AST, text: Text) -> Iterator[Edit]:
    """A loop runs not at all, not for the first, not for the last, or backwards."""
    if not isinstance(node, ast.For):
        return
    if called(node.iter) in RANGES:
        yield text.replace(node.iter, "range(0)")
        return  # its bounds are `bound`'s
    items = text.of(node.iter)
    yield text.replace(node.iter, "()")
    yield text.replace(node.iter, f"list({items})[1:]")
    yield text.replace(node.iter, f"list({items})[:-1]")
    if called(node.iter) == "reversed":
        yield text.replace(node.iter, text.of(node.iter.args[0]))  # type: ignore[attr-defined]
    else:
        yield text.replace(node.iter, f"reversed(list({items}))")


def context(node: ast.AST, text: Text) -> Iterator[Edit]:
    """``with no_grad():`` → ``if True:``."""
    if isinstance(node, ast.With) and not any(item.optional_vars for item in node.items):
        yield Edit(text.start(node), text.end(node.items[-1].context_expr), "if True")


def exception(node: ast.AST, text: Text) -> Iterator[Edit]:
    """Another type of error than the one promised."""
    if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
        other = "RuntimeError" if text.of(node.exc.func) != "RuntimeError" else "ValueError"
        yield text.replace(node.exc.func, other)


def order(node: ast.AST, text: Text) -> Iterator[Edit]:
    """Two neighbours in the wrong order: the state is updated before its old value is used."""
    for block in ("body", "orelse"):
        statements = getattr(node, block, None)
        if not isinstance(statements, list) or isinstance(node, (ast.ClassDef, ast.Module)):
            continue
        for first, second in pairwise(statements):
            if _depend(first, second, text):
                between = text.source[text.end(first) : text.start(second)]
                swapped = text.of(second) + between + text.of(first)
                yield Edit(text.start(first), text.end(second), swapped)


def _depend(first: ast.stmt, second: ast.stmt, text: Text) -> bool:
    simple = (ast.Assign, ast.AugAssign, ast.Expr)
    if not (isinstance(first, simple) and isinstance(second, simple)):
        return False
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
        return False
    writes, reads = _written(first), _read(second)
    if writes & reads:  # the second would meet the old value, if there is one
        targets = first.targets if isinstance(first, ast.Assign) else []
        return all(_known_before(t, first, text) for t in targets) and bool(targets)
    return bool(_read(first) & _written(second))


def _written(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, ast.AugAssign):
        targets = [node.target]
    else:
        return set()
    return {ast.unparse(part) for target in targets for part in _parts(target)}


def _read(node: ast.stmt) -> set[str]:
    value = getattr(node, "value", None)
    found = set()
    if value is not None:
        for part in ast.walk(value):
            if isinstance(part, (ast.Name, ast.Attribute, ast.Subscript)):
                found.add(ast.unparse(part))
    if isinstance(node, ast.AugAssign):
        found.add(ast.unparse(node.target))
    return found


def _parts(target: ast.expr) -> list[ast.expr]:
    if isinstance(target, (ast.Tuple, ast.List)):
        return [part for element in target.elts for part in _parts(element)]
    return [target.value if isinstance(target, ast.Starred) else target]


def _known_before(target: ast.expr, node: ast.stmt, text: Text) -> bool:
    """Whether there is an old value that would stay if ``node`` did not write ``target``."""
    function = text.function(node)
    if function is None:
        return False
    arguments = function.args
    given = {a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)}
    for part in _parts(target):
        if isinstance(part, (ast.Attribute, ast.Subscript)):
            continue
        name = text.of(part)
        if name in given:
            continue
        earlier = any(
            isinstance(other, ast.Name) and other.id == name and isinstance(other.ctx, ast.Store)
            and text.start(other) < text.start(node)
            for other in ast.walk(function)
        )  # fmt: skip
        if not earlier:
            return False
    return True
