"""Mutants of expressions. Each function yields the edits that one operator makes at one node."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from itertools import pairwise

from harness.mutate.text import OPERATORS, Edit, Text, called

ARITHMETIC: dict[type[ast.operator], str] = {
    ast.Add: "-", ast.Sub: "+", ast.Mult: "/", ast.Div: "*", ast.FloorDiv: "*", ast.Mod: "//",
    ast.Pow: "*", ast.LShift: ">>", ast.RShift: "<<", ast.BitAnd: "|", ast.BitOr: "&",
    ast.BitXor: "&",
}  # fmt: skip
BOUNDARY: dict[type[ast.cmpop], tuple[str, tuple[str, ...]]] = {
    ast.Lt: ("<", ("<=", ">=")), ast.LtE: ("<=", ("<", ">")), ast.Gt: (">", (">=", "<=")),
    ast.GtE: (">=", (">", "<")), ast.Eq: ("==", ("!=",)), ast.NotEq: ("!=", ("==",)),
    ast.Is: (r"\bis\b", ("is not",)), ast.IsNot: (r"\bis\s+not\b", ("is",)),
    ast.In: (r"\bin\b", ("not in",)), ast.NotIn: (r"\bnot\s+in\b", ("in",)),
}  # fmt: skip
SMALL = 1e-3  # below this a constant is an eps
WORDS = {"mean": "sum", "sum": "mean", "ij": "xy", "xy": "ij", "left": "right", "right": "left"}


def arithmetic(node: ast.AST, text: Text) -> Iterator[Edit]:
    if isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC:
        parts = text.operands(node)
        if parts is not None:
            yield Edit(*parts[1], ARITHMETIC[type(node.op)])
    elif isinstance(node, ast.AugAssign) and type(node.op) in ARITHMETIC:
        place = text.token(text.end(node.target), text.start(node.value), r"\S+=")
        if place is not None:
            yield Edit(*place, ARITHMETIC[type(node.op)] + "=")


def operands_swapped(node: ast.AST, text: Text) -> Iterator[Edit]:
    """``a - b`` → ``b - a``, and for / and @."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Sub, ast.Div, ast.MatMult)):
        operator = OPERATORS[type(node.op)]
        if isinstance(node.op, ast.Sub) and called(text.parent(node)) in ("abs", "fabs", "square"):
            return  # which do not see the sign
        yield text.replace(node, f"({text.atom(node.right)} {operator} {text.atom(node.left)})")


def dropped_operand(node: ast.AST, text: Text) -> Iterator[Edit]:
    """A term of a sum, a factor of a product, a part of a mask or of a condition."""
    if isinstance(node, ast.BinOp) and not isinstance(node.op, ast.MatMult):
        parts = text.operands(node)
        if parts is None:
            return
        left, _, right = parts
        if not isinstance(node.left, ast.Constant):
            yield text.replace(node, left)
        both = isinstance(node.op, (ast.Add, ast.Mult, ast.BitAnd, ast.BitOr))
        chain = isinstance(node.left, ast.BinOp) and type(node.left.op) is type(node.op)
        if both and not chain and not isinstance(node.right, ast.Constant):
            yield text.replace(node, right)
    elif isinstance(node, ast.BoolOp):
        word = "and" if isinstance(node.op, ast.And) else "or"
        pieces = _pieces(node, text, word)
        for at in range(len(pieces)):
            yield text.replace(node, f" {word} ".join(pieces[:at] + pieces[at + 1 :]))


def boolean(node: ast.AST, text: Text) -> Iterator[Edit]:
    """``and`` for ``or``; ``not`` and ``~`` dropped."""
    if isinstance(node, ast.BoolOp):
        word, other = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        yield text.replace(node, f" {other} ".join(_pieces(node, text, word)))
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.Invert)):
        yield text.replace(node, text.atom(node.operand))


def comparison(node: ast.AST, text: Text) -> Iterator[Edit]:
    if not isinstance(node, ast.Compare):
        return
    for operator, (left, right) in zip(
        node.ops, pairwise([node.left, *node.comparators]), strict=True
    ):
        pattern, others = BOUNDARY[type(operator)]
        place = text.token(text.end(left), text.start(right), pattern)
        for other in others if place else ():
            assert place is not None
            yield Edit(*place, other)


def dropped_member(node: ast.AST, text: Text) -> Iterator[Edit]:
    """``x in (a, b)`` → ``x in (a,)``; so for isinstance."""
    several: ast.AST | None = None
    if isinstance(node, ast.Compare) and isinstance(node.ops[0], (ast.In, ast.NotIn)):
        several = node.comparators[0]
    elif called(node) in ("isinstance", "issubclass"):
        several = node.args[1]  # type: ignore[attr-defined]
    if isinstance(several, ast.Tuple) and len(several.elts) > 1:
        for dropped in several.elts:
            left = [text.of(e) for e in several.elts if e is not dropped]
            yield text.replace(several, f"({', '.join(left)},)")


def sign(node: ast.AST, text: Text) -> Iterator[Edit]:
    """``-x`` → ``x``; not for -1: as an axis or an index it is so often the same as 1."""
    match node:
        case ast.UnaryOp(op=ast.USub(), operand=operand) if not _is_int(operand):
            yield text.replace(node, text.atom(operand))


def constant(node: ast.AST, text: Text) -> Iterator[Edit]:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and _is_int(node.operand):
        value = -node.operand.value  # type: ignore[attr-defined]
        yield text.replace(node, str(value - 1))
        yield text.replace(node, str(value + 1))
        return
    above = text.parent(node)
    if not isinstance(node, ast.Constant):
        return
    value = node.value
    if isinstance(value, bool):
        yield text.replace(node, str(not value))
    elif isinstance(value, int):
        if not (isinstance(above, ast.UnaryOp) and isinstance(above.op, ast.USub)):
            yield text.replace(node, str(value + 1))
            if value or not _is_axis(node, text):  # the last axis is so often the first, or second
                yield text.replace(node, str(value - 1))
    elif isinstance(value, float):
        if value == 0.0:
            yield text.replace(node, "1.0")
        elif abs(value) < SMALL:  # an eps: none, and one that shows
            yield text.replace(node, "0.0")
            yield text.replace(node, repr(value * 1e3))
        else:
            yield text.replace(node, "0.0" if value == 1.0 else "1.0")
            yield text.replace(node, repr(2 * value))
    elif isinstance(value, complex):
        yield text.replace(node, f"(-{text.of(node)})")
    elif isinstance(value, str) and value in WORDS and isinstance(above, (ast.keyword, ast.Call)):
        yield text.replace(node, repr(WORDS[value]))


def choice(node: ast.AST, text: Text) -> Iterator[Edit]:
    """``a if c else b`` → ``a``, → ``b``."""
    if isinstance(node, ast.IfExp):
        yield text.replace(node, text.atom(node.body))
        yield text.replace(node, text.atom(node.orelse))


def slices(node: ast.AST, text: Text) -> Iterator[Edit]:
    """Start, stop or step dropped."""
    if not isinstance(node, ast.Slice):
        return
    parts = [text.of(p) if p else "" for p in (node.lower, node.upper, node.step)]
    for at, part in enumerate(parts):
        if part:
            left = [*parts[:at], "", *parts[at + 1 :]]
            yield text.replace(node, f"{left[0]}:{left[1]}" + (f":{left[2]}" if left[2] else ""))


def order_of_elements(node: ast.AST, text: Text) -> Iterator[Edit]:
    """Neighbours in a tuple swapped: sizes, indices, results."""
    if not isinstance(node, ast.Tuple):
        return
    above = text.parent(node)
    if called(above) in ("isinstance", "issubclass") or isinstance(above, ast.Compare):
        return
    values = _unpacked(above, node)
    for place, (left, right) in enumerate(pairwise(node.elts)):
        if values and text.of(values[place]) == text.of(values[place + 1]):
            continue  # a, b = 0.0, 0.0
        if text.of(left) != text.of(right):
            yield _swap(left, right, text)


def _unpacked(statement: ast.AST | None, targets: ast.Tuple) -> list[ast.expr]:
    """The values of ``targets = a, b, …`` where there is one for each target, else none."""
    if not (isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Tuple)):
        return []
    values = statement.value.elts
    same = statement.targets == [targets] and len(values) == len(targets.elts)
    return values if same and not any(isinstance(v, ast.Starred) for v in values) else []


def transpose(node: ast.AST, text: Text) -> Iterator[Edit]:
    """``x.T`` → ``x``."""
    if isinstance(node, ast.Attribute) and node.attr in ("T", "mT", "H", "mH"):
        yield text.replace(node, text.atom(node.value))


def stride(node: ast.AST, text: Text) -> Iterator[Edit]:
    """A stride taken for another one, or all of them in the wrong order."""
    if isinstance(node, ast.Name) and "stride" in node.id and isinstance(node.ctx, ast.Load):
        function = text.function(node)
        if function is None:
            return
        names = [a.arg for a in function.args.args if "stride" in a.arg]
        if node.id in names and len(names) > 1:
            yield text.replace(node, names[(names.index(node.id) + 1) % len(names)])
    elif called(node) == "stride" and isinstance(node, ast.Call) and not node.args:
        yield text.replace(node, f"{text.of(node)}[::-1]")


def filters(node: ast.AST, text: Text) -> Iterator[Edit]:
    """The ``if`` of a comprehension dropped."""
    if isinstance(node, ast.comprehension):
        before: ast.AST = node.iter
        for condition in node.ifs:
            place = text.token(text.end(before), text.start(condition), r"\bif\b")
            if place is not None:
                yield Edit(place[0], text.end(condition), "")
            before = condition


def _pieces(node: ast.BoolOp, text: Text, word: str) -> list[str]:
    """The operands' texts with the parentheses that stand around them."""
    cuts = [text.start(node)]
    for left, right in pairwise(node.values):
        place = text.token(text.end(left), text.start(right), rf"\b{word}\b")
        assert place is not None
        cuts += place
    cuts.append(text.end(node))
    return [text.source[a:b].strip() for a, b in zip(cuts[::2], cuts[1::2], strict=True)]


def _swap(left: ast.AST, right: ast.AST, text: Text) -> Edit:
    between = text.source[text.end(left) : text.start(right)]
    return Edit(text.start(left), text.end(right), text.of(right) + between + text.of(left))


def _is_axis(node: ast.AST, text: Text) -> bool:
    above = text.parent(node)
    if isinstance(above, ast.keyword):
        return above.arg in ("axis", "dim")
    return isinstance(above, ast.Call) and text.of(above.func) in ("tl.sum", "tl.max", "tl.min")


def _is_int(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) is int
