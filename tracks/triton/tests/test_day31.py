import math
from itertools import islice

import pytest
import torch
import triton
import triton.language as tl

from harness.testing import (
    close,
    compiled,
    exercise,
    far_apart,
    layouts,
    refused,
    shapes,
    watch,
    why_narrow,
)
from tracks.triton import day30, day31

F32, F16, BF16 = torch.float32, torch.float16, torch.bfloat16
DTYPES = {"float32": F32, "float16": F16, "bfloat16": BF16}
BLOCK = {F32: 32, F16: 64, BF16: 64}  # _config's BLOCK_M and BLOCK_N
BAN = ["scaled_dot_product_attention", "logsumexp", "softmax"]
nan, inf = math.nan, math.inf
online_step = day31.online_step  # under its own name, so that known bugs can be tried in its place


# online_step --------------------------------------------------------------------------------


@triton.jit
def steps_kernel(
    m_ptr,
    total_ptr,
    acc_ptr,
    s_ptr,
    v_ptr,
    scale,
    STEPS: tl.constexpr,
    M: tl.constexpr,
    N: tl.constexpr,
    D: tl.constexpr,
):
    """The state after each of STEPS tiles of keys: m and total (STEPS, M), acc (STEPS, M, D)."""
    row, key, d = tl.arange(0, M), tl.arange(0, N), tl.arange(0, D)
    m = tl.full((M,), -float("inf"), tl.float32)
    total = tl.zeros((M,), tl.float32)
    acc = tl.zeros((M, D), tl.float32)
    for step in range(0, STEPS):
        s = tl.load(s_ptr + (step * M + row[:, None]) * N + key[None, :])
        v = tl.load(v_ptr + (step * N + key[:, None]) * D + d[None, :])
        m, total, acc = online_step(m, total, acc, s, v, scale)
        tl.store(m_ptr + step * M + row, m)
        tl.store(total_ptr + step * M + row, total)
        tl.store(acc_ptr + (step * M + row[:, None]) * D + d[None, :], acc)


def check_steps(s, v, scale, name=""):
    """s (steps, queries, keys), not scaled, and v (steps, keys, dim)."""
    steps, queries, keys = s.shape
    dim = v.shape[2]
    m = torch.empty(steps, queries, device=s.device)
    total, acc = torch.empty_like(m), torch.empty(steps, queries, dim, device=s.device)
    steps_kernel[(1,)](m, total, acc, s, v, scale, STEPS=steps, M=queries, N=keys, D=dim)
    factor = torch.tensor(scale, dtype=F32).item()
    for n in range(steps):
        products = s[: n + 1].double().transpose(0, 1).flatten(1)
        values = v[: n + 1].double().flatten(0, 1)
        largest = products.amax(-1)
        top = torch.where(largest == -inf, 0.0, largest)[:, None]
        p = (factor * (products - top)).exp2()
        # Each exponent may be off by a rounding of both of its parts.
        size = torch.where(p > 0, p * (1 + factor * (products.abs() + top.abs())), 0.0)
        after = f" after step {n}{name}"
        close(m[n], largest, dtype=F32, name=f"m{after}")
        options = {"dtype": F32, "terms": (n + 1) * keys}
        close(total[n], p.sum(-1), scale=size.mean(-1), name=f"total{after}", **options)
        if v.dtype != F32:
            size = size + p * torch.finfo(v.dtype).eps / torch.finfo(F32).eps
        each = (size.square() @ values.square() / products.shape[-1]).sqrt()
        close(acc[n], p @ values, scale=each, name=f"acc{after}", **options)


@exercise("online_step")
@pytest.mark.parametrize("dtype", DTYPES)
@shapes("steps, queries, keys, dim", (1, 16, 16, 16), (4, 16, 32, 16), (3, 32, 16, 64))
def test_step_matches_float64(steps, queries, keys, dim, dtype, rng):
    s, v = rng.normal(steps, queries, keys), rng.normal(steps, keys, dim, dtype=DTYPES[dtype])
    check_steps(s, v, 1.3)


@exercise("online_step")
@pytest.mark.parametrize("scale", [0.01, 1.0, 7.0])
def test_step_with_any_scale(scale, rng):
    check_steps(rng.normal(3, 16, 16), rng.normal(3, 16, 16), scale)


@exercise("online_step")
@pytest.mark.parametrize("slope", [-2.0, 0.0, 2.0])
def test_step_with_products_that_rise_or_fall(slope, rng):
    s = rng.normal(4, 16, 16) + slope * torch.arange(4, device=rng.device)[:, None, None]
    check_steps(s, rng.normal(4, 16, 16), 1.0)


@exercise("online_step")
@pytest.mark.parametrize("offset", [-1e4, 1e4])
def test_step_with_large_products(offset, rng):
    s = rng.normal(3, 16, 16) + offset
    check_steps(s, rng.normal(3, 16, 16), 1.0)
    mixed = s.clone()
    mixed[1] *= -1
    check_steps(mixed, rng.normal(3, 16, 16), 1.0)


@exercise("online_step")
def test_step_of_queries_that_see_nothing(rng):
    s = rng.normal(4, 16, 16).clone()
    s[0, 0] = -inf  # query 0 sees nothing in the first tile
    s[:3, 1] = -inf  # query 1 sees nothing until the last one
    s[:, 2] = -inf  # query 2 never does
    s[1:, 3] = -inf  # query 3 sees nothing after the first one
    s[:, 4, 1:] = -inf  # query 4 sees one key in each
    check_steps(s, rng.normal(4, 16, 16), 1.0)
    check_steps(s, rng.normal(4, 16, 16, dtype=BF16), 0.5)


@exercise("online_step")
@pytest.mark.parametrize("dtype", [F16, BF16], ids=str)
def test_step_adds_up_in_float32(dtype, rng):
    """Weights of 1 and many tiles: nothing is rounded but the values, which are what they are."""
    s = torch.zeros(12, 16, 64, device=rng.device)
    check_steps(s, rng.normal(12, 64, 16, dtype=dtype, mean=4.0), 1.0)


# flash_forward_lse and flash_forward_padded -------------------------------------------------


def one_matrix(q, k, v, factor):
    """o and lse of one head in float64, and what may be lost in each: in float32, and in p."""
    queries, keys = q.shape[0], k.shape[0]
    if keys == 0:
        o = torch.zeros(queries, v.shape[1], dtype=torch.float64, device=q.device)
        lse = torch.full((queries,), -inf, dtype=torch.float64, device=q.device)
        return o, lse, torch.zeros_like(o), torch.zeros_like(lse)
    coarse = 0.0 if v.dtype == F32 else torch.finfo(v.dtype).eps / torch.finfo(F32).eps
    q, k, v = q.double(), k.double(), v.double()
    s = factor * (q @ k.mT)
    lse = s.logsumexp(-1)
    p = (s - lse[:, None]).exp()
    top = s.amax(-1, keepdim=True)
    lost = factor * (q.square() @ k.square().mT).sqrt() * math.sqrt(q.shape[1])
    each = p * (1 + lost + s.abs() + top.abs() + coarse)
    return p @ v, lse, (each.square() @ v.square()).sqrt(), 1 + lost.amax(-1) + top[:, 0].abs()


def expected_of(q, k, v, scale, lengths=None):
    """The four of ``one_matrix`` for all heads of all batches."""
    factor = q.shape[3] ** -0.5 if scale is None else scale
    group = q.shape[1] // max(k.shape[1], 1)
    found = []
    for b in range(q.shape[0]):
        n = k.shape[2] if lengths is None else int(lengths[b])
        for h in range(q.shape[1]):
            pair = (x[b, h // group, :n] for x in (k, v))
            found.append(one_matrix(q[b, h], *pair, factor))
    empty = one_matrix(q.new_empty(*q.shape[2:]), k.new_empty(0, q.shape[3]),
                       v.new_empty(0, q.shape[3]), factor)  # fmt: skip
    return [
        torch.stack(parts).unflatten(0, q.shape[:2])
        if found
        else like.new_empty(*q.shape[:2], *like.shape)
        for parts, like in zip(list(zip(*found, strict=True)) or [()] * 4, empty, strict=True)
    ]


def check(q, k, v, scale=None, lengths=None, values=None, name=""):
    f = day31.flash_forward_lse if lengths is None else day31.flash_forward_padded
    arguments = [q, k, v, *([] if lengths is None else [lengths])]
    result, seen = watch(f, *arguments, *([] if scale is None else [scale]))
    assert isinstance(result, (tuple, list)) and len(result) == 2, (
        "two tensors are to be returned: o and lse"
    )
    counts = None if lengths is None else lengths.tolist()
    o, lse, each, slack = expected_of(*(values or (q, k, v)), scale, counts)
    block = BLOCK[q.dtype]
    close(result[1], lse, dtype=F32, scale=slack, tile=(1, 1, block), name=f"lse{name}")
    close(result[0], o, dtype=q.dtype, scale=each, tile=(1, 1, block, q.shape[3]), name=f"o{name}")
    for which, x in zip(("o", "lse"), result, strict=True):
        assert x.is_contiguous(), f"{which} has the strides {x.stride()}: it is to be contiguous"
    size = sum(x.numel() * x.element_size() for x in result)
    assert seen.peak_bytes <= size + 2048, (
        f"o and lse take {size} bytes, but {seen.peak_bytes} were allocated: is an input copied, "
        "or an intermediate result stored?"
    )
    assert not seen.synchronisations, (
        f"the host waited for the GPU: {', '.join(seen.synchronisations)}"
    )
    if not (result[0].numel() or seen.launches):
        return
    assert len(seen.launches) == 1, f"expected 1 kernel launch, saw {len(seen.launches)}"
    rows = day30._config(q.shape[3], q.element_size())["BLOCK_M"]
    due = q.shape[0] * q.shape[1] * math.ceil(q.shape[2] / rows)
    grid = seen.launches[0].grid
    assert math.prod(grid) == grid[0] == due, (
        f"the grid is {grid}, but {due} programs on one axis were due: {q.shape[0]} x {q.shape[1]} "
        f"matrices of {q.shape[2]} queries in tiles of {rows}"
    )


def random_heads(rng, heads, kv_heads, queries, keys, dim, dtype=F32, batch=1):
    q = rng.normal(batch, heads, queries, dim, dtype=dtype)
    return q, *(rng.normal(batch, kv_heads, keys, dim, dtype=dtype) for _ in "kv")


def far_views(*operands):
    """Each operand (3, 3, rows, dim) in turn with one axis far-flung, and only as many matrices as
    that takes: what it is called, the operands, and the operands with the view."""
    for i, which in enumerate("qkv"):
        for batch, heads in ((3, 1), (1, 3), (1, 1)):
            some = [x[:batch, :heads] for x in operands]
            axes = 1 if batch * heads > 1 else 2
            for name, view in islice(far_apart(some[i]), axes):
                yield f"{name} {which}", some, [view if j == i else x for j, x in enumerate(some)]


@pytest.fixture
def long_tiles(monkeypatch):
    """Tiles of three different sizes."""
    tile = {"BLOCK_M": 16, "BLOCK_N": 32, "BLOCK_D": 64, "num_warps": 4, "num_stages": 2}
    for day in (day30, day31):
        monkeypatch.setattr(day, "_config", lambda *sizes: tile)


@exercise("flash_forward_lse", ban=BAN)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("s", [1, 63, 64, 65, 257])
def test_lse_of_any_length(s, dtype, rng):
    check(*random_heads(rng, 1, 1, s, s, 16, DTYPES[dtype]))


@exercise("flash_forward_lse", ban=BAN)
@shapes(
    "dim, dtype",
    *[(1, "float32"), (15, "float16"), (17, "bfloat16"), (80, "bfloat16"), (96, "float32")],
    *[(dim, dtype) for dim in (16, 64, 128) for dtype in DTYPES],
)
def test_lse_of_any_dim(dim, dtype, rng):
    check(*random_heads(rng, 2, 1, 5, 70, dim, DTYPES[dtype]))


@exercise("flash_forward_lse", ban=BAN)
@shapes(
    "batch, heads, kv_heads, queries, keys, dim, dtype",
    *[(2, 6, 2, 5, 7, 24, "float32"), (2, 4, 1, 1, 200, 16, "float16")],
    *[(1, 2, 2, 130, 3, 16, "bfloat16"), (0, 2, 1, 3, 4, 16, "float16")],
    *[(1, 0, 1, 3, 4, 16, "float32"), (1, 2, 1, 0, 4, 16, "float16")],
    gpu=[(2, 8, 2, 2048, 2048, 128, "bfloat16"), (3, 4, 4, 1000, 1531, 80, "float16")],
)
def test_lse_matches_float64(batch, heads, kv_heads, queries, keys, dim, dtype, rng):
    check(*random_heads(rng, heads, kv_heads, queries, keys, dim, DTYPES[dtype], batch))


@exercise("flash_forward_lse", ban=BAN)
@pytest.mark.parametrize("dtype", DTYPES)
def test_lse_without_any_key(dtype, rng):
    check(*random_heads(rng, 4, 2, 3, 0, 16, DTYPES[dtype], batch=2), name=" without any key")


@exercise("flash_forward_lse", ban=BAN)
@pytest.mark.parametrize("scale", [1e-3, 0.25, 1.0, 4.0])
def test_lse_with_a_scale_of_its_own(scale, rng):
    check(*random_heads(rng, 2, 1, 5, 70, 16), scale)


@exercise("flash_forward_lse", ban=BAN)
def test_lse_when_all_scores_are_below_zero(rng):
    """A key that does not exist has the product 0, which would be the largest here."""
    q, k, v = random_heads(rng, 1, 1, 3, 40, 16)
    q, k = q.abs() + 1, -k.abs() - 1
    check(q, k, v)
    check(10 * q, k, v, 10.0)


@exercise("flash_forward_lse", ban=BAN)
@pytest.mark.parametrize("slope", [-1.0, 1.0])
def test_lse_with_scores_that_rise_or_fall(slope, rng):
    q, k, v = (x.clone() for x in random_heads(rng, 1, 1, 5, 100, 16))
    q[..., 0] = 4.0
    k[..., 0] = slope * torch.arange(100, device=k.device) / 8
    check(q, k, v)


@exercise("flash_forward_lse", ban=BAN)
@pytest.mark.parametrize("dtype", DTYPES)
def test_lse_with_large_scores(dtype, rng):
    q, k, v = (x.clone() for x in random_heads(rng, 1, 1, 7, 80, 16, DTYPES[dtype]))
    q[..., 0], k[..., 0] = 100.0, 100.0
    check(q, k, v, 1.0, name=" of scores near 10,000")
    check(q, -k, v, 1.0, name=" of scores near -10,000")
    k[..., 20:60, 0] = -100.0
    check(q, k, v, 1.0, name=" of scores near +-10,000")


@exercise("flash_forward_lse", ban=BAN)
def test_lse_with_tiles_that_are_not_square(rng, long_tiles):
    check(*random_heads(rng, 2, 1, 37, 75, 50))


@exercise("flash_forward_lse", ban=BAN)
def test_lse_over_many_keys(rng):
    check(*random_heads(rng, 1, 1, 3, 4100, 16, BF16))


@exercise("flash_forward_lse", ban=BAN)
def test_lse_refuses(rng):
    q, k, v = random_heads(rng, 4, 2, 5, 6, 8, batch=2)
    for scale in (0.0, -1.0, nan):
        refused(day31.flash_forward_lse, q, k, v, scale, what=f"a scale of {scale}")
    for change, what in (
        ((q, k, v[:, :, :5]), "6 keys and 5 values"),
        ((q.half(), k, v), "queries in float16 and keys in float32"),
        ((q[:, :3], k, v), "3 heads that share 2"),
        (random_heads(rng, 1, 1, 2, 3, 129), "heads of 129 elements"),
    ):
        refused(day31.flash_forward_lse, *change, what=what)


@exercise("flash_forward_lse", ban=BAN)
def test_lse_reads_any_strides(rng):
    operands = random_heads(rng, 2, 1, 5, 7, 8, batch=2)
    for i, which in enumerate("qkv"):
        for name, view in layouts(operands[i]):
            changed = [view if j == i else x for j, x in enumerate(operands)]
            check(*changed, name=f" with a {name} {which}")


@exercise("flash_forward_lse", ban=BAN)
def test_lse_reads_beyond_int32(rng):
    for name, values, views in far_views(*random_heads(rng, 3, 3, 3, 65, 4, F16, batch=3)):
        check(*views, values=values, name=f" with a {name}")


@exercise("flash_forward_lse", ban=BAN)
@pytest.mark.parametrize("dtype", [BF16, F32], ids=str)
def test_lse_compiles_without_spills(dtype, rng):
    (report,) = compiled(day31.flash_forward_lse, *random_heads(rng, 1, 1, 16, 128, 128, dtype))
    assert report.refused is None, f"the compiler refuses the kernel: {report.refused.text()}"
    assert report.spill_bytes == 0, f"the kernel spills {report.spill_bytes} bytes a thread"
    if dtype == F32:
        return
    assert "wgmma" in str(report.tensor_core), (
        f"products are computed by {report.tensor_core or 'no tensor core'}, and not by wgmma"
    )
    for what, width in (("loads", report.widest_load_bits), ("stores", report.widest_store_bits)):
        assert width == 128, f"{what} are {width} bits wide: {why_narrow(report)}"


# flash_forward_padded -----------------------------------------------------------------------


def lengths_of(device, *numbers, dtype=torch.int64):
    return torch.tensor(numbers, dtype=dtype, device=device)


@exercise("flash_forward_padded", ban=BAN)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", [torch.int32, torch.int64], ids=str)
def test_padded_matches_float64(kind, dtype, rng):
    operands = random_heads(rng, 2, 1, 5, 130, 16, DTYPES[dtype], batch=6)
    check(*operands, lengths=lengths_of(rng.device, 0, 1, 63, 130, 64, 65, dtype=kind))


@exercise("flash_forward_padded", ban=BAN)
@shapes(
    "batch, heads, kv_heads, queries, keys, dim, dtype",
    *[(3, 6, 2, 5, 70, 24, "float32"), (3, 4, 1, 1, 200, 16, "float16")],
    *[(3, 2, 2, 130, 3, 40, "bfloat16"), (3, 2, 1, 0, 4, 16, "float16")],
    *[(3, 2, 1, 3, 0, 16, "float32"), (0, 2, 1, 3, 4, 16, "float32")],
    gpu=[(3, 8, 2, 2048, 2048, 128, "bfloat16")],
)
def test_padded_of_any_shape(batch, heads, kv_heads, queries, keys, dim, dtype, rng):
    lengths = [keys // 2, keys, min(keys, 1)][:batch]
    check(*random_heads(rng, heads, kv_heads, queries, keys, dim, DTYPES[dtype], batch),
          lengths=lengths_of(rng.device, *lengths))  # fmt: skip


@exercise("flash_forward_padded", ban=BAN)
@pytest.mark.parametrize("value", [nan, inf, 1e30])
def test_padding_has_no_effect(value, rng):
    q, k, v = (x.clone() for x in random_heads(rng, 2, 2, 4, 70, 16, batch=3))
    lengths = (0, 5, 33)
    for x in (k, v):
        for b, n in enumerate(lengths):
            x[b, :, n:] = value
    check(q, k, v, lengths=lengths_of(rng.device, *lengths), name=f" with {value} in the padding")


@exercise("flash_forward_padded", ban=BAN)
def test_padded_with_tiles_that_are_not_square(rng, long_tiles):
    operands = random_heads(rng, 2, 1, 37, 75, 50, batch=2)
    check(*operands, lengths=lengths_of(rng.device, 40, 75))


@exercise("flash_forward_padded", ban=BAN)
def test_padded_takes_no_step_for_padding(rng):
    """Four million keys, all in one place, of which batch 0 has 40 and batch 1 none."""
    q, k, v = random_heads(rng, 1, 1, 3, 1, 16, batch=2)
    k, v = (x.expand(2, 1, 2**22, 16) for x in (k, v))
    check(q, k, v, lengths=lengths_of(rng.device, 40, 0), name=" with millions of keys of padding")


@exercise("flash_forward_padded", ban=BAN)
def test_padded_reads_any_strides(rng):
    operands = random_heads(rng, 2, 2, 5, 7, 8, batch=2)
    lengths = lengths_of(rng.device, 7, 2)
    for i, which in enumerate("qkv"):
        for name, view in layouts(operands[i]):
            changed = [view if j == i else x for j, x in enumerate(operands)]
            check(*changed, lengths=lengths, name=f" with a {name} {which}")
    for name, view in layouts(lengths):
        check(*operands, lengths=view, name=f" with {name} lengths")
    check(*operands, lengths=lengths[1:].expand(2), name=" with one length for all")


@exercise("flash_forward_padded", ban=BAN)
def test_padded_reads_beyond_int32(rng):
    operands = random_heads(rng, 3, 3, 3, 3, 4, F16, batch=3)
    lengths = lengths_of(rng.device, 3, 2, 1)
    for name, values, views in far_views(*operands):
        check(*views, values=values, lengths=lengths[: len(views[0])], name=f" with a {name}")
    (_, view), *_ = far_apart(lengths.int())
    check(*operands, lengths=view, name=" with far-flung lengths")


@exercise("flash_forward_padded", ban=BAN)
@pytest.mark.parametrize("scale", [0.25, 2.0])
def test_padded_with_a_scale_of_its_own(scale, rng):
    operands = random_heads(rng, 2, 1, 5, 40, 16, batch=2)
    check(*operands, scale, lengths=lengths_of(rng.device, 33, 9))


@exercise("flash_forward_padded", ban=BAN)
def test_padded_refuses(rng):
    q, k, v = random_heads(rng, 4, 2, 5, 6, 8, batch=2)
    fine = lengths_of(rng.device, 6, 3)
    for scale in (0.0, -1.0, nan):
        refused(day31.flash_forward_padded, q, k, v, fine, scale, what=f"a scale of {scale}")
    for lengths, what in (
        (fine[:1], "1 length for 2 batches"),
        (fine.repeat(2), "4 lengths for 2 batches"),
        (fine[:, None], "lengths with two axes"),
    ):
        refused(day31.flash_forward_padded, q, k, v, lengths, what=what)
    refused(day31.flash_forward_padded, q, k, v[:, :, :5], fine, what="6 keys and 5 values")
