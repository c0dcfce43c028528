"""torch's own samples for operators (OpInfo), on the library of the Autodiff track.

    python -m tests.content.operators        writes docs/operators.md, modules and optimisers too

``torch.testing._internal`` describes torch's operators: for each of them inputs that exercise its
arguments, its broadcasting and its borders. Here an operator of the library gets the same inputs,
and has to give the same values and gradients in float64, also of inputs that are not contiguous. A
sample that asks for an argument that the library does not have is left out and counted, with the
reason; so is what ``REFUSED`` declares. Anything else is a failure.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from typing import Any

import torch

from harness.curriculum import ROOT
from harness.grading import finder
from harness.protocol import SOLUTION
from tests.content import modules, optimisers
from tests.content.samples import (
    Found,
    LeftOut,
    bound,
    compared,
    converted,
    internal,
    leaves_in,
    library,
    listed,
    table,
)  # fmt: skip

TABLE = ROOT / "docs" / "operators.md"
BEGIN, END = "<!-- operators:begin -->", "<!-- operators:end -->"


def op_db() -> list[Any]:
    return list(internal("common_methods_invocations").op_db)


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
        "nn.functional.pad.constant": f.pad,
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


def one_sample(op: Any, f: Callable[..., Any], sample: Any, day: types.ModuleType) -> str:
    """Values and gradients of one sample on both. → what is wrong, or nothing."""
    arguments = bound(f, [sample.input, *sample.args], sample.kwargs)
    made: dict[int, Any] = {}
    results = listed(
        f(*converted(arguments.args, made, day), **converted(arguments.kwargs, made, day))
    )
    wanted = listed(op(sample.input, *sample.args, **sample.kwargs))
    leaves = leaves_in([sample.input, sample.args, sample.kwargs])
    named = [(f"gradient {i}", made.get(id(leaf)), leaf) for i, leaf in enumerate(leaves)]
    return compared(results, wanted, named)


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


def rest(day: types.ModuleType) -> tuple[str, list[Found]]:
    """The page from the modules on, and what it tells of."""
    parts, optimizers = modules.all_of(day), optimisers.all_of(day)
    others = ", ".join(f"`nn.{name}`" for name in modules.without_samples(day))
    text = f"## Modules\n\n{table('Module', parts)}\n\ntorch has no samples for {others}."
    return f"{text}\n\n## Optimisers\n\n{table('Optimiser', optimizers)}", parts + optimizers


def of_version() -> str:
    """What the page says of the torch whose samples it counts."""
    return f"Counted with torch {torch.__version__.partition('+')[0]}."


def main() -> None:
    with finder.use(finder.Choice(impl=SOLUTION)):
        found, (text, others) = all_of(library()), rest(library())
    failures = [line for f in found + others for line in f.failures]
    page = f"{of_version()}\n\n## Operators\n\n{table('Operator', found)}\n\n{text}"
    print("\n".join(failures))
    print(page)
    if failures:
        sys.exit(f"{len(failures)} samples disagree")
    old = TABLE.read_text("utf-8")
    before, after = old.split(BEGIN)[0], old.split(END)[1]
    TABLE.write_text(f"{before}{BEGIN}\n\n{page}\n\n{END}{after}", "utf-8")


if __name__ == "__main__":
    main()
