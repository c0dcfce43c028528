"""A whole Jacobian in forward mode: one pass for every input, whatever the number of outputs."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from harness.benching import Case, Contender, Problem, absent, bench, goal

OUTPUTS = 4


def _by_hand(w: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The Jacobian of tanh(w x), (OUTPUTS, n)."""
    jacobian: np.ndarray = (1.0 - np.tanh(w @ x) ** 2)[:, None] * w
    return jacobian


def _torch(jacobian: Callable[..., Any]) -> Contender:
    def call(w: torch.Tensor, x: torch.Tensor) -> Any:
        return jacobian(lambda x: torch.tanh(w @ x))(x)

    return Contender(call, prepare=lambda w, x: (torch.tensor(w), torch.tensor(x)))


def _autograd() -> Callable[..., Any]:
    import autograd
    import autograd.numpy as anp

    return lambda w, x: autograd.jacobian(lambda x: anp.tanh(anp.dot(w, x)))(x)


# The Duals work number by number: 4 n products in each of n passes. Reverse mode takes 4 passes.
@bench(
    "jacobian_forward",
    unit="time",
    cases=[Case(n=n) for n in (2, 8, 32)],
    goals=[goal(at_least=1.0, of="torch", n=2)],
    cache="warm",
)
def jacobian_forward(case: Case) -> Problem:
    n = case.n
    return Problem(
        inputs=lambda rng: (rng.normal(OUTPUTS, n, std=n**-0.5), rng.normal(n)),
        oracle=_by_hand,
        tolerance={"terms": n, "scale": 2.0},  # 1 - tanh² cancels
        flops=2 * 2 * OUTPUTS * n * n,  # value and slope of every product, in n passes
        ours=lambda day: lambda w, x: day.jacobian_forward(lambda x: np.tanh(w @ x), x),
        peers={
            "numpy": _by_hand,
            "torch": _torch(torch.func.jacfwd),
            "torch, reverse": _torch(torch.func.jacrev),
            "autograd": Contender(load=_autograd, needs=["autograd"]),
            "mygrad": absent("has no Jacobians"),
        },
        compile=False,
    )
