"""Day 2: values against float64, and that no amount of input needs more calls."""

import pytest
import torch

from harness.testing import close, exercise, layouts, shapes, watch
from tracks.pytorch import day02

FLOATS = [torch.float32, torch.float64, torch.float16, torch.bfloat16]


def same_calls(f, small, large):
    """The number of operators must not grow with the input."""
    _, few = watch(f, *small)
    _, many = watch(f, *large)
    assert len(many.operators) <= len(few.operators), (
        f"{len(few.operators)} torch operators for a small input, {len(many.operators)} for a "
        "larger one: there is a loop over its elements"
    )


# pairwise_distances --------------------------------------------------------------------------

DISTANCE = ["cdist", "pairwise_distance", "pdist"]


def distances(a, b):
    return (a.double()[..., :, None, :] - b.double()[..., None, :, :]).square().sum(-1).sqrt()


@exercise("pairwise_distances", ban=DISTANCE)
@shapes("n, m, d", (1, 1, 1), (3, 5, 4), (5, 3, 17), (2, 4, 0), (0, 3, 2),
        gpu=[(1000, 1001, 64)])  # fmt: skip
def test_distances(n, m, d, device, rng):
    for dtype in FLOATS:
        a, b = rng.normal(n, d, dtype=dtype), rng.normal(m, d, dtype=dtype)
        close(day02.pairwise_distances(a, b), distances(a, b), dtype=dtype, terms=d)


@exercise("pairwise_distances", ban=DISTANCE)
def test_distances_of_any_layout(device, rng):
    a, b = rng.normal(4, 6), rng.normal(3, 6)
    for layout, x in layouts(a):
        close(day02.pairwise_distances(x, b), distances(a, b), dtype=a.dtype, terms=6, name=layout)
    for layout, x in layouts(b):
        close(day02.pairwise_distances(a, x), distances(a, b), dtype=a.dtype, terms=6, name=layout)


@exercise("pairwise_distances", ban=DISTANCE)
@shapes("left, right, result", ((2, 3, 4), (2, 5, 4), (2, 3, 5)), ((2, 3, 4), (5, 4), (2, 3, 5)),
        ((2, 1, 3, 4), (6, 5, 4), (2, 6, 3, 5)), ((3, 4), (2, 3, 4), (2, 3, 3)))  # fmt: skip
def test_distances_broadcast(left, right, result, device, rng):
    a, b = rng.normal(*left), rng.normal(*right)
    got = day02.pairwise_distances(a, b)
    assert got.shape == result, f"{left} and {right} should give {result}, not {tuple(got.shape)}"
    close(got, distances(a, b), dtype=a.dtype, terms=4)


@exercise("pairwise_distances", ban=DISTANCE)
def test_distances_far_from_the_origin(device, rng):
    a, b = rng.normal(6, 8, mean=3000, std=0.01), rng.normal(7, 8, mean=3000, std=0.01)
    close(day02.pairwise_distances(a, b), distances(a, b), dtype=a.dtype, terms=8,
          name="distances of about 0.04 at 3000 from the origin")  # fmt: skip
    close(day02.pairwise_distances(a, a).diagonal(), torch.zeros(6, device=device),
          name="distance of a point from itself")  # fmt: skip


@exercise("pairwise_distances", ban=DISTANCE)
def test_distances_of_large_half_precision_numbers(device, rng):
    a, b = (rng.normal(n, 5, dtype=torch.float16, std=2000) for n in (3, 4))
    got = day02.pairwise_distances(a, b)
    assert got.isfinite().all(), "the distances fit into float16, but their squares do not"
    close(got, distances(a, b), dtype=torch.float16, terms=5)


@exercise("pairwise_distances", ban=DISTANCE)
def test_distances_promote(device, rng):
    for left, right, dtype in [
        (torch.uint8, torch.uint8, torch.float32),
        (torch.int64, torch.int32, torch.float32),
        (torch.uint8, torch.float64, torch.float64),
        (torch.float32, torch.float64, torch.float64),
        (torch.int64, torch.bfloat16, torch.bfloat16),
        (torch.float16, torch.bfloat16, torch.float32),
    ]:
        a, b = rng.integers(0, 256, 3, 4).to(left), rng.integers(0, 256, 5, 4).to(right)
        close(day02.pairwise_distances(a, b), distances(a, b), dtype=dtype, terms=4,
              name=f"{left} with {right}")  # fmt: skip


@exercise("pairwise_distances", ban=DISTANCE)
def test_distances_have_no_loop(device, rng):
    small, large = (rng.normal(2, 3), rng.normal(2, 3)), (rng.normal(9, 3), rng.normal(8, 3))
    same_calls(day02.pairwise_distances, small, large)


# batched_outer -------------------------------------------------------------------------------

OUTER = ["outer", "ger", "einsum"]


@exercise("batched_outer", ban=OUTER)
@shapes("n, m", (1, 1), (3, 5), (4, 1), (0, 2))
def test_outer(n, m, device, rng):
    for dtype in [*FLOATS, torch.int64]:
        a, b = rng.normal(2, n, std=9).to(dtype), rng.normal(2, m, std=9).to(dtype)
        wanted = torch.stack([a.double() * b[:, j, None].double() for j in range(m)], -1)
        for layout, x in layouts(a):
            close(day02.batched_outer(x, b), wanted.to(dtype),
                  name=f"({n},) with ({m},), {layout} a")  # fmt: skip


@exercise("batched_outer", ban=OUTER)
@shapes("left, right, result", ((3,), (4,), (3, 4)), ((2, 3), (4,), (2, 3, 4)),
        ((3,), (2, 4), (2, 3, 4)), ((5, 1, 3), (4, 2), (5, 4, 3, 2)),
        ((1, 3), (6, 3), (6, 3, 3)))  # fmt: skip
def test_outer_broadcasts(left, right, result, device, rng):
    a, b = rng.normal(*left), rng.normal(*right)
    got = day02.batched_outer(a, b)
    assert got.shape == result, f"{left} and {right} should give {result}, not {tuple(got.shape)}"
    for i in range(left[-1]):
        for j in range(right[-1]):
            wanted = a[..., i].double() * b[..., j].double()
            close(got[..., i, j], wanted, dtype=a.dtype, name=f"result[..., {i}, {j}]")


@exercise("batched_outer", ban=OUTER)
def test_outer_promotes(device, rng):
    for left, right, dtype in [
        (torch.int64, torch.float32, torch.float32),
        (torch.float32, torch.float64, torch.float64),
        (torch.bool, torch.int32, torch.int32),
        (torch.uint8, torch.int8, torch.int16),
    ]:
        a, b = rng.integers(0, 2, 3).to(left), rng.integers(0, 100, 4).to(right)
        wanted = torch.tensor([[x * y for y in b.tolist()] for x in a.tolist()], device=device)
        close(day02.batched_outer(a, b), wanted.to(dtype), name=f"{left} with {right}")


@exercise("batched_outer", ban=OUTER)
def test_outer_has_no_loop(device, rng):
    small, large = (rng.normal(2, 3), rng.normal(2, 2)), (rng.normal(9, 7), rng.normal(9, 8))
    same_calls(day02.batched_outer, small, large)


# normalize -----------------------------------------------------------------------------------


def unit(x, dim):
    x = x.double()
    length = x.square().sum(dim, keepdim=True).sqrt()
    return torch.where(length == 0, 0.0, x / torch.where(length == 0, 1.0, length))


@exercise("normalize", ban=["normalize"])
@pytest.mark.parametrize("dtype", FLOATS)
def test_normalize(dtype, device, rng):
    base = rng.normal(3, 5, 7, dtype=dtype)
    factor = 0.6 if dtype.itemsize == 2 else 4  # half precision is to be rounded once: 0.5
    for dim in (-1, 0, 1, (0, 2), (-1, -2), (0, 1, 2)):
        for layout, x in layouts(base):
            close(day02.normalize(x, dim), unit(base, dim), dtype=dtype, terms=8,
                  factor=factor, name=f"dim={dim}, {layout} x")  # fmt: skip


@exercise("normalize", ban=["normalize"])
def test_normalize_takes_the_last_axis_unless_told(device, rng):
    x = rng.normal(4, 6)
    close(day02.normalize(x), unit(x, -1), dtype=x.dtype, terms=6)


@exercise("normalize", ban=["normalize"])
@pytest.mark.parametrize("dtype", FLOATS)
def test_normalize_keeps_zero_vectors(dtype, device, rng):
    x = rng.normal(5, 6, dtype=dtype).clone()
    x[1], x[3], x[:, 2] = 0, 0, 0
    close(day02.normalize(x, 1), unit(x, 1), dtype=dtype, terms=6, name="rows 1 and 3 are zero")
    close(day02.normalize(x, 0), unit(x, 0), dtype=dtype, terms=6, name="column 2 is zero")


@exercise("normalize", ban=["normalize"])
@pytest.mark.parametrize(
    "dtype, sizes",
    [
        (torch.float32, [1e-30, 1e-20, 1e-6, 1.0, 1e20, 1e37]),
        (torch.bfloat16, [1e-30, 1e30]),
        (torch.float16, [1e-4, 300.0, 20000.0]),
        (torch.float64, [1e-200, 1e200]),
    ],
)
def test_normalize_every_magnitude(dtype, sizes, device, rng):
    factors = torch.tensor(sizes, dtype=torch.float64, device=device)[:, None]
    x = (rng.uniform(len(sizes), 8, low=-1, dtype=torch.float64) * factors).to(dtype)
    wanted = unit(x.double() / factors, -1)
    close(day02.normalize(x), wanted, dtype=dtype, terms=8, name=f"vectors of size {sizes}")


@exercise("normalize", ban=["normalize"])
def test_normalize_whole_numbers(device, rng):
    for dtype in (torch.int64, torch.uint8, torch.int8):
        x = rng.integers(-128, 128, 4, 9).clone().to(dtype)
        x[:, 0] = -128 if dtype.is_signed else 128  # int8 holds no +128
        close(day02.normalize(x), unit(x, -1), dtype=torch.float32, terms=9, name=f"{dtype}")


@exercise("normalize", ban=["normalize"])
def test_normalize_has_no_loop(device, rng):
    same_calls(day02.normalize, (rng.normal(2, 3), 0), (rng.normal(20, 30), 0))


# einsum_suite --------------------------------------------------------------------------------


def suite(a, c, v, w):
    """The same without einsum, in float64."""
    a, c, v, w = a.double(), c.double(), v.double(), w.double()
    flat = c.reshape(len(c), c.shape[1] * c.shape[2])
    return {
        "diagonals": a.diagonal(dim1=1, dim2=2),
        "traces": a.diagonal(dim1=1, dim2=2).sum(-1),
        "column_sums": a.sum(1),
        "products": a @ c,
        "quadratic": (a * v[:, None] * v).sum((1, 2)),
        "grams": c.mT @ c,
        "similar": flat @ flat.T,
        "heads": c[:, None] @ w,
    }


@exercise("einsum_suite")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@shapes("B, N, M, H, E", (1, 1, 1, 1, 1), (2, 3, 4, 5, 6), (5, 4, 4, 4, 3))
def test_einsum_suite(B, N, M, H, E, dtype, device, rng):
    a, c = rng.normal(B, N, N, dtype=dtype), rng.normal(B, N, M, dtype=dtype)
    v, w = rng.normal(N, dtype=dtype), rng.normal(H, M, E, dtype=dtype)
    made, wanted = day02.einsum_suite(a, c, v, w), suite(a, c, v, w)
    assert set(made) == set(wanted), f"the names are {sorted(wanted)}, not {sorted(made)}"
    for name, expected in wanted.items():
        close(made[name], expected, dtype=dtype, terms=N * max(N, M), scale=3.0, name=name)


@exercise("einsum_suite")
def test_einsum_suite_has_no_loop(device, rng):
    def inputs(n):
        return rng.normal(n, n, n), rng.normal(n, n, n), rng.normal(n), rng.normal(n, n, n)

    same_calls(day02.einsum_suite, inputs(3), inputs(6))


# topk_mask -----------------------------------------------------------------------------------


def best_k(row, k):
    """By Python's own sort, which is stable."""
    chosen = set(sorted(range(len(row)), key=lambda i: -row[i])[:k])
    return [i in chosen for i in range(len(row))]


def best_k_of(x, k):
    rows = [best_k(row, k) for row in x.double().reshape(-1, x.shape[-1]).tolist()]
    return torch.tensor(rows, dtype=torch.bool, device=x.device).reshape(x.shape)


@exercise("topk_mask")
@pytest.mark.parametrize("dtype", [*FLOATS, torch.int64, torch.uint8])
def test_topk_mask(dtype, device, rng):
    x = rng.normal(4, 7, mean=100, std=40).clamp(0, 255)
    x[:, 2] = 0  # for an unsigned type its own negative
    x = x.to(dtype)
    for k in (0, 1, 3, 7, 9):
        close(day02.topk_mask(x, k), best_k_of(x, k), name=f"topk_mask(x, {k}) of 7 columns")


@exercise("topk_mask")
def test_topk_mask_of_any_shape_and_layout(device, rng):
    for shape in [(1,), (5,), (2, 3, 6), (0, 4), (3, 0)]:
        base = rng.normal(*shape)
        nothing = torch.zeros_like(base, dtype=torch.bool)
        for layout, x in layouts(base):
            wanted = best_k_of(base, 2) if base.numel() else nothing
            close(day02.topk_mask(x, 2), wanted, name=f"mask of a {layout} x of shape {shape}")


@exercise("topk_mask")
def test_topk_mask_of_equal_elements(device, rng):
    x = rng.integers(0, 3, 20, 50)  # nearly everything is equal to something
    for k in (1, 10, 25, 40):
        got = day02.topk_mask(x, k)
        counts = set(got.sum(-1).tolist())
        assert counts == {k}, f"k = {k}, but rows hold {sorted(counts)} True"
        close(got, best_k_of(x, k), name=f"of equal elements the first are taken, k = {k}:")


@exercise("topk_mask")
def test_topk_mask_of_infinities(device):
    inf = torch.inf
    x = torch.tensor([[-inf] * 4, [inf, -inf, inf, 0.0], [-inf, -inf, 1.0, -inf]], device=device)
    close(day02.topk_mask(x, 2), best_k_of(x, 2), name="rows with infinities")


@exercise("topk_mask")
def test_topk_mask_refuses_a_negative_k(device, rng):
    with pytest.raises(ValueError):
        day02.topk_mask(rng.normal(2, 3), -1)
        pytest.fail("the -1 largest elements were found")


@exercise("topk_mask")
def test_topk_mask_has_no_loop(device, rng):
    same_calls(day02.topk_mask, (rng.normal(2, 3), 1), (rng.normal(20, 30), 9))


# segment_sum ---------------------------------------------------------------------------------


def grouped(values, ids, n):
    out = torch.zeros(n, *values.shape[1:], dtype=torch.float64, device=values.device)
    for value, i in zip(values.double(), ids.tolist(), strict=True):
        out[i] += value
    return out


@exercise("segment_sum", ban=["segment_reduce"])
@shapes("length, rest, n", (1, (), 1), (40, (), 7), (25, (3,), 30), (30, (2, 3), 4), (0, (5,), 3),
        (6, (0,), 2))  # fmt: skip
def test_segment_sum(length, rest, n, device, rng):
    for dtype in FLOATS:
        values = rng.normal(length, *rest, dtype=dtype)
        ids = rng.integers(0, n, length + 1)[:length]
        close(day02.segment_sum(values, ids, n), grouped(values, ids, n), dtype=dtype,
              terms=max(length, 1), scale=2.0)  # fmt: skip


@exercise("segment_sum", ban=["segment_reduce"])
def test_segment_sum_of_any_layout(device, rng):
    values, ids = rng.normal(12, 5), rng.integers(0, 4, 12)
    for layout, x in layouts(values):
        close(day02.segment_sum(x, ids, 4), grouped(values, ids, 4), dtype=values.dtype,
              terms=12, scale=2.0, name=f"{layout} values")  # fmt: skip
    for layout, x in layouts(ids):
        close(day02.segment_sum(values, x, 4), grouped(values, ids, 4), dtype=values.dtype,
              terms=12, scale=2.0, name=f"{layout} ids")  # fmt: skip


@exercise("segment_sum", ban=["segment_reduce"])
def test_segment_sum_of_whole_numbers(device, rng):
    for dtype in (torch.int64, torch.uint8, torch.bool):
        values, ids = rng.integers(0, 200, 300).to(dtype), rng.integers(0, 3, 300)
        close(day02.segment_sum(values, ids, 3), grouped(values, ids, 3).long(),
              name=f"sums of {dtype}")  # fmt: skip


@exercise("segment_sum", ban=["segment_reduce"])
def test_segment_sum_of_large_whole_numbers(device):
    values = torch.tensor([2**60, 3, 2**60, -5], device=device)
    got = day02.segment_sum(values, torch.tensor([1, 0, 1, 1], device=device), 2)
    assert got.tolist() == [3, 2**61 - 5], "a floating point type loses the last digits of int64"


@exercise("segment_sum", ban=["segment_reduce"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_segment_sum_of_many_small_numbers(dtype, device):
    values = torch.ones(6000, dtype=dtype, device=device)
    ids = torch.arange(6000, device=device) % 2
    wanted = torch.tensor([3000.0, 3000.0], dtype=torch.float64, device=device)
    close(day02.segment_sum(values, ids, 2), wanted, dtype=dtype, name="3000 ones in each segment")


@exercise("segment_sum", ban=["segment_reduce"])
def test_segment_sum_memory(device, rng):
    values, ids = rng.normal(3000, 2), rng.integers(0, 1000, 3000)
    got, seen = watch(day02.segment_sum, values, ids, 1000)
    own = 4 * (values.numel() + got.numel())
    assert seen.peak_bytes <= 4 * own, (
        f"{seen.peak_bytes} bytes at the peak; values and result together take {own}"
    )


@exercise("segment_sum", ban=["segment_reduce"])
def test_segment_sum_has_no_loop(device, rng):
    small = (rng.normal(3, 2), rng.integers(0, 2, 3), 2)
    large = (rng.normal(50, 2), rng.integers(0, 20, 50), 20)
    same_calls(day02.segment_sum, small, large)


@exercise("segment_sum", seconds=60)
def test_segment_sum_compiles(device, rng):
    f = torch.compile(day02.segment_sum, backend="aot_eager", fullgraph=True, dynamic=False)
    values, ids = rng.normal(9, 2, dtype=torch.bfloat16), rng.integers(0, 4, 9)
    close(f(values, ids, 4), grouped(values, ids, 4), dtype=values.dtype, terms=9, scale=2.0)


@exercise("normalize", seconds=60)
def test_normalize_compiles(device, rng):
    f = torch.compile(day02.normalize, backend="aot_eager", fullgraph=True, dynamic=False)
    x = rng.normal(3, 5)
    close(f(x, 0), unit(x, 0), dtype=x.dtype, terms=3)
