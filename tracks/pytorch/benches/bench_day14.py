"""Norms out of single operations, beside torch's own."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from harness.benching import Case, Contender, Problem, bench, goal

CASES = [Case(rows=2**26 // columns, columns=columns) for columns in (1024, 8192)]
CPU_CASES = [Case(rows=2**19 // columns, columns=columns) for columns in (128, 1024)]


def _ours(kind: type[torch.nn.Module], columns: int) -> Contender:
    def prepare(x: torch.Tensor, weight: torch.Tensor) -> tuple[Any, torch.Tensor]:
        layer = kind(columns).to(x.device)
        with torch.no_grad():
            layer.weight.copy_(weight)  # type: ignore[operator]
        return layer, x

    def call(layer: torch.nn.Module, x: torch.Tensor) -> Any:
        with torch.no_grad():
            return layer(x)

    return Contender(call, prepare=prepare)


def _problem(
    case: Case,
    name: str,
    torchs: Callable[..., torch.Tensor],
    liger: Callable[[], Callable[..., Any]],
    flops: int,
) -> Problem:
    """A norm of (x, weight); what torch's own gives in float64 is right."""
    rows, columns = case.rows, case.columns
    return Problem(
        inputs=lambda rng: (rng.normal(rows, columns), rng.uniform(columns, low=0.5, high=1.5)),
        oracle=lambda x, weight: torchs(x.double(), weight.double()),
        tolerance={"dtype": torch.float32, "scale": 4.0},  # x minus its mean cancels
        bytes=(2 * rows * columns + columns) * 4,
        flops=flops * rows * columns,
        ours=lambda day: _ours(getattr(day, name), columns),
        peers={
            "torch": torchs,
            "liger": Contender(load=liger, needs=["liger_kernel"], gpu=True),
        },
    )


def _layer_norm(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return F.layer_norm(x, weight.shape, weight, eps=1e-5)


def _rms_norm(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return F.rms_norm(x, weight.shape, weight, eps=1e-6)


def _liger_layer_norm() -> Callable[..., Any]:
    from liger_kernel.ops.layer_norm import LigerLayerNormFunction

    return lambda x, w: LigerLayerNormFunction.apply(x, w, torch.zeros_like(w), 1e-5)


def _liger_rms_norm() -> Callable[..., Any]:
    from liger_kernel.ops.rms_norm import LigerRMSNormFunction

    return lambda x, weight: LigerRMSNormFunction.apply(x, weight, 1e-6)


@bench(
    "LayerNorm",
    unit="GB/s",
    cases=CASES,
    cpu_cases=CPU_CASES,
    goals=[goal(at_least=0.1, of="torch")],
)
def layer_norm(case: Case) -> Problem:
    # mean, subtract, square, mean, multiply, multiply, add
    return _problem(case, "LayerNorm", _layer_norm, _liger_layer_norm, flops=7)


@bench(
    "RMSNorm",
    unit="GB/s",
    cases=CASES,
    cpu_cases=CPU_CASES,
    goals=[goal(at_least=0.15, of="torch")],
)
def rms_norm(case: Case) -> Problem:
    # square, mean, multiply, multiply
    return _problem(case, "RMSNorm", _rms_norm, _liger_rms_norm, flops=4)
