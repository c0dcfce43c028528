"""Draws day25_decode.svg: what a step of decoding waits for, and tokens a second by batch.

python -m tracks.pytorch.lessons.figures.day25_decode
"""

from __future__ import annotations

from harness.figures import new_figure, reference, save

COLOURS = {512: "#3a8a4d", 2048: "#3b6fb6", 8192: "#c8443c"}


def main() -> None:
    day25 = reference("pytorch", 25)
    config, card = day25.LLAMA3_8B, day25.H100
    figure = new_figure(__file__, 8.4, 3.2)
    left, right = figure.subplots(1, 2)

    batches = [2 ** (i / 4) for i in range(33)]
    steps = [day25.step_bytes(config, b, cached=2047) for b in batches]
    bounds = [day25.decode_time_bound(config, card, b, 2047) for b in batches]
    milliseconds = 1000 / card.bandwidth
    left.plot(batches, [s.weights * milliseconds for s in steps], color="#8d9096", label="weights")
    left.plot(batches, [s.cache * milliseconds for s in steps], color="#3b6fb6", label="cache")
    left.plot(batches, [1000 * b.compute for b in bounds], color="#d9902f", label="arithmetic")
    left.set_title("time of a step, 2,048 tokens of context")
    left.set_xlabel("sequences in the batch")
    left.set_ylabel("milliseconds, at least")
    left.set_xscale("log", base=2)
    left.set_xticks([1, 8, 64, 256], ["1", "8", "64", "256"])
    left.set_yscale("log")
    left.set_yticks([0.1, 1, 10], ["0.1", "1", "10"])
    left.legend(frameon=False)

    for length, colour in COLOURS.items():
        largest = day25.max_batch(config, card, length)
        sizes = [b for b in [2 ** (i / 4) for i in range(45)] if b < largest] + [largest]
        speed = [
            b / day25.decode_time_bound(config, card, b, length - 1).seconds / 1000 for b in sizes
        ]
        right.plot(sizes, speed, color=colour, label=f"{length:,} tokens")
        right.plot(sizes[-1:], speed[-1:], "o", color=colour, markersize=4)
    right.set_title("tokens a second, up to the largest batch")
    right.set_xlabel("sequences in the batch")
    right.set_ylabel("thousands, at most")
    right.set_xscale("log", base=2)
    right.set_xticks([1, 8, 64, 256, 1024], ["1", "8", "64", "256", "1,024"])
    right.legend(frameon=False)
    save(figure, __file__)


if __name__ == "__main__":
    main()
