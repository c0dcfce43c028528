"""Draws day32_schedules.svg: four schedules, and how long Adam's steps are with its correction.

python -m tracks.autodiff.lessons.figures.day32_schedules
"""

from __future__ import annotations

import numpy as np

from harness.figures import new_figure, reference, save

EPOCHS = 40


def main() -> None:
    day = reference("autodiff", 32)

    def rates(make):
        optimizer = day.Adam([day.Tensor([1.0])], lr=1.0)
        schedule = make(optimizer)
        found = []
        for _ in range(EPOCHS + 1):
            found.append(optimizer.param_groups[0]["lr"])
            schedule.step()
        return found

    def chained(optimizer):
        parts = [day.LinearWarmup(optimizer, 8), day.CosineAnnealingLR(optimizer, EPOCHS - 8)]
        return day.SequentialLR(optimizer, parts, milestones=[8])

    ways = {
        "StepLR(15, gamma=0.4)": (lambda o: day.StepLR(o, 15, 0.4), "#c0392b"),
        "CosineAnnealingLR(40)": (lambda o: day.CosineAnnealingLR(o, EPOCHS), "#2471a3"),
        "LinearWarmup(8), cosine": (chained, "#1e8449"),
    }
    figure = new_figure(__file__, 9.0, 3.4)
    schedules, steps = figure.subplots(1, 2)
    for name, (make, colour) in ways.items():
        marker = "steps-post" if name.startswith("Step") else "default"
        schedules.plot(rates(make), color=colour, label=name, drawstyle=marker)
    schedules.set(title="the learning rate, of 1", xlabel="epoch", ylim=(0, 1.35))
    schedules.legend(frameon=False, loc="upper right", fontsize=8)

    t = np.arange(1, 101)
    mean, square = 1 - 0.9**t, 1 - 0.999**t
    steps.plot(t, mean / np.sqrt(square), color="#c0392b", label="m / √v")
    steps.plot(t, np.ones(len(t)), color="#2471a3", label="corrected")
    steps.set(title="Adam's step, in lr, at a gradient of 1", xlabel="step", ylim=(0, 8))
    steps.legend(frameon=False, loc="upper right")
    save(figure, __file__)


if __name__ == "__main__":
    main()
