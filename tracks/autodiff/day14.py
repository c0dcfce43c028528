"""
Day 14: Training scalars
========================
Estimated time: 2 hours
Prerequisites: Day 11 (the backward pass), Day 13 (neurons)
Lesson: lessons/day14.md

Learning objectives:
- Make data whose shape you know, and prepare measured data without looking at what is held out
- Judge a model by what it gets right, on data that it has not seen
- Write the loop that all of deep learning runs: shuffle, forward, backward, step
- See what a network has learnt, as a picture

      data ---> shuffle ---> batch ---> model ---> loss         forward
                   ^                      ^          |
                   |                      |          v
              next epoch            p -= lr v <--- gradients    backward, step

A ``Data`` has the samples as rows, and their labels: the whole numbers 0, 1, ... A model has a
score for each class, and the largest wins; or, for two classes, a single one, whose sign decides.
Either way the loss is yesterday's ``logistic`` of all scores, each with a sign from ``signs``.

Random numbers come from the ``numpy.random.Generator`` that is handed in, so that the same seed
repeats a run exactly.

Hints:
- The order matters: old gradients are still there when new ones are added.
- What is computed from the held-out rows, a mean for example, has seen them.
- A picture has its first row at the top, and a plot its smallest y at the bottom.

Resources:
- scikit-learn's toy data: https://scikit-learn.org/stable/datasets/toy_dataset.html
- R. A. Fisher, The Use of Multiple Measurements in Taxonomic Problems, 1936 (the iris data)
- On the importance of initialization and momentum in deep learning, I. Sutskever, J. Martens,
  G. Dahl and G. Hinton, 2013: https://proceedings.mlr.press/v28/sutskever13.html
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from matplotlib.figure import Figure

from tracks.autodiff.day11 import zero_grad
from tracks.autodiff.day12 import Value
from tracks.autodiff.day13 import logistic


class Data(NamedTuple):
    """Samples and what they are."""

    inputs: np.ndarray
    """Shape (samples, features), float64: a sample in each row."""
    labels: np.ndarray
    """Shape (samples,), int64: the class of each, 0, 1, ..."""


Sample = Sequence[float] | np.ndarray
"""The features of one sample."""


class Model(Protocol):
    """What can be trained, such as day 13's MLP. Where nothing is trained any function will do."""

    def __call__(self, x: Any, /) -> list[Value]:
        """The scores of a sample: one for each class, or one for all if there are two classes."""

    def parameters(self) -> list[Value]:
        """What training may change."""


Scores = Callable[[Any], list[Value]]
"""A Model, or another function from a sample to its scores."""


def signs(label: int, scores: int) -> list[int]:
    """The right sign of each of a sample's ``scores``: 1 for the one of its class, -1 for others.

    A single score is to be positive for class 1 and negative for class 0.

    >>> signs(2, scores=3), signs(1, scores=1), signs(0, scores=1)
    ([-1, -1, 1], [1], [-1])
    """
    if scores == 1:
        return [1 if label == 1 else -1]
    return [1 if label == number else -1 for number in range(scores)]


def show(epoch: int, epochs: int, loss: float) -> None:
    """A line on the screen that grows: hand it to ``train`` as ``progress``."""
    done = round(24 * epoch / epochs)
    bar = "#" * done + "." * (24 - done)
    end = "\n" if epoch == epochs else ""
    print(f"\repoch {epoch:3}/{epochs} [{bar}] loss {loss:.4f}", end=end, flush=True)


def two_moons(samples: int, noise: float, rng: np.random.Generator) -> Data:
    """Two half circles that reach into one another: no straight line parts them.

    The first ⌊samples / 2⌋ rows have label 0, and lie on (cos t, sin t); the others have label 1,
    and lie on (1 - cos t, 1/2 - sin t). On each moon t goes in equal steps from 0 to π, both
    included; a moon of one point has t = 0. Then a normal random number of standard deviation
    ``noise`` is added to each coordinate, in the order of ``rng.normal(0.0, noise, (samples, 2))``.
    The rows are not shuffled.

    >>> two_moons(4, 0.0, np.random.default_rng(0)).inputs.round(3) + 0.0
    array([[ 1. ,  0. ],
           [-1. ,  0. ],
           [ 0. ,  0.5],
           [ 2. ,  0.5]])
    """
    # TODO: the two moons below one another, their labels, the noise.
    # HINT: how many points has the second moon, if samples is odd?
    raise NotImplementedError("two_moons")


def iris(rng: np.random.Generator, held_out: int = 30) -> tuple[Data, Data]:
    """Fisher's measurements of 150 irises of three kinds: (training data, held-out data).

    ``rng`` shuffles the flowers; ``held_out`` of them, from 1 to 149, are the second part. All
    features of both parts are standardised with the numbers of the *training* part: its mean is
    subtracted, then divided by its standard deviation (numpy's ``std``), feature by feature. So the
    training part has mean 0 and standard deviation 1, and the other nearly.

    Raises ValueError for another ``held_out``.

    >>> training, test = iris(np.random.default_rng(0))
    >>> training.inputs.shape, test.inputs.shape, training.labels.shape
    ((120, 4), (30, 4), (120,))
    """
    # Imported here, as it takes a second, and the rest of the day does without.
    from sklearn.datasets import load_iris

    inputs, labels = load_iris(return_X_y=True)
    # TODO: shuffle, part, standardise.
    # HINT: if mean and std came from all 150, what would the model know of the held-out ones?
    raise NotImplementedError("iris")


def predict(model: Scores, x: Sample) -> int:
    """The class that the model gives to one sample; the model is asked once.

    With several scores the number of the largest, the first of them if some are equal; with a
    single score 1 if it is positive, else 0.

    >>> predict(lambda x: [Value(0.5), Value(2.0), Value(-1.0)], [0.0])
    1
    """
    # TODO: ask the model; decide.
    # HINT: Values cannot be compared by size. What can?
    raise NotImplementedError("predict")


def accuracy(model: Scores, data: Data) -> float:
    """The share of the samples to which the model gives their label, from 0 to 1.

    Asks the model once for each sample, in their order. Raises ValueError if there are none.

    >>> data = Data(np.array([[1.0], [2.0], [-3.0]]), np.array([1, 0, 0]))
    >>> round(accuracy(lambda x: [Value(x[0])], data), 3)
    0.667
    """
    # TODO: an answer for each sample; how many are the label?
    # HINT: what is the accuracy of no answers at all?
    raise NotImplementedError("accuracy")


def train(
    model: Model,
    data: Data,
    rng: np.random.Generator,
    *,
    epochs: int = 40,
    batch: int = 16,
    lr: float = 0.1,
    momentum: float = 0.9,
    progress: Callable[[int, int, float], Any] | None = None,
) -> list[float]:
    """Change the model's parameters until it knows the data; the loss of each epoch is returned.

    An epoch goes once through all samples, in the order of a new ``rng.permutation(samples)``, in
    batches of ``batch``; the last one may be smaller. For each batch:

    1. loss = ``logistic`` of all scores of all its samples, each with its sign from ``signs``
    2. the gradient of this loss alone, whatever was in the grads before
    3. for each parameter, with a velocity v of its own that is 0 when training begins:

           v = momentum · v + gradient            p = p - lr · v

    The loss of an epoch is the mean over its samples: each batch's loss, from before its step,
    weighs as much as it has samples. After each epoch ``progress`` is called, if there is one, with
    the epochs done, ``epochs``, and the epoch's loss. ``rng`` is used for nothing but the orders.

    Raises ValueError if there are no samples, or ``batch`` is less than 1, with both numbers in its
    message; and ArithmeticError as soon as a batch's loss is inf or nan, before its step, whose
    message says in which epoch, from 1.

    >>> from tracks.autodiff.day13 import MLP
    >>> rng = np.random.default_rng(0)
    >>> losses = train(MLP([2, 8, 1], rng), two_moons(100, 0.1, rng), rng, epochs=20)
    >>> len(losses), losses[-1] < losses[0] / 2
    (20, True)
    """
    # TODO: an order for each epoch, its batches, and the three steps for each.
    # HINT: in which order do zero_grad, backward and the step have to come?
    # HINT: why is the mean of the batches' losses not always the mean over the samples?
    raise NotImplementedError("train")


class Map(NamedTuple):
    """What a model says everywhere."""

    xs: np.ndarray
    """Shape (steps,): the first feature, from left to right."""
    ys: np.ndarray
    """Shape (steps,): the second feature, from bottom to top."""
    classes: np.ndarray
    """Shape (steps, steps), int64: classes[i, j] is the class at (xs[j], ys[i])."""


MARGIN = 0.5
"""How far the map reaches beyond the data, on every side."""


def colours(classes: np.ndarray) -> np.ndarray:
    """Red, green and blue of each class, from 0 to 1: an array with one axis more, of size 3."""
    palette = [(0.55, 0.70, 0.90), (0.95, 0.62, 0.55), (0.62, 0.82, 0.60), (0.80, 0.70, 0.90)]
    return np.array(palette)[np.asarray(classes) % len(palette)]


def decision_boundary(model: Scores, data: Data, path: str | Path, steps: int = 60) -> Map:
    """A map of the plane: which class does the model give to each point? A PNG is left at ``path``.

    The map has ``steps`` values of each feature at equal distances, from the smallest in the data
    less MARGIN to the largest plus MARGIN; the model is asked once for each point. The picture
    shows its classes as areas, and on top the samples, round and with a black edge, all in the
    colours of ``colours``; the axes are those of every plot: x grows to the right, y upwards.
    Whatever ``path`` is called, the file is a PNG.

    A ``Figure()`` of matplotlib needs no window and leaves nothing open, unlike ``pyplot``.
    Raises ValueError unless the data has two features, and at least one sample; the message shows
    the shape of the inputs, and no file is written.
    """
    # TODO: the grid, the model's class at each of its points, the picture.
    # HINT: which of the two features changes along a row of ``classes``?
    raise NotImplementedError("decision_boundary")


def test_two_moons() -> None:
    inputs, labels = two_moons(5, 0.0, np.random.default_rng(0))
    assert labels.tolist() == [0, 0, 1, 1, 1]
    assert np.allclose(inputs, [[1.0, 0.0], [-1.0, 0.0], [0.0, 0.5], [1.0, -0.5], [2.0, 0.5]])


def test_iris() -> None:
    training, test = iris(np.random.default_rng(0), held_out=30)
    assert training.inputs.shape == (120, 4) and test.labels.shape == (30,)
    assert np.allclose(training.inputs.mean(axis=0), 0.0)


def test_predict() -> None:
    assert predict(lambda x: [Value(0.5), Value(2.0), Value(-1.0)], [0.0]) == 1
    assert predict(lambda x: [Value(-3.0)], [0.0]) == 0


def test_accuracy() -> None:
    data = Data(np.array([[1.0], [2.0], [-3.0], [-4.0]]), np.array([1, 0, 0, 0]))
    assert accuracy(lambda x: [Value(x[0])], data) == 0.75


def test_train() -> None:
    from tracks.autodiff.day13 import MLP

    rng = np.random.default_rng(0)
    model, data = MLP([2, 8, 1], rng), two_moons(100, 0.1, rng)
    losses = train(model, data, rng, epochs=20)
    assert losses[-1] < losses[0] / 2


def test_decision_boundary() -> None:
    import tempfile

    data = Data(np.array([[0.0, 0.0], [1.0, 2.0]]), np.array([0, 1]))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "map.png")
        found = decision_boundary(lambda x: [Value(x[0] - 0.5)], data, path, steps=3)
        assert path.read_bytes().startswith(b"\x89PNG")
    assert found.xs.tolist() == [-0.5, 0.5, 1.5] and found.ys.tolist() == [-0.5, 1.0, 2.5]
    assert found.classes.tolist() == [[0, 0, 1]] * 3


if __name__ == "__main__":
    from harness import main

    main(__file__)
