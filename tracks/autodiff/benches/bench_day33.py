"""A training step of a small convolutional network, beside torch and MyGrad."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from harness.benching import Case, Contender, Problem, absent, bench, goal

CLASSES = 10


def _leaf(day: ModuleType, x: np.ndarray) -> Any:
    return day.Tensor(x, requires_grad=x.dtype.kind == "f")


def _network(
    conv: Callable[..., Any], pool: Callable[..., Any], relu: Callable[..., Any]
) -> Callable[..., Any]:
    """Two convolutions with a pool behind each, and a matrix: → logits (N, 10)."""

    def logits(x: Any, w1: Any, b1: Any, w2: Any, b2: Any, w3: Any) -> Any:
        h = pool(relu(conv(x, w1, b1, padding=1)), 2)
        h = pool(relu(conv(h, w2, b2, padding=1)), 2)
        return h.reshape(h.shape[0], -1) @ w3

    return logits


def _left_to_rounding(x: np.ndarray, target: np.ndarray, *weights: np.ndarray) -> bool:
    """Whether the largest element of some window is 0, or equal to the next one, but for float32's
    rounding. Which of them it is then changes a row of a gradient, and no result is wrong."""
    nearest = []

    def pool(h: torch.Tensor, size: int) -> torch.Tensor:
        windows = h.unfold(2, size, size).unfold(3, size, size).flatten(4)
        first, second = windows.topk(2).values.unbind(-1)
        nearest.append(torch.minimum(first.abs(), first - second.clamp(min=0)).abs().min().item())
        return torch.relu(first)

    network = _network(functional.conv2d, pool, lambda h: h)
    network(*(torch.tensor(a, dtype=torch.float64) for a in (x, *weights)))
    return min(nearest) < 2e-6


def _ours_step(day: ModuleType) -> Contender:
    network = _network(day.conv2d, day.max_pool2d, lambda h: h.relu())

    def prepare(x: np.ndarray, target: np.ndarray, *weights: np.ndarray) -> tuple[Any, ...]:
        return day.Tensor(x), day.Tensor(target), *(_leaf(day, w) for w in weights)

    def call(x: Any, target: Any, *weights: Any) -> tuple[Any, ...]:
        for w in weights:
            w.grad = None
        loss = day.ops.cross_entropy(network(x, *weights), target)
        loss.backward()
        return loss.data, *(w.grad.data for w in weights)

    return Contender(call, prepare=prepare)


def _torch_step(x: torch.Tensor, target: torch.Tensor, *weights: torch.Tensor) -> tuple[Any, ...]:
    network = _network(functional.conv2d, functional.max_pool2d, torch.relu)
    loss = functional.cross_entropy(network(x, *weights), target)
    return loss.detach(), *torch.autograd.grad(loss, weights)


def _tensors(x: np.ndarray, target: np.ndarray, *weights: np.ndarray) -> tuple[Any, ...]:
    return (
        torch.tensor(x),
        torch.tensor(target),
        *(torch.tensor(w, requires_grad=True) for w in weights),
    )


@bench(
    "conv2d",
    unit="time",
    cases=[
        Case(what="step", images=64, size=8, first=16, second=32),
        Case(what="step", images=64, size=28, first=16, second=32),
        Case(what="step", images=16, size=32, first=32, second=64),
    ],
    goals=[
        goal(at_most=5.0, of="torch", what="step"),
        goal(at_most=2.0, of="torch", what="step"),
    ],
)
def training_step(case: Case) -> Problem:
    n, size, first, second = case.images, case.size, case.first, case.second

    def inputs(rng: Any) -> tuple[np.ndarray, ...]:
        shapes = (first, 1, 3, 3), (first,), (second, first, 3, 3), (second,)
        weights = [rng.normal(*shape, dtype=np.float32) * 0.2 for shape in shapes]
        last = rng.normal(second * (size // 4) ** 2, CLASSES, dtype=np.float32) * 0.05
        x = rng.normal(n, 1, size, size, dtype=np.float32)
        drawn = x, rng.integers(0, CLASSES, n), *(w.astype(np.float32) for w in (*weights, last))
        return inputs(rng) if _left_to_rounding(*drawn) else drawn

    def oracle(x: np.ndarray, target: np.ndarray, *weights: np.ndarray) -> Any:
        wide = _tensors(x.astype(float), target, *(w.astype(float) for w in weights))
        return tuple(t.numpy() for t in _torch_step(*wide))

    places = size * size
    flops = 2 * n * 9 * (places * first * 2 + places // 4 * first * second * 3)
    return Problem(
        inputs=inputs,
        oracle=oracle,
        tolerance={"terms": n * places, "scale": 0.01},
        flops=flops,
        ours=_ours_step,
        peers={
            "torch": Contender(_torch_step, prepare=_tensors),
            "autograd": absent("autograd has no pooling"),
            "mygrad": Contender(load=_mygrad_step, needs=["mygrad"]),
        },
        compile=False,
    )


def _mygrad_step() -> Callable[..., Any]:
    import mygrad
    from mygrad.nnet.layers import conv_nd, max_pool
    from mygrad.nnet.losses import softmax_crossentropy

    def call(x: np.ndarray, target: np.ndarray, *arrays: np.ndarray) -> tuple[Any, ...]:
        w1, b1, w2, b2, w3 = weights = [mygrad.tensor(w) for w in arrays]
        h: Any = mygrad.tensor(x, constant=True)
        for w, b in ((w1, b1), (w2, b2)):
            h = conv_nd(h, w, stride=1, padding=1) + b.reshape(1, -1, 1, 1)
            h = max_pool(mygrad.maximum(h, 0.0), (2, 2), 2)
        loss = softmax_crossentropy(h.reshape(len(x), -1) @ w3, target)
        loss.backward()
        # Its loss is a float64 that was computed in x's dtype.
        return loss.data.astype(x.dtype), *(w.grad for w in weights)

    return call
