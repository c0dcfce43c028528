"""Draws day14_moons.svg: what a network makes of the two moons, before and during training.

python -m tracks.autodiff.lessons.figures.day14_moons
"""

from __future__ import annotations

import numpy as np

from harness.figures import new_figure, reference, save


def main() -> None:
    MLP, day14 = reference("autodiff", 13).MLP, reference("autodiff", 14)
    rng = np.random.default_rng(0)
    model, data = MLP([2, 16, 1], rng), day14.two_moons(200, 0.1, rng)
    xs, ys = np.linspace(-1.7, 2.7, 45), np.linspace(-1.2, 1.7, 30)
    figure = new_figure(__file__, 8.4, 2.7)
    done = 0
    for axes, epochs in zip(figure.subplots(1, 3, sharey=True), (0, 3, 40), strict=True):
        day14.train(model, data, rng, epochs=epochs - done)
        done = epochs
        scores = np.array([[model([x, y])[0].data for x in xs] for y in ys])
        axes.contourf(
            xs, ys, scores, levels=[-1e9, 0, 1e9], colors=["#3b6fb6", "#c8443c"], alpha=0.25
        )
        axes.contour(xs, ys, scores, levels=[0], colors="#333333", linewidths=1)
        for label, colour in enumerate(["#3b6fb6", "#c8443c"]):
            axes.plot(*data.inputs[data.labels == label].T, ".", color=colour, markersize=3)
        right = 100 * day14.accuracy(model, data)
        axes.set_title(f"{epochs} epochs: {right:.1f} % right")
    save(figure, __file__)


if __name__ == "__main__":
    main()
