"""Each layout holds the same values, and is another one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from harness.testing.layouts import BEYOND, far_apart, layouts

SHAPES = [(), (1,), (7,), (0,), (3, 0), (1, 1), (1, 5), (5, 1), (4, 6), (2, 3, 5), (1, 4, 1, 3)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.bool])
def test_tensors(shape, dtype):
    x = (torch.randn(shape) * 10).to(dtype)
    before = x.clone()
    seen = dict(layouts(x))
    assert seen["contiguous"].is_contiguous()
    places = set()
    for name, view in seen.items():
        assert view.shape == x.shape and view.dtype == dtype, name
        assert torch.equal(view, x), name
        assert view.data_ptr() != x.data_ptr() or x.numel() == 0, f"{name} shares memory with x"
        used = tuple(s for s, n in zip(view.stride(), shape, strict=True) if n > 1)
        places.add((used, view.storage_offset()))
    assert len(places) == len(seen), "two layouts are the same"
    assert torch.equal(x, before)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.float64, np.int32, np.bool_])
def test_arrays(shape, dtype):
    x = np.asarray(np.random.default_rng(0).normal(size=shape) * 10).astype(dtype)
    x.flags.writeable = False
    seen = dict(layouts(x))
    for name, view in seen.items():
        assert view.shape == x.shape and view.dtype == x.dtype, name
        assert np.array_equal(view, x), name
        assert not view.flags.writeable, name
        assert not np.shares_memory(view, x), name
    if x.ndim == 2 and min(shape) > 1:
        assert len({view.strides for view in seen.values()}) == 4


def test_which_ones():
    everything = ["contiguous", "transposed storage", "offset view", "padded rows"]
    everything.append("every other element")
    for make in (torch.ones, np.ones):
        assert [name for name, _ in layouts(make((4, 6)))] == everything
        assert [name for name, _ in layouts(make((6,)))] == [everything[i] for i in (0, 2, 4)]
        assert [name for name, _ in layouts(make(()))] == ["contiguous", "offset view"]


def test_the_neighbours_are_other_values():
    for name, view in layouts(torch.zeros(4, 6)):
        if "offset" in name or "padded" in name or "other" in name:
            everything = view.as_strided((view.untyped_storage().nbytes() // 4,), (1,), 0)
            assert (everything != 0).any(), name


def test_gradients_stay_required():
    for name, view in layouts(torch.ones(3, 4, requires_grad=True)):
        assert view.requires_grad and view.is_leaf, name


@pytest.mark.parametrize("shape", [(3,), (3, 2), (2, 5), (4, 3, 3)])
def test_far_apart(shape):
    x = torch.randint(-9, 9, shape, dtype=torch.int8)
    seen = list(far_apart(x))
    assert len(seen) == sum(n >= 3 for n in shape)
    for name, view in seen:
        assert torch.equal(view, x), name
        reach = [(n - 1) * s for n, s in zip(view.shape, view.stride(), strict=True)]
        assert max(reach) >= BEYOND and max(view.stride()) < BEYOND, f"{name}: {view.stride()}"


def test_far_apart_passes_over_short_axes():
    assert not list(far_apart(torch.zeros(2, 2)))
