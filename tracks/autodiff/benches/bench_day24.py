"""One-element tensors: nothing but the overhead of the engine, forward and back, over its graph's
size. Equal times a node in every case are a time that is linear in the edges."""

import os
import shutil
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import torch

from harness.benching import Case, Contender, Problem, absent, bench, goal


def _chain(x: Any, w: Any, n: int) -> Any:
    """n products and n sums: 4 n edges."""
    y = x
    for _ in range(n):
        y = y * w + x
    return y


def _by_hand(n: int) -> Callable[..., np.ndarray]:
    """The same operations of numpy, forward and back, without a graph."""

    def call(x: np.ndarray, w: np.ndarray) -> np.ndarray:
        y, before = x, []
        for _ in range(n):
            before.append(y)
            y = y * w + x
        g, of_w, of_x = np.ones_like(x), np.zeros_like(w), np.zeros_like(x)
        for y in reversed(before):
            of_x = of_x + g
            of_w = of_w + g * y
            g = g * w
        return np.concatenate([of_x + g, of_w])

    return call


def _ours(n: int) -> Callable[[ModuleType], Contender]:
    def ours(day: ModuleType) -> Contender:
        def prepare(x: np.ndarray, w: np.ndarray) -> tuple[Any, Any]:
            return day.Tensor(x, requires_grad=True), day.Tensor(w, requires_grad=True)

        def call(x: Any, w: Any) -> np.ndarray:
            x.grad = w.grad = None
            day.backward(_chain(x, w, n))
            return np.concatenate([x.grad.data, w.grad.data])

        return Contender(call, prepare=prepare)

    return ours


def _torch(n: int) -> Contender:
    def call(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        x.grad = w.grad = None
        _chain(x, w, n).backward()
        assert x.grad is not None and w.grad is not None
        return torch.cat([x.grad, w.grad])

    return Contender(
        call, prepare=lambda x, w: tuple(torch.tensor(t, requires_grad=True) for t in (x, w))
    )


def _autograd(n: int) -> Callable[[], Callable[..., Any]]:
    def load() -> Callable[..., Any]:
        import autograd

        gradient = autograd.grad(lambda pair: _chain(pair[0], pair[1], n)[0])
        return lambda x, w: np.concatenate(gradient((x, w)))

    return load


def _mygrad(n: int) -> Callable[[], Callable[..., Any]]:
    def load() -> Callable[..., Any]:
        import mygrad

        def call(x: np.ndarray, w: np.ndarray) -> np.ndarray:
            a, b = mygrad.tensor(x), mygrad.tensor(w)
            _chain(a, b, n).backward()
            return np.concatenate([a.grad, b.grad])

        return call

    return load


def _tinygrad(n: int) -> Callable[[], Callable[..., Any]]:
    """Its device for processors, which makes C of the whole chain and compiles that once."""

    def load() -> Callable[..., Any]:
        if shutil.which("clang") is None:
            raise RuntimeError("its CPU device compiles with clang, which is not here")
        os.environ.setdefault("DEV", "CPU")
        import tinygrad

        def call(x: np.ndarray, w: np.ndarray) -> np.ndarray:
            a, b = tinygrad.Tensor(x), tinygrad.Tensor(w)
            return np.concatenate([g.numpy() for g in _chain(a, b, n).sum().gradient(a, b)])

        return call

    return load


@bench(
    "backward",
    unit="time",
    cases=[Case(n=n) for n in (10, 100, 1000)],
    goals=[goal(at_least=1.0, of="autograd"), goal(at_least=0.75, of="mygrad")],
    cache="warm",
)
def one_element(case: Case) -> Problem:
    n = case.n
    return Problem(
        inputs=lambda rng: (rng.uniform(1, low=0.5, high=0.9), rng.uniform(1, low=0.5, high=0.9)),
        oracle=_by_hand(n),
        tolerance={"terms": 8 * n, "scale": 100.0},
        flops=6 * n,
        ours=_ours(n),
        peers={
            "numpy": _by_hand(n),
            "torch": _torch(n),
            "autograd": Contender(load=_autograd(n), needs=["autograd"]),
            "mygrad": Contender(load=_mygrad(n), needs=["mygrad"]),
            "tinygrad": (
                Contender(load=_tinygrad(n), needs=["tinygrad"])
                if n <= 100
                else absent("takes more than a minute for so long a chain")
            ),
        },
        compile=False,
    )
