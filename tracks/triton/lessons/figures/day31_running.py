"""Draws day31_running.svg: scores of one query by tiles, its running maximum, and its total.

python -m tracks.triton.lessons.figures.day31_running
"""

from __future__ import annotations

import numpy as np

from harness.figures import new_figure, save

TILE, TILES = 16, 6
BLUE, RED, GREEN = "#3b6fb6", "#c8443c", "#3a8a4d"


def main() -> None:
    scores = np.random.default_rng(4).normal(0.0, 1.5, TILE * TILES)
    scores[:TILE] = -np.inf  # the query does not see the first tile
    figure = new_figure(__file__, 8.0, 3.4)
    upper, lower = figure.subplots(2, 1, sharex=True)
    m, total, maxima, totals, factors = -np.inf, 0.0, [], [], []
    for tile in scores.reshape(TILES, TILE):
        new = max(m, tile.max())
        top = 0.0 if new == -np.inf else new
        factors.append(np.exp(m - top))
        total = total * factors[-1] + np.exp(tile - top).sum()
        m = new
        maxima.append(m)
        totals.append(total)
    upper.plot(np.arange(scores.size), scores, ".", color=BLUE, markersize=4, label="scores")
    edges = np.arange(TILES + 1) * TILE - 0.5
    upper.stairs(maxima, edges, color=RED, baseline=None, label="m after the tile")
    upper.legend(frameon=False, loc="lower left", fontsize=9)
    upper.text(TILE / 2, 0.0, "sees nothing:\nm = -inf", ha="center", va="center", fontsize=9)
    lower.stairs(totals, edges, color=GREEN, fill=True, alpha=0.4)
    for i, factor in enumerate(factors):
        text = f"old x {factor:.2f}" if np.isfinite(maxima[i]) else "0, not nan"
        lower.text(i * TILE + TILE / 2, totals[i] + 0.4, text, ha="center", fontsize=9)
    lower.set_ylim(0, max(totals) + 3)
    for axes, label in ((upper, "score"), (lower, "total")):
        axes.set_ylabel(label)
        axes.set_xticks(edges[1:-1], [])
        axes.grid(axis="x", color="#dddddd")
    lower.set_xlabel("keys, in tiles of 16")
    save(figure, __file__)


if __name__ == "__main__":
    main()
