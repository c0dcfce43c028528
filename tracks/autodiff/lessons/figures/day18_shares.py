"""Draws day18_shares.svg: the shares of four numbers in six reductions.

python -m tracks.autodiff.lessons.figures.day18_shares
"""

from __future__ import annotations

from harness.figures import new_figure, reference, save

X = [0.0, 5.0, 5.0, 2.0]


def main() -> None:
    day18 = reference("autodiff", 18)
    ways = {
        "sum": day18.sum,
        "mean": day18.mean,
        "var": day18.var,
        "prod": day18.prod,
        "amax": lambda x: day18.amax(x, 0),
        "max(x, 0)": lambda x: day18.max(x, 0).values,
    }
    figure = new_figure(__file__, 5, 5.6)
    panels = figure.subplots(3, 2).ravel()
    for axes, (name, reduce) in zip(panels, ways.items(), strict=True):
        x = day18.Tensor(X, requires_grad=True, dtype="float64")
        result = reduce(x)
        result.backward()
        assert x.grad is not None
        shares = x.grad.tolist()
        bars = axes.bar(range(len(X)), shares, color="#3b6fb6", width=0.6)
        axes.bar_label(bars, [f"{s + 0.0:.3g}".replace("-", "−") for s in shares], padding=2)
        axes.axhline(0, color="#444444", linewidth=0.8)
        low, high = min(0.0, *shares), max(shares)
        axes.set_ylim(low - 0.3 * (high - low) * (low < 0), high + 0.3 * (high - low))
        axes.set_xticks(range(len(X)), [f"{v:g}" for v in X])
        axes.set_yticks([])
        axes.set_title(f"{name} = {result.item():.4g}")
        axes.tick_params(axis="x", length=0)
        for side in ("top", "right", "left", "bottom"):
            axes.spines[side].set_visible(False)
    for axes in panels[-2:]:
        axes.set_xlabel("x")
    save(figure, __file__)


if __name__ == "__main__":
    main()
