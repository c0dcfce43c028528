"""Day 7: every sample once, the same order with any number of workers, and little padding."""

import copy
import gc
import math
import pickle
import re
import tracemalloc
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import sklearn
import torch
from torch.utils.data import DataLoader, Subset

from harness.testing import close, exercise, shapes
from tracks.pytorch import day07

SHIPPED = Path(sklearn.__file__).parent / "datasets" / "data"
REAL = {
    "iris.csv": ",",
    "wine_data.csv": ",",
    "breast_cancer.csv": ",",
    "linnerud_exercise.csv": " ",
}


def real(name):
    """The features and classes of a CSV file that scikit-learn ships, read by numpy."""
    table = np.loadtxt(SHIPPED / name, delimiter=REAL[name], skiprows=1)
    return torch.tensor(table[:, :-1], dtype=torch.float32), table[:, -1].astype(int).tolist()


def numbered(path, n, columns=3):
    """A CSV file whose sample i is full of i, in class i."""
    lines = [",".join([str(i)] * columns) for i in range(n)]
    path.write_text("\n".join(["a header", *lines]) + "\n")
    return path


def classes(loader):
    return [batch[1].tolist() for batch in loader]


def in_batches(numbers, size):
    return [numbers[i : i + size] for i in range(0, len(numbers), size)]


# CsvDataset ----------------------------------------------------------------------------------


@exercise("CsvDataset")
@pytest.mark.parametrize("name", REAL)
def test_csv_of_real_files(name):
    features, wanted = real(name)
    samples = list(day07.CsvDataset(SHIPPED / name, delimiter=REAL[name]))
    assert len(samples) == len(wanted), f"{name} holds {len(wanted)} samples, not {len(samples)}"
    close(torch.stack([f for f, _ in samples]), features, name=f"features of {name}")
    assert [c for _, c in samples] == wanted, f"the classes of {name} are wrong"
    assert type(samples[0][1]) is int, f"a class is an int, not a {type(samples[0][1])}"


@exercise("CsvDataset")
def test_csv_begins_anew_for_every_iterator(tmp_path):
    dataset = day07.CsvDataset(str(numbered(tmp_path / "n.csv", 5)))
    first, second = iter(dataset), iter(dataset)
    seen = [next(first)[1], next(first)[1], next(second)[1], next(first)[1], next(second)[1]]
    assert seen == [0, 1, 0, 2, 1], f"two iterators side by side disturb each other: {seen}"
    for epoch in range(2):
        seen = [c for _, c in dataset]
        assert seen == [0, 1, 2, 3, 4], f"pass {epoch} gave the classes {seen}"


@exercise("CsvDataset")
def test_csv_skips_empty_lines_and_reads_quotes(tmp_path):
    path = tmp_path / "odd.csv"
    path.write_text('"a\nheader of two lines",b,c\n\n1,"2.5",0\n\n\n-3e2,4,1\n\n')
    samples = [(f.tolist(), c) for f, c in day07.CsvDataset(path)]
    assert samples == [([1.0, 2.5], 0), ([-300.0, 4.0], 1)], f"samples {samples}"


@exercise("CsvDataset")
@pytest.mark.parametrize("text", ["", "a,b\n"])
def test_csv_without_samples(text, tmp_path):
    path = tmp_path / "none.csv"
    path.write_text(text)
    assert list(day07.CsvDataset(path)) == []
    path.write_text("a,b\n7,1\n")  # so that an iterator that yields nothing is not enough
    assert len(list(day07.CsvDataset(path))) == 1


@exercise("CsvDataset")
@pytest.mark.parametrize("bad", ["1,2", "1,2,3,4", "1,x,0", "1,,0", "1,2,0.5"])
def test_csv_says_where_a_bad_line_is(bad, tmp_path):
    path = tmp_path / "bad_numbers.csv"
    path.write_text("a,b,c\n1,2,0\n" + "\n" * 37 + f"3,4,1\n{bad}\n5,6,1\n")
    samples = iter(day07.CsvDataset(path))
    assert [next(samples)[1], next(samples)[1]] == [0, 1], "the lines before the bad one are good"
    refuses(samples, path, 41, f"the line {bad!r} after samples of three columns")


def refuses(samples, path, line, what):
    """The next sample is refused, in whatever words, with the file's name and the line."""
    with pytest.raises(ValueError) as refusal:
        sample = next(samples, None)
        pytest.fail(f"{what} is no sample, but it is taken for {sample}")
    message = str(refusal.value)
    assert path.name in message, f"{what}: which file? {message!r}"
    rest = message.replace(str(path.parent), "").replace(path.name, "")
    named = [int(n) for n in re.findall(r"\d+", rest)]
    assert line in named, f"{what} stands in line {line} of the file: {message!r}"


@exercise("CsvDataset")
def test_csv_is_never_in_memory_as_a_whole(tmp_path):
    # Long lines: whoever keeps a number for each line, such as where it begins, holds no file.
    rows = 1200
    path = numbered(tmp_path / "long.csv", rows, columns=60)
    size = path.stat().st_size
    dataset = day07.CsvDataset(path)
    list(day07.CsvDataset(SHIPPED / "iris.csv"))  # what the first use imports is not the file
    gc.collect()
    tracemalloc.start()
    try:
        n = sum(1 for _ in dataset)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert n == rows, f"{n} of {rows} samples"
    assert peak < size / 2, f"reading a file of {size} bytes took {peak} bytes of memory at once"


@exercise("CsvDataset")
def test_csv_closes_its_file(tmp_path, monkeypatch):
    opened = []
    original = Path.open

    def noted(self, *args, **kwargs):
        opened.append(original(self, *args, **kwargs))
        return opened[-1]

    monkeypatch.setattr(Path, "open", noted)
    monkeypatch.setattr("builtins.open", lambda p, *a, **k: noted(Path(p), *a, **k))
    dataset = day07.CsvDataset(numbered(tmp_path / "n.csv", 4))
    opened.clear()  # numbered wrote it
    assert len(list(dataset)) == 4
    assert all(file.closed for file in opened), "after the last sample the file is still open"
    twin = pickle.loads(pickle.dumps(dataset))
    assert [c for _, c in twin] == [0, 1, 2, 3], "a copy sent to a worker reads something else"


@exercise("CsvDataset")
@shapes("n, workers, chunk", (17, 2, 1), (17, 3, 4), (5, 2, 8))
def test_csv_workers_share_the_samples(n, workers, chunk, tmp_path):
    dataset = day07.CsvDataset(numbered(tmp_path / "n.csv", n), chunk=chunk)
    loader = DataLoader(dataset, batch_size=None, num_workers=workers)
    seen = [int(c) for _, c in loader]
    count = Counter(seen)
    lost = sorted(set(range(n)) - set(seen))
    doubled = sorted(c for c in count if count[c] > 1)
    assert not lost and not doubled, (
        f"{n} samples, {workers} workers, chunks of {chunk}: lost {lost}, doubled {doubled}"
    )
    own = [[i for i in range(n) if i // chunk % workers == w] for w in range(workers)]
    for w, wanted in enumerate(own):
        got = [c for c in seen if c in set(wanted)]
        assert got == wanted, f"worker {w} should yield {wanted}, in this order; it came as {got}"


@exercise("CsvDataset")
@shapes("worker, workers, chunk, wanted", (0, 2, 3, [0, 1, 2, 6, 7, 8]), (1, 2, 3, [3, 4, 5, 9]),
        (2, 3, 1, [2, 5, 8]), (3, 4, 5, []))  # fmt: skip
def test_csv_the_part_of_one_worker(worker, workers, chunk, wanted, tmp_path, monkeypatch):
    class Info:
        id, num_workers = worker, workers

    monkeypatch.setattr(day07, "get_worker_info", lambda: Info)
    monkeypatch.setattr("torch.utils.data.get_worker_info", lambda: Info)
    path = numbered(tmp_path / "n.csv", 10)
    path.write_text(path.read_text().replace("\n4,", "\n\n\n4,"))  # empty lines do not count
    seen = [c for _, c in day07.CsvDataset(path, chunk=chunk)]
    assert seen == wanted, (
        f"worker {worker} of {workers}, chunks of {chunk}: samples {seen} instead of {wanted}"
    )
    if not wanted:
        monkeypatch.setattr(Info, "num_workers", 1)
        monkeypatch.setattr(Info, "id", 0)
        assert len(list(day07.CsvDataset(path, chunk=chunk))) == 10


@exercise("CsvDataset")
def test_csv_measures_a_worker_s_lines_by_the_first_of_the_file(tmp_path, monkeypatch):
    class Info:
        id, num_workers = 1, 2

    monkeypatch.setattr(day07, "get_worker_info", lambda: Info)
    monkeypatch.setattr("torch.utils.data.get_worker_info", lambda: Info)
    path = tmp_path / "narrow.csv"
    path.write_text("a,b,c\n1,2,0\n3,1\n5,6,1\n7,2\n")
    what = "'3,1', the first line of worker 1, where the file's first sample has three columns"
    refuses(iter(day07.CsvDataset(path)), path, 3, what)


# collate_padded ------------------------------------------------------------------------------


@exercise("collate_padded", ban=["pad_sequence"])
@pytest.mark.parametrize("pad", [0, 7])
def test_collate_lengths_where_the_data_hold_the_padding_value(pad, device):
    p = float(pad)
    rows = [[p], [1.0, p, 2.0, p, p], [p, p, p], [], [p, 3.0]]
    sequences = [torch.tensor(row, device=device) for row in rows]
    for inner in (False, True):
        parts = [s[:, None].expand(-1, 2) for s in sequences] if inner else sequences
        batch = day07.collate_padded([(s, 0) for s in parts], pad=pad)
        close(batch.lengths, torch.tensor([1, 5, 3, 0, 2]), name=f"lengths of {rows}, pad={pad}")


@exercise("collate_padded", ban=["pad_sequence"])
@pytest.mark.parametrize("dtype", [torch.int64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("inner", [(), (3,), (2, 2)], ids=str)
def test_collate_values(dtype, inner, device, rng):
    lengths = [4, 1, 0, 7, 7]
    flat = rng.integers(1, 99, sum(lengths), *inner).to(dtype)
    if dtype == torch.float32:
        flat += rng.normal(*flat.shape)  # numbers that only fit into all of its digits
    before, sequences = flat.clone(), flat.split(lengths)
    for pad in (0, -1):
        batch = day07.collate_padded([(s, i) for i, s in enumerate(sequences)], pad=pad)
        rows = [s.tolist() + torch.full((7 - len(s), *inner), pad).tolist() for s in sequences]
        wanted = torch.tensor(rows, dtype=dtype, device=device)
        close(batch.values, wanted, name=f"values of {dtype} {inner}, pad={pad}")
        close(batch.lengths, torch.tensor(lengths), name="lengths")
        close(batch.targets, torch.arange(5), name="targets")
        batch.values.fill_(9)
        assert torch.equal(flat, before), "the samples in the dataset have changed"


@exercise("collate_padded", ban=["pad_sequence"])
def test_collate_pads_with_zero_unless_told():
    batch = day07.collate_padded([(torch.ones(1), 0), (torch.ones(3), 1)])
    assert batch.values.tolist() == [[1, 0, 0], [1, 1, 1]], f"padded with {batch.values.tolist()}"
    assert isinstance(batch, day07.Padded)


@exercise("collate_padded", ban=["pad_sequence"])
def test_collate_targets():
    one, two = torch.zeros(2), torch.zeros(1)
    for targets, wanted in (
        ((0.5, 2.0), torch.tensor([0.5, 2.0])),
        ((True, False), torch.tensor([True, False])),
        ((torch.tensor([1, 2]), torch.tensor([3, 4])), torch.tensor([[1, 2], [3, 4]])),
        ((torch.tensor(7), torch.tensor(8)), torch.tensor([7, 8])),
    ):
        before = copy.deepcopy(targets)
        batch = day07.collate_padded(list(zip((one, two), targets, strict=True)))
        close(batch.targets, wanted, name=f"targets {targets}")
        assert str(targets) == str(before), f"the samples' targets have changed to {targets}"


@exercise("collate_padded", ban=["pad_sequence"])
def test_collate_of_one_of_empty_and_of_none():
    close(day07.collate_padded([(torch.tensor([5, 6]), 1)]).values, torch.tensor([[5, 6]]))
    empty = day07.collate_padded([(torch.zeros(0, 4), 1), (torch.zeros(0, 4), 2)])
    close(empty.values, torch.zeros(2, 0, 4), name="two sequences of length 0")
    with pytest.raises(ValueError):
        batch = day07.collate_padded([])
        pytest.fail(f"no samples at all were made into {batch}")


@exercise("collate_padded", ban=["pad_sequence"])
def test_collate_copies(rng):
    sequence = rng.normal(4)
    batch = day07.collate_padded([(sequence, 0)])
    batch.values.zero_()
    assert sequence.abs().sum() > 0, "writing into the batch changes the sample in the dataset"


# BucketSampler -------------------------------------------------------------------------------


def padding(batches, lengths):
    """The share of a batch's places that hold padding."""
    places = sum(len(b) * max(lengths[i] for i in b) for b in batches)
    return 1 - sum(lengths) / places


@exercise("BucketSampler")
@shapes(
    "n, batch_size, pool", (1, 4, 2), (40, 4, 2), (43, 4, 2), (43, 4, 100), (7, 1, 3), (9, 9, 1)
)
def test_bucket_every_sample_once(n, batch_size, pool, rng):
    lengths = rng.integers(1, 50, n).tolist()
    sampler = day07.BucketSampler(lengths, batch_size, seed=rng.seed, pool=pool)
    for epoch in range(3):
        sampler.set_epoch(epoch)
        batches = list(sampler)
        seen = sorted(i for batch in batches for i in batch)
        assert seen == list(range(n)), f"epoch {epoch} of {n} samples yields {seen}"
        sizes = Counter(len(batch) for batch in batches)
        wanted = Counter(
            [batch_size] * (n // batch_size) + ([n % batch_size] if n % batch_size else [])
        )
        assert sizes == wanted, f"{n} samples in batches of {batch_size}: sizes {dict(sizes)}"
        assert len(sampler) == len(batches), f"len is {len(sampler)}, batches {len(batches)}"
    assert all(type(i) is int for i in batches[0]), "a batch is a list of Python ints"


@exercise("BucketSampler")
def test_bucket_mixes_the_smaller_batch_with_the_others(rng):
    lengths = rng.integers(1, 50, 43).tolist()
    sampler = day07.BucketSampler(lengths, 4, seed=rng.seed, pool=3)
    places = set()
    for epoch in range(40):
        sampler.set_epoch(epoch)
        places |= {place for place, batch in enumerate(sampler) if len(batch) == 3}
    assert len(places) > 1, (
        f"in 40 epochs the batch of 3 samples is always number {places} of 0 to 10: all the "
        "batches are put in random order, the smaller one too"
    )


@exercise("BucketSampler")
def test_bucket_pads_little(rng):
    lengths = rng.integers(1, 201, 2000).tolist()
    batches = list(day07.BucketSampler(lengths, 20, seed=rng.seed))
    waste = padding(batches, lengths)
    assert waste < 0.05, f"{waste:.1%} of the places are padding, less than 5 % is possible"
    waste = padding(list(day07.BucketSampler(lengths, 20, seed=rng.seed, pool=1)), lengths)
    assert waste > 0.35, (
        f"pool=1 makes batches at random, about half of which is padding, not {waste:.1%}"
    )
    pools = list(day07.BucketSampler(lengths, 20, seed=rng.seed, pool=5))
    waste = padding(pools, lengths)
    assert 0.06 < waste < 0.25, f"pool=5: about 14 % padding is expected, not {waste:.1%}"


@exercise("BucketSampler")
def test_bucket_order_is_random(rng):
    n, size = 1000, 10
    lengths = list(range(n))  # all different: sorting has one result
    sampler = day07.BucketSampler(lengths, size, seed=rng.seed, pool=10)
    batches = list(sampler)
    means = torch.tensor([sum(b) / len(b) for b in batches])
    steps = means.diff().abs().mean().item()
    # In a random order of 100 means the average step is a third of their range.
    assert steps > 200, f"from batch to batch the length changes by {steps:.0f} on average only"
    spread = [max(b) - min(b) for b in batches]
    assert max(spread) < 400, f"a batch reaches from length {max(spread)} apart"
    sampler.set_epoch(1)
    partners = {frozenset(b) for b in batches} & {frozenset(b) for b in sampler}
    assert len(partners) < 5, f"{len(partners)} of 100 batches are the same in the next epoch"


@exercise("BucketSampler")
def test_bucket_order_depends_on_seed_and_epoch_alone(rng):
    lengths = rng.integers(1, 30, 200).tolist()

    def order(seed, epoch, before=()):
        sampler = day07.BucketSampler(lengths, 8, seed=seed, pool=3)
        for earlier in before:
            sampler.set_epoch(earlier)
            list(sampler)
        sampler.set_epoch(epoch)
        return list(sampler)

    wanted = order(5, 2)
    torch.rand(7)
    state = torch.get_rng_state()
    assert order(5, 2) == wanted, "the same seed and epoch, another order"
    assert torch.equal(torch.get_rng_state(), state), "torch's global generator was used"
    assert order(5, 2, before=(0, 1)) == wanted, "epoch 2 depends on what was iterated before it"
    sampler = day07.BucketSampler(lengths, 8, seed=5, pool=3)
    assert list(sampler) == list(sampler) == order(5, 0), "without set_epoch it is epoch 0, again"
    half = iter(sampler)
    next(half)  # an epoch that was broken off
    assert list(sampler) == order(5, 0), "an epoch that was broken off changes the next"
    others = [order(5, 0), order(5, 1), order(6, 2), order(6, 1), order(4, 3), order(7, 0)]
    assert wanted not in others, "another seed or another epoch gives the same order"
    assert order(0, 1) != order(1, 0), "(seed 0, epoch 1) is (seed 1, epoch 0)"


# split ---------------------------------------------------------------------------------------


@exercise("split")
@pytest.mark.parametrize("n, fractions, sizes",
       [(10, [0.7, 0.2, 0.1], [7, 2, 1]), (7, [0.5, 0.5], [4, 3]),
        (100, [1.0], [100]), (3, [0.9, 0.1, 0.0], [3, 0, 0]),
        (10, [0.25, 0.25, 0.25, 0.25], [2, 3, 3, 2]),
        (1, [1 / 3] * 3, [0, 1, 0]), (569, [0.8, 0.1, 0.1], [455, 57, 57])], ids=str)  # fmt: skip
def test_split_sizes_and_parts(n, fractions, sizes, rng):
    data = [f"sample {i}" for i in range(n)]
    parts = day07.split(data, fractions, rng.seed)
    found = [len(part) for part in parts]
    assert found == sizes, f"{n} samples in parts {fractions}: sizes {found}, not {sizes}"
    seen = sorted(x for part in parts for x in part)
    assert seen == sorted(data), "a sample is lost, or in two parts"
    assert all(isinstance(part, Subset) and part.dataset is data for part in parts)
    numbers = [i for part in parts for i in part.indices]
    assert all(type(i) is int for i in numbers), "a part holds the numbers of its samples as ints"


@exercise("split")
def test_split_is_random_and_repeatable(rng):
    data = list(range(400))
    torch.rand(rng.seed % 7)
    state = torch.get_rng_state()
    first = [list(part) for part in day07.split(data, [0.5, 0.5], rng.seed)]
    assert torch.equal(torch.get_rng_state(), state), "torch's global generator was used"
    torch.rand(3)
    assert [list(part) for part in day07.split(data, [0.5, 0.5], rng.seed)] == first, (
        "the same seed gave other parts"
    )
    other = [list(part) for part in day07.split(data, [0.5, 0.5], rng.seed + 1)]
    assert other != first, "another seed gave the same parts"
    mean = sum(first[0]) / 200
    assert abs(mean - 199.5) < 6 * 400 / math.sqrt(12 * 200), (
        f"the first part holds samples {mean:.0f} on average: it is not drawn at random"
    )
    assert abs(len(set(first[0]) & set(other[0])) - 100) < 50, "another seed, much the same parts"


@exercise("split")
@pytest.mark.parametrize("fractions", [[0.5, 0.49999], [0.8, 0.3], [1.5, -0.5]], ids=str)
def test_split_refuses(fractions):
    with pytest.raises(ValueError) as refusal:
        parts = day07.split(range(10), fractions, 0)
        pytest.fail(f"fractions {fractions} were accepted, for {len(parts)} parts")
    message = str(refusal.value)
    assert all(str(f) in message for f in fractions), f"which fractions? {message!r}"


@exercise("split")
def test_split_forgives_rounding():
    parts = day07.split(range(30), [0.1] * 10, 0)
    assert [len(part) for part in parts] == [3] * 10


# make_loader ---------------------------------------------------------------------------------


@exercise("make_loader")
@pytest.mark.parametrize("workers", [0, 2, 3])
def test_loader_streams_in_the_order_of_the_file(workers, tmp_path):
    dataset = day07.CsvDataset(numbered(tmp_path / "n.csv", 26), chunk=1)
    loader = day07.make_loader(dataset, 4, workers=workers)
    wanted = in_batches(list(range(26)), 4)
    for epoch in range(2 if workers < 2 else 1):
        seen = classes(loader)
        assert seen == wanted, f"{workers} workers, pass {epoch}: batches {seen}"
    assert dataset.chunk == 1, "the dataset that was given has been changed"


@exercise("make_loader")
@pytest.mark.parametrize("workers", [0, 2])
def test_loader_of_a_real_file(workers):
    features, wanted = real("wine_data.csv")
    loader = day07.make_loader(day07.CsvDataset(SHIPPED / "wine_data.csv"), 32, workers=workers)
    batches = list(loader)
    close(torch.cat([x for x, _ in batches]), features, name="features of wine_data.csv")
    close(torch.cat([y for _, y in batches]), torch.tensor(wanted), name="classes")
    assert [len(y) for _, y in batches] == [32] * 5 + [18], "178 samples in batches of 32"


@exercise("make_loader")
def test_loader_shuffles_alike_with_any_number_of_workers(rng):
    data = [(torch.tensor([float(i)]), i) for i in range(23)]

    def passes(seed, workers):
        loader = day07.make_loader(data, 5, seed=seed, workers=workers)
        return [classes(loader) for _ in range(2)]

    state = torch.get_rng_state()
    alone = passes(rng.seed, 0)
    assert torch.equal(torch.get_rng_state(), state), "torch's global generator was used"
    for number, batches in enumerate(alone):
        seen = sorted(i for batch in batches for i in batch)
        assert seen == list(range(23)), f"pass {number} yields {seen}"
        assert [len(batch) for batch in batches] == [5, 5, 5, 5, 3]
    assert alone[0] != alone[1], "two passes have the same order"
    torch.rand(5)
    assert passes(rng.seed, 0) == alone, "the same seed gave another order"
    assert passes(rng.seed, 2) == alone, "2 workers give another order than none"
    assert passes(rng.seed + 1, 0)[0] != alone[0], "another seed gave the same order"


@exercise("make_loader")
def test_loader_buckets_alike_with_any_number_of_workers(rng):
    lengths = rng.integers(1, 40, 60).tolist()
    data = [(torch.full((n,), i), i) for i, n in enumerate(lengths)]

    def passed(workers, epoch):
        loader = day07.make_loader(data, 8, seed=3, workers=workers, lengths=lengths)
        loader.batch_sampler.set_epoch(epoch)
        return list(loader)

    state = torch.get_rng_state()
    first = passed(0, 0)
    assert torch.equal(torch.get_rng_state(), state), "torch's global generator was used"
    order = [batch.targets.tolist() for batch in first]
    assert sorted(i for batch in order for i in batch) == list(range(60)), "lost or doubled"
    sampler = day07.BucketSampler(lengths, 8, seed=3)
    assert order == list(sampler), "the batches are not those of a BucketSampler with this seed"
    for batch in first:
        assert isinstance(batch, day07.Padded), f"a batch is a {type(batch)}, not a Padded"
        assert batch.values.shape == (len(batch.targets), int(batch.lengths.max()))
    for epoch in (0, 1):
        alone, helped = passed(0, epoch), passed(2, epoch)
        assert len(alone) == len(helped)
        for a, b in zip(alone, helped, strict=True):
            for x, y in zip(a, b, strict=True):
                assert torch.equal(x, y), f"epoch {epoch}: 2 workers give another batch than none"
    assert order != [batch.targets.tolist() for batch in passed(0, 1)], "epoch 1 repeats epoch 0"


@exercise("make_loader")
def test_loader_really_uses_its_workers(tmp_path):
    dataset = day07.CsvDataset(numbered(tmp_path / "n.csv", 4))
    data = [(torch.zeros(1), 0)] * 4
    for loader in (
        day07.make_loader(dataset, 2, workers=2),
        day07.make_loader(data, 2, workers=2),
        day07.make_loader(data, 2, workers=2, lengths=[1] * 4),
    ):
        assert isinstance(loader, DataLoader)
        assert loader.num_workers == 2, f"2 workers were asked for, it has {loader.num_workers}"


@exercise("make_loader")
def test_loader_passes_a_worker_s_error_on(tmp_path):
    path = numbered(tmp_path / "half.csv", 6)
    path.write_text(path.read_text() + "not,a,number\n")
    with pytest.raises(ValueError) as refusal:
        batches = list(day07.make_loader(day07.CsvDataset(path), 2, workers=2))
        pytest.fail(f"a line 'not,a,number' in a worker's part went through: {batches}")
    message = str(refusal.value)
    assert "half.csv" in message, f"which file has the bad line? {message!r}"
