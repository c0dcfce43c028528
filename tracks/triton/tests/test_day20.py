import math

import pytest
import torch

from harness.testing import close, compiled, exercise, far_apart, layouts, refused, shapes, watch
from tracks.triton import day20

F32, F16, BF16 = "float32", "float16", "bfloat16"
HALVES = [torch.float16, torch.bfloat16]
nan, inf = float("nan"), float("inf")
SIZES = [
    *[(0, 5, 3, F32, 2), (3, 0, 5, F16, 2), (3, 70, 0, F16, 3), (1, 1, 1, F16, 1)],
    *[(65, 63, 17, F32, 2), (5, 7, 300, BF16, 3), (16, 3, 5000, F16, 7), (70, 130, 200, F16, 2)],
    *[(3, 4, 1, F32, 4), (64, 64, 256, BF16, 4), (2, 66, 129, F16, 5), (30, 20, 65, F32, 1)],
]
LARGE = [(512, 512, 16_384, BF16, 8), (16, 4096, 14_336, BF16, 5), (300, 77, 30_001, F16, 13)]


def pair(rng, m, n, k, dtype=torch.float16):
    return rng.normal(m, k, dtype=dtype), rng.normal(k, n, dtype=dtype)


# choose_splits ------------------------------------------------------------------------------


def times(m, n, k, sms):
    """The model's time for each number of parts, from 1 on."""
    config = day20._split_config(m, n, 2)
    tiles = math.ceil(m / config["BLOCK_M"]) * math.ceil(n / config["BLOCK_N"])
    steps = math.ceil(k / config["BLOCK_K"])
    return [
        math.ceil(tiles * s / sms) * (math.ceil(steps / s) + day20.START) + s
        for s in range(1, max(steps, 1) + 1)
    ]


def check_choice(m, n, k, sms):
    of = times(m, n, k, sms)
    expected = of.index(min(of)) + 1
    got = day20.choose_splits(m, n, k, sms)
    what = f"for {m} x {n} x {k} on {sms} multiprocessors"
    in_range = isinstance(got, int) and 1 <= got <= len(of)
    assert in_range, f"{what} there are {got!r} parts, but only 1 to {len(of)} are possible"
    assert got == expected, (
        f"{what} the model's time is {of[got - 1]} with {got} parts, and {of[expected - 1]} with "
        f"{expected}"
    )


@exercise("choose_splits")
@shapes("m, n", (1, 1), (64, 64), (65, 64), (64, 65), (128, 129), (129, 257), (500, 700))
def test_splits_of_small_results(m, n):
    for k in (1, 63, 64, 65, 640, 1000, 4096, 20_000):
        for sms in (1, 7, 108, 132):
            check_choice(m, n, k, sms)


@exercise("choose_splits")
def test_splits_are_one_where_tiles_are_enough():
    for n in (2048, 4096, 8192):
        check_choice(n, n, n, 132)
        got = day20.choose_splits(n, n, n, 132)
        assert got == 1, f"{got} parts for {n} x {n} x {n}, which has tiles enough"


@exercise("choose_splits")
@shapes("m, n, k", (0, 5, 3), (5, 0, 3), (0, 0, 0), (5, 5, 0), (0, 100, 100_000), (1, 1, 64))
def test_splits_of_nothing_and_of_one_step(m, n, k):
    check_choice(m, n, k, 132)


@exercise("choose_splits")
def test_splits_are_the_fewest_of_equals():
    # Both of these have a least time that several numbers of parts reach.
    for m, n, k, sms in ((128, 128, 64 * 30, 132), (64, 64, 64 * 20, 132)):
        of = times(m, n, k, sms)
        assert of.count(min(of)) > 1
        check_choice(m, n, k, sms)


@exercise("choose_splits")
def test_splits_refuse():
    for sms in (0, -1):
        refused(day20.choose_splits, 64, 64, 64, sms, what=f"sms = {sms}")


# The two products ---------------------------------------------------------------------------


def tiles_of(m, n, element_size):
    config = day20._split_config(m, n, element_size)
    return math.ceil(m / config["BLOCK_M"]) * math.ceil(n / config["BLOCK_N"])


def check_grid(launch, a, out, splits):
    grid = (*launch.grid, 1, 1)[:3]
    expected = (tiles_of(*out.shape, a.element_size()), splits, 1)
    assert grid == expected, (
        f"the grid is {launch.grid}: a result of shape {tuple(out.shape)} has {expected[0]} tiles, "
        f"and each has {splits} parts"
    )


def check_contiguous(out):
    assert out.is_contiguous(), f"the result has the strides {out.stride()}: it is to be contiguous"


def check_split_k(a, b, splits, **options):
    out, seen = watch(day20.matmul_split_k, a, b, splits)
    options = {"scale": 1.0, "tile": (64, 64), "name": f"product in {splits} parts"} | options
    k = max(a.shape[1], 1)
    close(out, a.double() @ b.double(), dtype=torch.float32, terms=k, **options)
    check_contiguous(out)
    assert seen.peak_bytes <= 4 * out.numel() + 1024, (
        f"the result takes {4 * out.numel()} bytes, but {seen.peak_bytes} were allocated: is an "
        "input copied, or a part stored?"
    )
    if out.numel() or seen.launches:
        assert len(seen.launches) == 1, f"expected 1 kernel launch, saw {len(seen.launches)}"
        check_grid(seen.launches[0], a, out, splits)


def check_reduce(a, b, splits, **options):
    out, seen = watch(day20.matmul_split_k_reduce, a, b, splits)
    options = {"scale": 1.0, "tile": (64, 64), "name": f"product in {splits} parts"} | options
    k = max(a.shape[1], 1)
    close(out, a.double() @ b.double(), dtype=a.dtype, terms=k, **options)
    check_contiguous(out)
    of_parts, of_out = 4 * splits * out.numel(), out.numel() * out.element_size()
    assert seen.peak_bytes <= of_parts + of_out + 1024, (
        f"the parts and the result take {of_parts + of_out} bytes, but {seen.peak_bytes} were "
        "allocated: is an input copied?"
    )
    if not (out.numel() or seen.launches):
        return
    assert 1 <= len(seen.launches) <= 2, f"expected 2 kernel launches, saw {len(seen.launches)}"
    check_grid(seen.launches[0], a, out, splits)
    assert splits == 1 or seen.peak_bytes >= of_parts, (
        f"{splits} parts as float32 take {of_parts} bytes, but only {seen.peak_bytes} were "
        "allocated: do programs add to the same memory, or are parts rounded?"
    )


BOTH = pytest.mark.parametrize(
    "check",
    [
        pytest.param(check_split_k, marks=exercise("matmul_split_k"), id="atomic"),
        pytest.param(check_reduce, marks=exercise("matmul_split_k_reduce"), id="reduce"),
    ],
)


def views(a, b):
    """Each operand in each layout, the other as it is."""
    m, k = a.shape
    cases = [(f"{name} a", view, b) for name, view in layouts(a)]
    cases += [(f"{name} b", a, view) for name, view in layouts(b)]
    return [*cases, ("repeated row as a", a[:1].expand(m, k), b)]


@BOTH
@shapes("m, n, k, dtype, splits", *SIZES, gpu=LARGE)
def test_product_matches_float64(m, n, k, dtype, splits, check, rng):
    check(*pair(rng, m, n, k, getattr(torch, dtype)), splits)


@BOTH
@pytest.mark.parametrize("splits", [1, 2, 3, 4, 5, 6, 7, 100])
def test_product_has_any_number_of_parts(splits, check, rng):
    check(*pair(rng, 6, 5, 64 * 5 + 3), splits)
    check(*pair(rng, 6, 5, 32 * 6, torch.float32), splits)


@BOTH
@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_product_adds_in_float32(dtype, check, rng):
    # Where the summands cancel, whatever was rounded on the way is seen.
    check(*pair(rng, 60, 50, 700, dtype), 4, factor=0.55)


@BOTH
def test_product_of_parts_that_exceed_float16(check, device):
    a = torch.full((3, 256), 300.0, dtype=torch.float16, device=device)
    b = torch.full((256, 2), 300.0, dtype=torch.float16, device=device)
    b[128:] = -300.0
    b[255] = -299.0  # each part is millions, far beyond 65,504; their sum is 300
    check(a, b, 4)


@BOTH
def test_product_reads_nothing_beyond_k(check, rng):
    # Around each operand lies nan, and 0 * nan is nan.
    surrounded = []
    for shape in ((20, 150), (150, 30)):
        block = torch.full((shape[0] + 150, shape[1] + 150), nan, device=rng.device)
        view = block[: shape[0], : shape[1]]
        view.copy_(rng.normal(*shape))
        surrounded.append(view)
    for splits in (2, 3, 7):
        check(*surrounded, splits)


@BOTH
def test_product_keeps_nan_and_infinity_in_their_places(check, rng):
    a, b = (x.clone() for x in pair(rng, 70, 66, 140, torch.float32))
    a[3, 139], a[69, 0], b[7, 5], b[70, 65] = nan, inf, nan, -inf
    check(a, b, 3)


@BOTH
def test_product_reads_any_strides(check, rng):
    for name, left, right in views(*pair(rng, 40, 50, 140)):
        check(left, right, 2, name=f"product with a {name}")


@BOTH
def test_product_reads_beyond_int32(check, rng):
    a, b = pair(rng, 3, 4, 129)  # the last of three parts begins at 128, beyond int32
    cases = [(f"{name} a", view, b) for name, view in far_apart(a)]
    cases += [(f"{name} b", a, view) for name, view in far_apart(b)]
    for name, left, right in cases:
        check(left, right, 3, name=f"product with a {name}")


@exercise("matmul_split_k")
def test_atomic_refuses(rng):
    check_refuses(day20.matmul_split_k, rng)


@exercise("matmul_split_k_reduce")
def test_reduce_refuses(rng):
    check_refuses(day20.matmul_split_k_reduce, rng)


def check_refuses(f, rng):
    a, b = pair(rng, 4, 5, 6)
    for splits in (0, -1):
        refused(f, a, b, splits, what=f"splits = {splits}")
    refused(f, a, b.T, 2, what="6 columns times 5 rows")
    refused(f, a, b.float(), 2, what="float16 times float32")


def check_compiled(f, rng):
    """The kernel with the tile for large results, for bfloat16."""
    a, b = pair(rng, 96, 112, 128, torch.bfloat16)
    first, *others = compiled(f, a, b, 2)
    for report in (first, *others):
        what = report.kernel
        assert report.refused is None, f"the compiler refuses {what}: {report.refused.text()}"
        assert report.spill_bytes == 0, f"{what} spills {report.spill_bytes} bytes a thread"
        assert report.shared_bytes <= report.shared_limit, f"{what} needs {report.shared_bytes}"
        assert report.widest_load_bits == 128, (
            f"loads of {what} are {report.widest_load_bits} bits wide: neighbouring lanes do not "
            "touch neighbouring addresses, or the compiler cannot see that they do"
        )
    assert "wgmma" in str(first.tensor_core), (
        f"the product is computed by {first.tensor_core or 'no tensor core'}, and not by wgmma"
    )


@exercise("matmul_split_k")
@pytest.mark.parametrize("k, splits", [(256, 4), (300, 2), (300, 3), (320, 4), (100, 3)])
def test_atomic_deals_out_whole_steps(k, splits, rng):
    # A launch of the first parts alone shows which columns of a they have.
    a, b = pair(rng, 3, 4, k)
    config = day20._split_config(3, 4, 2)
    span = math.ceil(math.ceil(k / config["BLOCK_K"]) / splits) * config["BLOCK_K"]
    for parts in range(1, splits + 1):
        out = torch.zeros(3, 4, device=a.device)
        day20.matmul_split_k_kernel[(1, parts)](
            a, b, out, *a.stride(), *b.stride(), 3, 4, k, splits, **config
        )
        expected = a[:, : parts * span].double() @ b[: parts * span].double()
        name = f"sum of the first {parts} of {splits} parts of K = {k}"
        close(out, expected, dtype=torch.float32, terms=k, scale=1.0, name=name)


@exercise("matmul_split_k")
def test_atomic_compiles_to_tensor_cores(rng):
    check_compiled(day20.matmul_split_k, rng)


@exercise("matmul_split_k_reduce")
def test_reduce_compiles_to_tensor_cores(rng):
    check_compiled(day20.matmul_split_k_reduce, rng)


# What only the second promises ---------------------------------------------------------------


def part_by_part(values, device):
    """a and b of float32 whose part s is exactly values[s]."""
    step = day20._split_config(1, 1, 4)["BLOCK_K"]
    a = torch.zeros(1, step * len(values), device=device)
    a[0, ::step] = torch.tensor(values, device=device)
    return a, torch.ones(step * len(values), 1, device=device)


@exercise("matmul_split_k_reduce")
@pytest.mark.parametrize(
    "values, expected",
    [
        ([2.0**24, 1.0, 1.0, -(2.0**24)], 0.0),
        ([1.0, 1.0, 2.0**24, -(2.0**24)], 2.0),
        ([2.0**24, 1.0, -(2.0**24), 1.0], 1.0),
        ([2.0**24, -(2.0**24), 1.0, 1.0], 2.0),
        ([1.0, 2.0**24, -(2.0**24), 1.0], 1.0),
        ([2.0**24, *[1.0] * 16, -(2.0**24)], 0.0),
    ],
)
def test_reduce_adds_the_parts_in_order(values, expected, device):
    a, b = part_by_part(values, device)
    got = day20.matmul_split_k_reduce(a, b, len(values)).item()
    assert got == expected, (
        f"the parts {values} make {got}, but {expected} if they are added one after the other, in "
        "float32 and from the first one on"
    )


@exercise("matmul_split_k_reduce")
@shapes("m, n, k", (33, 20, 700), gpu=[(256, 256, 16_384)])
def test_reduce_is_repeatable(m, n, k, rng):
    for dtype in (torch.float32, torch.bfloat16):
        a, b = pair(rng, m, n, k, dtype)
        first = day20.matmul_split_k_reduce(a, b, 8)
        for _ in range(3 if m < 100 else 50):
            again = day20.matmul_split_k_reduce(a, b, 8)
            different = int((again != first).sum())
            assert not different, f"{different} numbers are others than in the run before"


@exercise("matmul_split_k_reduce")
@pytest.mark.parametrize("dtype", [*HALVES, torch.float32], ids=str)
def test_reduce_returns_the_dtype_of_its_inputs(dtype, rng):
    out = day20.matmul_split_k_reduce(*pair(rng, 3, 4, 5, dtype), 2)
    assert out.dtype == dtype, f"the product of {dtype} matrices is {out.dtype}"


@exercise("matmul_split_k_reduce")
def test_reduce_of_results_around_a_block(rng):
    for m, n in ((31, 33), (32, 32), (25, 41), (2, 1025)):
        check_reduce(*pair(rng, m, n, 3), 2)


@exercise("matmul_split_k_reduce", gpu=True)
@shapes("m, n", gpu=[(16_384, 16_384)])
def test_reduce_has_parts_beyond_int32(m, n, rng):
    a, b = pair(rng, m, n, 600)
    out = day20.matmul_split_k_reduce(a, b, 9)
    close(out[-3:], a[-3:].double() @ b.double(), dtype=a.dtype, terms=600, scale=1.0)
