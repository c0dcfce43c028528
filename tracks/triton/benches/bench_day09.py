"""Fused chains against the same chain in eager torch, and against what torch.compile fuses."""

from collections.abc import Callable
from typing import Any

import torch

from harness.benching import Case, Problem, bench, goal

CASES = [
    Case(rows=rows, columns=columns, dtype=dtype)
    for dtype in (torch.bfloat16, torch.float32)
    for rows, columns in ((2048, 4096), (8192, 8192), (65_536, 1024))
]
# Half of the chain's trips at most, so clearly faster; small cases measure launches as well.
GOALS = [
    goal(at_least=1.3, of="torch", rows=[8192, 65_536]),
    goal(at_least=0.95, of="copy", rows=[8192, 65_536]),
]


def _problem(
    case: Case,
    vectors: int,
    matrices: int,
    chain: Callable[..., torch.Tensor],
    extra: tuple[Any, ...] = (),
) -> Problem:
    """``chain`` of ``matrices`` full inputs, ``vectors`` of one row, and further arguments."""
    rows, columns, dtype = case.rows, case.columns, case.dtype

    def inputs(rng: Any) -> tuple[Any, ...]:
        full = [rng.normal(rows, columns, dtype=dtype) for _ in range(matrices)]
        return (*full, *(rng.normal(columns, dtype=dtype) for _ in range(vectors)), *extra)

    def oracle(*args: Any) -> torch.Tensor:
        return chain(*(a.double() if isinstance(a, torch.Tensor) else a for a in args))

    elements = (matrices + 1) * rows * columns + vectors * columns
    # Eager rounds to the inputs' type after every step: the tolerance is that of three roundings.
    return Problem(
        inputs=inputs,
        oracle=oracle,
        tolerance={"dtype": dtype, "scale": torch.finfo(dtype).eps / 2**-23},
        bytes=elements * dtype.itemsize,
        peers={"torch": chain},
    )


@bench("bias_relu", unit="GB/s", cases=CASES, goals=GOALS)
def bias_relu(case: Case) -> Problem:
    return _problem(case, 1, 1, lambda x, b: torch.relu(x + b))


@bench("residual_add_gelu", unit="GB/s", cases=CASES, goals=GOALS)
def residual_add_gelu(case: Case) -> Problem:
    return _problem(case, 0, 2, lambda x, r: torch.nn.functional.gelu(x + r))


@bench("scale_shift", unit="GB/s", cases=CASES, goals=GOALS)
def scale_shift(case: Case) -> Problem:
    return _problem(case, 2, 1, lambda x, scale, shift: x * scale + shift)


@bench("addcmul_clamp", unit="GB/s", cases=CASES, goals=GOALS)
def addcmul_clamp(case: Case) -> Problem:
    return _problem(
        case, 0, 3, lambda a, b, c, lo, hi: (a + b * c).clamp(lo, hi), extra=(-0.75, 1.25)
    )
