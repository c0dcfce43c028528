"""
Day 7: Data
===========
Estimated time: 2-3 hours
Prerequisites: Day 6 (training loop), Day 5 (nn.Module)
Lesson: lessons/day07.md

Learning objectives:
- Stream a file that does not fit into memory, and share it among worker processes
- Put sequences of different lengths into one tensor, and keep the padding small
- Split data and order it so that the same seed gives the same result, for ever
- Read with several workers and get the same batches in the same order as with none

    dataset  ──▶  sampler: which  ──▶  workers: read  ──▶  collate: one
    (samples)     samples, in          them (other         tensor a batch
                  what order           processes)

    map-style        dataset[i], len(dataset)   the sampler chooses i,
                                                workers only fetch
    iterable-style   iter(dataset)              nobody chooses: each worker has
                                                the whole stream, and must know
                                                which part is its own

Hints:
- Try everything with no workers first; the order must not change when you add some.
- Each worker is a process with a copy of the dataset.
- A generator that is made anew from (seed, epoch) repeats itself; one that goes on does not.

Resources:
- torch.utils.data: https://docs.pytorch.org/docs/stable/data.html
- Reproducibility, DataLoader: https://docs.pytorch.org/docs/stable/notes/randomness.html#dataloader
- Python's csv: https://docs.python.org/3/library/csv.html
- The tests read wine_data.csv and others, which scikit-learn ships; their sources:
  https://scikit-learn.org/stable/datasets/toy_dataset.html
"""

from __future__ import annotations

import copy
import csv
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    Sampler,
    Subset,
    get_worker_info,
)


class CsvDataset(IterableDataset[tuple[torch.Tensor, int]]):
    """The samples of a CSV file, one after the other, without ever holding the file in memory.

    The first line is a header and is left out. Then comes one sample a line: numbers, the
    features, and in the last column a whole number, the class; ``delimiter`` stands between the
    columns. Empty lines are no samples. A sample is (features, class): a float32 tensor
    (columns - 1,) and an int.

    Iterating opens the file, reads as it goes and closes it at the end; of a line that has been
    read it keeps a number at most. Two iterators, one after the other or side by side, each yield
    all samples from the first one on.

    In a DataLoader with W workers each worker has a copy of the dataset. The samples, counted
    from 0, are cut into chunks of ``chunk``; worker w yields the chunks w, w + W, w + 2 W, ...
    and no others, so that together they yield every sample once. With chunk = batch size the
    loader, which takes a batch from each worker in turn, delivers the file's order.

    Raises ValueError, when it gets there and not before, for a line that has not as many columns
    as the first sample, or that holds something else than such numbers. The message names the
    file and the number of the line, the header being line 1.

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "small.csv"
    >>> _ = path.write_text("length,width,species\\n5.5,3.5,0\\n4.5,3.0,1\\n")
    >>> [(features.tolist(), species) for features, species in CsvDataset(path)]
    [([5.5, 3.5], 0), ([4.5, 3.0], 1)]
    """

    def __init__(self, path: str | Path, delimiter: str = ",", chunk: int = 1) -> None:
        self.path, self.delimiter, self.chunk = Path(path), delimiter, chunk

    def __iter__(self) -> Iterator[tuple[torch.Tensor, int]]:
        # TODO: open the file, skip the header, yield the samples that are this worker's.
        # HINT: csv.reader reads a line when it is asked for one; reader.line_num is its number.
        # HINT: get_worker_info() is None in the main process, else it has an id and num_workers.
        raise NotImplementedError("CsvDataset.__iter__")


class Padded(NamedTuple):
    """A batch of sequences of different lengths."""

    values: torch.Tensor
    lengths: torch.Tensor
    targets: torch.Tensor


def collate_padded(samples: Sequence[tuple[torch.Tensor, Any]], pad: float = 0) -> Padded:
    """Put sequences of different lengths into one tensor.

    A sample is (sequence, target). The sequences (length, ...) have one dtype, and the same
    shape after the first axis; a length may be 0. The targets are numbers or tensors of one
    shape.

    - values (batch, longest, ...): the sequences from the left, ``pad`` behind them; dtype and
      device of the sequences
    - lengths (batch,): int64, on the CPU
    - targets (batch, ...): stacked; ints become int64, floats float32

    The sequences are copied, and may hold the padding value themselves. torch's own pad_sequence
    is not to be called. Raises ValueError when there are no samples.

    >>> batch = collate_padded([(torch.tensor([1, 2, 3]), 0), (torch.tensor([4]), 1)], pad=-1)
    >>> batch.values
    tensor([[ 1,  2,  3],
            [ 4, -1, -1]])
    """
    # TODO: find the longest, make a full tensor of pad, write each sequence into its row.
    # HINT: of which shape is the result, and from where do its dtype and device come?
    raise NotImplementedError("collate_padded")


class BucketSampler(Sampler[list[int]]):
    """Batches of sequences of similar length, in an order that is random all the same.

    Iterating yields lists of sample numbers, a batch each; a DataLoader takes it as
    batch_sampler. ``lengths[i]`` is the length of sample i, of n. In each epoch

    1. all n samples are put in random order and cut into pools of ``pool`` · ``batch_size``;
    2. each pool is sorted by length and cut into batches of ``batch_size``. Only the last batch
       of the last pool may be smaller; it is used all the same;
    3. all the batches are put in random order.

    So a batch is drawn from few neighbours in length, but meets others in the next epoch. A
    small pool mixes well, a large one pads little.

    The order depends on ``seed`` and the epoch alone: iterating twice without ``set_epoch``
    gives the same batches, ``set_epoch(7)`` gives those of epoch 7, whether or not the epochs
    before were iterated, and (seed 0, epoch 1) is another order than (seed 1, epoch 0). torch's
    global generator is neither used nor changed. len() is the number of batches.

    >>> sorted(sum(BucketSampler([5, 1, 5, 1, 1], batch_size=2), []))
    [0, 1, 2, 3, 4]
    """

    def __init__(
        self, lengths: Sequence[int], batch_size: int, seed: int = 0, pool: int = 50
    ) -> None:
        self.lengths, self.batch_size = list(lengths), batch_size
        self.seed, self.pool, self.epoch = seed, pool, 0

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch comes next, from 0."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        # TODO: the three steps, with a generator made from the seed and the epoch.
        # HINT: torch.randperm(n, generator=...).tolist() is a random order of n numbers.
        raise NotImplementedError("BucketSampler.__iter__")

    def __len__(self) -> int:
        # TODO: how many batches are there?
        # HINT: a smaller last batch counts too.
        raise NotImplementedError("BucketSampler.__len__")


def split(dataset: Dataset[Any], fractions: Sequence[float], seed: int) -> list[Subset[Any]]:
    """Divide a map-style dataset at random into parts that have no sample in common.

    With n = len(dataset) and c_k the sum of the first k fractions, part k (from 1) holds the
    positions round(n c_{k-1}) up to, not including, round(n c_k) of a random order of the
    samples; round is Python's. So every sample is in exactly one part. A part may be empty.

    The parts depend on n, the fractions and ``seed`` alone; torch's global generator is neither
    used nor changed. Each part is a torch.utils.data.Subset, which holds the numbers of its
    samples (ints), no copies.

    Raises ValueError naming the fractions when one is negative or their sum differs from 1 by
    more than 1e-6.

    >>> [len(part) for part in split(range(10), [0.7, 0.2, 0.1], seed=0)]
    [7, 2, 1]
    """
    # TODO: check the fractions, shuffle the sample numbers, cut them.
    # HINT: round the boundaries, not the sizes: rounded sizes may not add up to n.
    raise NotImplementedError("split")


def make_loader(
    dataset: Dataset[Any],
    batch_size: int,
    seed: int = 0,
    workers: int = 0,
    lengths: Sequence[int] | None = None,
) -> DataLoader[Any]:
    """A DataLoader whose batches and their order do not depend on the number of workers.

    - A ``CsvDataset``: every pass gives the samples in the file's order, in batches of
      ``batch_size``, whatever chunk it was made with. The dataset that was given is not changed.
    - Any other dataset is map-style. With ``lengths``, one for each sample: batches by a
      ``BucketSampler`` with ``seed``, which is the loader's batch_sampler, put together by
      ``collate_padded``.
    - Without ``lengths``: each pass in a new random order. Two loaders with the same seed give
      the same first, second, ... pass.

    No sample is left out: the last batch may be smaller. A pass neither uses nor changes torch's
    global generator.
    """
    # TODO: three kinds of loader; all with a generator of their own.
    # HINT: DataLoader takes shuffle=, generator=, batch_sampler=, collate_fn=, num_workers=.
    raise NotImplementedError("make_loader")


def test_csv_dataset() -> None:
    import sklearn

    iris = Path(sklearn.__file__).parent / "datasets" / "data" / "iris.csv"
    samples = list(CsvDataset(iris))
    assert len(samples) == 150
    assert samples[149][1] == 2
    torch.testing.assert_close(samples[149][0], torch.tensor([5.9, 3.0, 5.1, 1.8]))


def test_collate_padded() -> None:
    batch = collate_padded([(torch.tensor([1, 2, 3]), 0), (torch.tensor([4]), 1)], pad=-1)
    assert batch.values.tolist() == [[1, 2, 3], [4, -1, -1]]
    assert batch.lengths.tolist() == [3, 1]
    assert batch.targets.tolist() == [0, 1]


def test_bucket_sampler() -> None:
    batches = list(BucketSampler([9, 1, 9, 1, 9, 1], batch_size=3))
    assert sorted(sorted(batch) for batch in batches) == [[0, 2, 4], [1, 3, 5]]


def test_split() -> None:
    parts = split(range(10), [0.7, 0.2, 0.1], seed=0)
    assert [len(part) for part in parts] == [7, 2, 1]
    assert sorted(x for part in parts for x in part) == list(range(10))


def test_make_loader() -> None:
    data = [(torch.arange(n), n) for n in range(1, 11)]
    loader = make_loader(data, batch_size=4, lengths=list(range(1, 11)))
    assert sorted(n for batch in loader for n in batch.targets.tolist()) == list(range(1, 11))


if __name__ == "__main__":
    from harness import main

    main(__file__)
