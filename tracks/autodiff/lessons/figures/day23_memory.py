"""Draws day23_memory.svg: how many arrays twelve layers hold, measured as a graph comes and goes.

python -m tracks.autodiff.lessons.figures.day23_memory
"""

from __future__ import annotations

import gc
import tracemalloc

import numpy as np

from harness.figures import new_figure, reference, save

LAYERS = 12
SIDE = 1 << 16
UNIT = 8 * SIDE  # bytes of an activation, and of a gradient: all else is small beside them


def arrays_held(retain_graph: bool) -> list[int]:
    """Arrays in memory besides the weights: before each layer forward, before each layer's
    backward, and after the last one."""
    day23 = reference("autodiff", 23)
    weights = [day23.Tensor(np.full(SIDE, 0.99), requires_grad=True) for _ in range(LAYERS)]
    found: list[float] = []

    def look() -> None:
        found.append((tracemalloc.get_traced_memory()[0] - before) / UNIT)

    class Layer(day23.Mul):
        @staticmethod
        def backward(ctx, grad):
            look()
            return day23.Mul.backward(ctx, grad)

    tracemalloc.start()
    gc.disable()  # what is freed here is freed because nobody refers to it
    before = tracemalloc.get_traced_memory()[0]
    y = day23.Tensor(np.ones(SIDE))
    for w in weights:
        look()
        y = Layer.apply(y, w)
    y = y.sum()
    y.backward(retain_graph=retain_graph)
    look()
    gc.enable()
    tracemalloc.stop()
    return [round(arrays) for arrays in found]


def main() -> None:
    retained, freed = arrays_held(True), arrays_held(False)
    assert retained[:LAYERS] == freed[:LAYERS] == list(range(1, LAYERS + 1))
    assert retained[-1] == 2 * LAYERS
    assert max(freed) == LAYERS + 1
    figure = new_figure(__file__, 5, 3.4)
    axes = figure.subplots()
    moments = range(len(freed))
    for name, arrays, colour, line, place in (
        ("retained", retained, "#c8443c", "--", 6),
        ("freed", freed, "#3b6fb6", "-", -14),
    ):
        axes.plot(
            moments, arrays, line, color=colour, drawstyle="steps-post", linewidth=2, label=name
        )
        axes.fill_between(moments, arrays, step="post", color=colour, alpha=0.12)
        axes.annotate(
            f"{name}: {max(arrays)}",
            (moments[-1], max(arrays)),
            xytext=(-6, place),
            textcoords="offset points",
            ha="right",
            color=colour,
        )
    axes.axvline(LAYERS, color="#777777", linestyle=":")
    axes.set_ylim(0, 2 * LAYERS + 4)
    axes.set_xlim(0, moments[-1])
    axes.set_yticks([0, LAYERS, 2 * LAYERS])
    middles = [LAYERS // 2, LAYERS + LAYERS // 2]
    axes.set_xticks(middles, ["forward", "backward"])
    axes.tick_params(axis="x", length=0)
    axes.set_ylabel("arrays, besides the weights")
    axes.set_title(f"{LAYERS} layers, each of which keeps one array")
    save(figure, __file__)


if __name__ == "__main__":
    main()
