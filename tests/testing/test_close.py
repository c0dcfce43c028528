"""``close`` accepts what rounding explains, and says in words what it does not accept."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from harness.testing.close import Mismatch, agrees, close

CLOSE = sys.modules[Mismatch.__module__]  # the package has a function of that name


def mismatch(actual, expected, **settings) -> Mismatch:
    with pytest.raises(Mismatch) as caught:
        close(actual, expected, **settings)
    text = str(caught.value)
    assert len(text.splitlines()) <= 8, text
    assert max(map(len, text.splitlines())) <= 80, text
    assert json.loads(json.dumps(caught.value.data, allow_nan=False)) == caught.value.data
    return caught.value


def normal(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1, 7, 300])
def test_right_results_pass(dtype, size):
    a, b = normal(5, size, dtype=dtype), normal(size, 9, seed=1, dtype=dtype)
    exact = a.double() @ b.double()
    scale = (a.double().abs() @ b.double().abs()) / size
    close(a.double().to(dtype), a.double(), dtype=dtype)
    close((a.float() @ b.float()).to(dtype) if dtype != torch.float64 else a @ b, exact,
          dtype=dtype, terms=size, scale=scale)  # fmt: skip
    close(torch.softmax(a, -1), torch.softmax(a.double(), -1), dtype=dtype, terms=size)


# Of each type: the distance from 1 to the next number, and what may be lost near 0.
TYPES = {
    torch.float64: (2.0**-52, 2.0**-1022),
    torch.float32: (2.0**-23, 2.0**-126),
    torch.bfloat16: (2.0**-7, 2.0**-126),
    torch.float16: (2.0**-10, 4 * 2.0**-24),
    torch.float8_e4m3fn: (2.0**-3, 4 * 2.0**-9),
    torch.float8_e5m2: (2.0**-2, 4 * 2.0**-16),
}
ADDED_IN = {torch.float64: 2.0**-52}  # all shorter types are added up in float32


def passes(actual: float, expected: float, dtype: torch.dtype, **settings) -> bool:
    values = torch.tensor([actual], dtype=torch.float64)
    assert values.to(dtype).double().equal(values), f"{dtype} does not hold {actual}"
    try:
        close(values.to(dtype), torch.tensor([expected], dtype=torch.float64), dtype=dtype,
              **settings)  # fmt: skip
    except Mismatch:
        return False
    return True


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_the_tolerance_of_one_rounding_is_neither_more_nor_less(dtype):
    step = TYPES[dtype][0]
    # Four of the type's own roundings, and four of the type in which it is worked out.
    steps = 4 + int(4 * ADDED_IN.get(dtype, 2.0**-23) / step)
    assert passes(1 + steps * step, 1, dtype)
    assert not passes(1 + (steps + 1 + (dtype is torch.float8_e5m2)) * step, 1, dtype)
    assert passes(1 + step, 1, dtype, factor=1)
    if dtype in (torch.float64, torch.float32):
        assert not passes(1 + 3 * step, 1, dtype, factor=1)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_the_tolerance_near_zero_is_neither_more_nor_less(dtype):
    tiny = TYPES[dtype][1]
    assert passes(tiny, 0, dtype) and passes(-tiny, 0, dtype)
    assert not passes(1.25 * tiny if tiny > 1e-30 else 2 * tiny, 0, dtype)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_the_tolerance_of_a_sum_grows_with_terms_and_scale(dtype):
    # 2**20 summands of size 1 come to 2**10, and each of the additions may round.
    room = 4 * ADDED_IN.get(dtype, 2.0**-23) * 2.0**20
    assert passes(room, 0, dtype, terms=2**20, scale=1.0)
    assert not passes(room * 1.25, 0, dtype, terms=2**20, scale=1.0)
    assert passes(room / 4, 0, dtype, terms=2**18, scale=1.0)
    assert not passes(room / 2, 0, dtype, terms=2**18, scale=1.0)
    assert not passes(room, 0, dtype, terms=2**20, scale=0.5)
    assert not passes(room, 0, dtype, terms=2**20)


@pytest.mark.parametrize("name", ["complex64", "complex128"])
def test_the_tolerance_of_complex_numbers_is_that_of_their_parts(name):
    step = np.finfo(name).eps
    for times, right in ((8, True), (9, False)):
        value = np.array([(1 + times * step) * 1j], dtype=name)
        if right:
            close(value, np.array([1j]), dtype=name)
        else:
            mismatch(value, np.array([1j]), dtype=name)


@pytest.mark.parametrize(
    "times, said",
    [(1.02, "slightly more than"), (1.5, "1.5 times"), (999, "999 times"), (1001, "")],
)
def test_how_many_tolerances_is_told_below_a_thousand_of_them(times, said):
    one = torch.ones(3, dtype=torch.float64)
    actual = one.clone()
    actual[1] += times * 200 * 2.0**-52
    text = " ".join(str(mismatch(actual, one, factor=100)).split())
    assert (f"{said} the tolerance" in text) if said else ("the tolerance" not in text), text


def test_the_share_that_is_wrong_is_never_rounded_to_none_or_all():
    x = torch.zeros(5000)
    y = x.clone()
    y[7] = 1
    assert "1 of 5000 elements, under 0.1 %" in str(mismatch(y, x))
    y = torch.arange(1.0, 5001)
    y[7] = 0
    assert "4999 of 5000 elements, 99.9 %" in str(mismatch(y, x))


def test_the_worst_element_is_that_of_most_tolerances():
    want = torch.tensor([1.0, 1000.0, 1e-3], dtype=torch.float64)
    got = want + torch.tensor([1e-6, 1e-5, 1e-7], dtype=torch.float64)
    assert mismatch(got, want).data["worst"]["index"] == [2]
    whole = torch.tensor([1, 2, 3])
    assert mismatch(whole + torch.tensor([1, 0, 5]), whole).data["worst"]["index"] == [2]


def test_the_plain_text_leaves_the_pattern_out():
    x = torch.arange(1.0, 9.0)
    error = mismatch(2 * x, x, name="y")
    assert str(error).startswith("y: every value is 2 times the right one.")
    assert error.plain.startswith("y is wrong everywhere.\n")
    assert error.plain.splitlines()[1:] == str(error).splitlines()[1:]
    assert "scaled" in error.data["holds"] and "offset" not in error.data["holds"]
    # One value has any factor, and is too little to tell it.
    error = mismatch(torch.tensor([2.0]), torch.tensor([1.0]))
    assert error.data["pattern"] is None and {"scaled", "offset"} <= set(error.data["holds"])


def test_no_cause_is_looked_for_among_many_millions(monkeypatch):
    x = torch.arange(1.0, 9.0)
    assert mismatch(2 * x, x).data["pattern"] == "scaled"
    monkeypatch.setattr(CLOSE, "MANY", 7)
    error = mismatch(2 * x, x)
    assert error.data["pattern"] is None
    assert str(error).startswith("result is wrong everywhere.\n  wrong: all 8 elements")


def test_agrees_is_close_without_words():
    x = torch.arange(1.0, 9.0)
    assert agrees(x, x.double(), dtype=torch.float32)
    assert not agrees(2 * x, x)
    assert not agrees(x, x.double())  # of another dtype
    assert not agrees(x[:4], x)
    assert agrees(x + 1e-5, x, terms=10**6, scale=1.0) and not agrees(x + 1e-5, x)


@pytest.mark.parametrize("short", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("inner", [1, 16, 512])
def test_half_precision_inside_a_float32_exercise_fails(short, inner):
    a, b = normal(20, inner), normal(inner, 30, seed=1)
    exact = a.double() @ b.double()
    scale = a.double().abs() @ b.double().abs() / inner  # magnitude of one summand
    close(a @ b, exact, dtype=torch.float32, terms=inner, scale=scale)
    inside = (a.to(short) @ b.to(short)).float()
    error = mismatch(inside, exact, dtype=torch.float32, terms=inner, scale=scale)
    assert error.data["pattern"] == "precision"
    rounded = torch.softmax(a, -1).to(short).float()
    if inner > 1:
        mismatch(rounded, torch.softmax(a.double(), -1), dtype=torch.float32, terms=inner)


@pytest.mark.parametrize("terms", [10, 1000, 100_000])
@pytest.mark.parametrize("low", [-1.0, 0.0])
def test_sums_in_the_plainest_order_pass(terms, low):
    # One after the other: the least exact of all right ways to add up.
    x = np.random.default_rng(terms).uniform(low, 1, size=(100, terms)).astype(np.float32)
    exact = x.sum(axis=1, dtype=np.float64)
    close(np.cumsum(x, axis=1)[:, -1], exact, dtype=np.float32, terms=terms, scale=0.5)
    skipped = x[:, max(1, terms // 100) :].sum(axis=1, dtype=np.float64).astype(np.float32)
    mismatch(skipped, exact, dtype=np.float32, terms=terms, scale=0.5)


def test_tf32_inputs_fail():
    def tf32(x):
        return (x.view(torch.int32) + 0x1000 & ~0x1FFF).view(torch.float32)

    a, b = normal(20, 64), normal(64, 30, seed=1)
    exact, scale = a.double() @ b.double(), a.double().abs() @ b.double().abs() / 64
    error = mismatch(tf32(a) @ tf32(b), exact, dtype=torch.float32, terms=64, scale=scale)
    assert "TF32" in str(error)


def test_small_float16_values_are_not_lost():
    # The smallest normal float16 is 6e-5; a softmax over many columns lives below it.
    x = torch.full((1, 50_000), 1 / 50_000, dtype=torch.float64)
    close(x.half(), x, dtype=torch.float16)
    mismatch(torch.zeros_like(x, dtype=torch.float16), x, dtype=torch.float16)


def test_what_the_dtype_cannot_hold_is_inf():
    big = torch.tensor([70_000.0, -70_000.0, 1.0], dtype=torch.float64)
    close(big.half(), big, dtype=torch.float16)
    mismatch(-big.half(), big, dtype=torch.float16)
    mismatch(big.float() * torch.inf, big, dtype=torch.float32)


nan, inf = float("nan"), float("inf")


@pytest.mark.parametrize("make", [torch.tensor, np.array])
@pytest.mark.parametrize(
    "actual, expected, equal",
    [
        (nan, nan, True),
        (nan, 1.0, False),
        (1.0, nan, False),
        (inf, inf, True),
        (-inf, inf, False),
        (inf, 1e300, False),
        (1e300, inf, False),
        (nan, inf, False),
        (0.0, -0.0, True),
    ],
)
def test_special_values(make, actual, expected, equal):
    one, other = make([0.5, actual]), make([0.5, expected])
    if make is torch.tensor:
        one = make([0.5, actual], dtype=torch.float64)
        other = make([0.5, expected], dtype=torch.float64)
    if equal:
        close(one, other)
    else:
        assert mismatch(one, other).data["wrong"] == 1


def test_integers_and_bools_are_exact():
    close(torch.arange(5), torch.arange(5))
    close(torch.tensor([True, False]), torch.tensor([True, False]))
    big = torch.tensor([2**60, 3])
    error = mismatch(big + torch.tensor([1, 0]), big)  # equal in float64
    assert "got 1152921504606846977, expected 1152921504606846976" in str(error)
    assert error.data["wrong"] == 1
    assert "got True, expected False" in str(mismatch(np.array([True]), np.array([False])))
    close(torch.arange(5), torch.arange(5).double(), dtype=torch.int64)
    mismatch(torch.arange(5), torch.arange(5) + 0.25, dtype=torch.int64)


@pytest.mark.parametrize("of", ["torch", "numpy"])
def test_complex(of):
    z = normal(6, 5, dtype=torch.float64) + 1j * normal(6, 5, seed=1, dtype=torch.float64)
    convert = (lambda t: t) if of == "torch" else (lambda t: t.resolve_conj().numpy())
    close(convert(z * 1j), convert(z * 1j))
    close(convert(z.to(torch.complex64)), convert(z), dtype="complex64")
    assert mismatch(convert(z.conj()), convert(z)).data["wrong"] == 30
    assert mismatch(convert(z * 1j), convert(z)).data["pattern"] == "scaled"


def test_nothing_and_numbers():
    close(torch.zeros(0, 3), torch.zeros(0, 3))
    close(np.zeros((2, 0)), np.zeros((2, 0)))
    assert mismatch(torch.zeros(0, 3), torch.zeros(3, 0)).data["kind"] == "shape"
    close(0.1 + 0.2, 0.3)
    close(3, 3)
    close(np.float64(0.3), 0.1 + 0.2)
    close(torch.tensor(0.5), 0.5)
    mismatch(0.5, 0.5000001)
    mismatch(2, 3)


def test_expected_may_be_numpy_for_a_tensor():
    x = normal(4, 3)
    close(x, x.double().numpy(), dtype=torch.float32)
    mismatch(x + 1, x.double().numpy(), dtype=torch.float32)


@pytest.mark.parametrize(
    "actual, expected, kind, words",
    [
        (None, torch.ones(2), "none", "does the function return"),
        (1.0, torch.ones(2), "type", "is a float, but a tensor"),
        ((torch.ones(2),), torch.ones(2), "type", "a tuple of 1 value,"),
        (np.ones(2), torch.ones(2), "type", "is a numpy array, but a tensor"),
        ([1.0], np.ones(1), "type", "is a list of 1 value, but a numpy array"),
        (len, 1.0, "type", "the function len itself, but a number"),
        (torch.ones(2, 3), torch.ones(3, 2), "shape", "transposed?"),
        (torch.ones(4, 2, 3), torch.ones(4, 3, 2), "shape", "last two axes swapped"),
        (torch.ones(2, 1), torch.ones(2), "shape", "axis 1, of size 1, is one too many"),
        (torch.ones(2), torch.ones(1, 2), "shape", "axis 0, of size 1, is missing"),
        (torch.ones(2, 3), torch.ones(2, 4), "shape", "axis 1 has another size"),
        (torch.ones(6), torch.ones(2, 3), "shape", "the number of values is right"),
        (torch.ones(2), torch.ones(2).double(), "dtype", "float32, but float64 was expected"),
        (np.ones(2, np.float32), np.ones(2), "dtype", "float32, but float64 was expected"),
        (torch.ones(2).to_sparse(), torch.ones(2), "layout", "sparse"),
        (torch.ones(2), torch.ones(2, device="meta"), "device", "cpu, but meta"),
    ],
)
def test_another_kind_of_thing_is_said_first(actual, expected, kind, words):
    error = mismatch(actual, expected, name="softmax")
    assert error.data["kind"] == kind
    assert words in " ".join(str(error).split())
    assert str(error).startswith("softmax ")


def test_a_missing_gradient_has_its_own_sentence():
    assert "no gradient arrived" in str(mismatch(None, torch.ones(2), name="w.grad"))


def test_what_the_error_carries():
    x = torch.ones(3, 4)
    y = x.clone()
    y[2, 1] = 5
    error = mismatch(y, x, name="sum", tile=(1, 2))
    assert error.actual is y and error.expected is x and error.name == "sum"
    assert error.data["worst"]["index"] == [2, 1]
    assert (error.data["wrong"], error.data["total"]) == (1, 12)
    assert str(error).splitlines()[:2] == [
        "sum is wrong in places.",
        "  wrong: 1 of 12 elements, 8.3 %",
    ]
    assert "[2, 1] got 5, expected 1" in str(error)
    assert "the tile (2, 0)" in str(error)


def test_the_last_block_is_named_and_no_cause_with_it():
    expected = normal(71, 40).double()
    actual = expected.float()
    actual[64:] = nan
    text = " ".join(str(mismatch(actual, expected, dtype=torch.float32, tile=(64, 64))).split())
    # Whether the mask, the grid or a loop left it out does not show in the values.
    assert "only rows 64-70, the last, partial block of axis 0" in text
    assert "mask" not in text and "grid" not in text


def test_the_authors_mistakes_are_not_the_learners():
    with pytest.raises(TypeError, match="one by one"):
        close(torch.ones(2), (torch.ones(2), torch.ones(2)))
    with pytest.raises(ValueError, match="scale must be finite"):
        close(torch.ones(2), torch.ones(2), scale=inf)
    with pytest.raises(ValueError, match="does not fit"):
        close(torch.ones(2), torch.zeros(2), tile=(1, 1, 2))


def test_whole_numbers_of_torch_may_be_expected_as_numpy():
    close(torch.arange(3), np.arange(3))
    big = np.array([2**60, 3])
    assert mismatch(torch.tensor([2**60 + 1, 3]), big).data["wrong"] == 1


def test_an_expected_value_on_the_cpu_says_nothing_of_the_device():
    assert mismatch(torch.ones(2, device="meta"), torch.ones(3)).data["kind"] == "shape"
    with pytest.raises(Exception, match="meta"):  # it is compared, and a meta tensor has no values
        close(torch.ones(2, device="meta"), torch.ones(2))


def test_gradients_and_views_are_compared_by_value():
    x = normal(4, 6).requires_grad_()
    close(x.T, x.detach().double().T, dtype=torch.float32)
    close(x[:, ::2], x.detach()[:, ::2].clone())


def test_numpy_works_without_importing_torch():
    program = """
import sys, numpy as np
from harness.testing.close import Mismatch, close
close(np.arange(4.0), np.arange(4.0))
try:
    close(np.zeros(4), np.arange(4.0))
except Mismatch as error:
    assert "every value is zero" in str(error), error
else:
    raise SystemExit("no mismatch")
assert "torch" not in sys.modules
"""
    root = str(Path(__file__).parents[2])
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=root)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu():
    x = torch.randn(100, device="cuda")
    close(x, x.double(), dtype=torch.float32)
    close(x, x.double().cpu(), dtype=torch.float32)
    assert mismatch(x + 1, x.double(), dtype=torch.float32).data["wrong"] == 100
    assert mismatch(x.cpu(), x).data["kind"] == "device"
