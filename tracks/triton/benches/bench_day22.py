"""Forward normalisations from 1K to 16K columns, against the copy bandwidth."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from harness.benching import Case, Contender, Problem, bench, goal

ELEMENTS = 2**27  # the same in every case: 256 MB of bfloat16, far beyond any L2 cache
COLUMNS = (1024, 2048, 4096, 8192, 16_384)
CASES = [Case(rows=ELEMENTS // columns, columns=columns) for columns in COLUMNS]
SIZE = torch.bfloat16.itemsize
TOLERANCE = {"dtype": torch.bfloat16, "scale": 4.0}  # x minus its mean cancels
GOALS = [goal(at_least=0.95, of="copy", columns=COLUMNS)]


def _vector(rng: Any, columns: int, mean: float) -> torch.Tensor:
    vector: torch.Tensor = rng.normal(columns, dtype=torch.bfloat16, mean=mean, std=0.1)
    return vector


def _rms_norm(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return F.rms_norm(x, weight.shape, weight, eps=1e-6)


def _layer_norm(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    return F.layer_norm(x, weight.shape, weight, bias, eps=1e-5)


def _layer_norm_residual(
    x: torch.Tensor, r: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    new = x + r
    return _layer_norm(new, weight, bias), new


def _liger_rms_norm() -> Callable[..., Any]:
    from liger_kernel.ops.rms_norm import LigerRMSNormFunction

    return lambda x, weight: LigerRMSNormFunction.apply(x, weight, 1e-6)


def _liger_layer_norm() -> Callable[..., Any]:
    from liger_kernel.ops.layer_norm import LigerLayerNormFunction

    return lambda x, weight, bias: LigerLayerNormFunction.apply(x, weight, bias, 1e-5)


@bench("rms_norm", unit="GB/s", cases=CASES, goals=GOALS)
def rms_norm(case: Case) -> Problem:
    rows, columns = case.rows, case.columns
    return Problem(
        inputs=lambda rng: (
            rng.normal(rows, columns, dtype=torch.bfloat16),
            _vector(rng, columns, 1.0),
        ),
        oracle=lambda x, weight: _rms_norm(x.double(), weight.double()),
        tolerance=TOLERANCE,
        bytes=(2 * rows * columns + columns) * SIZE,  # x read once, out written once
        flops=4 * rows * columns,  # square, add, two products
        peers={
            "torch": _rms_norm,
            "liger": Contender(load=_liger_rms_norm, needs=["liger_kernel"], gpu=True),
        },
    )


@bench("layer_norm", unit="GB/s", cases=CASES, goals=GOALS)
def layer_norm(case: Case) -> Problem:
    rows, columns = case.rows, case.columns
    return Problem(
        inputs=lambda rng: (
            rng.normal(rows, columns, dtype=torch.bfloat16),
            _vector(rng, columns, 1.0),
            _vector(rng, columns, 0.0),
        ),
        oracle=lambda x, weight, bias: _layer_norm(x.double(), weight.double(), bias.double()),
        tolerance=TOLERANCE,
        bytes=(2 * rows * columns + 2 * columns) * SIZE,
        flops=8 * rows * columns,  # add, subtract, square, add, subtract, two products, add
        peers={
            "torch": _layer_norm,
            "liger": Contender(load=_liger_layer_norm, needs=["liger_kernel"], gpu=True),
        },
    )


def _residual_oracle(x: torch.Tensor, r: torch.Tensor, *vectors: torch.Tensor) -> Any:
    """The stream is rounded to its dtype before it is normalised."""
    new = x.double() + r.double()
    return _layer_norm(new.to(r.dtype).double(), *(v.double() for v in vectors)), new


@bench("layer_norm_residual", unit="GB/s", cases=CASES, goals=GOALS)
def layer_norm_residual(case: Case) -> Problem:
    rows, columns = case.rows, case.columns
    return Problem(
        inputs=lambda rng: (
            rng.normal(rows, columns, dtype=torch.bfloat16),
            rng.normal(rows, columns, dtype=torch.bfloat16),
            _vector(rng, columns, 1.0),
            _vector(rng, columns, 0.0),
        ),
        oracle=_residual_oracle,
        tolerance=TOLERANCE,
        bytes=(4 * rows * columns + 2 * columns) * SIZE,  # x and r read, out and new written
        flops=9 * rows * columns,
        peers={"torch": _layer_norm_residual},
    )
