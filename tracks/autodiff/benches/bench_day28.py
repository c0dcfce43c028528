"""A chain of nine operations and its gradient, over its size: with one element the overhead of a
call, with many the memory that goes through the processor."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import torch

from harness.benching import Case, Contender, Problem, bench, goal

SLOPE, CUBE = 0.7978845608, 0.044715
"""gelu by tanh: 0.5 x (1 + tanh(SLOPE (x + CUBE x³)))."""


def _gelu(tanh: Callable[[Any], Any], x: Any) -> Any:
    return 0.5 * x * (1.0 + tanh(SLOPE * (x + CUBE * x * x * x)))


def _by_hand(x: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Operation by operation, each with an array of its own, and a gradient that a person derived:
    what both have in common is computed once."""
    square, half = x * x, 0.5 * x
    t = np.tanh(SLOPE * (x + CUBE * square * x))
    inner = SLOPE * (1.0 + 3.0 * CUBE * square)
    above = 1.0 + t
    return half * above, g * (0.5 * above + half * (1.0 - t * t) * inner)


def _ours(day: ModuleType) -> Contender:
    fast = day.jit_fuse(lambda x: _gelu(lambda t: t.tanh(), x))

    def prepare(x: np.ndarray, g: np.ndarray) -> tuple[Any, Any]:
        return day.Tensor(x, requires_grad=True), day.Tensor(g)

    def call(x: Any, g: Any) -> tuple[np.ndarray, np.ndarray]:
        x.grad = None
        y = fast(x)
        y.backward(g)
        return y.data, x.grad.data

    return Contender(call, prepare=prepare)


def _gradient(f: Callable[..., Any]) -> Callable[..., Any]:
    def call(x: torch.Tensor, g: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = f(torch.tanh, x)
        (found,) = torch.autograd.grad(y, x, g)
        return y.detach(), found

    return call


def _tensors(x: np.ndarray, g: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor(x, requires_grad=True), torch.tensor(g)


def _compiled() -> Callable[..., Any]:
    torch.compiler.reset()  # another case would count against the limit of recompilations
    return _gradient(torch.compile(_gelu, dynamic=False))


def _autograd() -> Callable[..., Any]:
    import autograd
    import autograd.numpy as anp

    def call(x: np.ndarray, g: np.ndarray) -> Any:
        vjp, y = autograd.make_vjp(lambda x: _gelu(anp.tanh, x))(x)
        return y, vjp(g)

    return call


def _mygrad() -> Callable[..., Any]:
    import mygrad

    def call(x: np.ndarray, g: np.ndarray) -> Any:
        tensor = mygrad.tensor(x)
        y = _gelu(mygrad.tanh, tensor)
        y.backward(g)
        return y.data, tensor.grad

    return call


@bench(
    "jit_fuse",
    unit="time",
    cases=[Case(n=n) for n in (1, 1 << 10, 1 << 16, 1 << 20, 1 << 22)],
    goals=[
        goal(at_least=0.5, of="numpy", n=(1 << 20, 1 << 22)),
        goal(at_least=1.0, of="torch", n=(1 << 20, 1 << 22)),
        goal(at_least=1.0, of="autograd", n=(1 << 20, 1 << 22)),
    ],
)
def chain(case: Case) -> Problem:
    n = case.n
    return Problem(
        inputs=lambda rng: (rng.normal(n, dtype=np.float32), rng.normal(n, dtype=np.float32)),
        oracle=lambda x, g: _by_hand(x.astype(np.float64), g.astype(np.float64)),
        tolerance={"terms": 16, "scale": 4.0},
        bytes=5 * 4 * n,  # x twice, forward and back; the result; a gradient in, and one out
        flops=30 * n,
        ours=_ours,
        peers={
            "numpy": _by_hand,
            "torch": Contender(_gradient(_gelu), prepare=_tensors),
            "compile": Contender(load=_compiled, prepare=_tensors),
            "autograd": Contender(load=_autograd, needs=["autograd"]),
            "mygrad": Contender(load=_mygrad, needs=["mygrad"]),
        },
        compile=False,  # autograd compiles the gradient with the chain
    )
