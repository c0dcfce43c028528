"""Draws day15_memory.svg: which tensors and arrays look at which memory.

python -m tracks.autodiff.lessons.figures.day15_memory
"""

from __future__ import annotations

import numpy as np

from harness.figures import Step, Stepped, reference


def main() -> None:
    Tensor = reference("autodiff", 15).Tensor
    array = np.zeros(3)
    t = Tensor(array)
    names = {"array": array, "t": t.data}
    figure = Stepped(__file__, height=170)
    step = figure.step("array is np.zeros(3). t = Tensor(array) copies it into memory of its own.")
    draw(step, names)
    names["t.detach()"] = t.detach().data
    names["t.numpy()"] = t.numpy()
    draw(figure.step("t.detach() and t.numpy() are new names for t's own memory."), names)
    names["t.numpy()"][0] = 7.0
    step = figure.step("t.numpy()[0] = 7.0 is a change of all three, and array keeps its 0.")
    draw(step, names, changed="t.numpy()")
    assert array[0] == 0
    assert t.data[0] == 7

    a, b = Tensor(np.ones(3), requires_grad=True), Tensor(np.ones(3), requires_grad=True)
    seen: list[np.ndarray] = []

    def backward(arrived: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        seen.append(arrived)
        return arrived, arrived

    y = a._result(a.data + b.data, (a, b), "+", backward)
    g = np.array([1.0, 2.0, 4.0])
    y.backward(g)
    shares = {"gradient g": g, "share of a": seen[0], "share of b": seen[0]}
    draw(figure.step("y.backward(g) for y = a + b: both shares are g itself, one array."), shares)
    assert a.grad is not None
    assert b.grad is not None
    kept = {"gradient g": g, "a.grad": a.grad.data, "b.grad": b.grad.data}
    step = figure.step("So a leaf keeps a copy: a change of one grad is not seen by the other.")
    draw(step, kept)
    figure.save()


def draw(step: Step, names: dict[str, np.ndarray], changed: str = "") -> None:
    step.text(58, 14, "name", bold=True)
    step.text(278, 14, "memory", bold=True)
    places: list[tuple[np.ndarray, float]] = []
    lines = [24 + 36 * i for i in range(len(names))]
    for (name, array), y in zip(names.items(), lines, strict=True):
        step.box(8, y, 100, 26, name)
        there = [place for other, place in places if np.shares_memory(other, array)]
        if not there:
            users = [
                line
                for other, line in zip(names.values(), lines, strict=True)
                if np.shares_memory(other, array)
            ]
            there = [sum(users) / len(users)]
            places.append((array, there[0]))
            kind = "abc"[len(places) - 1]
            touched = bool(changed) and np.shares_memory(names[changed], array)
            step.row(218, there[0], [f"{x:g}" for x in array], kind, 40, 26, [0] * touched)
        step.arrow(110, y + 13, 214, there[0] + 13)


if __name__ == "__main__":
    main()
