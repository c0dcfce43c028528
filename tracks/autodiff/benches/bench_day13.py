"""A network of single numbers, forward and backward, and what the same costs with matrices."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import torch

from harness.benching import Case, Contender, Problem, bench, goal

SIZES = (2, 16, 16, 1)
PARAMETERS = sum((a + 1) * b for a, b in zip(SIZES, SIZES[1:], strict=False))


def _layers(flat: Any) -> list[tuple[Any, Any]]:
    """Weights (outputs, inputs) and biases (outputs,) of each layer, as views of ``flat``.

    In the order of ``MLP.parameters()``: neuron by neuron, the weights and then the bias.
    """
    layers, start = [], 0
    for inputs, outputs in zip(SIZES, SIZES[1:], strict=False):
        block = flat[start : start + outputs * (inputs + 1)].reshape(outputs, inputs + 1)
        layers.append((block[:, :-1], block[:, -1]))
        start += outputs * (inputs + 1)
    return layers


def _loss(relu: Callable[[Any], Any], flat: Any, x: Any, y: Any) -> Any:
    """The mean squared error of the network: matrices, of whatever library ``flat`` is."""
    *hidden, (weight, bias) = _layers(flat)
    for w, b in hidden:
        x = relu(x @ w.T + b)
    return (((x @ weight.T + bias)[:, 0] - y) ** 2).mean()


def _by_hand(flat: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    gradient = np.empty_like(flat)
    layers, slopes = _layers(flat), _layers(gradient)
    signals = [x]
    for weight, bias in layers[:-1]:
        signals.append(np.maximum(signals[-1] @ weight.T + bias, 0.0))
    weight, bias = layers[-1]
    out = signals[-1] @ weight.T + bias
    grad = 2.0 / len(y) * (out - y[:, None])
    for (weight, _), (dw, db), signal in zip(
        reversed(layers), reversed(slopes), reversed(signals), strict=True
    ):
        dw[...] = grad.T @ signal
        db[...] = grad.sum(axis=0)
        grad = grad @ weight * (signal > 0.0)
    return gradient


def _ours(day: ModuleType) -> Contender:
    def prepare(flat: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[Any, ...]:
        model = day.MLP(SIZES, np.random.default_rng(0))
        for parameter, number in zip(model.parameters(), flat.tolist(), strict=True):
            parameter.data = number
        return model, x.tolist(), y.tolist()

    def call(model: Any, x: list[list[float]], y: list[float]) -> np.ndarray:
        parameters = model.parameters()
        for parameter in parameters:
            parameter.grad = 0.0
        day.mse([model(row)[0] for row in x], y).backward()
        return np.array([parameter.grad for parameter in parameters])

    return Contender(call, prepare=prepare)


def _torch(flat: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    flat = flat.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(_loss(torch.relu, flat, x, y), flat)
    return gradient


def _autograd() -> Callable[..., Any]:
    import autograd
    import autograd.numpy as anp

    return autograd.grad(
        lambda flat, x, y: _loss(lambda z: anp.maximum(z, 0.0), flat, x, y)
    )  # along its first argument


def _mygrad() -> Callable[..., Any]:
    import mygrad

    def gradient(flat: np.ndarray, x: np.ndarray, y: np.ndarray) -> Any:
        tensor = mygrad.tensor(flat)
        _loss(lambda z: mygrad.maximum(z, 0.0), tensor, x, y).backward()
        return tensor.grad

    return gradient


# With one sample the engine's nodes, a neuron each, stand against a few calls of a library; with
# more, it pays for every sample again, and the libraries nearly nothing.
@bench(
    "MLP",
    unit="time",
    cases=[Case(samples=samples) for samples in (1, 8, 64)],
    goals=[goal(at_least=0.8, of="torch", samples=1)],
    cache="warm",
)
def network(case: Case) -> Problem:
    samples = case.samples
    return Problem(
        inputs=lambda rng: (
            rng.normal(PARAMETERS, std=0.5),
            rng.normal(samples, SIZES[0]),
            rng.normal(samples),
        ),
        oracle=_by_hand,
        tolerance={"terms": 16 * samples, "scale": 100.0},
        flops=6 * samples * PARAMETERS,  # two a weight forward, four backward
        ours=_ours,
        peers={
            "numpy": _by_hand,
            "torch": Contender(
                _torch, prepare=lambda *arrays: tuple(torch.tensor(a) for a in arrays)
            ),
            "autograd": Contender(load=_autograd, needs=["autograd"]),
            "mygrad": Contender(load=_mygrad, needs=["mygrad"]),
        },
        compile=False,
    )
