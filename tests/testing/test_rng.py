"""Inputs repeat with their seed, keep their dtype, and tell when they were changed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from harness.testing import ArrayRng, TensorRng

CPU = torch.device("cpu")


def test_the_same_seed_gives_the_same_inputs() -> None:
    one, other = TensorRng(7, CPU), TensorRng(7, CPU)
    assert torch.equal(one.normal(3, 4), other.normal(3, 4))
    first = one.uniform(5)
    one.reset()
    one.normal(3, 4)
    assert torch.equal(one.uniform(5), first)
    assert not torch.equal(TensorRng(8, CPU).normal(3, 4), other.normal(3, 4))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("shape", [(), (0,), (0, 4), (4, 0), (3, 5)])
def test_untouched_inputs_are_unchanged(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    rng = TensorRng(0, CPU)
    x = rng.normal(*shape, dtype=dtype)
    assert (x.dtype, tuple(x.shape)) == (dtype, shape)
    assert rng.changed() == []


def test_a_changed_input_is_named() -> None:
    rng = TensorRng(0, CPU)
    rng.normal(2)
    rng.integers(0, 5, 3)[1] = 99
    assert rng.changed() == ["the input made by rng.integers of shape (3,)"]


def test_nan_is_equal_to_itself_bit_for_bit() -> None:
    rng = TensorRng(0, CPU)
    x = rng.normal(2, mean=float("nan"))
    assert rng.changed() == []
    x.zero_()
    assert rng.changed()


def test_kinds_and_ranges() -> None:
    rng = TensorRng(0, CPU)
    whole = rng.integers(-3, 3, 1000, dtype=torch.int32)
    assert (whole.dtype, int(whole.min()), int(whole.max())) == (torch.int32, -3, 2)
    assert rng.boolean(10).dtype is torch.bool
    assert sorted(rng.permutation(5).tolist()) == list(range(5))
    inside = rng.uniform(1000, low=2.0, high=3.0)
    assert 2.0 <= float(inside.min()) <= float(inside.max()) <= 3.0


def test_arrays_are_read_only_float64() -> None:
    rng = ArrayRng(0)
    x = rng.normal(3)
    assert x.dtype == np.float64
    with pytest.raises(ValueError, match="read-only"):
        x[0] = 1.0
    assert rng.choice(["a", "b"]) in ("a", "b")


def drawn(rng: TensorRng) -> list[torch.Tensor]:
    return [
        rng.normal(300, 400, mean=2.0, std=3.0),
        rng.normal(300, 400, dtype=torch.float64),
        rng.uniform(300, 400, low=-1.0, high=3.0, dtype=torch.float16),
        rng.integers(-3, 7, 300, 400, dtype=torch.int32),
        rng.boolean(300, 400, p=0.25),
        rng.permutation(100_000),
    ]


def test_large_inputs_can_be_drawn_by_the_device() -> None:
    """As they are distributed and typed by numpy, from the same seed again, and recorded."""
    there, here = TensorRng(5, CPU, drawn_there=True), TensorRng(5, CPU)
    first = drawn(there)
    for a, b in zip(first, drawn(here), strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        assert not torch.equal(a, b)
        assert abs(a.double().mean() - b.double().mean()) < 0.02 * max(1.0, a.double().std())
        assert a.double().std() == pytest.approx(float(b.double().std()), rel=0.02)
    assert sorted(first[-1].tolist()) == list(range(100_000))
    first[0][0, 0] += 1
    assert there.changed() == ["the input made by rng.normal of shape (300, 400)"]
    there.reset()
    assert torch.equal(drawn(there)[1], first[1])


def test_small_inputs_are_the_same_everywhere() -> None:
    one, other = TensorRng(5, CPU, drawn_there=True), TensorRng(5, CPU)
    assert torch.equal(one.normal(5, 7), other.normal(5, 7))
    assert torch.equal(one.integers(0, 9, 11), other.integers(0, 9, 11))
