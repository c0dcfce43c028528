"""Draws day24_counts.svg: the engine counts edges down and runs what has reached 0.

python -m tracks.autodiff.lessons.figures.day24_counts
"""

from __future__ import annotations

from harness.figures import Step, Stepped

EDGES = {"d": ["b", "c"], "c": ["a", "x"], "b": ["a"], "a": ["x"], "x": []}
PLACES = {"x": (8, 84), "a": (94, 40), "b": (190, 24), "c": (190, 110), "d": (292, 66)}


def main() -> None:
    counts = dict.fromkeys(EDGES, 0)
    for ends in EDGES.values():
        for end in ends:
            counts[end] += 1
    figure = Stepped(__file__, height=190)
    ready, done = ["d"], []
    step = figure.step("Before the pass: how many edges lead to each node? Ready is who has 0.")
    draw(step, counts, ready, done, "")
    while ready:
        node = ready.pop()
        for end in EDGES[node]:
            counts[end] -= 1
            if counts[end] == 0:
                ready.append(end)
        down = ", ".join(f"{end} to {counts[end]}" for end in EDGES[node])
        caption = f"{node} runs and counts down: {down}." if down else f"{node} runs. All are done."
        waiting = [end for end in EDGES[node] if counts[end]]
        if waiting:
            caption += f" {' and '.join(waiting)} must wait: a share is still to come."
        draw(figure.step(caption), counts, ready, done, node)
        done.append(node)
    assert not any(counts.values())
    figure.save()


def draw(step: Step, counts, ready, done, now: str) -> None:
    for start, ends in EDGES.items():
        for end in ends:
            (x0, y0), (x1, y1) = PLACES[start], PLACES[end]
            step.arrow(x0 - 1, y0 + 13, x1 + 61, y1 + 13)
    for node, (x, y) in PLACES.items():
        kind = "b" if node == now else "x" if node in done else "c" if node in ready else "n"
        step.box(x, y, 30, 26, node, kind, node == now)
        step.box(x + 30, y, 30, 26, str(counts[node]), kind, node == now)
    step.text(8, 180, f"ready: {' '.join(ready) or 'none'}", "start")


if __name__ == "__main__":
    main()
