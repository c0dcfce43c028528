"""Mutants of calls: another function, an argument less, a step of a chain left out."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from itertools import pairwise

from harness.mutate.expressions import _swap
from harness.mutate.text import MODULES, Edit, Text, called, is_method


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


FUNCTIONS = {
    "maximum": "minimum", "minimum": "maximum", "max": "min", "min": "max", "amax": "amin",
    "amin": "amax", "argmax": "argmin", "argmin": "argmax", "fmax": "fmin", "fmin": "fmax",
    "nanargmin": "nanargmax", "nanargmax": "nanargmin", "any": "all", "all": "any",
    "sum": "mean", "mean": "sum", "nansum": "sum", "nanmean": "mean", "prod": "sum",
    "floor": "ceil", "ceil": "floor", "round": "floor", "triu": "tril", "tril": "triu",
    "ones": "zeros", "zeros": "ones", "ones_like": "zeros_like", "zeros_like": "ones_like",
    "exp": "exp2", "exp2": "exp", "log": "log2", "log2": "log", "log1p": "log", "expm1": "exp",
    "sin": "cos", "cos": "sin", "sqrt": "rsqrt", "rsqrt": "sqrt", "var": "std", "std": "var",
    "rand": "randn", "randn": "rand", "cat": "stack", "stack": "cat", "cumsum": "cumprod",
    "softmax": "log_softmax", "log_softmax": "softmax", "logsumexp": "amax",
    "atomic_add": "store", "index_add_": "index_copy_", "scatter_add_": "scatter_",
    "append": "extend", "extend": "append", "repeat_interleave": "repeat",
}  # fmt: skip
"""What one function is taken for. Where the other does not exist, nothing is learnt."""
NOT_IN_TRITON = frozenset(("mean", "log_softmax"))
EXTREMES = ("maximum", "minimum", "fmax", "fmin", "max", "min")
PYTHONS_OWN = frozenset(("max", "min", "any", "all"))

CASTS = words("to float double half bfloat16 long int bool astype type type_as")
DTYPES = {
    "float64": "float32", "float32": "float16", "bfloat16": "float16", "int64": "int32",
    "double": "float", "complex128": "complex64",
}  # fmt: skip
COPIES = words(
    "detach clone copy contiguous copy_ deepcopy stop_gradient array asarray ascontiguousarray "
    "as_tensor"
)
STEPS = words(
    "transpose permute swapaxes swapdims movedim moveaxis trans masked_fill clamp clip clamp_min "
    "clamp_max abs sqrt rsqrt square exp log neg softmax flip roll sort cumsum relu tanh sigmoid "
    "unsqueeze squeeze flatten reshape view expand expand_as broadcast_to item tolist sorted "
    "reversed tril triu round floor nan_to_num expand_dims ravel mul add sub div mul_ add_ sub_ "
    "div_ masked_fill_ logical_not real conj"
)
"""Steps that leave a value of the same kind, so that one can be forgotten."""
SYMMETRIC = words(
    "maximum minimum max min add mul logaddexp print isinstance equal allclose promote_types "
    "result_type broadcast_shapes"
)
SPEED_ONLY = words(
    "num_warps num_stages non_blocking pin_memory eviction_policy cache_modifier sem"
)
GUARDS = words("strict")
"""Arguments that only refuse what does not happen."""
IN_FLOAT32 = words("empty zeros ones rand randn")
"""What makes float32 unless told otherwise."""
MASKS = ("mask", "other")
KEEPS = ("keepdim", "keepdims", "keep_dims")


def function(node: ast.AST, text: Text) -> Iterator[Edit]:
    """min for max, mean for sum, exp2 for exp …"""
    name = called(node)
    if not isinstance(node, ast.Call) or name not in FUNCTIONS:
        return
    other = FUNCTIONS[name]
    if isinstance(node.func, ast.Name):
        if name in PYTHONS_OWN:
            yield text.replace(node.func, other)
    elif isinstance(node.func, ast.Attribute):
        if text.of(node.func.value) == "tl" and other in NOT_IN_TRITON:
            return
        if name == "append" and not is_method(node):
            return
        yield Edit(text.end(node.func) - len(name), text.end(node.func), other)


def mask(node: ast.AST, text: Text) -> Iterator[Edit]:
    """A load or store without its mask; a masked load with another value, or none, outside."""
    if not isinstance(node, ast.Call):
        return
    given = {k.arg: k for k in node.keywords if k.arg in MASKS}
    if "other" in given:
        other = given["other"]
        if text.of(other.value) not in ("0", "0.0", "False"):  # masked lanes are 0 anyway
            yield text.without_argument(node, other)
        yield text.replace(other.value, "0.0" if "inf" in text.of(other.value) else "1.0")
    if "mask" in given:
        edit = text.without_argument(node, given["mask"])
        if "other" in given:  # Triton refuses one without the other, which nobody could overlook
            edit = _both(edit, text.without_argument(node, given["other"]), text)
        yield edit


def keyword(node: ast.AST, text: Text) -> Iterator[Edit]:
    """A keyword argument left at its default: dim, keepdim, dtype, eps, seed …"""
    if not isinstance(node, ast.Call):
        return
    for argument in node.keywords:
        name = argument.arg
        if name is None or name in MASKS or name in SPEED_ONLY or name.isupper():
            continue
        if name in GUARDS:
            continue
        if called(node) in IN_FLOAT32 and text.of(argument) == "dtype=torch.float32":
            continue
        if name in KEEPS and isinstance(argument.value, ast.Constant):
            continue  # `constant` turns it round
        if name == "device" and text.triton:
            continue  # kernels are checked on one device
        if name == "axis" and text.of(node.func).startswith("tl."):
            continue  # most blocks have one axis; `constant` takes another
        yield text.without_argument(node, argument)


def cast(node: ast.AST, text: Text) -> Iterator[Edit]:
    """A change of dtype forgotten, or made to a narrower one."""
    if isinstance(node, ast.Call):
        if called(node) in CASTS and isinstance(node.func, ast.Attribute) and is_method(node):
            if not any("device" in text.of(a) for a in (*node.args, *node.keywords)):
                yield text.replace(node, text.atom(node.func.value))
        elif text.of(node.func) in ("float", "int") and _can_stand_alone(node):
            yield text.replace(node, text.atom(node.args[0]))
        if called(node) in ("astype", "asarray", "array"):
            for argument in node.args:
                if isinstance(argument, ast.Name) and argument.id == "float":
                    yield text.replace(argument, '"float32"')
    elif isinstance(node, ast.keyword) and node.arg == "dtype":
        if isinstance(node.value, ast.Name) and node.value.id == "float":
            yield text.replace(node.value, '"float32"')
    elif isinstance(node, ast.Attribute) and text.of(node.value) in MODULES and node.attr in DTYPES:
        if node.attr == "int64" and called(text.parent(node)) == "to":
            return  # to int32 is what it is without the cast
        yield text.replace(node, f"{text.of(node.value)}.{DTYPES[node.attr]}")


def copy(node: ast.AST, text: Text) -> Iterator[Edit]:
    """``x.detach()``, ``x.clone()``, ``numpy.array(x)`` → ``x``."""
    yield from _forgotten(node, text, COPIES)


def step(node: ast.AST, text: Text) -> Iterator[Edit]:
    """A step of a chain forgotten: ``tl.trans(x)`` → ``x``, ``x.clamp(min=0)`` → ``x``."""
    yield from _forgotten(node, text, STEPS)


def one_of_two(node: ast.AST, text: Text) -> Iterator[Edit]:
    """``where(c, a, b)`` → ``a``, → ``b``; ``maximum(a, b)`` → ``a``, → ``b``."""
    if not isinstance(node, ast.Call) or node.keywords:
        return
    both: list[ast.expr] = []
    if is_method(node):
        return
    if called(node) == "where" and len(node.args) == 3:
        both = node.args[1:]
    elif called(node) in EXTREMES and len(node.args) == 2:
        both = node.args
    if any(isinstance(a, ast.Starred) for a in both):
        return
    for argument in both:
        if not isinstance(argument, ast.Constant) or called(node) == "where":
            yield text.replace(node, text.atom(argument))


def arguments_swapped(node: ast.AST, text: Text) -> Iterator[Edit]:
    """Neighbouring arguments of the same kind in the wrong order."""
    if not isinstance(node, ast.Call) or called(node) in SYMMETRIC | {"arange", "range"}:
        return
    for left, right in pairwise(node.args):
        if _kind(left) and _kind(left) == _kind(right) and text.of(left) != text.of(right):
            yield _swap(left, right, text)


def bound(node: ast.AST, text: Text) -> Iterator[Edit]:
    """One step less at either end of a range."""
    if not isinstance(node, ast.Call) or called(node) not in ("range", "arange", "static_range"):
        return
    if text.of(node.func) == "tl.arange" or any(isinstance(a, ast.Starred) for a in node.args):
        return
    if not node.args:
        return
    stop = node.args[0] if len(node.args) == 1 else node.args[1]
    if not isinstance(stop, ast.Constant):
        yield text.replace(stop, f"{text.atom(stop)} - 1")
    if len(node.args) == 1:
        yield text.replace(stop, f"1, {text.of(stop)}")
    elif not isinstance(node.args[0], ast.Constant):
        yield text.replace(node.args[0], f"{text.atom(node.args[0])} + 1")


def cdiv(node: ast.AST, text: Text) -> Iterator[Edit]:
    """``cdiv(a, b)`` → ``a // b``, → ``a // b + 1``."""
    if isinstance(node, ast.Call) and called(node) == "cdiv" and len(node.args) == 2:
        quotient = f"{text.atom(node.args[0])} // {text.atom(node.args[1])}"
        yield text.replace(node, f"({quotient})")
        yield text.replace(node, f"({quotient} + 1)")


def seed(node: ast.AST, text: Text) -> Iterator[Edit]:
    """A seed that has no say."""
    if isinstance(node, ast.Call):
        for argument in (*node.args, *(k.value for k in node.keywords)):
            if isinstance(argument, ast.Name) and "seed" in argument.id:
                yield text.replace(argument, "0")


def end_of_queue(node: ast.AST, text: Text) -> Iterator[Edit]:
    """``pop()`` takes from the other end."""
    if isinstance(node, ast.Call) and text.of(node).endswith(".pop()"):
        yield Edit(text.end(node) - 1, text.end(node), "0)")


def _forgotten(node: ast.AST, text: Text, names: frozenset[str]) -> Iterator[Edit]:
    if not isinstance(node, ast.Call) or called(node) not in names:
        return
    above = text.parent(node)
    if isinstance(above, ast.Expr):
        return  # `removed` deletes the statement
    if isinstance(above, ast.Assign) and [text.of(t) for t in above.targets] == _first(node, text):
        return  # x = x: `removed` again
    if is_method(node):
        assert isinstance(node.func, ast.Attribute)
        yield text.replace(node, text.atom(node.func.value))
    elif _can_stand_alone(node):
        yield text.replace(node, text.atom(node.args[0]))


def _first(call: ast.Call, text: Text) -> list[str]:
    if is_method(call):
        assert isinstance(call.func, ast.Attribute)
        return [text.of(call.func.value)]
    return [text.of(argument) for argument in call.args[:1]]


def _can_stand_alone(call: ast.Call) -> bool:
    """Whether the first argument can take the call's place."""
    return bool(call.args) and not isinstance(call.args[0], (ast.Starred, ast.Constant))


def _kind(node: ast.expr) -> str:
    if isinstance(node, (ast.Name, ast.Attribute, ast.Subscript, ast.Call)):
        return "value"
    return type(node).__name__ if isinstance(node, (ast.Constant, ast.Starred)) else ""


def _both(first: Edit, second: Edit, text: Text) -> Edit:
    """Two edits that do not overlap as one."""
    first, second = sorted((first, second))
    between = text.source[first.end : second.start]
    return Edit(first.start, second.end, first.text + between + second.text)
