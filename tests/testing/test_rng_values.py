"""What is drawn, value for value: numpy's numbers from the seed, in the kind that was asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from harness.testing import ArrayRng, TensorRng
from harness.testing.rng import SMALL, _same

CPU = torch.device("cpu")


def numpy_rng() -> np.random.Generator:
    return np.random.default_rng(7)


KINDS: dict[str, tuple[Any, Any]] = {
    "normal": (lambda r: r.normal(3, 4, mean=2.0, std=3.0), lambda n: n.normal(2.0, 3.0, (3, 4))),
    "standard": (lambda r: r.normal(5), lambda n: n.normal(0.0, 1.0, 5)),
    "uniform": (
        lambda r: r.uniform(3, 4, low=-1.0, high=5.0),
        lambda n: n.uniform(-1.0, 5.0, (3, 4)),
    ),
    "unit": (lambda r: r.uniform(5), lambda n: n.uniform(0.0, 1.0, 5)),
    "integers": (lambda r: r.integers(-3, 9, 4, 5), lambda n: n.integers(-3, 9, (4, 5))),
    "boolean": (lambda r: r.boolean(40, p=0.25), lambda n: n.random(40) < 0.25),
    "fair": (lambda r: r.boolean(40), lambda n: n.random(40) < 0.5),
    "permutation": (lambda r: r.permutation(9), lambda n: n.permutation(9)),
    "number": (lambda r: r.normal(), lambda n: n.normal()),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_numbers_are_numpys(kind: str) -> None:
    ours, numpys = KINDS[kind]
    wanted = np.asarray(numpys(numpy_rng()))
    array = ours(ArrayRng(7))
    assert array.dtype == wanted.dtype and np.array_equal(array, wanted)
    assert not array.flags.writeable
    tensor = ours(TensorRng(7, CPU))
    kept = (
        torch.float32 if wanted.dtype == np.float64 else torch.from_numpy(wanted.reshape(-1)).dtype
    )
    assert tensor.dtype == kept and torch.equal(tensor, torch.as_tensor(wanted).to(kept))
    assert ours(TensorRng(7, CPU, drawn_there=True)).equal(tensor)  # small: by numpy


@pytest.mark.parametrize("name", ["float32", "float16", "float64"])
def test_the_dtype_asked_for(name: str) -> None:
    rng, arrays = TensorRng(7, CPU), ArrayRng(7)
    for method in ("normal", "uniform"):
        assert getattr(rng, method)(3, dtype=getattr(torch, name)).dtype == getattr(torch, name)
        assert getattr(arrays, method)(3, dtype=name).dtype == name
    assert arrays.integers(0, 5, 3, dtype=np.int16).dtype == np.int16
    assert rng.integers(0, 5, 3, dtype=torch.int16).dtype == torch.int16


def test_draws_follow_each_other() -> None:
    for rng in (ArrayRng(7), TensorRng(7, CPU)):
        first, second = rng.normal(3), rng.normal(3)
        assert (first != second).all()
        rng.reset()
        assert (rng.normal(3) == first).all() and (rng.normal(3) == second).all()


def test_a_choice() -> None:
    wanted = numpy_rng()
    rng = ArrayRng(7)
    options = "abcdefg"
    assert [rng.choice(options) for _ in range(20)] == [
        options[int(wanted.integers(7))] for _ in range(20)
    ]
    assert rng.changed() == []


def test_memory_is_torchs_own() -> None:
    values = np.arange(4.0, dtype=np.float32)
    made = TensorRng(7, CPU)._make("normal", values, None)
    made[0] = 9
    assert values[0] == 0


def test_every_kind_is_recorded_by_its_name() -> None:
    for there in (False, True):
        rng = TensorRng(7, CPU, drawn_there=there)
        made = [
            rng.normal(2, SMALL), rng.uniform(2, SMALL), rng.integers(0, 9, 2, SMALL),
            rng.boolean(2, SMALL), rng.permutation(2 * SMALL),
        ]  # fmt: skip
        assert rng.changed() == []
        for tensor in made:
            tensor.copy_(tensor.flip(-1))
        kinds = ("normal", "uniform", "integers", "boolean")
        assert rng.changed() == [
            *(f"the input made by rng.{kind} of shape (2, {SMALL})" for kind in kinds),
            f"the input made by rng.permutation of shape ({2 * SMALL},)",
        ]
        rng.reset()
        assert rng.changed() == []


def test_large_means_more_than_small() -> None:
    there, here = TensorRng(7, CPU, drawn_there=True), TensorRng(7, CPU)
    assert torch.equal(there.normal(SMALL), here.normal(SMALL))
    assert torch.equal(there.normal(2, SMALL // 2), here.normal(2, SMALL // 2))
    assert not torch.equal(there.normal(SMALL + 1), here.normal(SMALL + 1))
    assert not torch.equal(there.normal(3, SMALL // 2), here.normal(3, SMALL // 2))


def test_the_device_draws_from_the_seed() -> None:
    def drawn(seed: int) -> list[torch.Tensor]:
        rng = TensorRng(seed, CPU, drawn_there=True)
        n = 2 * SMALL
        return [rng.normal(n), rng.normal(n), rng.uniform(n), rng.integers(0, 9, n)]

    one, again, other = drawn(7), drawn(7), drawn(8)
    for a, b, c in zip(one, again, other, strict=True):
        assert torch.equal(a, b) and not torch.equal(a, c)
    assert not torch.equal(one[0], one[1])


def test_half_precision_is_rounded_from_float32() -> None:
    whole = TensorRng(7, CPU, drawn_there=True).uniform(2 * SMALL)
    half = TensorRng(7, CPU, drawn_there=True).uniform(2 * SMALL, dtype=torch.float16)
    assert torch.equal(half, whole.half())
    double = TensorRng(7, CPU, drawn_there=True).uniform(2 * SMALL, dtype=torch.float64)
    assert not torch.equal(double, double.float().double())


def test_what_is_the_same() -> None:
    x = torch.tensor([1.0, 2.0, float("nan")])
    assert _same(x, x.clone())
    assert not _same(x, x[:2])
    assert not _same(x, x.double())
    assert not _same(torch.tensor([0.0]), torch.tensor([-0.0]))
    assert not _same(x, torch.tensor([1.0, 2.5, float("nan")]))
    empty = torch.zeros(0, 3)
    assert _same(empty, empty.clone())
    assert not _same(empty, torch.zeros(3, 0))
    assert not _same(empty, empty.double())
    assert _same(x.requires_grad_(), x.clone())
    assert _same(torch.arange(6).view(2, 3).T, torch.arange(6).view(2, 3).T.contiguous())
    assert _same(torch.tensor(1.0), torch.tensor(1.0)) and not _same(
        torch.tensor(1), torch.tensor(2)
    )
