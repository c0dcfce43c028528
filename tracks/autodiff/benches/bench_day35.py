"""A whole training step (gradients forgotten, forward, backward, optimizer) of three models: a
network of matrices beside the same by hand; the CNN and the GPT of the day beside torch."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from harness.benching import Case, Contender, Problem, absent, bench, goal

RATE = 0.0
"""A step with this rate costs what every other costs, and leaves the weights where they were: so
each call is the same step, and its answer, the loss and the gradients, can be checked."""
CLASSES = 10
VOCAB = 96


@cache
def _on_torch() -> SimpleNamespace:
    """The models and ``train`` of the reference, with torch in the place of the library."""
    path = Path(__file__).parents[1] / "solutions" / "day35.py"
    kept: list[ast.stmt] = []
    for node in ast.parse(path.read_text("utf-8")).body:
        imports = isinstance(node, (ast.Import, ast.ImportFrom))
        ours = imports and (getattr(node, "module", None) or "").startswith("tracks.")
        models = ("Residual", "CNN", "Block", "GPT", "token_loss", "train")
        if (imports and not ours) or getattr(node, "name", "") in models:
            kept.append(node)
    space: dict[str, Any] = {"nn": torch.nn, "Tensor": torch.Tensor, "__name__": "on_torch"}
    exec(compile(ast.Module(kept, []), str(path), "exec"), space)
    return SimpleNamespace(optim=torch.optim, **space)


def _model(lib: Any, case: Case) -> Any:
    """The model of a case, of the library's parts or of torch's.

    Not relu: among a million of its arguments one is 0 but for rounding, and which side it falls on
    changes a row of a gradient."""
    nn = lib.nn
    if case.model == "gpt":
        return lib.GPT(VOCAB, case.length, case.width, depth=2, heads=4)
    if case.model == "cnn":
        return lib.CNN(case.width)
    sizes = [784, case.width, case.width, CLASSES]
    layers = [nn.Linear(a, b) for a, b in zip(sizes, sizes[1:], strict=False)]
    return nn.Sequential(layers[0], nn.Tanh(), layers[1], nn.Tanh(), layers[2])


class _Relus(TorchFunctionMode):
    """Notes how near to 0 any argument of a relu comes."""

    nearest = math.inf

    def __torch_function__(self, f: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if f is torch.relu or f is torch.nn.functional.relu:
            self.nearest = min(self.nearest, args[0].abs().min().item())
        return f(*args, **(kwargs or {}))


def _left_to_rounding(case: Case, arrays: tuple[np.ndarray, ...]) -> bool:
    """Whether some argument of a relu is 0 but for float32's rounding. Which side it falls on
    changes a row of a gradient, and no result is wrong."""
    step, x, y = _torch_arguments(case, torch.float64)(*arrays)
    with _Relus() as relus:
        step(x, y)
    return relus.nearest < 2e-6


def _step(lib: Any, case: Case, model: Any) -> Callable[[Any, Any], list[Any]]:
    parameters = list(model.parameters())
    sgd = case.model == "mlp"
    optimizer = (lib.optim.SGD if sgd else lib.optim.AdamW)(parameters, RATE)
    loss = lib.token_loss if case.model == "gpt" else lib.nn.CrossEntropyLoss()

    def step(x: Any, y: Any) -> list[Any]:
        losses = np.array(lib.train(model, [(x, y)], loss, optimizer), np.float32)
        return [losses, *(p.grad for p in parameters)]

    return step


def _call(step: Callable[[Any, Any], list[Any]], x: Any, y: Any) -> list[Any]:
    return step(x, y)


def _ours(case: Case) -> Callable[[ModuleType], Contender]:
    def ours(day: ModuleType) -> Contender:
        def prepare(x: np.ndarray, y: np.ndarray, *weights: np.ndarray) -> tuple[Any, ...]:
            model = _model(day, case)
            for parameter, weight in zip(model.parameters(), weights, strict=True):
                parameter.data[...] = weight
            return _step(day, case, model), day.Tensor(x), day.Tensor(y)

        def call(step: Any, x: Any, y: Any) -> tuple[Any, ...]:
            losses, *grads = step(x, y)
            return losses, *(grad.data for grad in grads)

        return Contender(call, prepare=prepare)

    return ours


def _torch_arguments(case: Case, dtype: Any = torch.float32) -> Callable[..., tuple[Any, ...]]:
    def prepare(x: np.ndarray, y: np.ndarray, *weights: np.ndarray) -> tuple[Any, ...]:
        lib = _on_torch()
        model = _model(lib, case).to(dtype)
        with torch.no_grad():
            for parameter, weight in zip(model.parameters(), weights, strict=True):
                parameter.copy_(torch.tensor(weight))
        tokens = case.model == "gpt"
        x = torch.tensor(x) if tokens else torch.tensor(x, dtype=dtype)
        return _step(lib, case, model), x, torch.tensor(y)

    return prepare


def _by_hand(x: np.ndarray, y: np.ndarray, *weights: np.ndarray) -> tuple[Any, ...]:
    """The step of the matrices as a person writes it, who has derived the gradients."""
    (w1, b1, w2, b2, w3, b3), rows = weights, np.arange(len(y))
    h1 = np.tanh(x @ w1.T + b1)
    h2 = np.tanh(h1 @ w2.T + b2)
    scores = h2 @ w3.T + b3
    scores -= scores.max(1, keepdims=True)
    g = np.exp(scores)
    total = g.sum(1, keepdims=True)
    loss = (np.log(total[:, 0]) - scores[rows, y]).mean(keepdims=True)
    g /= total
    g[rows, y] -= 1
    g /= len(y)
    of_w3, of_b3 = g.T @ h2, g.sum(0)
    g = g @ w3 * (1 - h2 * h2)
    of_w2, of_b2 = g.T @ h1, g.sum(0)
    g = g @ w2 * (1 - h1 * h1)
    grads = g.T @ x, g.sum(0), of_w2, of_b2, of_w3, of_b3
    for weight, grad in zip(weights, grads, strict=True):
        weight -= RATE * grad
    return loss, *grads


def _copies(*arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    return tuple(array.copy() for array in arrays)


def _autograd() -> Callable[..., Any]:
    import autograd
    import autograd.numpy as anp

    def loss(weights: Any, x: Any, y: Any) -> Any:
        w1, b1, w2, b2, w3, b3 = weights
        h = anp.tanh(anp.tanh(x @ w1.T + b1) @ w2.T + b2)
        scores = h @ w3.T + b3
        scores = scores - anp.max(scores, 1, keepdims=True)
        return anp.mean(anp.log(anp.sum(anp.exp(scores), 1)) - scores[np.arange(len(y)), y])

    both = autograd.value_and_grad(loss)

    def call(x: np.ndarray, y: np.ndarray, *weights: np.ndarray) -> Any:
        value, grads = both(weights, x, y)
        for weight, grad in zip(weights, grads, strict=True):
            weight -= RATE * grad
        return np.array([value], np.float32), *grads

    return call


def _mygrad() -> Callable[..., Any]:
    import mygrad
    from mygrad.nnet.losses import softmax_crossentropy

    def call(x: np.ndarray, y: np.ndarray, *arrays: np.ndarray) -> Any:
        w1, b1, w2, b2, w3, b3 = weights = [mygrad.tensor(a, copy=False) for a in arrays]
        h = mygrad.tanh(mygrad.tanh(x @ w1.T + b1) @ w2.T + b2)
        loss = softmax_crossentropy(h @ w3.T + b3, y)
        loss.backward()
        grads = [w.grad for w in weights]
        for array, grad in zip(arrays, grads, strict=True):
            array -= RATE * grad
        return np.array([loss.data], np.float32), *grads

    return call


@bench(
    "train",
    unit="time",
    cases=[
        Case(model="mlp", batch=64, width=128),
        Case(model="mlp", batch=256, width=512),
        Case(model="mlp", batch=1024, width=1024),
        Case(model="cnn", batch=64, width=16),
        Case(model="gpt", batch=16, width=96, length=64),
    ],
    goals=[
        goal(at_most=1.05, of="numpy", width=1024),
        goal(at_least=1.0, of="autograd", width=(512, 1024)),
        goal(at_least=1.0, of="mygrad", width=(512, 1024)),
        goal(at_most=5.0, of="torch", model="cnn"),
        goal(at_most=2.0, of="torch", model="cnn"),
        goal(at_most=2.0, of="torch", model="gpt"),
    ],
    cache="warm",
)
def training_step(case: Case) -> Problem:
    shapes = [(name, tuple(p.shape)) for name, p in _model(_on_torch(), case).named_parameters()]
    n, gpt, mlp = case.batch, case.model == "gpt", case.model == "mlp"

    def inputs(rng: Any) -> tuple[np.ndarray, ...]:
        weights = []
        for name, shape in shapes:
            drawn = rng.normal(*shape, dtype=np.float32)
            if len(shape) > 1:
                drawn = drawn / math.sqrt(math.prod(shape[1:]))
            else:
                drawn = 0.1 * drawn + (not name.endswith("bias"))
            weights.append(drawn.astype(np.float32))
        if gpt:
            ids = rng.integers(0, VOCAB, n * (case.length + 1)).reshape(n, -1)
            return ids[:, :-1].copy(), ids[:, 1:].copy(), *weights
        x = rng.normal(n, *((784,) if mlp else (1, 8, 8)), dtype=np.float32)
        drawn = x, rng.integers(0, CLASSES, n), *weights
        relus = case.model == "cnn"
        return inputs(rng) if relus and _left_to_rounding(case, drawn) else drawn

    def oracle(*arrays: np.ndarray) -> list[Any]:
        step, x, y = _torch_arguments(case, torch.float64)(*arrays)
        return [np.asarray(v) for v in step(x, y)]

    only = absent("the models of the day have torch's parts")
    return Problem(
        inputs=inputs,
        oracle=oracle,
        tolerance={"terms": 1024, "scale": 0.1},
        flops=_flops(case, shapes),
        ours=_ours(case),
        peers={
            "numpy": Contender(_by_hand, prepare=_copies) if mlp else only,
            "torch": Contender(_call, prepare=_torch_arguments(case)),
            "autograd": Contender(load=_autograd, needs=["autograd"], prepare=_copies)
            if mlp else only,
            "mygrad": Contender(load=_mygrad, needs=["mygrad"], prepare=_copies) if mlp else only,
        },
        compile=False,
    )  # fmt: skip


def _flops(case: Case, shapes: list[tuple[str, tuple[int, ...]]]) -> int:
    """Of the products: two for a weight and the place that it is used at, forward, four back."""
    numbers = sum(math.prod(shape) for _, shape in shapes if len(shape) > 1)
    if case.model == "mlp":
        return 6 * case.batch * numbers
    if case.model == "gpt":  # positions are added, and scores and means of values are products
        numbers -= case.length * case.width
        attention = 2 * 2 * case.length * case.width
        return 6 * case.batch * case.length * (numbers + attention)
    w, places = case.width, (64, 16, 4)  # of images of 8 · 8, halved twice
    used = 9 * w * places[0] * (1 + 2 * w)
    for i in (1, 2):
        inner, outer = w * 2 ** (i - 1), w * 2**i
        used += places[i] * outer * (9 * inner + 9 * outer + inner)
    return 6 * case.batch * (used + 4 * w * CLASSES)
