"""Every pattern is found where it was planted, whatever the shape; noise is called nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.testing import close
from harness.testing.patterns import Pattern, explain

EPS = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10}

shapes = st.lists(st.integers(3, 9), min_size=1, max_size=3).map(tuple)
matrices = st.lists(st.integers(4, 9), min_size=2, max_size=3).map(tuple)
seeds = st.integers(0, 2**32 - 1)
dtypes = st.sampled_from(sorted(EPS))


def planted(shape, seed, dtype, change) -> tuple[np.ndarray, np.ndarray, Pattern | None]:
    """(what was returned, what is right, what was found) for values changed in float64."""
    want = np.random.default_rng(seed).normal(size=shape)
    got = np.asarray(change(want)).astype(dtype).astype(np.float64)
    tiny = 2.0**-24 if dtype == "float16" else 1e-7 * EPS[dtype]  # the step near 0
    return got, want, explain(got, want, 4 * EPS[dtype] * np.abs(want) + tiny)


def test_right_results_have_no_pattern():
    x = np.random.default_rng(0).normal(size=(4, 5))
    assert explain(x, x, 0.0) is None
    assert explain(x + 1e-9, x, 1e-8) is None
    assert explain(np.zeros((0, 3)), np.zeros((0, 3)), 0.0) is None


@settings(max_examples=60, deadline=None, database=None)
@given(shapes, seeds, dtypes, st.floats(1e-3, 1e3))
def test_noise_has_no_pattern(shape, seed, dtype, size):
    rng = np.random.default_rng([seed, 1])
    _, _, found = planted(shape, seed, dtype, lambda x: rng.normal(size=shape) * size)
    assert found is None, found
    # Noise on top of right values is no pattern either: large, or in one place only.
    _, _, found = planted(shape, seed, dtype, lambda x: x + rng.normal(size=shape) * 0.1)
    assert found is None, found


@settings(max_examples=60, deadline=None, database=None)
@given(shapes, seeds, st.integers(5, 200))
def test_whole_number_noise_has_no_pattern(shape, seed, high):
    rng = np.random.default_rng(seed)
    want, got = rng.integers(1, high + 1, size=shape), rng.integers(1, high + 1, size=shape)
    found = explain(got, want, 0.0)
    # A handful of small numbers may agree by accident.
    assert found is None or (found.name == "constant" and got.size < 12), found


def roll(axis, step):
    def change(x):
        # What comes in at the edge is something else, as when a pointer is off by one.
        out = np.roll(x, step, axis)
        edge = (slice(None),) * axis + (slice(0, 1) if step > 0 else slice(-1, None),)
        out[edge] = np.random.default_rng(7).normal(size=out[edge].shape)
        return out

    return change


def per_row(x):
    return np.random.default_rng(5).uniform(1.5, 4, size=(*x.shape[:-1], 1))


def halves(x):
    return x * np.where(np.arange(x.shape[-1]) < x.shape[-1] // 2, 0, 1)


ANY_SHAPE = {
    "all nan": lambda x: x * np.nan,
    "all zero": lambda x: x * 0,
    "inf": lambda x: x / 0.0,
    "sign flipped": lambda x: -x,
    "scaled": lambda x: 0.5 * x,
    "offset": lambda x: x + 3,
    "constant": lambda x: x * 0 + 2.5,
    "reversed": lambda x: np.flip(x, 0),
}
MATRIX = {
    "repeated": lambda x: np.broadcast_to(x[:1], x.shape),
    "shifted by one": roll(1, 1),
    "rows scaled": lambda x: x * per_row(x),
    "rows offset": lambda x: x + per_row(x),
    "zero in part": halves,
    "transposed in memory": lambda x: x.swapaxes(-1, -2).reshape(x.shape),
}


@settings(max_examples=15, deadline=None, database=None)
@given(shape=shapes, seed=seeds, dtype=dtypes)
@pytest.mark.parametrize("name", ANY_SHAPE)
def test_found_in_any_shape(name, shape, seed, dtype):
    if shape == (3,):
        shape = (5,)  # three numbers are too few to be sure of some of these
    with np.errstate(all="ignore"):
        _, _, found = planted(shape, seed, dtype, ANY_SHAPE[name])
    assert found is not None and found.name == name, found


@settings(max_examples=15, deadline=None, database=None)
@given(shape=matrices, seed=seeds, dtype=dtypes)
@pytest.mark.parametrize("name", MATRIX)
def test_found_in_any_matrix(name, shape, seed, dtype):
    if name == "transposed in memory" and shape[-1] == shape[-2]:
        name, change = "transposed", MATRIX[name]
    else:
        change = MATRIX[name]
    _, _, found = planted(shape, seed, dtype, change)
    assert found is not None and found.name == name, found


@settings(max_examples=30, deadline=None, database=None)
@given(matrices, seeds, dtypes, st.data())
def test_shifts_either_way_along_any_axis(shape, seed, dtype, data):
    axis = data.draw(st.integers(0, len(shape) - 1))
    step = data.draw(st.sampled_from([1, -1]))
    _, _, found = planted(shape, seed, dtype, roll(axis, step))
    assert found is not None and found.name == "shifted by one"
    assert ("later" if step > 0 else "earlier") in found.says


@settings(max_examples=30, deadline=None, database=None)
@given(matrices, seeds, dtypes, st.data())
def test_permuted_slices(shape, seed, dtype, data):
    axis = data.draw(st.integers(0, len(shape) - 1))
    a, b = data.draw(st.lists(st.integers(0, shape[axis] - 1), min_size=2, max_size=2, unique=True))
    order = np.arange(shape[axis])
    order[[a, b]] = b, a
    _, _, found = planted(shape, seed, dtype, lambda x: np.take(x, order, axis))
    assert found is not None and found.name == "permuted", found
    assert f"2 of the {shape[axis]}" in found.says
    assert f"({min(a, b)}, {max(a, b)})" in found.says


def test_swapped_batch_entries_are_called_so():
    x = np.random.default_rng(0).normal(size=(4, 5, 6))
    found = explain(x[[1, 0, 2, 3]], x, 1e-9)
    assert found is not None and "2 of the 4 batch entries" in found.says


@pytest.mark.parametrize(
    "c, text",
    [(0.5, "0.5 times"), (1 / 3, "1/3 times"), (2, "2 times"), (-3, "-3 times"), (0.3, "0.3 t")],
)
def test_the_constant_is_said(c, text):
    x = np.random.default_rng(0).normal(size=(6, 7))
    found = explain(c * x, x, 1e-12)
    assert found is not None and text in found.says


def test_an_offset_is_said_with_its_direction():
    x = np.random.default_rng(0).normal(size=(6, 7))
    for d, text in ((0.25, "0.25 too large"), (-1, "1 too small")):
        found = explain(x + d, x, 1e-12)
        assert found is not None and text in found.says


@settings(max_examples=20, deadline=None, database=None)
@given(seeds, st.integers(3, 60), st.integers(3, 60))
def test_precision(seed, rows, columns):
    rng = np.random.default_rng(seed)
    want = rng.normal(size=(rows, columns))
    tolerance = 4 * EPS["float32"] * np.abs(want)
    for dtype, name in ((np.float16, "float16"),):
        found = explain(want.astype(dtype), want, tolerance)
        assert found is not None and found.name == "precision" and name in found.says
    # bfloat16 is the upper half of a float32.
    upper = ((want.astype(np.float32).view(np.uint32) + 0x8000) & 0xFFFF0000).view(np.float32)
    found = explain(upper, want, tolerance)
    assert found is not None and found.name == "precision" and "bfloat16" in found.says


def test_precision_of_the_inputs_of_a_sum():
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(30, 50)), rng.normal(size=(50, 40))
    want = a @ b
    got = a.astype(np.float16).astype(float) @ b.astype(np.float16).astype(float)
    found = explain(got, want, np.full(want.shape, 1e-6))
    assert found is not None and found.name == "precision" and "float16" in found.says


def test_one_wrong_element_is_not_a_matter_of_precision():
    want = np.random.default_rng(0).normal(size=(30, 40))
    got = want.copy()
    got[3, 4] += 0.01
    assert explain(got, want, 1e-7) is None


def test_never_written():
    want = np.random.default_rng(0).normal(size=(10, 12))
    got = want.copy()
    got[7:] = np.nan
    found = explain(got, want, 1e-9)
    assert found is not None and found.name == "nan in part"
    got[0, 0] = 5  # then nan does not explain it all
    assert explain(got, want, 1e-9) is None


def test_all_nan_beside_values_that_are_rightly_nan():
    want = np.random.default_rng(0).normal(size=(4, 5))
    want[1, :3] = np.nan
    found = explain(np.full((4, 5), np.nan), want, 1e-9)
    assert found is not None
    assert found.says == "every value is nan, and only 3 of 20 should be."


def test_a_huge_constant_is_not_written_out():
    want = np.random.default_rng(0).normal(size=12)
    found = explain(np.full(12, np.finfo(np.float32).min), want, 1e-9)
    assert found is not None
    assert found.says == "every value is the same, -3.403e+38; the right ones differ."


def test_what_the_inputs_explain():
    x = np.random.default_rng(0).normal(size=(10, 12))
    found = explain(x, np.exp(x), 1e-9, inputs=[x])
    assert found is not None and found.name == "input"
    x[2, 3:5] = np.nan
    want = np.where(np.isnan(x), 0.0, np.maximum(x, 0))
    found = explain(np.maximum(x, 0), want, 1e-9, inputs=[x])
    assert found is not None and found.name == "nan inputs"


def test_last_block_first_row_and_masked_lanes():
    rng = np.random.default_rng(0)
    want = rng.normal(size=(70, 20))
    got = want.copy()
    got[64:] = rng.normal(size=(6, 20))
    found = explain(got, want, 1e-9, tile=(32, 32))
    assert found is not None and found.name == "last block" and "partial" in found.says
    got = rng.normal(size=want.shape)
    got[0] = want[0]
    found = explain(got, want, 1e-9)
    assert found is not None and found.name == "first right" and "first row" in found.says
    causal = np.tril(rng.normal(size=(20, 20)))
    found = explain(causal + np.triu(rng.normal(size=(20, 20)), 1), causal, 1e-9)
    assert found is not None and found.name == "masked"
    scores = np.where(causal == 0, -np.inf, causal)
    found = explain(np.where(causal == 0, 0, causal), scores, 1e-9)
    assert found is not None and found.name == "masked" and "-inf" in found.says


def test_large_results_are_explained_from_samples():
    x = np.random.default_rng(0).normal(size=(700, 700))
    for change, name in ((x.T, "transposed"), (2 * x, "scaled"), (x[::-1], "reversed")):
        found = explain(change, x, 1e-9)
        assert found is not None and found.name == name
    assert explain(np.random.default_rng(1).normal(size=x.shape), x, 1e-9) is None


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="shapes differ"):
        explain(np.zeros(3), np.zeros(4), 0.0)


@pytest.mark.parametrize(
    ("dtype", "computed", "says"),
    [
        (torch.float64, lambda x: x.float().exp().double(), "values are those of float32."),
        # A central difference is as far off, and has nothing to do with float32.
        (
            torch.float64,
            lambda x: ((x + 1e-4).exp() - (x - 1e-4).exp()) / 2e-4,
            "right to about 8 digits only: is something small added",
        ),
        (torch.float64, lambda x: x.exp() + 1e-4 * x.sin(), None),
        (torch.float32, lambda x: x.exp() + 1e-4 * x.sin(), "right to about 4 digits only"),
        (torch.float32, lambda x: x.exp() + x.sin(), None),
        (torch.float16, lambda x: (x.half().exp() * 3).half() / 3, "a few roundings of float16"),
    ],
)
def test_nearly_right(dtype, computed, says):
    x = torch.linspace(0.5, 2.0, 50, dtype=torch.float64)
    with pytest.raises(AssertionError) as error:
        close(computed(x).to(dtype), x.exp().to(dtype), factor=0.5, name="y")
    message = " ".join(str(error.value).split())
    if says is None:
        assert "digits only" not in message and "roundings" not in message
    else:
        assert says in message, message


def test_a_short_number_is_no_sign_of_float32():
    with pytest.raises(AssertionError, match="digits only: is something") as mismatch:
        close(np.array([20.5]), np.log1p(np.exp(np.array([20.5]))), name="y")
    assert "float32" not in str(mismatch.value)


def test_small_values_beside_large_ones_are_not_right_to_all_digits():
    x = np.array([1.0, 2.0, 1e-30])
    with pytest.raises(AssertionError) as mismatch:
        close(np.array([1.0, 2.0, 1.1e-30]), x)
    assert "digits" not in str(mismatch.value)


def test_an_even_small_error_of_one_sign_is_not_called_rounding():
    want = np.random.default_rng(0).normal(size=(30, 40))
    wave = np.sin(np.arange(want.size) / 50).reshape(want.shape)
    for off in (2e-3 * np.abs(wave), 2e-3 * wave):
        assert explain(want + off * np.abs(want), want, 1e-7 * np.abs(want) + 1e-30) is None


def test_noise_of_float16_in_short_rows_has_no_factor():
    # The tolerance of a row's own factor once grew with the square of it.
    rng = np.random.default_rng([238169713, 1])
    _, _, found = planted((3, 5), 238169713, "float16", lambda x: rng.normal(size=(3, 5)) * 709)
    assert found is None, found


def test_zeros_are_not_named_where_most_values_are_right():
    assert explain(np.zeros(4), np.array([0.0, 0.0, 0.0, 1.0]), 1e-9).name != "all zero"


def test_a_factor_close_to_one_does_not_read_as_one():
    want = np.random.default_rng(0).normal(size=300)
    found = explain(want * (1 + 2e-6), want, 1e-9)
    assert found is not None and found.says == "every value is 1.000002 times the right one."


def test_only_a_useful_number_of_tolerances_is_told():
    with pytest.raises(AssertionError) as error:
        close(np.ones(3), np.zeros(3) + [0.0, 1.0, 1.0], name="y")
    assert "tolerance" not in str(error.value)
