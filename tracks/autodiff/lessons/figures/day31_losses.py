"""Draws day31_losses.svg: three losses of an error or a logit, and their gradients.

python -m tracks.autodiff.lessons.figures.day31_losses
"""

from __future__ import annotations

import numpy as np

from harness.figures import new_figure, reference, save


def main() -> None:
    day = reference("autodiff", 31)
    x = np.linspace(-4.0, 4.0, 161)
    losses = {
        "mse_loss": (lambda t: day.mse_loss(t, zeros, reduction="sum"), "#c0392b"),
        "huber_loss, delta 1": (lambda t: day.huber_loss(t, zeros, "sum"), "#2471a3"),
        "bce, target 1": (
            lambda t: day.binary_cross_entropy_with_logits(t, zeros + 1.0, reduction="sum"),
            "#1e8449",
        ),
    }
    zeros = day.Tensor(np.zeros(1))
    figure = new_figure(__file__, 9.0, 3.4)
    values, slopes = figure.subplots(1, 2)
    for name, (loss, colour) in losses.items():
        found = []
        for point in x:
            t = day.Tensor([point], requires_grad=True, dtype="float64")
            out = loss(t)
            out.backward()
            found.append((out.item(), t.grad.item()))
        value, slope = np.array(found).T
        values.plot(x, value, color=colour, label=name)
        slopes.plot(x, slope, color=colour, label=name)
    for place, title in ((values, "the loss"), (slopes, "its gradient")):
        place.axhline(0, color="#bbbbbb", linewidth=0.8, zorder=0)
        place.axvline(0, color="#bbbbbb", linewidth=0.8, zorder=0)
        place.set_title(title)
        place.set_xlabel("input - target, or the logit")
    values.set_ylim(-0.3, 6.0)
    slopes.set_ylim(-3.0, 3.0)
    values.legend(frameon=False, loc="upper center")
    save(figure, __file__)


if __name__ == "__main__":
    main()
