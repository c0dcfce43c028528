"""Draws day11_paths.svg: the paths of four optimisers down a narrow valley.

python -m tracks.pytorch.lessons.figures.day11_paths
"""

from __future__ import annotations

import numpy as np

from harness.figures import new_figure, save

CURVATURE = np.array([1.0, 25.0])
START = np.array([-4.0, 1.2])
STEPS = 60


def slope(p):
    return CURVATURE * p


def sgd(lr, momentum):
    def step(p, memory, t):
        memory[0] = momentum * memory[0] + slope(p)
        return p - lr * memory[0]

    return step


def adam(lr, beta1=0.9, beta2=0.999, eps=1e-8):
    def step(p, memory, t):
        g = slope(p)
        memory[0] = beta1 * memory[0] + (1 - beta1) * g
        memory[1] = beta2 * memory[1] + (1 - beta2) * g * g
        mean, square = memory[0] / (1 - beta1**t), memory[1] / (1 - beta2**t)
        return p - lr * mean / (np.sqrt(square) + eps)

    return step


def lion(lr, beta1=0.9, beta2=0.99):
    def step(p, memory, t):
        g = slope(p)
        direction = np.sign(beta1 * memory[0] + (1 - beta1) * g)
        memory[0] = beta2 * memory[0] + (1 - beta2) * g
        return p - lr * direction

    return step


def path(step):
    p, memory, points = START, [np.zeros(2), np.zeros(2)], [START]
    for t in range(1, STEPS + 1):
        p = step(p, memory, t)
        points.append(p)
    return np.array(points)


def main() -> None:
    ways = {
        "SGD, lr 0.07": (sgd(0.07, 0.0), "#c0392b"),
        "momentum 0.8, lr 0.03": (sgd(0.03, 0.8), "#2471a3"),
        "Adam, lr 0.2": (adam(0.2), "#1e8449"),
        "Lion, lr 0.1": (lion(0.1), "#7d3c98"),
    }
    figure = new_figure(__file__, 9.0, 5.2)
    axes = figure.subplots(2, 2, sharex=True, sharey=True)
    x, y = np.meshgrid(np.linspace(-4.6, 2.2, 80), np.linspace(-1.6, 1.6, 60))
    height = (CURVATURE[0] * x**2 + CURVATURE[1] * y**2) / 2
    for place, (name, (step, colour)) in zip(axes.flat, ways.items(), strict=True):
        points = path(step)
        place.contour(x, y, height, levels=[0.2, 1, 3, 8, 16, 30], colors="#bbbbbb", linewidths=0.8)
        place.plot(points[:, 0], points[:, 1], ".-", color=colour, markersize=4, linewidth=1)
        place.plot(0, 0, "k+", markersize=10)
        place.set_title(name)
    save(figure, __file__)


if __name__ == "__main__":
    main()
