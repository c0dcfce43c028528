"""The scalar engine, node by node, beside libraries that are not made for single numbers."""

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import torch

from harness.benching import Case, Contender, Problem, bench, goal


def _diamonds(leaves: Sequence[Any]) -> Any:
    """A chain in which every node is used twice: 2 ** n ways lead from its end to its beginning."""
    node = leaves[0]
    for leaf in leaves:
        node = (node + node * leaf) * 0.5
    return node


def _by_hand(x: np.ndarray) -> np.ndarray:
    """The result is x₀ Π (1 + xᵢ) / 2; its slope along a factor is the product over that factor."""
    product = x[0] * np.prod((1.0 + x) / 2.0)
    gradient = product / (1.0 + x)
    gradient[0] += product / x[0]
    return gradient


def _ours(day: ModuleType) -> Callable[..., Any]:
    def call(x: np.ndarray) -> np.ndarray:
        leaves = [day.Value(number) for number in x.tolist()]
        _diamonds(leaves).backward()
        return np.array([leaf.grad for leaf in leaves])

    return call


def _torch(x: np.ndarray) -> np.ndarray:
    leaves = [
        torch.tensor(number, dtype=torch.float64, requires_grad=True) for number in x.tolist()
    ]
    _diamonds(leaves).backward()
    return np.array([leaf.grad.item() for leaf in leaves if leaf.grad is not None])


def _autograd() -> Callable[..., Any]:
    import autograd

    gradient = autograd.grad(_diamonds)  # of a list of numbers: the list of their slopes
    return lambda x: np.array(gradient(x.tolist()))


def _mygrad() -> Callable[..., Any]:
    import mygrad

    def gradient(x: np.ndarray) -> np.ndarray:
        leaves = [mygrad.tensor(number) for number in x.tolist()]
        _diamonds(leaves).backward()
        return np.array([leaf.grad for leaf in leaves])

    return gradient


@bench(
    "Value",
    unit="time",
    cases=[Case(n=n) for n in (4, 20, 100)],
    goals=[
        goal(at_least=1.0, of="torch"),
        goal(at_least=1.0, of="autograd"),
        goal(at_least=1.0, of="mygrad"),
    ],
    cache="warm",
)
def scalars(case: Case) -> Problem:
    n = case.n
    return Problem(
        inputs=lambda rng: (rng.uniform(n, low=0.8, high=1.2),),
        oracle=_by_hand,
        tolerance={"terms": 4 * n},
        flops=9 * n,  # a sum, two products; two shares of each, added where a node is used twice
        ours=_ours,
        peers={
            "numpy": _by_hand,
            "torch": _torch,
            "autograd": Contender(load=_autograd, needs=["autograd"]),
            "mygrad": Contender(load=_mygrad, needs=["mygrad"]),
        },
        compile=False,
    )
