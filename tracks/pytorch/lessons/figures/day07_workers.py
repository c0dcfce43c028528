"""Draws day07_workers.svg: a stream of six samples, two workers, and three ways to share it.

python -m tracks.pytorch.lessons.figures.day07_workers
"""

from __future__ import annotations

from collections.abc import Iterator

from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from harness.figures import Step, Stepped

SAMPLES, BATCH, WORKERS = 6, 2, 2
WAYS = {
    "each reads all": "Nobody asks who it is: both workers give all samples, and each comes twice.",
    "sample by sample": "Every second sample: none is lost, but the order is not the file's, and "
    "two batches are short.",
    "batch by batch": "Whole batches in turn. The loader takes them in turn as well, and so gives "
    "the file's order.",
}


class Stream(IterableDataset[tuple[int, int]]):
    """Numbers, each with the worker that gives it."""

    def __init__(self, way: str) -> None:
        self.way = way

    def __iter__(self) -> Iterator[tuple[int, int]]:
        worker = get_worker_info()
        for i in range(SAMPLES):
            share = {"sample by sample": i, "batch by batch": i // BATCH}.get(self.way)
            if share is None or share % worker.num_workers == worker.id:
                yield i, worker.id


def main() -> None:
    figure = Stepped(__file__, height=166)
    for way, caption in WAYS.items():
        loader = DataLoader(
            Stream(way), batch_size=BATCH, num_workers=WORKERS, collate_fn=lambda batch: batch
        )
        draw(figure.step(caption), way, list(loader))
    figure.save()


def draw(step: Step, way: str, batches: list[list[tuple[int, int]]]) -> None:
    step.text(6, 16, way, "start", bold=True)
    for worker in range(WORKERS):
        y = 30 + 34 * worker
        step.text(6, y + 17, f"worker {worker} has", "start")
        has = [batch for batch in batches if batch[0][1] == worker]
        row(step, 112, y, has)
    step.text(6, 120, "the loader gives", "start")
    row(step, 6, 130, batches)


def row(step: Step, x: float, y: float, batches: list[list[tuple[int, int]]]) -> None:
    for batch in batches:
        kinds = "".join("ab"[worker] for _, worker in batch)
        step.row(x, y, [i for i, _ in batch], kinds, 25, 26)
        x += 25 * len(batch) + 9


if __name__ == "__main__":
    main()
