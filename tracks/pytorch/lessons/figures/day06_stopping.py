"""Draws day06_stopping.svg: both losses of a model that learns 200 digits, 40 labels of them wrong.

python -m tracks.pytorch.lessons.figures.day06_stopping
"""

from __future__ import annotations

import torch
from torch import nn

from harness.figures import new_figure, reference, save

ROWS, WRONG, EPOCHS, PATIENCE = 200, 40, 40, 5


def main() -> None:
    day06 = reference("pytorch", 6)
    history = learn(day06)
    best = [min(history.validation_loss[: e + 1]) for e in range(EPOCHS)]
    lows = [history.validation_loss.index(low) for low in best]
    stop = next(e for e in range(EPOCHS) if e - lows[e] >= PATIENCE)
    kept = lows[stop]
    figure = new_figure(__file__, 5, 3.4)
    axes = figure.subplots()
    for losses, colour, line, label in (
        (history.train_loss, "#777777", "--", "training loss"),
        (history.validation_loss, "#3b6fb6", "-", "validation loss"),
    ):
        axes.plot([round(x, 3) for x in losses], line, color=colour, label=label)
    low = round(history.validation_loss[kept], 3)
    axes.plot(kept, low, "o", color="#3a8a4d")
    axes.annotate(
        f"best, epoch {kept}: kept", (kept, low), (kept - 1, 0.25),
        ha="right", arrowprops={"arrowstyle": "-"},
    )  # fmt: skip
    axes.axvline(stop, color="#c8443c", linewidth=1, linestyle=":")
    axes.text(stop + 1, 1.2, f"epoch {stop}: stop", color="#c8443c")
    axes.set_ylim(0, 2.4)
    axes.set_xlabel("epoch")
    axes.legend(frameon=False)
    save(figure, __file__)


def learn(day06):
    torch.manual_seed(0)
    digits = day06.load_digits()
    train, validation = (
        day06.Data(part.inputs.double(), part.targets) for part in (digits.train, digits.validation)
    )
    targets = train.targets[:ROWS].clone()
    targets[:WRONG] = (targets[:WRONG] + torch.randint(1, 10, (WRONG,))) % 10
    train = day06.Data(train.inputs[:ROWS], targets)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)).double()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    generator = torch.Generator().manual_seed(0)
    return day06.fit(model, train, validation, optimizer, EPOCHS, 50, generator=generator)


if __name__ == "__main__":
    main()
