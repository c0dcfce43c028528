"""Backward normalisations alone and with the forward pass, against the copy bandwidth and Liger.

The backward bound counts the three matrices that must be touched: dy and x are read, dx is written.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from harness.benching import Case, Contender, Problem, bench, goal

ELEMENTS = 2**26  # the same in every case: 128 MB of bfloat16, beyond any L2 cache
CASES = [Case(rows=ELEMENTS // n, columns=n) for n in (1024, 2048, 4096, 8192, 16_384)]
SIZE = torch.bfloat16.itemsize
EPS = 1e-5


def _tolerance(case: Case) -> dict[str, Any]:
    """dx cancels along the row; dweight and dbias are sums over all rows."""
    return {"terms": case.rows, "scale": 1.0}


def _statistics(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and 1 / deviation of every row, as the forward pass keeps them."""
    var, mean = torch.var_mean(x.float(), dim=1, correction=0)
    return mean, (var + EPS).rsqrt()


def _inputs(case: Case) -> Callable[[Any], tuple[torch.Tensor, ...]]:
    def make(rng: Any) -> tuple[torch.Tensor, ...]:
        dy = rng.normal(case.rows, case.columns, dtype=torch.bfloat16)
        x = rng.normal(case.rows, case.columns, dtype=torch.bfloat16)
        return dy, x, rng.normal(case.columns, dtype=torch.bfloat16, mean=1.0, std=0.1)

    return make


def _norm(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    return F.layer_norm(x, weight.shape, weight, bias, EPS)


def _rms_norm(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return F.rms_norm(x, weight.shape, weight, 1e-6)


def _liger_norm() -> Callable[..., torch.Tensor]:
    from liger_kernel.ops.layer_norm import LigerLayerNormFunction

    return lambda x, weight, bias: LigerLayerNormFunction.apply(x, weight, bias, EPS)


def _liger_rms() -> Callable[..., torch.Tensor]:
    from liger_kernel.ops.rms_norm import LigerRMSNormFunction

    # The last three are its defaults, but for in_place: it would write dx over dy.
    return lambda x, weight: LigerRMSNormFunction.apply(x, weight, 1e-6, 0.0, "llama", False)


def _graph(norm: Callable[..., torch.Tensor], bias: bool) -> Callable[..., tuple[Any, ...]]:
    """dy, and the forward pass with its graph: made outside the clock."""

    def prepare(dy: torch.Tensor, x: torch.Tensor, weight: torch.Tensor) -> tuple[Any, ...]:
        leaves = [x.detach().requires_grad_(), weight.detach().requires_grad_()]
        if bias:
            leaves.append(torch.zeros_like(weight).requires_grad_())
        return dy, norm(*leaves), leaves

    return prepare


def _backward(dy: torch.Tensor, y: torch.Tensor, leaves: list[torch.Tensor]) -> tuple[Any, ...]:
    return torch.autograd.grad(y, leaves, dy, retain_graph=True)


def _oracle(
    norm: Callable[..., torch.Tensor], bias: bool
) -> Callable[..., tuple[torch.Tensor, ...]]:
    def gradients(*inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        dy, x, weight = (tensor.double() for tensor in inputs)
        return _backward(*_graph(norm, bias)(dy, x, weight))

    return gradients


@bench(
    "layer_norm_backward",
    unit="GB/s",
    cases=CASES,
    goals=[
        goal(at_least=0.85, of="copy", columns=[1024, 2048, 4096, 8192]),
        goal(at_least=2.0, of="liger", columns=[1024, 2048, 4096]),
    ],
)
def layer_norm_backward(case: Case) -> Problem:
    rows, columns = case.rows, case.columns

    def ours(day: Any) -> Contender:
        return Contender(
            day.layer_norm_backward,
            prepare=lambda dy, x, weight: (dy, x, weight, *_statistics(x)),
        )

    return Problem(
        inputs=_inputs(case),
        oracle=_oracle(_norm, bias=True),
        tolerance=_tolerance(case),
        bytes=3 * rows * columns * SIZE,  # dy and x read, dx written
        flops=14 * rows * columns,
        ours=ours,
        peers={
            "torch": Contender(_backward, prepare=_graph(_norm, bias=True)),
            "liger": Contender(
                load=lambda: _backward,
                needs=["liger_kernel"],
                gpu=True,
                prepare=lambda *inputs: _graph(_liger_norm(), bias=True)(*inputs),
            ),
        },
        compile=False,  # it would compile a call of autograd, not the gradient
    )


def _both_passes(
    norm: Callable[..., torch.Tensor],
) -> Callable[[torch.Tensor, list[torch.Tensor]], tuple[torch.Tensor, ...]]:
    def both(dy: torch.Tensor, leaves: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        y = norm(*leaves)
        return y.detach(), *torch.autograd.grad(y, leaves, dy)

    return both


def _leaves(dy: torch.Tensor, x: torch.Tensor, weight: torch.Tensor) -> tuple[Any, ...]:
    bias = torch.zeros_like(weight)
    return dy, [leaf.detach().requires_grad_() for leaf in (x, weight, bias)]


@bench(
    "LayerNorm",
    unit="GB/s",
    cases=CASES,
    goals=[goal(at_least=0.85, of="copy", columns=[1024, 2048, 4096, 8192])],
)
def layer_norm(case: Case) -> Problem:
    def oracle(*inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        dy, leaves = _leaves(*(tensor.double() for tensor in inputs))
        return _both_passes(_norm)(dy, leaves)

    return Problem(
        inputs=_inputs(case),
        oracle=oracle,
        tolerance=_tolerance(case),
        bytes=5 * case.rows * case.columns * SIZE,  # and x read, the output written
        flops=22 * case.rows * case.columns,
        ours=lambda day: Contender(
            _both_passes(lambda *leaves: day.LayerNorm.apply(*leaves, EPS)), prepare=_leaves
        ),
        peers={
            "torch": Contender(_both_passes(_norm), prepare=_leaves),
            "compile": Contender(
                load=lambda: _both_passes(torch.compile(_norm, dynamic=False)), prepare=_leaves
            ),
            "liger": Contender(
                load=lambda: _both_passes(_liger_norm()),
                needs=["liger_kernel"],
                gpu=True,
                prepare=_leaves,
            ),
        },
        compile=False,  # torch.compile has the forward pass: autograd compiles the gradient with it
    )


@bench(
    "rms_norm_backward",
    unit="GB/s",
    cases=CASES,
    goals=[
        goal(at_least=0.85, of="copy", columns=[1024, 2048, 4096, 8192]),
        goal(at_least=2.0, of="liger", columns=[1024, 2048, 4096]),
    ],
)
def rms_norm_backward(case: Case) -> Problem:
    return Problem(
        inputs=_inputs(case),
        oracle=_oracle(_rms_norm, bias=False),
        tolerance=_tolerance(case),
        bytes=3 * case.rows * case.columns * SIZE,  # dy and x read, dx written
        flops=11 * case.rows * case.columns,
        peers={
            "torch": Contender(_backward, prepare=_graph(_rms_norm, bias=False)),
            "liger": Contender(
                load=lambda: _backward,
                needs=["liger_kernel"],
                gpu=True,
                prepare=lambda *inputs: _graph(_liger_rms(), bias=False)(*inputs),
            ),
        },
        compile=False,
    )
