import math

import pytest
import torch

from harness.testing import (
    close,
    compiled,
    exercise,
    far_apart,
    layouts,
    one_launch,
    refused,
    shapes,
    watch,
    why_narrow,
)
from tracks.triton import day33

F32, F64, F16, BF16 = torch.float32, torch.float64, torch.float16, torch.bfloat16
DTYPES = {"float32": F32, "float16": F16, "bfloat16": BF16}
CAUSAL = pytest.mark.parametrize("causal", [False, True], ids=["full", "causal"])
inf, nan = math.inf, math.nan
BAN = ["scaled_dot_product_attention", "grad", "backward", "vjp", "softmax_backward_data"]
ITSELF = [*BAN, "softmax", "log_softmax", "logsumexp"]
# Today torch may compute; the track's rule would refuse it. What a learner might call:
ALLOW = (
    "abs add addbmm addcdiv addcmul addmm all amax any arange baddbmm bitwise_and bitwise_not "
    "bitwise_or bmm cat ceil clamp clamp_max clamp_min clone constant_pad_nd copy div einsum eq "
    "exp exp2 expm1 ge gather gt index index_add index_copy index_fill index_put index_select "
    "isfinite isinf isnan isneginf le log log2 logical_and logical_not logical_or logical_xor lt "
    "masked_fill masked_scatter max maximum mean min minimum mm mul mv nan_to_num ne neg "
    "new_tensor pow promote_types result_type reciprocal remainder repeat rsqrt rsub scatter "
    "select_scatter sign slice_scatter softmax logsumexp log_softmax sqrt square stack sub sum "
    "to_copy tril triu unsafe_index unsafe_split unsafe_view where"
).split()


def graded(name, ban=BAN):
    return exercise(name, ban=ban, allow=ALLOW)


# In float64 ---------------------------------------------------------------------------------


def scores64(q, k, causal, scale):
    """With -inf where a query does not see a key; k is repeated for each head of q."""
    s = scale * (q @ k.mT)
    if causal:
        i, j = (torch.arange(n, device=s.device) for n in s.shape[-2:])
        s = torch.where(j <= i[:, None] + s.shape[-1] - s.shape[-2], s, -inf)
    return s


def forward64(q, k, v, causal, scale):
    """o in q's dtype and lse in float32, as day 32 returns them; and o in float64."""
    group = q.shape[1] // max(k.shape[1], 1)
    q64, k64, v64 = q.double(), *(x.double().repeat_interleave(group, 1) for x in (k, v))
    s = scores64(q64, k64, causal, scale)
    p = torch.where(s == -inf, 0.0, s.softmax(-1))
    lse = s.logsumexp(-1) if s.shape[-1] else torch.full_like(s.sum(-1), -inf)
    return (p @ v64).to(q.dtype), lse.float(), p @ v64


def shared(x, group):
    """Summed over the heads of q that share a head of k and v."""
    return x.reshape(x.shape[0], x.shape[1] // max(group, 1), group, *x.shape[2:]).sum(2)


def gradients64(q, k, v, o, lse, do, causal, scale):
    """dq, dk, dv, each with what float32 may lose on the way, from the o and lse that are given."""
    group = q.shape[1] // max(k.shape[1], 1)
    dim = math.sqrt(q.shape[3])
    q, k, v, o, lse, do = (x.double() for x in (q, k, v, o, lse, do))
    k, v = (x.repeat_interleave(group, 1) for x in (k, v))
    s = scores64(q, k, causal, scale)
    low = torch.where(lse == -inf, inf, lse)[..., None]
    p = (s - low).exp()
    delta = (do * o).sum(-1, keepdim=True)
    dp = do @ v.mT
    ds = p * (dp - delta)
    # A score may be off by an eps of its summands' size and of itself, a weight by that share.
    lost = 1 + abs(scale) * (q.square() @ k.square().mT).sqrt() * dim
    lost = lost + torch.where(p > 0, s.abs() + low.abs(), 0.0)
    p_size = p * lost
    dp_size = ((do.square() @ v.square().mT).sqrt() + (do * o).norm(dim=-1, keepdim=True)) * dim
    ds_size = p * dp_size + p * lost * (dp.abs() + delta.abs())
    # Partial sums of a long sum are rounded, too.
    rows, columns = (1 + math.sqrt(n / 16) for n in s.shape[-2:])

    def summed(weights, others, runs, group=1):
        return shared(runs**2 * (weights.square() @ others.square()), group).sqrt()

    return (
        (scale * (ds @ k), abs(scale) * summed(ds_size, k, columns)),
        (scale * shared(ds.mT @ q, group), abs(scale) * summed(ds_size.mT, q, rows, group)),
        (shared(p.mT @ do, group), summed(p_size.mT, do, rows, group)),
    )


def operands(rng, batch, heads, kv_heads, queries, keys, dim, dtype=F32):
    """q, k, v and do."""
    q, do = (rng.normal(batch, heads, queries, dim, dtype=dtype) for _ in range(2))
    k, v = (rng.normal(batch, kv_heads, keys, dim, dtype=dtype) for _ in range(2))
    return q, k, v, do


def close_all(results, expected, dtype, about=""):
    assert isinstance(results, (tuple, list)) and len(results) == 3, "dq, dk, dv are to be returned"
    for which, x, (right, size) in zip("qkv", results, expected, strict=True):
        close(x, right, dtype=dtype, scale=size, name=f"d{which}{about}")


SIZES = [
    *[(1, 1, 1, 1, 1, 1), (2, 2, 2, 4, 4, 3), (1, 2, 1, 5, 9, 8), (2, 4, 2, 9, 5, 4)],
    *[(1, 5, 1, 6, 2, 2), (0, 2, 1, 3, 4, 8), (2, 2, 1, 0, 4, 8), (1, 2, 1, 4, 0, 8)],
    *[(1, 0, 0, 3, 4, 2), (1, 6, 2, 3, 4, 2)],
]
TYPED = [(size, list(DTYPES.values())[i % 3]) for i, size in enumerate(SIZES)]
NAMES = "batch, heads, kv_heads, queries, keys, dim"


# attention_backward_reference ---------------------------------------------------------------


def check_reference(q, k, v, do, causal=False, scale=None, about=""):
    arguments = (causal,) if scale is None else (causal, scale)
    results = day33.attention_backward_reference(q, k, v, do, *arguments)
    factor = q.shape[3] ** -0.5 if scale is None else scale
    _, lse, o = forward64(q, k, v, causal, factor)
    s = scores64(q.double(), k.double().repeat_interleave(q.shape[1] // max(k.shape[1], 1), 1),
                 causal, factor)  # fmt: skip
    lse = s.logsumexp(-1) if s.shape[-1] else lse
    close_all(results, gradients64(q, k, v, o, lse, do, causal, factor), q.dtype, about)


@graded("attention_backward_reference")
@CAUSAL
@shapes(f"{NAMES}, dtype", *[(*s, F64) for s in SIZES], *[(*s, t) for s, t in TYPED])
def test_reference_matches_the_formulas(
    batch, heads, kv_heads, queries, keys, dim, dtype, causal, rng
):
    check_reference(*operands(rng, batch, heads, kv_heads, queries, keys, dim, dtype), causal)


class Attention(torch.autograd.Function):
    """The forward pass of this file, the backward pass of the day in hand."""

    @staticmethod
    def forward(ctx, q, k, v, causal, scale):
        ctx.save_for_backward(q, k, v)
        ctx.rest = causal, scale
        return forward64(q, k, v, causal, scale)[2]

    @staticmethod
    def backward(ctx, do):
        q, k, v = ctx.saved_tensors
        return *day33.attention_backward_reference(q, k, v, do, *ctx.rest), None, None


@graded("attention_backward_reference", ban=())
@CAUSAL
@shapes("heads, kv_heads, queries, keys", (2, 2, 3, 3), (2, 1, 2, 4), (1, 1, 4, 2))
def test_reference_is_the_slope(heads, kv_heads, queries, keys, causal, rng):
    """gradcheck: each input is moved a little, and the loss must follow as dq, dk and dv say."""
    q, k, v, _ = operands(rng, 1, heads, kv_heads, queries, keys, 3, F64)
    leaves = [x.clone().requires_grad_() for x in (q, k, v)]
    same = torch.autograd.gradcheck(
        lambda *x: Attention.apply(*x, causal, 0.7), leaves, raise_exception=False
    )
    assert same, "moving q, k and v a little, the loss does not change as dq, dk and dv say"


@graded("attention_backward_reference")
@pytest.mark.parametrize("scale", [0.0, -0.5, 1.0, 3.0])
def test_reference_with_a_scale_of_its_own(scale, rng):
    check_reference(*operands(rng, 1, 2, 1, 5, 7, 4, F64), True, scale)


@graded("attention_backward_reference")
def test_reference_refuses(rng):
    q, k, v, do = operands(rng, 2, 4, 2, 5, 6, 8)
    for change, what in (
        ((q, k, rng.normal(2, 2, 5, 8), do), "6 keys and 5 values"),
        ((q, *(rng.normal(2, 3, 6, 8),) * 2, do), "4 heads that share 3"),
        ((q, k, v, rng.normal(2, 4, 6, 8)), "5 queries and 6 rows of do"),
        ((q, k, v, do.half()), "queries in float32 and do in float16"),
    ):
        refused(day33.attention_backward_reference, *change, what=what)


# delta --------------------------------------------------------------------------------------


def check_delta(o, do, about="", values=None):
    out, seen = watch(day33.delta, o, do)
    products = [x.double() for x in (values or (o, do))]
    products = products[0] * products[1]
    dim = products.shape[-1]
    close(out, products.sum(-1), dtype=F32, terms=dim, scale=products.norm(dim=-1) / dim**0.5,
          name=f"delta{about}")  # fmt: skip
    launch = one_launch(seen, out)
    if launch is not None:
        rows = day33._delta_config(dim)["BLOCK_M"]
        due = o.shape[0] * o.shape[1] * -(-o.shape[2] // rows)
        assert launch.programs == due, f"{launch.programs} programs were launched, {due} were due"


@exercise("delta")
@pytest.mark.parametrize("dtype", DTYPES)
@shapes(
    "batch, heads, queries, dim",
    *[(1, 1, 1, 1), (2, 3, 5, 16), (1, 2, 65, 80), (1, 1, 17, 256), (2, 1, 33, 128)],
    *[(0, 2, 3, 8), (2, 0, 3, 8), (2, 2, 0, 8)],
    gpu=[(4, 16, 4096, 128), (70_000, 1, 3, 64)],
)
def test_delta_matches_float64(batch, heads, queries, dim, dtype, rng):
    check_delta(*(rng.normal(batch, heads, queries, dim, dtype=DTYPES[dtype]) for _ in "od"))


@exercise("delta")
def test_delta_reads_any_strides(rng):
    o, do = rng.normal(2, 3, 5, 8), rng.normal(2, 3, 5, 8)
    for name, view in layouts(o):
        check_delta(view, do, f" with a {name} o")
    for name, view in (*layouts(do), ("repeated", do[:1, :1, :1, :1].expand(2, 3, 5, 8))):
        check_delta(o, view, f" with a {name} do")


@exercise("delta")
def test_delta_reads_beyond_int32(rng):
    o, do = rng.normal(3, 3, 4, 3, dtype=F16), rng.normal(3, 3, 4, 3, dtype=F16)
    for name, view in far_apart(o):
        check_delta(view, do, f" with a {name} o", values=(o, do))
    for name, view in far_apart(do):
        check_delta(o, view, f" with a {name} do", values=(o, do))


@exercise("delta")
def test_delta_sums_in_float32(rng):
    o, do = (rng.normal(1, 1, 40, 256, dtype=F16, mean=9.0) for _ in "od")
    check_delta(o, do)
    check_delta(o * 100, do)  # products beyond the largest float16


@exercise("delta")
def test_delta_ignores_what_lies_behind(rng):
    views = []
    for x in (rng.normal(1, 2, 5, 6), rng.normal(1, 2, 5, 6)):
        memory = torch.full((1, 2, 9, 9), nan, device=x.device)
        views.append(memory[:, :, :5, :6].copy_(x))
    check_delta(*views)


@exercise("delta")
@CAUSAL
def test_delta_is_the_weighted_mean_of_dp(causal, rng):
    """rowsum(P * dP) = rowsum(do * o)."""
    q, k, v, do = operands(rng, 2, 2, 2, 7, 9, 16)
    s = scores64(q.double(), k.double(), causal, 0.25)
    p, dp = s.softmax(-1), do.double() @ v.double().mT
    o, _, _ = forward64(q, k, v, causal, 0.25)
    size = (p * dp).norm(dim=-1) + (do * o).double().norm(dim=-1)
    out = day33.delta(o, do)
    close(out, (p * dp).sum(-1), dtype=F32, terms=16, scale=size, name="delta")


@exercise("delta")
def test_delta_refuses(rng):
    o = rng.normal(1, 2, 3, 8)
    refused(day33.delta, o, rng.normal(1, 2, 4, 8), what="3 rows of o and 4 of do")
    refused(day33.delta, o, rng.normal(1, 2, 3, 1), what="8 columns of o and 1 of do")
    refused(day33.delta, o, o.half(), what="an o in float32 and a do in float16")
    for dim in (0, 257):
        refused(day33.delta, *(rng.normal(1, 1, 2, dim) for _ in "od"), what=f"{dim} columns")


@exercise("delta")
def test_delta_compiled(rng):
    def launch():
        for dtype, dim in ((F16, 128), (F32, 64)):
            o, do = (rng.normal(1, 1, 64, dim, dtype=dtype) for _ in "od")
            day33.delta(o, do)

    for report in compiled(launch):
        assert report.spill_bytes == 0, f"the kernel spills {report.spill_bytes} bytes a thread"
        assert report.widest_load_bits == 128, (
            f"loads are {report.widest_load_bits} bits wide: {why_narrow(report)}"
        )


# recompute_p --------------------------------------------------------------------------------


def check_p(q, k, lse, scale, causal=False, offset=None, about=""):
    arguments = (causal,) if offset is None else (causal, offset)
    p = day33.recompute_p(q, k, lse, scale, *arguments)
    group = q.shape[1] // max(k.shape[1], 1)
    q64, k64 = q.double(), k.double().repeat_interleave(group, 1)
    s = scale * (q64 @ k64.mT)
    size = abs(scale) * (q64.square() @ k64.square().mT).sqrt() * math.sqrt(q.shape[3])
    low = torch.where(lse == -inf, inf, lse.double())[..., None]
    if causal:
        queries, keys = s.shape[-2:]
        i, j = (torch.arange(n, device=s.device) for n in (queries, keys))
        shift = keys - queries if offset is None else offset
        s = torch.where(j <= i[:, None] + shift, s, -inf)
    expected = (s - low).exp()
    lost = torch.where(expected > 0, 1 + size + s.abs() + low.abs(), 0.0)
    close(p, expected, dtype=F32, scale=expected * lost, name=f"p{about}")


@graded("recompute_p", ban=ITSELF)
@CAUSAL
@shapes(f"{NAMES}, dtype", *[(*size, dtype) for size, dtype in TYPED])
def test_p_matches_float64(batch, heads, kv_heads, queries, keys, dim, dtype, causal, rng):
    q, k, v, _ = operands(rng, batch, heads, kv_heads, queries, keys, dim, dtype)
    _, lse, _ = forward64(q, k, v, causal, 0.5)
    check_p(q, k, lse, 0.5, causal)


@graded("recompute_p", ban=ITSELF)
@CAUSAL
def test_p_of_tiles_stand_side_by_side(causal, rng):
    q, k, v, _ = operands(rng, 1, 4, 2, 10, 13, 8)
    _, lse, _ = forward64(q, k, v, causal, 0.5)
    for rows in (slice(0, 4), slice(4, 9), slice(9, 10)):
        for columns in (slice(0, 5), slice(5, 11), slice(11, 13)):
            offset = rows.start + 3 - columns.start
            about = f" of the queries {rows.start} to {rows.stop - 1} and the keys "
            about += f"{columns.start} to {columns.stop - 1}"
            check_p(q[:, :, rows], k[:, :, columns], lse[:, :, rows], 0.5, causal, offset, about)


@graded("recompute_p", ban=ITSELF)
def test_p_of_a_query_without_keys(rng):
    q, k, v, _ = operands(rng, 1, 2, 1, 6, 4, 8)
    _, lse, _ = forward64(q, k, v, True, 0.5)
    p = day33.recompute_p(q, k, lse, 0.5, True)
    assert p[:, :, :2].eq(0).all(), "a query that sees no key has lse = -inf and only weights of 0"
    # Not masked, and still without weights: all of its scores were -inf.
    none = torch.full_like(lse, -inf)
    assert day33.recompute_p(q, k, none, 0.5).eq(0).all(), "lse = -inf: all weights are 0"


@graded("recompute_p", ban=ITSELF)
def test_p_where_hidden_scores_are_far_above(rng):
    q, k, v, _ = (x.clone() for x in operands(rng, 1, 1, 1, 8, 8, 4))
    q[..., 0], k[..., 0] = 1.0, 300.0 * torch.arange(8.0, device=q.device)
    _, lse, _ = forward64(q, k, v, True, 1.0)
    p = day33.recompute_p(q, k, lse, 1.0, True)
    assert not p.isnan().any(), "a hidden score that is far above lse makes its weight nan"
    check_p(q, k, lse, 1.0, True)


# tiled_backward -----------------------------------------------------------------------------


def check_tiled(q, k, v, do, block, causal=False, scale=None, about=""):
    factor = q.shape[3] ** -0.5 if scale is None else scale
    o, lse, _ = forward64(q, k, v, causal, factor)
    arguments = (causal,) if scale is None else (causal, scale)
    results, seen = watch(day33.tiled_backward, q, k, v, o, lse, do, block, *arguments)
    close_all(results, gradients64(q, k, v, o, lse, do, causal, factor), q.dtype, about)
    return seen


@graded("tiled_backward", ban=ITSELF)
@CAUSAL
@shapes(
    f"{NAMES}, dtype, block",
    *[(*size, dtype, 1 + i % 4) for i, (size, dtype) in enumerate(TYPED)],
    (1, 1, 1, 65, 33, 8, F32, 32),
)
def test_tiled_matches_float64(
    batch, heads, kv_heads, queries, keys, dim, dtype, block, causal, rng
):
    tensors = operands(rng, batch, heads, kv_heads, queries, keys, dim, dtype)
    check_tiled(*tensors, block, causal)


@graded("tiled_backward", ban=ITSELF)
@pytest.mark.parametrize("scale", [0.1, 1.0, 3.0])
def test_tiled_with_a_scale_of_its_own(scale, rng):
    check_tiled(*operands(rng, 1, 2, 1, 7, 9, 16), 3, True, scale)


@graded("tiled_backward", ban=ITSELF)
def test_tiled_reads_any_strides(rng):
    tensors = operands(rng, 2, 2, 2, 5, 5, 4)
    for i, which in enumerate(("q", "k", "v", "do")):
        for name, view in layouts(tensors[i]):
            changed = [view if j == i else x for j, x in enumerate(tensors)]
            check_tiled(*changed, 2, True, about=f" with a {name} {which}")


@graded("tiled_backward", ban=ITSELF)
def test_tiled_skips_what_no_query_of_a_tile_sees(rng):
    q, k, v, do = (x.clone() for x in operands(rng, 1, 1, 1, 12, 12, 4))
    o, lse, _ = forward64(q, k, v, True, 0.5)
    (right, size), *_ = gradients64(q, k, v, o, lse, do, True, 0.5)
    k[:, :, 8:], v[:, :, 8:] = nan, nan
    dq, *_ = day33.tiled_backward(q, k, v, o, lse, do, 4, True)
    assert not dq[:, :, :8].isnan().any(), (
        "k and v hold nan in a tile of keys that the first queries do not see, and yet it is in "
        "their dq: a pair of tiles is computed that is to be skipped"
    )
    close(dq[:, :, :8], right[:, :, :8], dtype=F32, scale=size[:, :, :8], name="dq")


@graded("tiled_backward", ban=ITSELF)
@shapes("batch, heads, kv_heads, s, dim, block", (1, 1, 1, 256, 4, 16), (1, 2, 1, 192, 8, 16))
def test_tiled_keeps_tiles_only(batch, heads, kv_heads, s, dim, block, rng):
    seen = check_tiled(*operands(rng, batch, heads, kv_heads, s, s, dim), block, True)
    results = 4 * batch * (heads + 2 * kv_heads) * s * dim
    tile = 4 * batch * heads * block * (block + dim)
    room = 3 * results + 14 * tile
    assert seen.peak_bytes <= room, (
        f"{seen.peak_bytes:,} bytes were allocated at the peak: the results take {results:,} and a "
        f"tile of block x (block + dim) {tile:,}, so at most {room:,} are allowed. All weights "
        f"would be {4 * batch * heads * s * s:,} bytes"
    )


@graded("tiled_backward", ban=ITSELF)
def test_tiled_refuses(rng):
    q, k, v, do = operands(rng, 2, 4, 2, 5, 6, 8)
    lse, other = rng.normal(2, 4, 5), rng.normal(2, 4, 6, 8)
    for block in (0, -1):
        refused(day33.tiled_backward, q, k, v, q, lse, do, block, what=f"a block of {block}")
    for change, what in (
        ((q, k, rng.normal(2, 2, 5, 8), q, lse, do), "6 keys and 5 values"),
        ((q, *(rng.normal(2, 3, 6, 8),) * 2, q, lse, do), "4 heads that share 3"),
        ((q, k, v, q, lse, other), "5 queries and 6 rows of do"),
        ((q, k, v, other, lse, do), "5 queries and 6 rows of o"),
        ((q, k, v, other, lse, other), "5 queries and 6 rows of o and of do"),
        ((q, k, v, q.half(), lse, do.half()), "queries in float32, and o and do in float16"),
    ):
        refused(day33.tiled_backward, *change, 4, what=what)
