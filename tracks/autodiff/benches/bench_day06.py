"""One gradient from a tape of numbers, beside libraries whose tapes hold arrays."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from harness.benching import Case, Contender, Problem, bench, goal


def _rosenbrock(x: Any) -> Any:
    """Rosenbrock's valley in n dimensions, written for anything that knows + - * ** and sums."""
    return (100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2).sum()


def _by_hand(x: np.ndarray) -> np.ndarray:
    climb = 200.0 * (x[1:] - x[:-1] ** 2)
    gradient = np.zeros_like(x)
    gradient[1:] += climb
    gradient[:-1] -= 2.0 * x[:-1] * climb + 2.0 * (1.0 - x[:-1])
    return gradient


def _torch(x: torch.Tensor) -> torch.Tensor:
    x = x.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(_rosenbrock(x), x)
    return gradient


def _autograd() -> Callable[..., Any]:
    import autograd

    gradient: Callable[..., Any] = autograd.grad(_rosenbrock)
    return gradient


def _mygrad() -> Callable[..., Any]:
    import mygrad

    def gradient(x: np.ndarray) -> Any:
        tensor = mygrad.tensor(x)
        _rosenbrock(tensor).backward()
        return tensor.grad

    return gradient


# A tape of numbers costs the same for every entry; a tape of arrays costs about the same for
# every line of the function. So the smaller the input, the better we look.
@bench(
    "vjp",
    unit="time",
    cases=[Case(n=n) for n in (2, 10, 100, 1000)],
    goals=[goal(at_least=1.0, of="torch", n=2), goal(at_least=1.0, of="autograd", n=2)],
    cache="warm",
)
def vjp(case: Case) -> Problem:
    n = case.n
    return Problem(
        inputs=lambda rng: (rng.normal(n),),
        oracle=_by_hand,
        tolerance={"terms": 4, "scale": 4000.0},  # sums of products of up to 200 · 3³
        flops=24 * n,  # 8 operations a term, and at most twice as many for their shares
        ours=lambda day: lambda x: day.vjp(_rosenbrock, x, 1.0)[1],
        peers={
            "numpy": _by_hand,
            "torch": Contender(_torch, prepare=lambda x: (torch.tensor(x),)),
            "autograd": Contender(load=_autograd, needs=["autograd"]),
            "mygrad": Contender(load=_mygrad, needs=["mygrad"]),
        },
        compile=False,
    )
