"""Day 34: batches from this process and from others, files, and runs that are cut and go on."""

import gc
import json
import math
import multiprocessing
import os
import pickle
import signal
import time

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from torch.nn import functional

from harness.testing import close, exercise, refused
from tracks.autodiff import day34 as day
from tracks.autodiff.day29 import Sequential
from tracks.autodiff.day30 import (
    BatchNorm1d,
    Dropout,
    Linear,
    ReLU,
    Tanh,
    generator,
    manual_seed,
)
from tracks.autodiff.day31 import SGD, cross_entropy, mse_loss
from tracks.autodiff.day32 import AdamW, StepLR


def plain(x):
    """Tensors as (dtype, list), so that structures can be compared with ==."""
    if isinstance(x, day.Tensor):
        return (x.dtype.name, x.tolist())
    if isinstance(x, np.ndarray):
        return (x.dtype.name, x.tolist())
    if isinstance(x, (list, tuple)):
        return type(x)(plain(part) for part in x)
    if isinstance(x, dict):
        return {k: plain(v) for k, v in x.items()}
    return x


# -- batches -----------------------------------------------------------------------------------


@exercise("collate")
@pytest.mark.parametrize(
    "samples, wanted",
    [
        ([1, 2, 3], ("int64", [1, 2, 3])),
        ([0.5, 2.0], ("float32", [0.5, 2.0])),
        ([1, 0.5], ("float32", [1.0, 0.5])),
        ([True, False], ("bool", [True, False])),
        ([True, 3], ("int64", [1, 3])),
        ([(1, "a"), (2, "b")], (("int64", [1, 2]), ["a", "b"])),
        ([[1, 2.0], [3, 4.0]], [("int64", [1, 3]), ("float32", [2.0, 4.0])]),
        ([{"x": 1, "y": (0.5,)}], {"x": ("int64", [1]), "y": (("float32", [0.5]),)}),
        ([None, None], [None, None]),
        (["ab", "c"], ["ab", "c"]),
        ([np.float64(0.5)], ("float64", [0.5])),
        ([np.int32(5), np.int32(6)], ("int32", [5, 6])),
        ([(((1,),),), (((2,),),)], (((("int64", [1, 2]),),),)),
        (["a", 3], ["a", 3]),  # the first sample says what they are
        ([{"x": 1}, {"x": 2, "y": 3}], {"x": ("int64", [1, 2])}),
    ],
    ids=str,
)
def test_collate(samples, wanted):
    found = plain(day.collate(samples))
    assert found == wanted, f"a batch of {samples} is {found}"


@exercise("collate")
def test_collate_stacks(rng):
    for kind in ("float64", "float16", "int8", "bool"):
        for shape in ((), (3,), (2, 0), (2, 3)):
            arrays = [rng.integers(0, 5, *shape).astype(kind) for _ in range(4)]
            for samples in (arrays, [day.Tensor._made(a) for a in arrays]):
                found = day.collate(samples)
                assert isinstance(found, day.Tensor), f"a {type(found).__name__}, not a Tensor"
                assert plain(found) == plain(np.stack(arrays)), f"{kind} {shape}: {plain(found)}"
    x = day.Tensor([1.0, 2.0], requires_grad=True)
    found = day.collate([x * 2, x * 3])
    assert not found.requires_grad, "a batch has a past"
    found.fill_(0.0)
    assert x.tolist() == [1.0, 2.0]


@exercise("collate")
def test_collate_refuses():
    for samples, names in (
        ([np.zeros(2), np.zeros(3)], ["2", "3"]),
        ([day.Tensor([[1.0]]), day.Tensor([1.0])], ["(1, 1)", "(1,)"]),
        ([(1, 2), (3,)], ["1", "2"]),
        ([(1, [2]), (3, [4, 5])], ["1", "2"]),
        ([(1, 2, 3), (4, 5, 6, 7, 8)], ["3", "5"]),
    ):
        refused(day.collate, samples, what=f"a batch of {samples}", names=names)


@exercise("order")
def test_order():
    for n in (0, 1, 2, 10, 1000):
        found = day.order(n, False, 3, 4)
        assert found.tolist() == list(range(n)), f"not shuffled: {found.tolist()[:10]}"
        for seed, epoch in ((0, 0), (1, 2), (2, 1), (5, 0), (123456789, 1000)):
            wanted = np.random.default_rng((seed, epoch)).permutation(n)
            found = day.order(n, True, seed, epoch)
            assert found.dtype == np.int64
            assert (found == wanted).all(), f"seed {seed}, epoch {epoch}: {found.tolist()[:10]}"


@exercise("order")
def test_order_leaves_others_alone():
    before, bits = np.random.get_state()[1].tolist(), generator().bit_generator.state
    day.order(100, True, 1, 1)
    assert np.random.get_state()[1].tolist() == before, "numpy's global generator was touched"
    assert generator().bit_generator.state == bits, "the generator of the layers was touched"


class Pipe:
    """One end of a pipe that remembers; ``trouble`` says what goes wrong at which send."""

    def __init__(self, trouble=None):
        self.sent, self.trouble = [], trouble or {}

    def send(self, message):
        error = self.trouble.get(len(self.sent))
        if error is not None and message[0] == "batch":
            raise error
        self.sent.append(message)


def halved(job):
    """1 / the first number of a job, or nothing for nothing."""
    return 12 // job[1][0]


def jobs_of(*numbers):
    return [((0, 0, i), [n]) for i, n in enumerate(numbers)]


@exercise("produce")
def test_produce():
    pipe = Pipe()
    day.produce(pipe, halved, jobs_of(1, 2, 3))
    assert pipe.sent == [("batch", 12), ("batch", 6), ("batch", 4)], pipe.sent
    pipe = Pipe()
    day.produce(pipe, halved, [])
    assert pipe.sent == []


@exercise("produce")
def test_produce_reports_errors():
    pipe = Pipe()
    day.produce(pipe, halved, jobs_of(1, 0, 3))
    kinds = [kind for kind, _ in pipe.sent]
    assert kinds == ["batch", "error"], f"sent: {kinds}"
    text = pipe.sent[1][1]
    for part in ("ZeroDivisionError", "halved", "Traceback"):
        assert part in text, f"the report of the error has no {part!r}: {text!r}"
    pipe = Pipe({1: pickle.PicklingError("a lambda")})
    day.produce(pipe, halved, jobs_of(1, 2, 3))
    assert [kind for kind, _ in pipe.sent] == ["batch", "error"]
    assert "a lambda" in pipe.sent[1][1], "a batch that cannot be sent was not reported"


@exercise("produce")
def test_produce_ends_when_nobody_reads():
    pipe = Pipe({1: BrokenPipeError()})
    day.produce(pipe, halved, jobs_of(1, 2, 3, 4))
    assert pipe.sent == [("batch", 12)], f"nobody reads, and {pipe.sent[1:]} were sent"


def where_from(job):
    return os.getpid(), job[1][0]


def left_over():
    """Processes and open files of this process."""
    folder = "/proc/self/fd"
    files = len(os.listdir(folder)) if os.path.isdir(folder) else 0
    return len(multiprocessing.active_children()), files


def all_gone(before, what):
    """No process and no file is left that was not there before."""
    (processes, files), (had, open_files) = left_over(), before
    assert processes == had, f"{what}: {processes - had} workers still run"
    if files > open_files:
        gc.collect()  # a process that nobody holds any more has a file until it is collected
        files = left_over()[1]
    assert files <= open_files, f"{what}: {files - open_files} pipes were not closed"


@exercise("from_workers")
@pytest.mark.parametrize("workers, n", [(1, 0), (1, 2), (2, 1), (2, 5), (3, 7)])
def test_workers_in_turn(workers, n, monkeypatch):
    before, start, shares, pipes = left_over(), day.start, [], []

    def started(make, jobs, readers):
        shares.append(len(jobs))
        process, reader = start(make, jobs, readers)
        pipes.append(reader)
        return process, reader

    monkeypatch.setattr(day, "start", started)
    found = list(day.from_workers(where_from, jobs_of(*range(n)), workers))
    assert [number for _, number in found] == list(range(n)), f"in another order: {found}"
    pids = [pid for pid, _ in found]
    team = min(workers, n)
    assert len(set(pids)) == team, f"{len(set(pids))} processes made {n} batches, not {team}"
    assert len(shares) == team and 0 not in shares, f"workers were started with {shares} jobs"
    assert os.getpid() not in pids, "batches were made in this process"
    assert pids == (pids[:team] * n)[:n], "the workers do not take turns"
    assert all(pipe.closed for pipe in pipes), "a pipe is open until nobody refers to it any more"
    all_gone(before, "at the end")


@exercise("from_workers")
def test_workers_start_when_asked():
    before = left_over()
    batches = day.from_workers(large, jobs_of(*range(6)), 2)
    all_gone(before, "before the first batch is asked for")
    next(batches)
    assert left_over()[0] == before[0] + 2, "two workers were due to run"
    batches.close()
    all_gone(before, "at the end")


class Meeting:
    """Job 0 waits for job 1, which another worker has."""

    def __init__(self, folder):
        self.path = str(folder / "here")

    def __call__(self, job):
        if job[1][0] == 1:
            open(self.path, "w").close()
            return True
        deadline = time.monotonic() + 20
        while not os.path.exists(self.path):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.005)
        return True


@exercise("from_workers", seconds=40)
def test_workers_work_at_the_same_time(tmp_path):
    found = list(day.from_workers(Meeting(tmp_path), jobs_of(0, 1), 2))
    assert found == [True, True], "worker 1 does not begin before the batch of worker 0 is there"


def large(job):
    return np.full(200_000, job[1][0])


@exercise("from_workers", seconds=40)
def test_large_batches():
    before = left_over()
    for i, batch in enumerate(day.from_workers(large, jobs_of(*range(6)), 2)):
        assert batch.shape == (200_000,) and (batch == i).all()
    batches = day.from_workers(large, jobs_of(*range(6)), 3)
    next(batches)
    batches.close()  # the others wait with full pipes
    all_gone(before, "at the end")


class Trouble:
    """``how`` happens at job ``at``."""

    def __init__(self, how, at):
        self.how, self.at = how, at

    def __call__(self, job):
        if job[1][0] == self.at:
            if self.how == "raises":
                raise KeyError("no such sample")
            if self.how == "exits slowly":
                os.closerange(3, 1000)  # the pipe too: it ends before the process does
                time.sleep(0.2)
            if self.how.startswith("exits"):
                os._exit(7)
            if self.how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.how == "unpicklable":
                return lambda: None
        return job[1][0]


@exercise("from_workers", seconds=40)
@pytest.mark.parametrize("how, says", [("raises", "no such sample"), ("exits", "7"),
                                       ("exits slowly", "7"), ("killed", "-9"),
                                       ("unpicklable", "lambda")])  # fmt: skip
@pytest.mark.parametrize("workers, at", [(1, 0), (3, 4)])
def test_a_worker_in_trouble(how, says, workers, at):
    before = left_over()
    batches = day.from_workers(Trouble(how, at), jobs_of(*range(7)), workers)
    found = []
    with pytest.raises(RuntimeError) as error:
        for batch in batches:
            found.append(batch)
        pytest.fail(f"worker {at % workers} {how}, and nothing was raised")
    assert found == list(range(at)), f"batches before that: {found}"
    message = str(error.value)
    for part in (says, f"worker {at % workers}"):
        assert part in message, f"{how}: the error has no {part!r}: {message}"
    del error  # whose traceback holds the workers' frame
    all_gone(before, "at the end")


class Counted(day.Dataset):
    """Samples are their numbers; notes who was asked for."""

    def __init__(self, n):
        self.n, self.asked = n, []

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        self.asked.append(i)
        return i


class Noisy(day.Dataset):
    """Each sample is its number, plus noise from the layers' generator."""

    def __len__(self):
        return 11

    def __getitem__(self, i):
        return i + generator().uniform(0.0, 0.5, 2)


def listed(batches):
    return [batch.tolist() for batch in batches]


@exercise("DataLoader")
@pytest.mark.parametrize("n, size", [(0, 3), (1, 3), (6, 3), (7, 3), (8, 3), (5, 1), (3, 10)])
@pytest.mark.parametrize("drop", [False, True], ids=["all", "drop_last"])
@pytest.mark.parametrize("shuffle", [False, True], ids=["in order", "shuffled"])
def test_loader(n, size, drop, shuffle):
    data = Counted(n)
    loader = day.DataLoader(data, size, shuffle, seed=9, drop_last=drop)
    for epoch in range(3):
        numbers = day.order(n, shuffle, 9, epoch).tolist()
        wanted = [numbers[i : i + size] for i in range(0, n, size)]
        wanted = [batch for batch in wanted if len(batch) == size or not drop]
        data.asked.clear()
        assert loader.epoch == epoch and loader.position == 0
        assert len(loader) == len(wanted), f"len is {len(loader)}, of {len(wanted)} batches"
        assert listed(loader) == wanted, f"epoch {epoch}: other batches"
        assert data.asked == [i for batch in wanted for i in batch], f"asked for {data.asked}"
        kinds = {type(i).__name__ for i in data.asked} - {"int"}
        assert not kinds, f"the dataset was asked for samples by {kinds}, not by int"


@exercise("DataLoader")
def test_loader_collates():
    found = list(day.DataLoader([(1, 2.0), (3, 4.0)], 2))
    assert plain(found) == [(("int64", [1, 3]), ("float32", [2.0, 4.0]))]
    assert list(day.DataLoader([1, 2, 3], 2, collate=sum)) == [3, 3]
    pairs = day.TensorDataset(day.Tensor([[1.0], [2.0]]), day.Tensor([5, 6]))
    assert plain(list(day.DataLoader(pairs, 2)))[0][1] == ("int64", [5, 6])


class Where(Counted):
    """The process that each sample is made in."""

    def __getitem__(self, i):
        return os.getpid()


@exercise("DataLoader")
@pytest.mark.parametrize("workers", [0, 1, 3])
def test_who_makes_the_batches(workers):
    found = {pid for batch in listed(day.DataLoader(Where(8), 2, workers=workers)) for pid in batch}
    if workers:
        assert os.getpid() not in found, "batches were made in this process, not by a worker"
        assert len(found) == workers, f"{len(found)} processes made the batches, not {workers}"
    else:
        assert found == {os.getpid()}, "without workers, and not made in this process"


@exercise("DataLoader")
@pytest.mark.parametrize("workers", [0, 2])
def test_position(workers, monkeypatch):
    teams, from_workers = [], day.from_workers

    def kept(*args, **options):
        teams.append(from_workers(*args, **options))
        return teams[-1]  # which does not end because nobody refers to it any more

    monkeypatch.setattr(day, "from_workers", kept)
    loader = day.DataLoader(list(range(7)), 2, workers=workers)
    found = []
    for batch in loader:
        found.append((loader.epoch, loader.position, batch.tolist()[0]))
    assert found == [(0, 1, 0), (0, 2, 2), (0, 3, 4), (0, 4, 6)], f"(epoch, position, …): {found}"
    before = left_over()
    for _ in loader:
        break
    assert (loader.epoch, loader.position) == (2, 0), "after a break: the next epoch, from 0"
    all_gone(before, "after a break")
    assert len(list(loader)) == 4


@exercise("DataLoader")
@pytest.mark.parametrize("workers", [0, 2])
def test_resumed_loader(workers):
    def make(data):
        return day.DataLoader(data, 3, shuffle=True, seed=4, workers=workers)

    whole = make(Counted(10))
    first, second = listed(whole), listed(whole)
    for cut in range(1, 5):
        loader, states = make(Counted(10)), []
        for _ in loader:
            states.append(loader.state_dict())
        data = Counted(10)
        again = make(data)
        again.seed = 77
        again.load_state_dict(states[cut - 1])
        assert listed(again) == first[cut:], f"cut after {cut} batches: other batches follow"
        if not workers:
            assert len(data.asked) == 10 - min(3 * cut, 10), "batches that were skipped were made"
        assert listed(again) == second, "the epoch after the resumed one is another one"


@exercise("DataLoader")
def test_noise_is_that_of_the_batch():
    found = {}
    for workers in (0, 1, 3):
        loader = day.DataLoader(Noisy(), 2, seed=5, workers=workers)
        manual_seed(1)
        state = generator().bit_generator.state
        epochs = [listed(loader), listed(loader)]
        assert generator().bit_generator.state == state, (
            f"{workers} workers: the layers' generator goes on from another place"
        )
        found[workers] = epochs
    assert found[1] == found[0], "one worker makes other noise than none"
    assert found[3] == found[0], "three workers make other noise than none"
    first, second = found[0]
    assert first != second, "the noise is the same in each epoch"
    noise = [tuple(np.mod(row, 1.0).round(9)) for batch in first for row in batch]
    assert len(set(noise)) == 11, "samples have the same noise"
    with day.seeded((5, 1, 3)):
        wanted = day.collate([Noisy()[6], Noisy()[7]]).tolist()
    assert second[3] == wanted, "seed 5, epoch 1, batch 3: not the noise of seeded((5, 1, 3))"
    loader = day.DataLoader(Noisy(), 2, seed=5)
    loader.load_state_dict({"seed": 5, "epoch": 1, "position": 3})
    assert listed(loader) == second[3:], "after resuming the noise is another one"
    assert listed(day.DataLoader(Noisy(), 2, seed=6)) != first, "the seed changes nothing"


@exercise("DataLoader", seconds=40)
def test_a_dataset_in_trouble():
    class Bad(Counted):
        def __getitem__(self, i):
            if i == 3:
                raise ValueError("sample 3 is broken")
            return i

    for workers in (0, 2):
        before = left_over()
        with pytest.raises((ValueError, RuntimeError), match="sample 3 is broken"):
            list(day.DataLoader(Bad(6), 2, workers=workers))
            pytest.fail("sample 3 is broken, and nothing was raised")
        all_gone(before, "at the end")


# -- files -------------------------------------------------------------------------------------


@exercise("flatten")
def test_flatten():
    t, a = day.Tensor([1.0]), np.arange(3)
    state = {"w": t, 0: [None, True, 2, 0.5, "x"], "in": {"a": (a, t), "b": {}}, "n": np.int64(3)}
    tree, arrays = day.flatten(state)
    assert tree == {
        "dict": [
            ["w", {"tensor": "w"}],
            [0, [None, True, 2, 0.5, "x"]],
            ["in", {"dict": [["a", {"tuple": [{"tensor": "in.a.0"}, {"tensor": "in.a.1"}]}],
                             ["b", {"dict": []}]]}],
            ["n", 3],
        ]
    }, f"flatten gives the tree {tree}"  # fmt: skip
    assert set(arrays) == {"w", "in.a.0", "in.a.1"}
    assert arrays["w"] is t.data and arrays["in.a.0"] is a and arrays["in.a.1"] is t.data
    assert day.flatten(t)[0] == {"tensor": ""} and day.flatten(3.5) == (3.5, {})
    text = json.dumps(day.flatten({"x": np.float32(0.5), "y": np.bool_(True)})[0])
    assert json.loads(text) == {"dict": [["x", 0.5], ["y", True]]}


@exercise("flatten")
def test_names_that_are_taken():
    x, y, z = (np.full(1, i) for i in range(3))
    state = {"a": {"b": x}, "a.b": y, "a.b_": z, 1: {"c": x}, "1": {"c": y}}
    wanted = plain(state)
    tree, arrays = day.flatten(state)
    assert plain(state) == wanted, "flatten has changed the state"
    assert len(arrays) == 5, f"five arrays have the names {sorted(arrays)}"
    found = plain(day.unflatten(tree, arrays))
    assert found == wanted, f"after flatten and unflatten: {found}"
    assert {"a.b", "a.b_", "a.b__"} <= set(arrays), sorted(arrays)


@exercise("flatten")
@pytest.mark.parametrize(
    "state, names",
    [
        ({"a": {"f": len}}, ["a.f", "builtin_function"]), ([1, {2, 3}], ["1", "set"]),
        ({"k": {(1, 2): 3}}, ["k", "tuple"]), ({True: 1}, ["bool"]),
        ({"x": [b"1"]}, ["x.0", "bytes"]),
        ({None: 1}, ["NoneType"]), (object(), ["object"]), ({"c": 1j}, ["c", "complex"]),
    ],
    ids=["function", "set", "tuple key", "bool key", "bytes", "None key", "object", "complex"],
)  # fmt: skip
def test_flatten_refuses(state, names):
    with pytest.raises(TypeError) as error:
        day.flatten(state)
        pytest.fail("this cannot be saved: a TypeError was due")
    for name in names:
        assert name in str(error.value), f"the error does not name {name}: {error.value}"


@exercise("unflatten")
def test_unflatten():
    b = {"tensor": "b"}
    inner = {"dict": [["t", {"tensor": "a"}], [7, {"tuple": [b, [2, b]]}]]}
    tree = {"dict": [["x", inner], ["y", []], ["dict", {"tuple": []}], ["none", None]]}
    found = day.unflatten(tree, {"a": "A", "b": "B"})
    assert found == {"x": {"t": "A", 7: ("B", [2, "B"])}, "y": [], "dict": (), "none": None}, (
        f"unflatten gives {found}"
    )
    assert list(found) == ["x", "y", "dict", "none"], "the order of the keys is another one"
    assert day.unflatten("tensor", {}) == "tensor" and day.unflatten({"tensor": ""}, {"": 5}) == 5
    for inside in ([], [["a", 1]]):
        refused(day.unflatten, [{"heap": inside}], {}, what="a tree of another kind",
                names=["heap"])  # fmt: skip


KINDS = ["float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint64", "uint32",
         "uint16", "uint8", "bool"]  # fmt: skip


def arrays_of(rng):
    """Every dtype, shapes that hurt, strides and byte orders."""
    found = {k: rng.integers(0, 100, 3, 2).astype(k) for k in KINDS}
    found |= {
        "0-d": np.array(2.5), "0-d int8": np.array(3, "int8"), "empty": np.zeros((3, 0), "f4"),
        "strided": rng.normal(4, 6)[:, ::2], "transposed": rng.normal(4, 6).T,
        "backward": rng.normal(5)[::-1], "big-endian": rng.normal(3).astype(">f8"),
        "broadcast": np.broadcast_to(rng.normal(3), (2, 3)), "ünïcode · name": rng.normal(1),
    }  # fmt: skip
    return found


def header_of(path):
    data = path.read_bytes()
    n = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + n]), n, data


@exercise("save")
def test_others_read_what_is_saved(rng, tmp_path):
    arrays = arrays_of(rng)
    path = tmp_path / "x.safetensors"
    day.save({k: day.Tensor._made(a) if len(k) % 2 else a for k, a in arrays.items()}, path)
    found = safetensors.numpy.load_file(path)
    assert set(found) == set(arrays)
    for name, a in arrays.items():
        wanted = a.astype(a.dtype.newbyteorder("="))
        assert found[name].dtype == wanted.dtype and found[name].shape == a.shape, name
        assert (found[name] == wanted).all(), f"{name}: other numbers"
    day.save({"w": arrays["float32"]}, str(path))  # a str, over an old file
    assert safetensors.torch.load_file(path)["w"].tolist() == arrays["float32"].tolist()
    assert os.listdir(tmp_path) == ["x.safetensors"], f"files: {os.listdir(tmp_path)}"


@exercise("save")
def test_layout_of_a_file(rng, tmp_path):
    path = tmp_path / "x"
    for n in range(9):
        day.save(
            {"a" * n: np.zeros(3, "int8"), "b": [np.zeros(3, "f4"), np.zeros(2)], "c": 1}, path
        )
        header, size, data = header_of(path)
        assert size % 8 == 0, f"the header has {size} bytes, no multiple of 8"
        assert data[8 + size - 1 : 8 + size] in (b"}", b" ")
        tree = json.loads(header.pop("__metadata__")["tree"])
        assert tree["dict"][2] == ["c", 1]
        for name, entry in header.items():
            item = {"F64": 8, "F32": 4, "I8": 1}[entry["dtype"]]
            begin = entry["data_offsets"][0]
            assert begin % item == 0, f"{name}, of {item} bytes each, begins at {begin}"
        ends = sorted(e["data_offsets"] for e in header.values())
        assert ends[0][0] == 0 and ends[-1][1] == len(data) - 8 - size
        assert all(a[1] == b[0] for a, b in zip(ends, ends[1:], strict=False)), f"a gap: {ends}"


@exercise("save")
def test_a_file_is_there_whole_or_not_at_all(rng, tmp_path, monkeypatch):
    path = tmp_path / "run"
    day.save({"w": np.arange(5)}, path)
    old = path.read_bytes()
    done = []
    fsync, replace = os.fsync, os.replace

    def synced(descriptor):
        done.append(("fsync", os.fstat(descriptor).st_size))
        fsync(descriptor)

    def replaced(source, target):
        done.append(("replace", os.path.getsize(source)))
        assert os.path.dirname(os.path.abspath(source)) == str(tmp_path), (
            f"{source} is in another folder, perhaps on another disk"
        )
        assert path.read_bytes() == old, "the old file changed before the new one was ready"
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    for n in (6, 1000):  # few bytes lie in Python's own buffer until they are flushed
        done.clear()
        day.save({"w": np.arange(n)}, path)
        size = path.stat().st_size
        assert ("fsync", size) in done, f"what was synced had not all {size} bytes: {done}"
        assert done.index(("fsync", size)) < done.index(("replace", size)), done
        old = path.read_bytes()

    def fails(*_):
        raise OSError("no space left")

    for names in (["builtins.open", "io.open", "os.open"], ["os.fsync"], ["os.replace"]):
        with monkeypatch.context() as patch:
            for name in names:
                patch.setattr(name, fails)
            with pytest.raises(OSError, match="no space left"):
                day.save({"w": np.arange(2000)}, path)
                pytest.fail(f"{names[-1]} failed, and no error came")
        assert path.read_bytes() == old, f"{names[-1]} failed, and the old file has changed"
        assert os.listdir(tmp_path) == ["run"], f"left behind: {os.listdir(tmp_path)}"


@exercise("save")
def test_save_refuses(tmp_path):
    path = tmp_path / "run"
    for state, names in (
        ({"a": np.zeros(2), "b": np.zeros(2, complex)}, ["b", "complex128"]),
        ({"a": np.zeros(2), "o": np.array([None, {}])}, ["o", "object"]),
        ({"a": np.zeros(2), "s": np.array(["x"])}, ["s", "<U1"]),
        ({"a": np.zeros(2), "f": print}, ["f"]),
    ):
        with pytest.raises(TypeError) as error:
            day.save(state, path)
            pytest.fail(f"{names} was saved: a TypeError was due")
        assert all(name in str(error.value) for name in names), str(error.value)
        assert os.listdir(tmp_path) == [], f"left behind: {os.listdir(tmp_path)}"


@exercise("load")
def test_round_trip(rng, tmp_path):
    path = tmp_path / "run"
    state = {
        "arrays": arrays_of(rng),
        "numbers": [0.1, 1e-300, -0.0, 2**127, -5, True, False, None, math.inf, 1 / 3],
        "in": ({}, [], (), [[()]]), 0: {1: {2: "drei · ü"}}, "": day.Tensor(2.5),
    }  # fmt: skip
    day.save(state, path)
    found = day.load(path)
    assert plain(found) == plain(state)
    assert str(found["numbers"][2]) == "-0.0" and type(found["numbers"][5]) is bool
    for name, t in found["arrays"].items():
        assert isinstance(t, day.Tensor), f"{name} is a {type(t).__name__}"
        assert t.data.flags.writeable and not t.requires_grad and t.dtype.isnative, name
        if t.numel():
            t.fill_(1)
    assert plain(day.load(path)) == plain(state)
    for one in (day.Tensor([1.5]), [1], None, {}):
        day.save(one, path)
        assert plain(day.load(path)) == plain(one)
    day.save(math.nan, path)
    assert math.isnan(day.load(str(path)))
    with pytest.raises(FileNotFoundError):
        day.load(tmp_path / "none")
        pytest.fail("there is no such file")


@exercise("load")
def test_files_of_others(rng, tmp_path):
    path = tmp_path / "theirs"
    arrays = {k: np.ascontiguousarray(a.astype(a.dtype.newbyteorder("="))).reshape(a.shape)
              for k, a in arrays_of(rng).items()}  # fmt: skip
    safetensors.numpy.save_file(arrays, path, metadata={"format": "np"})
    assert plain(day.load(path)) == plain(arrays)
    header, n, data = header_of(path)
    text = json.dumps(dict(reversed(header.items()))).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + n :])
    assert plain(day.load(path)) == plain(arrays), "the header names the last array first"
    layer = torch.nn.Linear(3, 2)
    safetensors.torch.save_file(layer.state_dict(), path)
    mine = Linear(3, 2)
    mine.load_state_dict(day.load(path))
    close(mine.weight.data, layer.weight.detach().numpy(), name="torch's weights")


@exercise("load")
def test_a_truncated_file(tmp_path):
    path, short = tmp_path / "run", tmp_path / "short"
    day.save({"w": np.arange(3.0), "b": [np.arange(5, dtype="int8"), 2.5]}, path)
    data = path.read_bytes()
    for n in range(len(data)):
        short.write_bytes(data[:n])
        refused(day.load, short, what=f"the first {n} of {len(data)} bytes", names=["short"])
    short.write_bytes(data + b"\0")
    refused(day.load, short, what="a file with a byte too many", names=["short"])
    short.write_bytes(data[:7] + b"\1" + data[8:])
    refused(day.load, short, what="a header of 2**56 bytes more than the file has", names=["short"])


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


BROKEN = {
    "a pickle": pickle.dumps({"w": [1, 2, 3]}),
    "zeros": bytes(64),
    "noise": bytes(range(255, 100, -1)),
    "no object": [1, 2],
    "a number": 5,
    "an entry that is a list": {"w": [0, 8]},
    "no dtype": {"w": {"shape": [2], "data_offsets": [0, 8]}},
    "no shape": {"w": {"dtype": "F32", "data_offsets": [0, 8]}},
    "an unknown dtype": {"w": entry("F8", (8,))},
    "a size that does not fit the shape": {"w": entry(shape=(3,))},
    "more bytes than the shape has": {"w": entry(shape=(1,))},
    "more numbers than there can be": {"w": entry(shape=(2**70,), offsets=(0, 2**72))},
    "negative sizes": {"w": entry(shape=(-1, -2))},
    "fewer numbers than there can be": {"w": entry(shape=(-1, 2**70), offsets=(0, -(2**72)))},
    "a negative size and none": {"w": entry(shape=(-1, 0), offsets=(0, 0)), "v": entry()},
    "a size that is no whole number": {"w": entry(shape=(2.0,))},
    "an overlap": {"v": entry(), "w": entry(offsets=(4, 12)), "x": entry(shape=(), offsets=(4, 8))},
    "a gap": {"v": entry(shape=(), offsets=(0, 4)), "w": entry(shape=(), offsets=(8, 12))},
    "a late begin": {"w": entry(shape=(1,), offsets=(4, 8))},
    "an early begin": {"w": entry(shape=(3,), offsets=(-4, 8))},
    "offsets the wrong way": {"w": entry(offsets=(8, 0))},
    "one offset": {"w": entry(offsets=(0,))},
    "a tree that is no JSON": {"__metadata__": {"tree": "{"}, "w": entry()},
    "a tree of another kind": {"__metadata__": {"tree": '{"what": []}'}, "w": entry()},
    "a tree with an unknown name": {"__metadata__": {"tree": '{"tensor": "v"}'}, "w": entry()},
    "a tree of two kinds": {"__metadata__": {"tree": '{"tuple": [], "dict": []}'}, "w": entry()},
}


@exercise("load")
@pytest.mark.parametrize("what", BROKEN)
def test_broken_files(what, tmp_path):
    path, content = tmp_path / "broken", BROKEN[what]
    if not isinstance(content, bytes):
        text = json.dumps(content).encode()
        rest = 8
        if isinstance(content, dict):
            ends = [e["data_offsets"][-1] for e in content.values()
                    if isinstance(e, dict) and "data_offsets" in e]  # fmt: skip
            rest = max([8, *(end for end in ends if end < 100)])
        content = len(text).to_bytes(8, "little") + text + bytes(rest)
    path.write_bytes(content)
    refused(day.load, path, what=what, names=["broken"])


# -- training ----------------------------------------------------------------------------------


@exercise("Mean")
def test_mean():
    mean = day.Mean()
    assert math.isnan(mean.value)
    mean.add(2.0, 3)
    mean.add(5.0, 1)
    assert (mean.total, mean.count, mean.value) == (11.0, 4, 2.75)
    mean = day.Mean(10.0, 5)
    mean.add(4.0, 0)
    assert mean.value == 2.0


class Someone:
    stop = False


@exercise("EarlyStopping")
@pytest.mark.parametrize(
    "options, values, stops, best, waited",
    [
        ({}, [5, 4, 3, 2, 1], None, 1, 0),
        ({}, [5, 6, 7, 8], 3, 5, 3),
        ({}, [5, 5, 5, 5], 3, 5, 3),
        ({"patience": 1}, [5, 4, 4.5], 2, 4, 1),
        ({"patience": 2}, [5, 6, 4, 5, 5], 4, 4, 2),
        ({"patience": 2}, [5, 6, 4, 5, 3], None, 3, 0),
        ({"mode": "max", "patience": 2}, [1, 2, 1, 1.5], 3, 2, 2),
        ({"mode": "max", "patience": 2}, [1, 2, 3, 4], None, 4, 0),
        ({"min_delta": 1.0, "patience": 2}, [5, 4.5, 4.2], 2, 5, 2),
        ({"min_delta": 1.0, "patience": 2}, [5, 4, 4.5], 2, 5, 2),  # exactly that much is not more
        ({"min_delta": 1.0, "patience": 2}, [5, 4.5, 3.9, 3.5], None, 3.9, 1),
        ({"min_delta": 0.5, "mode": "max", "patience": 2}, [1, 1.25, 1.75, 2], None, 1.75, 1),
        ({"patience": 2}, [math.nan, math.nan], 1, None, 2),
        ({"patience": 2}, [math.nan, 3, math.nan, math.nan], 3, 3, 2),
        ({"mode": "max", "patience": 2}, [3, math.nan, 4], None, 4, 0),
        ({"patience": 1}, [math.inf, 3, -1], None, -1, 0),
        ({"patience": 2}, [0.0, 0.0, -1.0], None, -1, 0),
    ],
    ids=str,
)
def test_early_stopping(options, values, stops, best, waited):
    early, trainer = day.EarlyStopping("figure", **options), Someone()
    for epoch, value in enumerate(values):
        early.on_epoch_end(trainer, {"epoch": epoch, "figure": value})
        should = stops is not None and epoch >= stops
        assert trainer.stop is should, (
            f"{options}: after {values[: epoch + 1]} stop is {trainer.stop}"
        )
    assert (early.best, early.waited) == (best, waited), f"{values}: {early.best, early.waited}"


@exercise("EarlyStopping")
def test_early_stopping_needs_its_figure():
    refused(day.EarlyStopping("val_loss").on_epoch_end, Someone(), {"epoch": 0, "loss": 1.0},
            what="a row without val_loss", names=["val_loss", "loss"])  # fmt: skip


@exercise("bar")
@pytest.mark.parametrize(
    "args, wanted",
    [
        ((0, 3, 0.0, 6), "[......]  0/3 0% ? left"),
        ((1, 3, 61.0, 6), "[##....]  1/3 33% 0:02:02 left"),
        ((3, 3, 5.0, 6), "[######]  3/3 100% 0:00:00 left"),
        ((7, 100, 7.0, 10), "[..........]    7/100 7% 0:01:33 left"),
        ((99, 100, 9.9, 10), "[#########.]   99/100 99% 0:00:00 left"),
        ((1, 1000, 36.0, 5), "[.....]     1/1000 0% 9:59:24 left"),
        ((1, 1001, 100.0, 5), "[.....]     1/1001 0% 27:46:40 left"),
        ((0, 0, 3.0, 4), "[####]  0/0 100% 0:00:00 left"),
        ((1, 2, 59.6, 3), "[#..]  1/2 50% 0:01:00 left"),
        ((25, 100, 10 / 3), "[#####...............]   25/100 25% 0:00:10 left"),
        ((3, 7, 0.4, 0), "[]  3/7 42% 0:00:01 left"),
    ],
    ids=str,
)
def test_bar(args, wanted):
    found = day.bar(*args)
    assert found == wanted, f"bar{args} is {found!r}, not {wanted!r}"


def net(seed, drop=0.5):
    manual_seed(seed)
    parts = Linear(3, 8), BatchNorm1d(8), ReLU(), Dropout(drop), Linear(8, 2)
    return Sequential(*parts).double()


class Samples(day.Dataset):
    """Points with noise, and a class that depends on their side."""

    def __init__(self, n=11):
        self.x = np.random.default_rng(5).normal(size=(n, 3))

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return self.x[i] + generator().normal(0, 0.01, 3), int(self.x[i, 0] > 0)


def accuracy(output, target):
    return float((output.data.argmax(1) == target.data).mean())


class Notes(day.Callback):
    """Writes down what it is told, with what can be seen then."""

    def __init__(self):
        self.notes = []

    def on_epoch_begin(self, trainer):
        self.notes.append(("begin", trainer.epoch, trainer.loader.position, trainer.model.training))

    def on_batch_end(self, trainer):
        self.notes.append(("batch", trainer.epoch, trainer.loader.position,
                           trainer.means["loss"].count))  # fmt: skip

    def on_epoch_end(self, trainer, row):
        self.notes.append(
            (
                "end",
                trainer.epoch,
                len(trainer.history),
                trainer.history[-1] == row,
                trainer.means["loss"].count,
                trainer.optimizer.param_groups[0]["lr"],
            )
        )


class Stop(day.Callback):
    def __init__(self, after):
        self.after = after

    def on_batch_end(self, trainer):
        self.after -= 1
        trainer.stop = self.after == 0


def a_trainer(seed=1, callbacks=(), **options):
    model = net(seed)
    optimizer = AdamW(model.parameters(), lr=0.02)
    schedule = StepLR(optimizer, 2, 0.5)
    return day.Trainer(model, optimizer, cross_entropy, schedule=schedule, max_norm=1.0,
                       metrics={"accuracy": accuracy}, callbacks=callbacks, **options)  # fmt: skip


def a_loader(workers=0):
    return day.DataLoader(Samples(), 3, shuffle=True, seed=3, workers=workers)


@exercise("Trainer")
@pytest.mark.parametrize("max_norm", [None, 0.5])
def test_training_equals_torchs(max_norm, rng):
    """Batches of 4, 4 and 2, three epochs, beside a loop in torch."""
    x, y = rng.normal(10, 3), rng.normal(10, 2)
    mine = Sequential(Linear(3, 5), Tanh(), Linear(5, 2)).double()
    twin = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 2))
    twin = twin.double()
    mine.load_state_dict(twin.state_dict())
    optimizer = SGD(mine.parameters(), lr=0.5, momentum=0.9)

    def distance(output, target):
        return np.abs(output.data - target.data).mean()

    theirs = torch.optim.SGD(twin.parameters(), lr=0.5, momentum=0.9)
    trainer = day.Trainer(mine, optimizer, mse_loss, max_norm=max_norm,
                          schedule=StepLR(optimizer, 1, 0.5),
                          metrics={"distance": distance})  # fmt: skip
    schedule = torch.optim.lr_scheduler.StepLR(theirs, 1, 0.5)
    data = day.TensorDataset(day.Tensor(x), day.Tensor(y))
    history = trainer.fit(day.DataLoader(data, 4), 3, validation=day.DataLoader(data, 3))
    for epoch in range(3):
        losses = distances = 0.0
        for i in (0, 4, 8):
            a, b = torch.tensor(x[i : i + 4]), torch.tensor(y[i : i + 4])
            theirs.zero_grad()
            out = twin(a)
            loss = functional.mse_loss(out, b)
            loss.backward()
            if max_norm:
                torch.nn.utils.clip_grad_norm_(twin.parameters(), max_norm)
            theirs.step()
            losses += loss.item() * len(a)
            distances += (out - b).abs().mean().item() * len(a)
        schedule.step()
        row = history[epoch]
        assert list(row) == ["epoch", "loss", "distance", "val_loss", "val_distance"], list(row)
        with torch.no_grad():
            validation = functional.mse_loss(twin(torch.tensor(x)), torch.tensor(y)).item()
        for name, wanted in (("loss", losses / 10), ("distance", distances / 10),
                             ("val_loss", validation)):  # fmt: skip
            assert abs(row[name] - wanted) < 1e-9, (
                f"epoch {epoch}: {name} {row[name]}, not {wanted}"
            )
    for p, q in zip(mine.parameters(), twin.parameters(), strict=True):
        close(p.data, q.detach().numpy(), terms=4096, scale=16.0, name="a weight after 9 steps")


@exercise("Trainer")
def test_step_gives_the_loss():
    trainer = a_trainer()
    batch = next(iter(a_loader()))
    trainer.model.eval()
    wanted = cross_entropy(trainer.model(batch[0]), batch[1]).item()
    found = [trainer.step(batch) for _ in range(5)]
    assert found[0] == wanted, f"the first loss is {found[0]}, not {wanted}"
    assert found[4] < found[0], "five steps on one batch do not lower its loss"
    assert trainer.means["loss"].count == 15
    assert abs(trainer.means["loss"].value - sum(found) / 5) < 1e-12


@exercise("Trainer")
def test_several_inputs():
    class Two(Sequential):
        def forward(self, a, b):
            return super().forward(a * b)

    model = Two(Linear(2, 1)).double()
    trainer = day.Trainer(model, SGD(model.parameters(), lr=0.1), mse_loss)
    a, b, y = (day.Tensor(np.full(s, 2.0)) for s in ((4, 2), (4, 2), (4, 1)))
    loader = day.DataLoader(day.TensorDataset(a, b, y), 2)
    assert len(trainer.fit(loader, 2)) == 2
    assert set(trainer.evaluate(loader)) == {"loss"}


@exercise("Trainer")
def test_evaluate_changes_nothing():
    trainer = a_trainer()
    trainer.fit(a_loader(), 1)
    trainer.model.train()
    trainer.model[1].eval()
    modes = [m.training for m in trainer.model.modules()]
    before = plain(trainer.state_dict())
    grads = [p.grad.tolist() for p in trainer.model.parameters()]
    seen = []
    data = [(day.Tensor(np.ones((n, 3)) * n), day.Tensor([0] * n)) for n in (1, 4)]

    outputs = []

    def batches():
        for i, batch in enumerate(data):
            seen.append([m.training for m in trainer.model.modules()])
            assert len(outputs) == i, "a batch was asked for before those in front of it were done"
            yield batch

    handle = trainer.model.register_forward_hook(lambda module, args, out: outputs.append(out))
    found = trainer.evaluate(batches())
    handle.remove()
    assert not any(map(any, seen)), "not the whole model is in eval mode"
    after = [m.training for m in trainer.model.modules()]
    assert all(a is b for a, b in zip(after, modes, strict=True)), f"modes {after}, not {modes}"
    assert plain(trainer.state_dict()) == before, "evaluate has changed the state of the run"
    assert [p.grad.tolist() for p in trainer.model.parameters()] == grads
    trainer.model.eval()
    losses = [cross_entropy(trainer.model(x), y).item() for x, y in data]
    assert abs(found["loss"] - (losses[0] + 4 * losses[1]) / 5) < 1e-12, f"{found}, of {losses}"
    assert set(found) == {"loss", "accuracy"}
    trainer.model.train()

    def broken():
        yield data[0]
        raise OSError("the disk")

    with pytest.raises(OSError, match="the disk"):
        trainer.evaluate(broken())
        pytest.fail("an error in the loader was lost")
    assert all(m.training for m in trainer.model.modules()), "after an error: still in eval mode"


@exercise("Trainer")
def test_evaluate_records_nothing():
    trainer = a_trainer()
    outputs = []
    handle = trainer.model.register_forward_hook(lambda module, args, out: outputs.append(out))
    trainer.evaluate(a_loader())
    handle.remove()
    assert len(outputs) == 4 and not any(out.requires_grad for out in outputs), "a graph was made"


@exercise("Trainer")
def test_what_callbacks_see():
    notes = Notes()
    trainer = a_trainer(callbacks=[notes])
    loader = a_loader()
    history = trainer.fit(loader, 2)
    assert history is trainer.history and trainer.loader is loader
    wanted = []
    for epoch, lr in ((0, 0.02), (1, 0.01)):
        wanted.append(("begin", epoch, 0, True))
        wanted += [("batch", epoch, i + 1, n) for i, n in enumerate((3, 6, 9, 11))]
        wanted.append(("end", epoch + 1, epoch + 1, True, 0, lr))
    assert notes.notes == wanted, f"callbacks saw {notes.notes}"
    trainer.model.eval()
    trainer.fit(loader, 3)
    assert len(trainer.history) == 3 and notes.notes[12] == ("begin", 2, 0, True)
    assert trainer.fit(loader, 3) is trainer.history and len(notes.notes) == 18


@exercise("Trainer")
def test_stopping():
    trainer = a_trainer(callbacks=[Stop(6), Notes()])
    history = trainer.fit(a_loader(), 5)
    assert len(history) == 1 and trainer.epoch == 1, "stopped in the middle of the second epoch"
    assert trainer.callbacks[1].notes[-1][:3] == ("batch", 1, 2)
    early, notes = day.EarlyStopping("loss", patience=2, min_delta=100.0), Notes()
    trainer = a_trainer(callbacks=[notes, early])
    for what in ("stopped at the end of the third epoch", "asked to fit again"):
        assert len(trainer.fit(a_loader(), 9)) == 3
        begun = sum(note[0] == "begin" for note in notes.notes)
        assert begun == 3, f"{what}: {begun} epochs were begun, where 3 were due"


class Named(day.Callback):
    """Tells a list what it is called for; its state is its name."""

    def __init__(self, name, calls):
        self.name, self.calls = name, calls

    def on_epoch_begin(self, trainer):
        self.calls.append((self.name, "begin"))

    def on_batch_end(self, trainer):
        self.calls.append((self.name, "batch"))

    def on_epoch_end(self, trainer, row):
        self.calls.append((self.name, "end"))

    def state_dict(self):
        return {"name": self.name}

    def load_state_dict(self, state):
        self.calls.append((self.name, "gets", state["name"]))


@exercise("Trainer")
def test_callbacks_in_their_order():
    calls = []
    trainer = a_trainer(callbacks=[Named(name, calls) for name in "abc"])
    trainer.fit(day.DataLoader(Samples(6), 6), 1)
    wanted = [(name, when) for when in ("begin", "batch", "end") for name in "abc"]
    assert calls == wanted, f"callbacks were called in the order {calls}"
    state = a_trainer(callbacks=[Named(name, []) for name in "xyz"]).state_dict()
    calls.clear()
    trainer.load_state_dict(state)
    wanted = [("a", "gets", "x"), ("b", "gets", "y"), ("c", "gets", "z")]
    assert [call for call in calls if call[1] == "gets"] == wanted, (
        f"(callback, gets, the state of): {calls}"
    )


@exercise("Trainer")
def test_back_to_an_earlier_state():
    """In the trainer that the state is from, which has no schedule."""
    model = net(1)
    trainer = day.Trainer(model, SGD(model.parameters(), lr=0.1), cross_entropy)
    trainer.fit(a_loader(), 1)
    state = trainer.state_dict()
    assert state["schedule"] is None, f"without a schedule its state is {state['schedule']}"
    row = dict(state["history"][0])
    trainer.fit(a_loader(), 3)
    trainer.load_state_dict(state)
    assert trainer.history == [row], f"after one epoch: a history of {len(trainer.history)} rows"
    assert trainer.epoch == 1


def final(trainer, loader):
    """All that is left of a run, to the last bit."""
    state = plain(trainer.state_dict())
    return json.dumps([sorted(map(repr, state["model"].items())), repr(state), loader.epoch,
                       generator().uniform()])  # fmt: skip


@exercise("Trainer", seconds=60)
@pytest.mark.parametrize("workers", [0, 2])
def test_resuming_equals_never_stopping(workers, tmp_path):
    """Dropout, batch norm, AdamW, a schedule, noise in the data, early stopping, and a cut after
    each batch of three epochs, in the middle of the sums of an epoch."""
    path = tmp_path / "run"

    def parts(seed):
        return a_trainer(seed, [day.EarlyStopping("accuracy", 9, mode="max")]), a_loader(workers)

    trainer, loader = parts(1)
    trainer.fit(loader, 3, validation=day.DataLoader(Samples(), 4))
    wanted = final(trainer, loader)
    for cut in (1, 4, 5, 7, 12) if not workers else (6,):
        trainer, loader = parts(1)

        class Cut(day.Callback):
            left = cut

            def on_batch_end(self, trainer):
                self.left -= 1
                if self.left == 0:
                    state = trainer.state_dict()
                    state["callbacks"].pop()
                    day.save(state, path)
                    trainer.stop = True

        trainer.callbacks.append(Cut())
        trainer.fit(loader, 3, validation=day.DataLoader(Samples(), 4))
        trainer, loader = parts(2)
        trainer.load_state_dict(day.load(path))
        trainer.fit(loader, 3, validation=day.DataLoader(Samples(), 4))
        assert final(trainer, loader) == wanted, f"cut after {cut} batches: the run ends elsewhere"


@exercise("Trainer")
def test_a_checkpoint_goes_on(tmp_path):
    path = tmp_path / "run"
    trainer, loader = a_trainer(), a_loader()
    trainer.fit(loader, 4)
    wanted = final(trainer, loader)
    first = a_trainer(callbacks=[day.Checkpoint(path)])
    first.fit(a_loader(), 2)
    state = day.load(path)
    state["callbacks"] = []
    trainer, loader = a_trainer(5), a_loader()
    trainer.load_state_dict(state)
    assert trainer.history == first.history and trainer.history is not state["history"]
    assert plain(trainer.state_dict()["place"]) == {
        "loader": {"seed": 3, "epoch": 2, "position": 0}
    }, "a run that was loaded and saved again has lost its place"
    trainer.fit(loader, 4)
    assert final(trainer, loader) == wanted, "after two epochs of four: the run ends elsewhere"


@exercise("Trainer")
def test_states_that_do_not_fit():
    trainer = a_trainer()
    trainer.fit(a_loader(), 1)
    before = plain(trainer.state_dict())
    state = a_trainer(3, [Notes(), Notes()]).state_dict()
    refused(trainer.load_state_dict, state, what="a state of two callbacks, for none",
            names=["0", "2"])  # fmt: skip
    state["callbacks"] = []
    assert plain(trainer.state_dict())["model"] == before["model"], "something was loaded"
    assert len(trainer.history) == 1
