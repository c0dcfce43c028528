import math
import re

import pytest
import torch
import triton
import triton.language as tl
from triton.runtime import interpreter

from harness.testing import (
    close,
    compiled,
    exercise,
    far_apart,
    layouts,
    philox_uniform,
    philox_words,
    refused,
    shapes,
    watch,
    why_narrow,
)
from tracks.triton import day24

F32, F16, BF16 = torch.float32, torch.float16, torch.bfloat16
DTYPES = {"float32": F32, "float16": F16, "bfloat16": BF16}
HALVES = pytest.mark.parametrize("dtype", [F16, BF16], ids=str)
SIZES = [(0, 5, "float32"), (3, 0, "float16"), (1, 1, "float32"), (5, 3, "bfloat16")]
SIZES += [(1, 2048, "float16"), (3, 683, "float32"), (2, 5001, "bfloat16")]
LARGE = [(4096, 8193, "bfloat16"), (70_001, 129, "float32"), (3, 1_000_003, "float16")]
# Of x and of the residual stream.
MIXED = [(BF16, F32), (F16, BF16), (F32, F16)]
# Each with bits where another one has none; the last ones do not fit into an int32 or an int64.
SEEDS = [0, 1, 7, 2**31 - 1, 2**31, 2**32, 2**32 + 7, 2**63 + 7, 2**64 - 1]
nan, inf = float("nan"), float("inf")


def kept(shape, p, seed, device):
    """The mask: True where an element is kept."""
    u = philox_uniform(math.prod(shape), seed, device)
    return (u >= torch.tensor(p, dtype=F32, device=device)).view(shape)


def random_seed(rng):
    return int(rng.integers(0, 2**62, 1).item()) * 4 + 3


def check_run(seen, out):
    """One launch of a program a block, and no memory beyond the result."""
    size, blocks = out.numel() * out.element_size(), math.ceil(out.numel() / day24.BLOCK)
    if blocks or seen.launches:
        count = len(seen.launches)
        assert count == 1, f"expected 1 kernel launch, saw {count}"
        programs = seen.launches[0].programs
        assert programs == blocks, (
            f"{out.numel()} elements are {blocks} blocks of {day24.BLOCK}, but {programs} programs "
            "were launched"
        )
    assert seen.peak_bytes <= size + 1024, (
        f"the result takes {size} bytes, but {seen.peak_bytes} were allocated: is an input copied, "
        "or are random numbers or a mask stored?"
    )
    assert out.is_contiguous(), f"the result has the strides {out.stride()}, not contiguous ones"


def check_compiled(f, *args):
    reports = compiled(f, *args)
    assert len(reports) == 1, f"expected 1 kernel, saw {[r.kernel for r in reports]}"
    (report,) = reports
    assert report.refused is None, f"the compiler refuses this kernel: {report.refused.text()}"
    assert report.spill_bytes == 0, f"the kernel spills {report.spill_bytes} bytes a thread"
    widths = {"loads": sorted(report.loads), "stores": sorted(report.stores)}
    seen = " and its ".join(f"{what} are {bits} bits wide" for what, bits in widths.items() if bits)
    assert {*report.loads, *report.stores} == {128}, f"the kernel's {seen}: {why_narrow(report)}"


def check_unchanged(name, x, before):
    same = (x == before) | (x.isnan() & before.isnan())
    assert same.all(), f"{name} was changed by the call: it is to stay as it is"


def within_four_sigma(count, n, p, what):
    """Of n independent events of probability p, about n * p happen."""
    sigma = math.sqrt(n * p * (1 - p))
    assert abs(count - n * p) <= 4 * sigma, (
        f"{what}: {count} of {n}, where {n * p:.0f} are due: that is "
        f"{abs(count - n * p) / sigma:.1f} standard deviations away"
    )


@pytest.fixture(params=[8, 64, 128])
def block(request, monkeypatch):
    """Another block size, and so another grid."""
    monkeypatch.setattr(day24, "BLOCK", request.param)


FAR = 2**31  # the first element of the programs that ``far_programs`` starts
FEW = 16  # elements of each of them


@pytest.fixture
def far_programs(device, monkeypatch):
    """Programs are counted from FAR // FEW on; the kernels below are launched with BLOCK = FEW."""
    if str(device) != "cpu":
        pytest.skip("the interpreter alone counts programs from a given number on")
    builder = interpreter.interpreter_builder
    number_of = builder.create_get_program_id

    def number_far_on(axis):
        number = number_of(axis)
        if axis == 0:
            number.data = number.data + number.data.dtype.type(FAR // FEW)
        return number

    monkeypatch.setattr(builder, "create_get_program_id", number_far_on)


# uniform ------------------------------------------------------------------------------------


def check_uniform(n, seed, device):
    out, seen = watch(day24.uniform, n, seed, device)
    close(
        out, philox_uniform(n, seed, device).double(), dtype=F32, name=f"the stream of seed {seed}"
    )
    check_run(seen, out)


@exercise("uniform")
@shapes("n", 0, 1, 3, 5, 2047, 2048, 2049, 6150, gpu=[10_000_001])
def test_uniform_of_any_length(n, device, rng):
    check_uniform(n, random_seed(rng), device)


@exercise("uniform")
def test_uniform_begins_with_the_published_words(device):
    # The answers for zeros that the authors of Philox publish with their Random123.
    published = [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    assert philox_words(0, torch.tensor([0])).tolist() == [published]
    check_uniform(4, 0, device)


@exercise("uniform")
@pytest.mark.parametrize("seed", SEEDS)
def test_uniform_uses_all_bits_of_the_seed(seed, device):
    check_uniform(13, seed, device)


@exercise("uniform")
def test_uniform_whatever_the_block_size(block, device, rng):
    check_uniform(150, random_seed(rng), device)


@triton.jit
def probe_kernel(out_ptr, first, seed, BLOCK: tl.constexpr):
    """The given numbers of a stream, however far they are."""
    block = day24.uniform_block_kernel(seed, first.to(tl.int64), BLOCK)
    tl.store(out_ptr + tl.arange(0, BLOCK), block)


@exercise("uniform")
@pytest.mark.parametrize("first", [2**31 - 8, 2**34, 2**34 + 2**40 + 40], ids=str)
def test_uniform_far_into_the_stream(first, device, rng):
    seed = random_seed(rng)
    out = torch.full((16,), nan, device=device)
    probe_kernel[(1,)](out, first, seed, BLOCK=16)
    expected = philox_uniform(16, seed, device, first).double()
    close(out, expected, dtype=F32, name=f"numbers {first} and following")


@triton.jit
def far_uniform_kernel(out_ptr, start, n, seed, BLOCK: tl.constexpr):
    """Element start of the stream goes to out_ptr."""
    day24.uniform_kernel(out_ptr - start, n, seed, BLOCK)


@exercise("uniform")
def test_uniform_programs_beyond_int32(far_programs, device, rng):
    seed = random_seed(rng)
    out = torch.full((2 * FEW,), nan, device=device)
    far_uniform_kernel[(2,)](out, FAR, FAR + 2 * FEW, seed, BLOCK=FEW)
    expected = philox_uniform(2 * FEW, seed, device, FAR).double()
    close(out, expected, dtype=F32, name=f"what programs {FAR // FEW} and {FAR // FEW + 1} write")


@exercise("uniform")
def test_uniform_needs_one_counter_for_four_numbers(device, rng, monkeypatch):
    if str(device) != "cpu":
        pytest.skip("the interpreter alone can count the counters")
    builder = interpreter.interpreter_builder
    high_half = builder.create_umulhi
    sizes = []

    def counted(one, other):
        result = high_half(one, other)
        sizes.append(result.data.size)
        return result

    monkeypatch.setattr(builder, "create_umulhi", counted)
    monkeypatch.setattr(day24, "BLOCK", 64)
    day24.uniform(128, random_seed(rng), device)
    counters = sum(sizes) // 20  # each has ten rounds with two products
    assert counters == 32, (
        f"for 2 blocks of 64 numbers the generator ran for {counters} counters, where 32 are "
        "enough: each gives four numbers"
    )


@exercise("uniform")
def test_uniform_is_evenly_spread(device):
    # The seeds are constants: whether these numbers pass does not change from run to run.
    n, bins = 6000, 8
    runs = torch.stack([day24.uniform(n, seed, device) for seed in (11, 12, 2**40 + 11)]).double()
    for run in runs:
        for k in range(bins):
            count = int(((run >= k / bins) & (run < (k + 1) / bins)).sum())
            within_four_sigma(count, n, 1 / bins, f"numbers between {k}/{bins} and {k + 1}/{bins}")
    for lag in (1, 2, 3, 4, 8, 2048):
        both = int(((runs[0, :-lag] < 0.5) & (runs[0, lag:] < 0.5)).sum())
        within_four_sigma(both, n - lag, 1 / 4, f"pairs below 1/2, {lag} apart in one stream")
    for other in runs[1:]:
        both = int(((runs[0] < 0.5) & (other < 0.5)).sum())
        within_four_sigma(both, n, 1 / 4, "pairs below 1/2, of two seeds")


@exercise("uniform")
def test_uniform_stores_are_wide(device):
    check_compiled(day24.uniform, 4096, 5, device)


@exercise("uniform", gpu=True)
@shapes("n", gpu=[2**31 + 4099])
def test_uniform_beyond_int32(n, device, rng):
    seed = random_seed(rng)
    out = day24.uniform(n, seed, device)[-5000:]
    close(out, philox_uniform(5000, seed, device, n - 5000).double(), dtype=F32)


# keep_scale ---------------------------------------------------------------------------------


@exercise("keep_scale")
@pytest.mark.parametrize("p", [0.0, 1e-9, 0.1, 0.5, 0.9, 1 - 2.0**-20, 0, True])
def test_keep_scale_leaves_the_mean(p):
    expected = 0.0 if p == 1 else 1 / (1 - p)
    close(day24.keep_scale(p), expected, name=f"keep_scale({p})")


@exercise("keep_scale")
@pytest.mark.parametrize("p", [1, 1.0])
def test_keep_scale_when_nothing_is_kept(p):
    assert day24.keep_scale(p) == 0.0, f"keep_scale({p}) is to be 0.0"


@exercise("keep_scale")
@pytest.mark.parametrize("p", [-0.1, 1.0000001, 2, -1, inf, -inf, nan])
def test_keep_scale_refuses_what_is_no_probability(p):
    try:
        day24.keep_scale(p)
    except ValueError as error:
        named = re.search(r"\bp\b", str(error))
        assert named, f"p = {p}: the message does not hold the name p: {str(error)!r}"
    except AssertionError:
        pytest.fail(f"p = {p}: a ValueError was due, but an AssertionError came")
    else:
        pytest.fail(f"p = {p} was accepted: a ValueError was due")


# dropout ------------------------------------------------------------------------------------


def check_dropout(x, p, seed, values=None, name="result", **options):
    """``values``: what x holds, where the memory around it is too large to be converted."""
    near = x if values is None else values
    x64 = near.double()
    keep = kept(x.shape, p, seed, x.device)
    expected = torch.where(keep, x64 * (0.0 if p == 1 else 1 / (1 - p)), 0.0)
    out, seen = watch(day24.dropout, x, p, seed)
    close(out, expected, dtype=x.dtype, name=name, **options)
    check_unchanged("x", near, x64)
    check_run(seen, out)
    return out


@exercise("dropout")
@shapes("rows, columns, dtype", *SIZES, gpu=LARGE)
def test_dropout_matches_float64(rows, columns, dtype, rng):
    x = rng.normal(rows, columns, dtype=DTYPES[dtype], mean=0.5, std=3.0)
    check_dropout(x, 0.3, random_seed(rng))


@exercise("dropout")
@pytest.mark.parametrize("p", [1e-3, 0.1, 0.5, 0.9, 0.999])
def test_dropout_with_any_p(p, rng):
    check_dropout(rng.normal(3, 900), p, random_seed(rng))


@exercise("dropout")
def test_dropout_keeps_everything_or_nothing(rng):
    x, seed = rng.normal(3, 900), random_seed(rng)
    for p in (0, 0.0):
        out = check_dropout(x, p, seed, name="dropout with p = 0")
        assert torch.equal(out, x), "with p = 0 the result is to be x, bit for bit"
    for p in (1, 1.0):
        out = check_dropout(x, p, seed, name="dropout with p = 1")
        assert not out.any(), "with p = 1 nothing is to be kept"


@exercise("dropout")
def test_dropout_where_p_is_one_of_the_numbers(rng):
    seed = random_seed(rng)
    u = philox_uniform(40, seed, rng.device)
    for i in (0, 3, 17, 38):  # number i is kept
        name = f"dropout with p = number {i} of the stream"
        check_dropout(rng.normal(5, 80), u[i].item(), seed, name=name)


@exercise("dropout")
def test_dropout_of_nan_and_infinities(rng):
    x, seed = rng.normal(30, 40).clone(), random_seed(rng)
    x[::3], x[1::3, ::2], x[1::3, 1::2] = nan, inf, -inf
    for p in (0.0, 0.4, 1.0):
        check_dropout(x, p, seed, name=f"dropout of nan and infinities with p = {p}")


@exercise("dropout")
@pytest.mark.parametrize("seed", SEEDS)
def test_dropout_uses_all_bits_of_the_seed(seed, rng):
    check_dropout(rng.normal(3, 33), 0.5, seed)


@exercise("dropout")
def test_dropout_whatever_the_block_size(block, rng):
    check_dropout(rng.normal(3, 67), 0.4, random_seed(rng))


@exercise("dropout")
@HALVES
def test_dropout_rounds_once(dtype, rng):
    x = rng.normal(3, 1000, dtype=dtype, std=100.0)
    for p in (0.1, 0.7):
        check_dropout(x, p, random_seed(rng), factor=0.55)


@exercise("dropout")
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_keeps_the_rate_and_the_mean(p, device):
    # The seeds are constants: whether these masks pass does not change from run to run.
    rows, columns = 8, 1000
    x = torch.ones(rows, columns, device=device)
    runs = [day24.dropout(x, p, seed) for seed in (1, 2, 2**32 + 1)]
    for out in runs:
        n = out.numel()
        within_four_sigma(int((out != 0).sum()), n, 1 - p, f"elements kept with p = {p}")
        sigma = math.sqrt(p / (1 - p) / n)
        mean = out.double().mean().item()
        assert abs(mean - 1) <= 4 * sigma, (
            f"the mean of ones is {mean:.4f} after dropout with p = {p}: it is to stay 1 up to "
            f"chance, which is {sigma:.4f} here"
        )
    masks = [out != 0 for out in runs]
    pairs = [("two seeds", masks[0], other) for other in masks[1:]]
    pairs += [(f"two rows {k} apart", masks[0][:-k], masks[0][k:]) for k in (1, 2, 4)]
    for what, one, other in pairs:
        both = int((one & other).sum())
        within_four_sigma(both, one.numel(), (1 - p) ** 2, f"places that {what} keep both")


@exercise("dropout")
def test_dropout_reads_any_strides(rng):
    for shape in ((5, 37), (3, 900)):
        x, seed = rng.normal(*shape), random_seed(rng)
        for name, view in layouts(x):
            check_dropout(view, 0.4, seed, name=f"dropout of a {name} input")
        for view in (x[:1].expand(shape), x[:, :1].expand(shape), x[:1, :1].expand(shape)):
            check_dropout(view, 0.4, seed, name=f"dropout of an input of strides {view.stride()}")


@exercise("dropout")
def test_dropout_reads_beyond_int32(rng):
    x, seed = rng.normal(3, 5, dtype=F16), random_seed(rng)
    for name, view in far_apart(x):
        check_dropout(view, 0.4, seed, values=x, name=f"dropout of a {name} input")


@triton.jit
def far_dropout_kernel(x_ptr, out_ptr, start, n, p, scale, seed, BLOCK: tl.constexpr):
    """Element start of a contiguous row of n lies at x_ptr, and goes to out_ptr."""
    day24.dropout_kernel(
        x_ptr - start, out_ptr - start, n, n, n, 1, p, scale, seed, BLOCK=BLOCK, FLAT=True
    )


@exercise("dropout")
def test_dropout_programs_beyond_int32(far_programs, rng):
    x, seed = rng.normal(2 * FEW), random_seed(rng)
    out = torch.full_like(x, nan)
    far_dropout_kernel[(2,)](x, out, FAR, FAR + 2 * FEW, 0.5, 2.0, seed, BLOCK=FEW)
    keep = philox_uniform(2 * FEW, seed, x.device, FAR) >= 0.5
    name = f"what programs {FAR // FEW} and {FAR // FEW + 1} write"
    close(out, torch.where(keep, x.double() * 2, 0.0), dtype=F32, name=name)


@exercise("dropout")
def test_dropout_refuses_what_is_no_probability(rng):
    for p in (-0.1, 1.5, nan):
        refused(day24.dropout, rng.normal(2, 3), p, 0, what=f"p = {p}")
        refused(day24.dropout, rng.normal(0, 3), p, 0, what=f"p = {p} with an empty matrix")


@exercise("dropout")
def test_dropout_loads_and_stores_are_wide(rng):
    # An element's row and column, once computed, hide that 1023 columns lie side by side.
    check_compiled(day24.dropout, rng.normal(16, 1023, dtype=BF16), 0.1, 5)


@exercise("dropout", gpu=True)
@shapes("rows", gpu=[65_537])
def test_dropout_beyond_int32(rows, device, rng):
    columns, seed = 32_768, random_seed(rng)
    x = torch.zeros(rows, columns, dtype=F16, device=device)
    x[-1] = rng.normal(columns)
    out = day24.dropout(x, 0.4, seed)[-1]
    keep = philox_uniform(columns, seed, device, (rows - 1) * columns) >= torch.tensor(
        0.4, device=device
    )
    close(out, torch.where(keep, x[-1].double() / 0.6, 0.0), dtype=F16)


# dropout_residual ---------------------------------------------------------------------------


def check_residual(x, r, p, seed, values=None, name="result", **options):
    near = values or (x, r)
    x64, r64 = (v.double() for v in near)
    keep = kept(x.shape, p, seed, x.device)
    addend = torch.where(keep, x64 * (0.0 if p == 1 else 1 / (1 - p)), 0.0)
    scale = (addend.abs() + r64.abs()).nan_to_num(0.0, 0.0, 0.0)
    out, seen = watch(day24.dropout_residual, x, r, p, seed)
    close(out, r64 + addend, dtype=r.dtype, scale=scale, name=name, **options)
    check_unchanged("x", near[0], x64)
    check_unchanged("r", near[1], r64)
    check_run(seen, out)
    return out


@exercise("dropout_residual")
@shapes("rows, columns, dtype", *SIZES, gpu=LARGE)
def test_residual_matches_float64(rows, columns, dtype, rng):
    x = rng.normal(rows, columns, dtype=DTYPES[dtype], mean=0.5, std=3.0)
    r = rng.normal(rows, columns, dtype=DTYPES[dtype], std=3.0)
    check_residual(x, r, 0.3, random_seed(rng))


@exercise("dropout_residual")
@pytest.mark.parametrize("dtypes", MIXED, ids=str)
def test_residual_of_mixed_dtypes_rounds_once(dtypes, rng):
    x, r = (rng.normal(3, 1000, dtype=dtype, std=10.0) for dtype in dtypes)
    check_residual(x, r, 0.1, random_seed(rng), factor=4.0 if r.dtype == F32 else 0.55)


@exercise("dropout_residual")
@HALVES
def test_residual_adds_in_float32(dtype, rng):
    x, r = rng.normal(3, 1000, dtype=dtype), rng.normal(3, 1000, dtype=dtype, mean=10.0)
    check_residual(x, r, 0.3, random_seed(rng), factor=0.55)
    x = rng.normal(3, 1000, dtype=F16, std=10_000.0)  # scaled, most are beyond float16
    check_residual(x, rng.normal(3, 1000), 0.9, random_seed(rng))


@exercise("dropout_residual")
@pytest.mark.parametrize("p", [0, 0.0, 1e-3, 0.5, 0.999, 1.0, 1])
def test_residual_with_any_p(p, rng):
    x, r = rng.normal(3, 900), rng.normal(3, 900)
    out = check_residual(x, r, p, random_seed(rng), name=f"dropout_residual with p = {p}")
    if p == 1:
        assert torch.equal(out, r), "with p = 1 the stream is to stay as it is, bit for bit"


@exercise("dropout_residual")
def test_residual_where_p_is_one_of_the_numbers(rng):
    seed = random_seed(rng)
    u = philox_uniform(40, seed, rng.device)
    for i in (0, 3, 17, 38):
        name = f"dropout_residual with p = number {i} of the stream"
        check_residual(rng.normal(4, 10), rng.normal(4, 10), u[i].item(), seed, name=name)


@exercise("dropout_residual")
def test_residual_of_nan_and_infinities(rng):
    x, r, seed = rng.normal(30, 40).clone(), rng.normal(30, 40).clone(), random_seed(rng)
    x[::3], x[1::3, ::2], r[::5], r[1::5] = nan, inf, -inf, nan
    for p in (0.0, 0.4, 1.0):
        name = f"dropout_residual of nan and infinities with p = {p}"
        check_residual(x, r, p, seed, name=name)


@exercise("dropout_residual")
@pytest.mark.parametrize("seed", SEEDS)
def test_residual_uses_all_bits_of_the_seed(seed, rng):
    check_residual(rng.normal(3, 33), rng.normal(3, 33), 0.5, seed)


@exercise("dropout_residual")
def test_residual_whatever_the_block_size(block, rng):
    check_residual(rng.normal(3, 67), rng.normal(3, 67), 0.4, random_seed(rng))


@exercise("dropout_residual")
def test_residual_reads_any_strides(rng):
    x, r, seed = rng.normal(3, 900), rng.normal(3, 900), random_seed(rng)
    cases = [(f"the result with a {name} x", view, r) for name, view in layouts(x)]
    cases += [(f"the result with a {name} r", x, view) for name, view in layouts(r)]
    cases += [("the result with an expanded r", x, r[:1].expand(3, 900))]
    for name, a, b in cases:
        check_residual(a, b, 0.4, seed, name=name)


@exercise("dropout_residual")
def test_residual_reads_beyond_int32(rng):
    x, r, seed = rng.normal(3, 5, dtype=F16), rng.normal(3, 5, dtype=F16), random_seed(rng)
    cases = [(f"the result with a {name} x", view, r) for name, view in far_apart(x)]
    cases += [(f"the result with a {name} r", x, view) for name, view in far_apart(r)]
    for name, a, b in cases:
        check_residual(a, b, 0.4, seed, values=(x, r), name=name)


@triton.jit
def far_residual_kernel(x_ptr, r_ptr, out_ptr, start, n, p, scale, seed, BLOCK: tl.constexpr):
    """Element start of contiguous rows of n lies at x_ptr and r_ptr, and goes to out_ptr."""
    day24.dropout_residual_kernel(
        *(x_ptr - start, r_ptr - start, out_ptr - start, n, n, n, 1, n, 1, p, scale, seed),
        BLOCK=BLOCK,
        X_FLAT=True,
        R_FLAT=True,
    )


@exercise("dropout_residual")
def test_residual_programs_beyond_int32(far_programs, rng):
    x, r, seed = rng.normal(2 * FEW), rng.normal(2 * FEW), random_seed(rng)
    out = torch.full_like(x, nan)
    far_residual_kernel[(2,)](x, r, out, FAR, FAR + 2 * FEW, 0.5, 2.0, seed, BLOCK=FEW)
    keep = philox_uniform(2 * FEW, seed, x.device, FAR) >= 0.5
    name = f"what programs {FAR // FEW} and {FAR // FEW + 1} write"
    addend = torch.where(keep, x.double() * 2, 0.0)
    scale = addend.abs() + r.double().abs()
    close(out, r.double() + addend, dtype=F32, scale=scale, name=name)


@exercise("dropout_residual")
def test_residual_refuses_what_is_no_probability(rng):
    x, empty = rng.normal(2, 3), rng.normal(0, 3)
    for p in (-0.1, 1.5, nan):
        refused(day24.dropout_residual, x, x, p, 0, what=f"p = {p}")
        what = f"p = {p} with an empty matrix"
        refused(day24.dropout_residual, empty, empty, p, 0, what=what)


@exercise("dropout_residual")
def test_residual_loads_and_stores_are_wide(rng):
    x, r = (rng.normal(16, 1023, dtype=BF16) for _ in range(2))
    check_compiled(day24.dropout_residual, x, r, 0.1, 5)


@exercise("dropout_residual", gpu=True)
@shapes("rows", gpu=[65_537])
def test_residual_beyond_int32(rows, device, rng):
    columns, seed = 32_768, random_seed(rng)
    x = torch.zeros(rows, columns, dtype=F16, device=device)
    x[-1] = rng.normal(columns)
    out = day24.dropout_residual(x, x, 0.4, seed)[-1]
    keep = philox_uniform(columns, seed, device, (rows - 1) * columns) >= torch.tensor(
        0.4, device=device
    )
    last = x[-1].double()
    close(out, last + torch.where(keep, last / 0.6, 0.0), dtype=F16, scale=last.abs() * 3)
