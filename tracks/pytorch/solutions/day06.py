"""
Day 6: Training loop
====================
Estimated time: 2-3 hours
Prerequisites: Day 5 (nn.Module), Day 3 (autograd)
Lesson: lessons/day06.md

Learning objectives:
- Write one optimisation step, and say in which order its parts must stand
- Train with a batch that does not fit into memory, and get the weights that it would have given
- Measure a model without changing it: its mode, its statistics, its gradients
- Stop when the validation loss stops falling, keep the best weights, and repeat a run exactly

    epoch ─┬─ shuffle ── batch 1 ── ... ── batch n    evaluate ─┬─ best so far?
           │         ┌───────────────┐               validation │  keep a copy
           │         │ zero gradients│                          ├─ no better for
           │         │ forward, loss │ (a slice at a time:      │  `patience`
           │         │ backward      │  gradients add up)       │  epochs? stop
           │         │ clip          │                          │
           │         │ step          │                          │
           └─────────┴───────────────┴──────────────────────────┘ next epoch

Once you pass,

    python -m tracks.pytorch.day06 digits.png

trains your loop on 1,797 real handwritten digits with a progress bar, and draws its curves.

Hints:
- Work from the inside out: train_step, evaluate, then fit, which calls both.
- .backward() adds to .grad; it never replaces it. That is a bug and a feature today.
- A mean over parts of unequal size is not the mean of their means.

Resources:
- Optimising model parameters: https://docs.pytorch.org/tutorials/beginner/basics/optimization_tutorial.html
- Reproducibility: https://docs.pytorch.org/docs/stable/notes/randomness.html
- Clipping by the norm, Pascanu, Mikolov and Bengio 2013: https://arxiv.org/abs/1211.5063
- The digits, Alpaydin and Kaynak 1998: https://archive.ics.uci.edu/dataset/80
"""

from __future__ import annotations

import copy
import math
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from tqdm import tqdm

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""(outputs, targets) → the mean of the losses over the rows, a 0-d tensor; F.cross_entropy."""


class Data(NamedTuple):
    """Samples in rows: inputs (rows, ...) and targets (rows,)."""

    inputs: torch.Tensor
    targets: torch.Tensor


class Digits(NamedTuple):
    """1,797 handwritten digits, in three parts."""

    train: Data
    validation: Data
    test: Data


def load_digits(seed: int = 0, device: torch.device | str = "cpu") -> Digits:
    """Images (rows, 8, 8) of float32 from 0 to 1 and classes (rows,) of int64: 1,257 rows to
    train with, 180 to validate and 360 to test. ``seed`` says which go where."""
    from sklearn.datasets import load_digits as from_sklearn

    digits = from_sklearn()
    order = torch.randperm(len(digits.target), generator=torch.Generator().manual_seed(seed))
    images = (torch.tensor(digits.images, dtype=torch.float32)[order] / 16).to(device)
    classes = torch.tensor(digits.target, dtype=torch.int64)[order].to(device)
    parts = zip(images.split([1257, 180, 360]), classes.split([1257, 180, 360]), strict=True)
    return Digits(*[Data(inputs, targets) for inputs, targets in parts])


def digits_classifier() -> nn.Module:
    """A small network for the digits: two convolutions (you write them on day 12), one layer."""
    return nn.Sequential(
        nn.Unflatten(1, (1, 8)),  # (rows, 8, 8) → (rows, 1, 8, 8): one channel
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(512, 10),
    )


def seed_everything(seed: int) -> torch.Generator:
    """Start all global random number generators anew, and return a generator of your own.

    Seeded are Python's ``random``, numpy's global generator (``np.random.rand`` and the like)
    and torch's, on the CPU and on every GPU. ``seed`` is a whole number from 0 up to 2⁶³ - 1;
    numpy takes 32 bits only and gets the remainder of division by 2³².

    Returns a new torch.Generator on the CPU, seeded with ``seed`` as well. Whoever shuffles with
    it neither disturbs the global generators nor is disturbed by them.

    >>> _ = seed_everything(0); a = torch.rand(3)
    >>> _ = seed_everything(0); torch.equal(a, torch.rand(3))
    True
    """
    # TODO: seed three libraries, return a generator.
    # HINT: torch.manual_seed reaches the GPUs too.
    ### BEGIN SOLUTION
    # HINT: random.seed, np.random.seed, torch.manual_seed.
    # HINT: manual_seed of a torch.Generator() returns that generator.
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    return torch.Generator().manual_seed(seed)
    ### END SOLUTION


class StepResult(NamedTuple):
    """What ``train_step`` saw before it changed the weights."""

    loss: float
    gradient_norm: float


def train_step(
    model: nn.Module,
    batch: Data,
    optimizer: torch.optim.Optimizer,
    loss_fn: Loss = F.cross_entropy,
    accumulate: int = 1,
    clip: float | None = None,
) -> StepResult:
    """One step of the optimizer on one batch of at least one row; the model is put in training
    mode.

    1. Gradients of earlier steps are dropped.
    2. The rows are cut into ``accumulate`` slices, as Tensor.chunk does: of equal size, but for
       the last, which may be shorter; fewer slices where there are not enough rows. For one slice
       at a time: forward, loss, backward. The gradients add up to those of ``loss_fn`` over the
       whole batch, the mean over all its rows, also when the slices are of unequal size. Only
       one slice's activations are in memory at a time.
    3. The gradient norm is the length of all the gradients together as one vector. If ``clip`` is
       given and the norm is above it, all gradients are multiplied by clip / norm.
    4. If the loss or the norm is nan or infinite: FloatingPointError, which names both; the
       weights and the state of the optimizer are as they were before the call.
    5. The optimizer steps.

    Returns the loss over the whole batch and the norm before clipping, as Python floats. The
    host waits for the device once, however many slices there are (the optimizer's own waiting
    not counted): no .item() within the loop.
    """
    # TODO: the five points, in this order.
    # HINT: backward adds to what is in .grad, so a slice needs no code for adding.
    # HINT: a slice's mean loss has to count as much as the slice has rows.
    ### BEGIN SOLUTION
    # HINT: loss = loss_fn(...) * (len(slice) / rows) before backward; then everything adds up.
    # HINT: call backward within the loop: it frees the slice's activations. Add up loss.detach().
    # HINT: nn.utils.clip_grad_norm_ returns the norm before clipping; math.inf clips nothing.
    # HINT: torch.stack([loss, norm]).tolist() brings two numbers to the host in one go.
    model.train()
    optimizer.zero_grad()
    rows = len(batch.targets)
    total = torch.zeros((), device=batch.targets.device)
    slices = zip(batch.inputs.chunk(accumulate), batch.targets.chunk(accumulate), strict=True)
    for inputs, targets in slices:
        loss = loss_fn(model(inputs), targets) * (len(targets) / rows)
        loss.backward()
        total = total + loss.detach()
    norm = nn.utils.clip_grad_norm_(model.parameters(), math.inf if clip is None else clip)
    loss_value, norm_value = torch.stack([total, norm.to(total)]).tolist()
    if not (math.isfinite(loss_value) and math.isfinite(norm_value)):
        raise FloatingPointError(f"loss {loss_value}, gradient norm {norm_value}: no step taken")
    optimizer.step()
    return StepResult(loss_value, norm_value)
    ### END SOLUTION


class Evaluation(NamedTuple):
    """What ``evaluate`` measures."""

    loss: float
    accuracy: float


def evaluate(
    model: nn.Module, data: Data, loss_fn: Loss = F.cross_entropy, batch_size: int = 256
) -> Evaluation:
    """Measure a classifier, and leave it as it was.

    ``model`` maps inputs (rows, ...) to scores (rows, classes). Both results are means over all
    the rows of ``data``: of ``loss_fn``, and of whether the class with the highest score is the
    target. Both are Python floats.

    - The model is in eval mode meanwhile and records no graph. At most ``batch_size`` rows go
      through it at a time, in order.
    - Afterwards each of its submodules is in the mode in which it was found, also after an
      exception: parts of a model may have been put in eval mode for good.
    - Parameters, gradients, buffers and random number generators are untouched.

    Raises ValueError when ``data`` has no rows.
    """
    # TODO: eval mode, no gradients, batches; sums over rows, divided once at the end.
    # HINT: model.train(True) afterwards would put every submodule into training mode.
    ### BEGIN SOLUTION
    # HINT: remember (part, part.training) for every part of model.modules().
    # HINT: try / finally runs the restoration also after an exception.
    # HINT: the last batch may be shorter: weigh its mean loss by its rows.
    rows = len(data.targets)
    if rows == 0:
        raise ValueError("there are no rows to evaluate on")
    modes = [(part, part.training) for part in model.modules()]
    model.eval()
    loss, correct = 0.0, 0
    try:
        with torch.no_grad():
            batches = zip(
                data.inputs.split(batch_size), data.targets.split(batch_size), strict=True
            )
            for inputs, targets in batches:
                scores = model(inputs)
                loss += loss_fn(scores, targets).item() * len(targets)
                correct += int((scores.argmax(-1) == targets).sum())
    finally:
        for part, training in modes:
            part.training = training
    return Evaluation(loss / rows, correct / rows)
    ### END SOLUTION


@dataclass
class History:
    """One entry an epoch; ``best_epoch`` counts from 0."""

    train_loss: list[float] = field(default_factory=list)
    gradient_norm: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    validation_accuracy: list[float] = field(default_factory=list)
    best_epoch: int = -1


def progress_bar(epochs: int) -> tqdm[int]:
    """range(epochs) with a progress bar, which is silent when nobody is watching: in a file, in
    a pipe, under a test."""
    return tqdm(range(epochs), desc="training", unit="epoch", disable=None)


def fit(
    model: nn.Module,
    train: Data,
    validation: Data,
    optimizer: torch.optim.Optimizer,
    epochs: int,
    batch_size: int = 64,
    accumulate: int = 1,
    clip: float | None = None,
    patience: int | None = None,
    generator: torch.Generator | None = None,
    loss_fn: Loss = F.cross_entropy,
) -> History:
    """Train ``model`` for up to ``epochs`` epochs (at least 1), and leave it with the best weights.

    Each epoch, for every number in progress_bar(epochs):

    1. One torch.randperm(rows, generator=generator), made on the CPU, gives the order of the
       rows; in this order they are cut into batches of ``batch_size``, the last of which may be
       shorter and is used all the same. For each: ``train_step`` with ``accumulate`` and
       ``clip``.
    2. ``evaluate`` on the validation data.
    3. Into the history go: train_loss, the mean over the epoch's rows of the losses that
       train_step returned; gradient_norm, the largest of the epoch; and the evaluation. The bar
       shows the latter: bar.set_postfix(loss=..., accuracy=...), once an epoch.
    4. If the validation loss is lower than in every epoch before, this epoch is the best so far,
       and its state_dict (parameters and buffers) is kept as a copy.
    5. If ``patience`` is given and the best epoch lies ``patience`` epochs back, training stops.

    In the end the model holds the state of the best epoch and is in eval mode.

    Validation losses 0.9, 0.5, 0.6, 0.7 with patience=2: four epochs, best_epoch = 1.
    """
    history = History()
    bar = progress_bar(epochs)
    # TODO: the five points for each epoch of the bar; then put the best state back.
    # HINT: rows of a tensor in another order: x[order]; order.split(n) cuts an order in batches.
    ### BEGIN SOLUTION
    # HINT: state_dict() holds the tensors themselves, which the next step overwrites: deepcopy.
    # HINT: the last batch is shorter, so add up loss · rows and divide by all rows.
    # HINT: stop when epoch - history.best_epoch >= patience.
    rows = len(train.targets)
    best_loss, best_state = math.inf, copy.deepcopy(model.state_dict())
    for epoch in bar:
        order = torch.randperm(rows, generator=generator).to(train.targets.device)
        total, largest = 0.0, 0.0
        for part in order.split(batch_size):
            batch = Data(train.inputs[part], train.targets[part])
            step = train_step(model, batch, optimizer, loss_fn, accumulate, clip)
            total += step.loss * len(part)
            largest = max(largest, step.gradient_norm)
        measured = evaluate(model, validation, loss_fn)
        history.train_loss.append(total / rows)
        history.gradient_norm.append(largest)
        history.validation_loss.append(measured.loss)
        history.validation_accuracy.append(measured.accuracy)
        bar.set_postfix(loss=f"{measured.loss:.3f}", accuracy=f"{measured.accuracy:.1%}")
        if measured.loss < best_loss:
            best_loss, best_state = measured.loss, copy.deepcopy(model.state_dict())
            history.best_epoch = epoch
        if patience is not None and epoch - history.best_epoch >= patience:
            break
    model.load_state_dict(best_state)
    model.eval()
    ### END SOLUTION
    return history


def plot_history(history: History, path: str) -> None:
    """Draw the curves of a training run into the image file ``path``."""
    import matplotlib

    matplotlib.use("Agg")  # draws into files, needs no screen
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    left.plot(history.train_loss, label="training (with dropout)")
    left.plot(history.validation_loss, label="validation")
    left.axvline(history.best_epoch, color="gray", linestyle=":", label="best epoch")
    left.set(xlabel="epoch", ylabel="loss", yscale="log")
    left.legend()
    right.plot([100 * a for a in history.validation_accuracy])
    right.axvline(history.best_epoch, color="gray", linestyle=":")
    right.set(xlabel="epoch", ylabel="validation accuracy in %")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def train_on_digits(plot: str = "") -> float:
    """Train on the digits with ``fit``; → the accuracy on the test part. ``plot``: an image."""
    generator = seed_everything(0)
    digits = load_digits()
    model = digits_classifier()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    history = fit(
        model, digits.train, digits.validation, optimizer,
        epochs=15, clip=5.0, patience=5, generator=generator,
    )  # fmt: skip
    if plot:
        plot_history(history, plot)
    return evaluate(model, digits.test).accuracy


def test_seed_everything() -> None:
    seed_everything(7)
    first = (random.random(), np.random.rand(), torch.rand(()).item())
    seed_everything(7)
    assert first == (random.random(), np.random.rand(), torch.rand(()).item())


def test_train_step_in_slices() -> None:
    batch = Data(torch.randn(5, 3), torch.tensor([0, 1, 0, 1, 1]))
    whole = nn.Linear(3, 2)
    sliced = copy.deepcopy(whole)
    train_step(whole, batch, torch.optim.SGD(whole.parameters(), lr=0.1))
    train_step(sliced, batch, torch.optim.SGD(sliced.parameters(), lr=0.1), accumulate=2)
    torch.testing.assert_close(sliced.weight, whole.weight)


def test_evaluate() -> None:
    model = nn.Identity()  # the inputs are the scores
    data = Data(torch.tensor([[2.0, 0.0], [3.0, 1.0], [0.0, 9.0]]), torch.tensor([0, 1, 1]))
    assert abs(evaluate(model, data).accuracy - 2 / 3) < 1e-6


def test_fit_learns() -> None:
    inputs = torch.randn(200, 2)
    data = Data(inputs, (inputs[:, 0] > inputs[:, 1]).long())
    model = nn.Linear(2, 2)
    history = fit(model, data, data, torch.optim.SGD(model.parameters(), lr=1.0), epochs=5)
    assert len(history.train_loss) == 5
    assert evaluate(model, data).accuracy > 0.9


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(f"accuracy on 360 unseen digits: {train_on_digits(sys.argv[1]):.1%}")
    else:
        from harness import main

        main(__file__)
