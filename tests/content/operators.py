"""torch's own samples for operators (OpInfo), on the library of the Autodiff track.

    python -m tests.content.operators        writes docs/operators.md

``torch.testing._internal`` describes torch's operators: for each of them inputs that exercise its
arguments, its broadcasting and its borders. Here an operator of the library gets the same inputs,
and has to give the same values and gradients in float64, also of inputs that are not contiguous. A
sample that asks for an argument that the library does not have is left out and counted, with the
reason; so is what ``REFUSED`` declares. Anything else is a failure.
"""

from __future__ import annotations

import collections
import importlib
import inspect
import sys
import types
import unittest
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from harness.curriculum import ROOT
from harness.grading import finder
from harness.protocol import SOLUTION

TABLE = ROOT / "docs" / "operators.md"
BEGIN, END = "<!-- operators:begin -->", "<!-- operators:end -->"


def library() -> types.ModuleType:
    """``tracks.autodiff.day35``; in a block that chooses the references, theirs."""
    return importlib.import_module("tracks.autodiff.day35")


def op_db() -> list[Any]:
    """torch's list of operators. One of its imports wants a package that nothing here needs."""
    if "expecttest" not in sys.modules:
        try:
            importlib.import_module("expecttest")
        except ModuleNotFoundError:
            stub = types.ModuleType("expecttest")
            stub.TestCase = type("TestCase", (unittest.TestCase,), {})  # type: ignore[attr-defined]
            sys.modules["expecttest"] = stub
    db = importlib.import_module("torch.testing._internal.common_methods_invocations").op_db
    return list(db)


def operators(day: types.ModuleType) -> dict[str, Callable[..., Any]]:
    """The library's function for each of torch's names; the variant, if any, after a dot."""
    ops, f = day.ops, day.functional

    def keys(x: Any, key: Any) -> Any:
        if isinstance(key, list):
            raise LeftOut("a list as an index")
        return x[key]

    def sizes(g: Callable[..., Any]) -> Callable[..., Any]:
        """One tuple for what torch takes in either form."""
        return lambda x, *n: g(x, n[0] if len(n) == 1 and not isinstance(n[0], int) else n)

    def max_of(g: Callable[..., Any]) -> Callable[..., Any]:
        return lambda x, dim, keepdim=False: g(x, dim, keepdim)

    found: dict[str, Callable[..., Any]] = {
        name: getattr(ops, name)
        for name in ("exp", "log", "log1p", "sqrt", "sin", "cos", "sigmoid", "neg", "mul",
                     "pow", "maximum", "sum", "mean", "prod", "amax", "amin", "argmax",
                     "argmin", "logsumexp", "clone", "transpose", "squeeze", "unsqueeze", "matmul",
                     "dot", "outer", "gather", "cat", "stack")
    }  # fmt: skip
    found |= {
        "add": scaled(ops.add), "sub": scaled(ops.sub), "div.no_rounding_mode": ops.div,
        "softmax": ops.softmax,
        "log_softmax": ops.log_softmax, "clamp": clamp_of(ops), "mm": ops.matmul, "bmm": ops.matmul,
        "mv": ops.matmul, "permute": sizes(ops.permute), "reshape": sizes(ops.reshape),
        "expand": sizes(ops.expand), "tanh": lambda x: x.tanh(), "T": lambda x: x.T,
        "mT": lambda x: x.mT, "eq": lambda a, b: a == b, "ne": lambda a, b: a != b,
        "lt": lambda a, b: a < b, "le": lambda a, b: a <= b, "gt": lambda a, b: a > b,
        "ge": lambda a, b: a >= b, "__getitem__": keys, "split": ops.split,
        "split.list_args": ops.split, "split_with_sizes": ops.split,
        "max.reduction_with_dim": max_of(ops.max), "min.reduction_with_dim": max_of(ops.min),
        "index_add": lambda x, dim, index, source, alpha=1: ops.index_add(
            x, dim, index, source if alpha == 1 else source * alpha),
        "einsum": einsum_of(ops), "where": where_of(ops), "var": var_of(ops),
        "nn.functional.pad.constant": pad_of(ops.pad),
    }  # fmt: skip
    for name in f.__all__:
        if name not in ("pad", "tanh", "sigmoid", "softmax", "log_softmax", "dropout"):
            found[f"nn.functional.{name}"] = getattr(f, name)
    found["nn.functional.embedding"] = lambda weight, ids, **options: f.embedding(
        ids, weight, **options
    )
    found["nn.functional.scaled_dot_product_attention"] = attention_of(f)
    found["nn.functional.avg_pool2d"] = average_of(f)
    return found


def scaled(f: Callable[..., Any]) -> Callable[..., Any]:
    """torch's ``alpha``, which multiplies the second operand."""
    return lambda a, b, alpha=1: f(a, b if alpha == 1 else b * alpha)


def where_of(ops: Any) -> Callable[..., Any]:
    return lambda x, condition, other: ops.where(condition, x, other)


def clamp_of(ops: Any) -> Callable[..., Any]:
    def call(x: Any, min: Any = None, max: Any = None) -> Any:
        if any(hasattr(bound, "shape") for bound in (min, max)):
            raise LeftOut("bounds that are tensors")
        return ops.clamp(x, min, max)

    return call


def var_of(ops: Any) -> Callable[..., Any]:
    def call(x: Any, dim: Any = None, *, correction: Any = 1, keepdim: bool = False) -> Any:
        if isinstance(dim, bool) or correction is None:
            raise LeftOut("argument unbiased" if isinstance(dim, bool) else "correction None")
        return ops.var(x, dim, correction=correction, keepdim=keepdim)

    return call


def einsum_of(ops: Any) -> Callable[..., Any]:
    def call(operands: Any, equation: str) -> Any:
        if len(operands) != 2 or "." in equation:
            raise LeftOut("an ellipsis" if len(operands) == 2 else "not two operands")
        return ops.einsum(equation, *operands)

    return call


def attention_of(f: Any) -> Callable[..., Any]:
    def call(*args: Any, dropout_p: float = 0.0, **options: Any) -> Any:
        if dropout_p:
            raise LeftOut("random numbers")
        return f.scaled_dot_product_attention(*args, **options)

    return call


def average_of(f: Any) -> Callable[..., Any]:
    def call(
        x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
        count_include_pad: bool = True, divisor_override: int | None = None,
    ) -> Any:  # fmt: skip
        if ceil_mode or divisor_override is not None:
            raise LeftOut("argument ceil_mode" if ceil_mode else "argument divisor_override")
        return f.avg_pool2d(x, kernel_size, stride, padding, count_include_pad=count_include_pad)

    return call


def pad_of(pad: Callable[..., Any]) -> Callable[..., Any]:
    def call(
        x: Any, widths: Sequence[int], mode: str = "constant", value: float | None = None
    ) -> Any:
        return pad(x, widths, 0.0 if value is None else value)

    return call


DEFAULTS: dict[str, Any] = {
    "ceil_mode": False, "return_indices": False, "dtype": None,
    "max_norm": None, "norm_type": 2.0, "scale_grad_by_freq": False, "sparse": False,
}  # fmt: skip
"""Arguments that the library does not have: with this value they ask for nothing."""


class LeftOut(Exception):
    """The library does not have what a sample asks for."""


REFUSED: dict[str, dict[str, str]] = {
    "cat": {"no axis 1": "an empty tensor of one axis"},
    "gather": {"an index of (2, 0) for (5,)": "an empty index of two axes for one",
               "for () along axis 0": "without axes"},
    "nn.functional.batch_norm": {"two axes or more": "fewer than two axes"},
    "index_add": {"no axis 0": "without axes"},
    "squeeze": {"no axis 0": "without axes"},
    "transpose": {"no axis 0": "without axes"},
}  # fmt: skip
"""Of an operator: a part of the error by which it refuses a sample, and the reason."""


@dataclass
class Found:
    """What came of one operator's samples."""

    name: str
    agreed: int = 0
    left_out: collections.Counter[str] = field(default_factory=collections.Counter)
    failures: list[str] = field(default_factory=list)


def tensors_in(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from tensors_in(part)
    elif isinstance(value, dict):
        yield from tensors_in(list(value.values()))


def converted(value: Any, made: dict[int, Any], day: types.ModuleType) -> Any:
    """Tensors of the library on the same strides, one for each of torch's."""
    if isinstance(value, torch.Tensor):
        if id(value) not in made:
            x = day.Tensor._made(value.detach().numpy())
            if value.requires_grad:
                x.requires_grad_()
            made[id(value)] = x
        return made[id(value)]
    if isinstance(value, (list, tuple)):
        parts = [converted(part, made, day) for part in value]
        return parts if isinstance(value, list) else tuple(parts)
    if isinstance(value, dict):
        return {name: converted(part, made, day) for name, part in value.items()}
    return value


def listed(results: Any) -> list[Any]:
    return list(results) if isinstance(results, (list, tuple)) else [results]


def same(ours: np.ndarray, theirs: torch.Tensor, what: str) -> str:
    """What is wrong, or nothing."""
    wanted = theirs.detach().numpy()
    if ours.shape != wanted.shape:
        return f"{what} has the shape {ours.shape}, not {wanted.shape}"
    if ours.dtype != wanted.dtype:
        return f"{what} is {ours.dtype}, not {wanted.dtype}"
    if wanted.dtype.kind != "f":
        return "" if np.array_equal(ours, wanted) else f"{what} is another"
    size = np.abs(wanted[np.isfinite(wanted)]).max(initial=1.0)
    if np.allclose(ours, wanted, rtol=1e-9, atol=1e-11 * size, equal_nan=True):
        return ""
    return f"{what} is off by {np.nanmax(np.abs(ours - wanted)):.2g}"


def one_sample(op: Any, f: Callable[..., Any], sample: Any, day: types.ModuleType) -> str:
    """Values and gradients of one sample on both. → what is wrong, or nothing."""
    signature = inspect.signature(f)
    options = {
        name: value
        for name, value in sample.kwargs.items()
        if name in signature.parameters or name not in DEFAULTS or value != DEFAULTS[name]
    }
    unknown = [n for n in options if n in DEFAULTS and n not in signature.parameters]
    if unknown:
        raise LeftOut(f"argument {unknown[0]}")
    try:
        bound = signature.bind(sample.input, *sample.args, **options)
    except TypeError as error:
        raise LeftOut(reason_of(error)) from None
    made: dict[int, Any] = {}
    results = listed(f(*converted(bound.args, made, day), **converted(bound.kwargs, made, day)))
    wanted = listed(op(sample.input, *sample.args, **sample.kwargs))
    if len(results) != len(wanted):
        return f"there are {len(results)} results, not {len(wanted)}"
    for i, (y, t) in enumerate(zip(results, wanted, strict=True)):
        wrong = same(np.asarray(y.data), t, f"result {i}")
        if wrong:
            return wrong
    pairs = [(y, t) for y, t in zip(results, wanted, strict=True) if t.requires_grad]
    if not pairs:
        return ""
    leaves = [t for t in tensors_in([sample.input, sample.args, sample.kwargs]) if t.requires_grad]
    leaves = list({id(t): t for t in leaves}.values())
    generator = np.random.default_rng(0)
    weights = [generator.uniform(0.5, 1.5, t.shape) for _, t in pairs]
    theirs = torch.autograd.grad(
        [t for _, t in pairs], leaves, [torch.tensor(w, dtype=t.dtype) for w, (_, t) in
                                        zip(weights, pairs, strict=True)], allow_unused=True,
    )  # fmt: skip
    for (y, _), w in zip(pairs, weights, strict=True):
        if not y.requires_grad:
            return "a result requires no gradient"
        y.backward(day.Tensor(w), retain_graph=True)
    for i, (leaf, right) in enumerate(zip(leaves, theirs, strict=True)):
        own = made[id(leaf)].grad if id(leaf) in made else None
        if right is None:
            right = torch.zeros_like(leaf)
        own = np.zeros(leaf.shape) if own is None else own.data
        wrong = same(own, right, f"gradient {i}")
        if wrong:
            return wrong
    return ""


def reason_of(error: TypeError) -> str:
    """Of an argument that a function does not have: which one."""
    text = str(error)
    if "unexpected keyword argument" in text:
        return f"argument {text.split(chr(39))[1]}"
    return "arguments by position" if "too many positional" in text else text


def check(op: Any, f: Callable[..., Any], day: types.ModuleType, limit: int = 0) -> Found:
    """All samples of an operator, contiguous or not; of ``limit`` only so many, evenly spread."""
    name = ".".join([op.name, op.variant_test_name]) if op.variant_test_name else op.name
    found = Found(name)
    torch.manual_seed(0)
    grads = op.supports_autograd and torch.float64 in op.supported_backward_dtypes("cpu")
    samples = list(op.sample_inputs("cpu", torch.float64, requires_grad=grads))
    if limit and len(samples) > limit:
        samples = samples[:: -(-len(samples) // limit)]
    known = REFUSED.get(name, {})
    for number, sample in enumerate(samples):
        for kind in ("", "not contiguous"):
            try:
                wrong = one_sample(op, f, sample.noncontiguous() if kind else sample, day)
            except LeftOut as reason:
                found.left_out[str(reason)] += 1
                continue
            except Exception as error:
                reasons = [why for part, why in known.items() if part in str(error)]
                if reasons:
                    found.left_out[reasons[0]] += 1
                    continue
                wrong = f"{type(error).__name__}: {error}"
            if wrong:
                found.failures.append(f"{name}, sample {number} {kind}: {wrong}")
            else:
                found.agreed += 1
    return found


def all_of(day: types.ModuleType, limit: int = 0) -> list[Found]:
    """Every operator that both have, in torch's order."""
    functions = operators(day)
    found = []
    for op in op_db():
        name = ".".join([op.name, op.variant_test_name]) if op.variant_test_name else op.name
        if name in functions:
            found.append(check(op, functions[name], day, limit))
    missing = functions.keys() - {f.name for f in found}
    if missing:
        raise LookupError(f"torch has no samples for {sorted(missing)}")
    return found


def table(found: list[Found]) -> str:
    rows = ["| Operator | Samples that agree | Left out | Why |", "|---|---:|---:|---|"]
    for f in sorted(found, key=lambda f: f.name):
        why = ", ".join(f"{reason} ({n})" for reason, n in sorted(f.left_out.items()))
        rows.append(f"| `{f.name}` | {f.agreed} | {sum(f.left_out.values())} | {why} |")
    agreed, left = sum(f.agreed for f in found), sum(sum(f.left_out.values()) for f in found)
    rows.append(f"| {len(found)} operators | {agreed} | {left} | |")
    return "\n".join(rows)


def main() -> None:
    with finder.use(finder.Choice(impl=SOLUTION)):
        found = all_of(library())
    failures = [line for f in found for line in f.failures]
    print("\n".join(failures))
    print(table(found))
    if failures:
        sys.exit(f"{len(failures)} samples disagree")
    text = TABLE.read_text("utf-8")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    TABLE.write_text(f"{before}{BEGIN}\n\n{table(found)}\n\n{END}{after}", "utf-8")


if __name__ == "__main__":
    main()
