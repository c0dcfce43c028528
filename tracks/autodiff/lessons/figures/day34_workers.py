"""Draws day34_workers.svg: who makes which batch when, alone, with workers, and when one dies.

python -m tracks.autodiff.lessons.figures.day34_workers
"""

from __future__ import annotations

from harness.figures import Step, Stepped

WORKERS, TRAIN = 3, 2
MAKE = [5, 5, 5, 5, 9, 5]  # how long each batch takes to make: one of them is a large one
LATE = MAKE.index(max(MAKE))
KILLED = 12  # when worker 1 is killed, in the last step
LEFT, UNIT, HIGH = 66, 6, 24
Block = tuple[str, int, int, str, str]
"""Lane, begin, end, text, kind."""


def alone() -> list[Block]:
    blocks: list[Block] = []
    now = 0
    for i, long in enumerate(MAKE):
        blocks.append(("training", now, now + long, str(i), "a"))
        blocks.append(("training", now + long, now + long + TRAIN, str(i), "c"))
        now += long + TRAIN
    return blocks


def together(killed: int | None = None) -> list[Block]:
    """Worker k makes batches k, k + n, …; it waits with one until the training asks for it."""
    blocks: list[Block] = []
    free = [0] * WORKERS
    now = 0
    for i, long in enumerate(MAKE):
        k = i % WORKERS
        made = free[k] + long
        if killed is not None and k == 1 and made > killed:
            blocks.append((f"worker {k}", free[k], killed, str(i), "a"))
            blocks.append((f"worker {k}", killed, killed, "killed", ""))
            if killed > now:
                blocks.append(("training", now, killed, "", "x"))
            now = max(now, killed)
            blocks.append(("training", now, now, "EOFError", ""))
            for other in {*range(WORKERS)} - {k}:  # what they were at when the training stopped
                job = next((j for j in range(i, len(MAKE)) if j % WORKERS == other), None)
                if job is None:
                    continue
                made = min(now, free[other] + MAKE[job])
                blocks.append((f"worker {other}", free[other], made, str(job), "a"))
                if made < now:
                    blocks.append((f"worker {other}", made, now, "", "x"))
            break
        if made > now:
            blocks.append(("training", now, made, "", "x"))
        taken = max(now, made)
        blocks.append((f"worker {k}", free[k], made, str(i), "a"))
        if taken > made:
            blocks.append((f"worker {k}", made, taken, "", "x"))
        free[k] = taken
        blocks.append(("training", taken, taken + TRAIN, str(i), "c"))
        now = taken + TRAIN
    return blocks


def end(blocks: list[Block]) -> int:
    return max(block[2] for block in blocks)


def main() -> None:
    one, many, dead = alone(), together(), together(KILLED)
    figure = Stepped(__file__, height=206)
    step = figure.step(
        f"Without workers the training makes each batch before it uses it: {end(one)} ticks for "
        f"{len(MAKE)} batches."
    )
    draw(step, one)
    step = figure.step(
        f"With {WORKERS} workers: {end(many)} ticks. A worker that is ahead waits in send. Batch "
        f"{LATE} takes long: the training waits for it, and so does {LATE + 1}, which is made."
    )
    draw(step, many)
    step = figure.step(
        f"Worker 1 is killed while it makes batch {LATE}, which closes its pipe. When the batch is "
        "due, recv raises EOFError at once: nobody waits for ever."
    )
    draw(step, dead)
    figure.save()


def draw(step: Step, blocks: list[Block]) -> None:
    lanes = [*(f"worker {k}" for k in range(WORKERS)), "training"]
    for i, (kind, text) in enumerate((("a", "makes a batch"), ("c", "trains"), ("x", "waits"))):
        left = LEFT + (0, 126, 206)[i]
        step.box(left, 6, 16, 16, "", kind)
        step.text(left + 22, 18, text, "start")
    for row, lane in enumerate(lanes):
        if all(block[0] != lane for block in blocks):
            continue
        y = 40 + 36 * row
        step.text(LEFT - 8, y + 17, lane, "end", bold=lane == "training")
        for name, begin, stop, text, kind in blocks:
            if name != lane:
                continue
            if kind:
                step.box(LEFT + UNIT * begin, y, UNIT * (stop - begin), HIGH, text, kind)
            else:
                step.text(LEFT + UNIT * begin + 8, y + 17, text, "start", bold=True)
    step.arrow(LEFT, 190, LEFT + UNIT * 48, 190)
    step.text(LEFT - 8, 194, "time", "end")


if __name__ == "__main__":
    main()
